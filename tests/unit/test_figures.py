"""Every figure of the book, found by itself: at its start and at the corners of its controls."""

from __future__ import annotations

import importlib
import itertools
import json
import random
import re
import subprocess
import sys

import numpy as np
import pytest

from ngdlib import figures
from ngdlib.explore.browser import Session
from ngdlib.explore.declaration import columns, declare
from ngdlib.explore.frame import Frame
from ngdlib.figures import Figure

_MOST = 48  # settings per figure: a figure with many controls is sampled


def _all() -> dict[str, Figure]:
    found = {}
    for name in figures.modules():
        module = importlib.import_module(f"ngdlib.figures.{name}")
        found |= {f"{name}.{n}": f for n, f in vars(module).items() if isinstance(f, Figure)}
    return found


FIGURES = _all()


def corners(figure: Figure) -> list[dict]:
    """The default, each control at its ends, and all combinations of ends (or a sample)."""
    controls = {name: c.at("browser") for name, c in figure.controls.items()}
    default = {name: c.value for name, c in controls.items()}
    single = [default | {n: v} for n, c in controls.items() for v in c.values_at("browser")]
    ends = {
        n: [v for v in c.values_at("browser") if v != c.value] or [c.value]
        for n, c in controls.items()
    }
    every = [dict(zip(ends, v, strict=True)) for v in itertools.product(*ends.values())]
    random.Random(0).shuffle(every)
    settings = [default, *single, *every][:_MOST]
    return [s for k, s in enumerate(settings) if s not in settings[:k]]


@pytest.fixture(params=sorted(FIGURES))
def figure(request):
    return FIGURES[request.param]


def test_there_are_figures():
    assert "demo.landing" in FIGURES


def test_numbers_and_words_at_every_corner(figure):
    declaration = declare(figure, {})
    for values in corners(figure):
        data = declaration.compute(values).data
        table = columns(data)
        assert table, "compute must return numbers"
        for name, column in table.items():
            assert np.isfinite(column).all(), f"{name} is not finite at {values}"
        words = figure.describe(data)
        assert re.search(r"\d", words), f"describe must state numbers, but says {words!r}"
        assert not re.search(r"\bnan\b|\binf\b", words), f"{words!r} at {values}"
        assert len(words) < 700


def test_the_same_setting_gives_the_same_numbers(figure):
    declaration = declare(figure, {})
    first = columns(declaration.compute(declaration.defaults()).data)
    for values in corners(figure)[-2:]:
        declaration.compute(values)
    assert columns(declaration.compute(declaration.defaults()).data) == first


def test_pictures_at_every_corner_have_no_stale_parts(figure):
    """What is blitted over and over equals what a fresh picture shows, and all text is inside."""
    declaration = declare(figure, {})
    settings = corners(figure)
    default = declaration.compute(settings[0]).data
    frame = Frame(figure)
    first = bytes(frame.show(default))
    assert len(set(memoryview(first).cast("I"))) > 10, "the picture is all but empty"
    for k, values in enumerate(settings):
        data = declaration.compute(values).data
        shown = bytes(frame.show(data))
        box = frame._fig.get_tightbbox().padded(-0.02)
        width, height = frame._fig.get_size_inches()
        inside = min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0
        assert inside, f"something is outside the picture at {values}: {box}"
        if k in (1, len(settings) // 2, len(settings) - 1):
            fresh = Frame(figure)
            fresh.show(default)
            assert bytes(fresh.show(data)) == shown, f"something stale is left at {values}"
    assert bytes(frame.show(default)) == first


def test_dark_pictures_differ_from_light_ones(figure):
    declaration = declare(figure, {})
    data = declaration.compute(declaration.defaults()).data
    light, dark = Frame(figure), Frame(figure, dark=True)
    pixels = [np.frombuffer(f.show(data), np.uint8).reshape(-1, 4) for f in (light, dark)]
    assert (pixels[0][:, 3] == 255).all()
    assert (pixels[1][:, 3] == 255).all()
    assert pixels[0][0, :3].tolist() == [255, 255, 255]
    assert pixels[1][0, :3].max() < 40


def test_the_browser_session_gives_the_native_numbers(figure):
    declaration = declare(figure, {})
    session = Session()
    first = session.make("k", json.dumps(declaration.spec()))
    assert first.error == ""
    for values in corners(figure)[-3:]:
        answer = session.frame("k", json.dumps(values))
        assert answer.error == ""
        native = declaration.compute(declaration.clean(values)[0]).data
        assert json.loads(answer.numbers) == json.loads(json.dumps(columns(native)))
        assert answer.description == declaration.describe(native)


def test_importing_figures_imports_no_plotting_and_no_jax():
    names = [f"ngdlib.figures.{name}" for name in figures.modules()]
    code = (
        "import importlib, sys, ngdlib.explore;"
        f"[importlib.import_module(n) for n in {names}];"
        "bad = {'matplotlib', 'jax', 'scipy', 'ipywidgets', 'IPython'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_modules_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'bogus'"):
        figures.bogus  # noqa: B018
    assert "demo" in dir(figures)
