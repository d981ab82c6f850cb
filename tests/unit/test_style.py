"""One style: the same look for the same method, readable on light and dark pages."""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Canvas

from ngdlib.figures import style

METHODS = [
    "exact",
    "block_diagonal",
    "block_tridiagonal",
    "kfac",
    "unit_wise",
    "mini_block",
    "diagonal",
    "gradient",
]


def linear(color: str) -> np.ndarray:
    """Linear sRGB, each part 0 .. 1."""
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def luminance(color: str) -> float:
    """Relative luminance of the Web Content Accessibility Guidelines 2.1."""
    return float(linear(color) @ [0.2126, 0.7152, 0.0722])


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_every_method_has_a_look_and_a_name():
    assert {*METHODS, "theory", "measured", "train", "test"} <= set(style.METHODS)
    assert set(style.METHODS) == set(style.NAMES)


def test_methods_differ_in_colour_line_and_marker():
    methods = [style.METHODS[name] for name in METHODS]
    for a, b in itertools.combinations(methods, 2):
        for key in ("color", "linestyle", "marker"):
            assert a[key] != b[key]


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_with_the_page(dark):
    paper = style.PAPER[dark]
    assert contrast(style.INK[dark], paper) >= 7
    for color in style.COLORS[dark]:
        assert contrast(color, paper) >= 3, color


# How red-blind and green-blind eyes see linear sRGB: Machado, Oliveira and Fernandes (2009),
# doi:10.1109/TVCG.2009.113, at full severity.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB under D65; distances there are differences as eyes judge them."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.clip(rgb, 0, 1) @ np.transpose(to_xyz) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("dark", [False, True])
def test_methods_are_told_apart_by_every_eye(dark, vision):
    seen = {}
    for name in METHODS:
        index = int(style.METHODS[name]["color"][1:])
        seen[name] = lab(VISION[vision] @ linear(style.COLORS[dark][index]))
    for a, b in itertools.combinations(METHODS, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 15, (a, b)


@pytest.mark.parametrize("dark", [False, True])
def test_page_restores_the_settings_and_resolves_colours(dark):
    before = dict(matplotlib.rcParams)
    with style.page(dark):
        assert to_rgb("C0") == to_rgb(style.COLORS[dark][0])
        assert matplotlib.rcParams["savefig.transparent"] is False
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("dark", [False, True])
def test_every_look_and_colour_map_can_be_drawn(dark):
    with style.page(dark):
        fig = Canvas()
        axes, other = fig.subplots(1, 2)
        axes.set_yscale("log")
        for look in style.METHODS.values():
            axes.plot([1, 2], [1, 10], **look)
        other.imshow([[-1.0, 1.0]], cmap=style.diverging())
        fig.draw_without_rendering()
    assert style.diverging() == "RdBu_r"


def test_no_minor_ticks_on_logarithmic_axes():
    fig = Canvas()
    axes = fig.subplots()
    axes.set_yscale("log")
    axes.set_ylim(1, 1000)
    assert len(axes.yaxis.get_minorticklocs()) > 0
    style.quiet(fig)
    assert len(axes.yaxis.get_minorticklocs()) == 0


def test_ticks_of_logarithmic_axes_are_plain_text():
    assert [style.power(v) for v in (1e-5, 1.0, 1000.0, 0.02, 0.0)] == [
        "10⁻⁵",
        "10⁰",
        "10³",
        "0.02",
        "0",
    ]
    fig = Canvas()
    axes = fig.subplots()
    axes.set_xscale("log")
    axes.set_xlim(1e-3, 1e3)
    style.quiet(fig)
    fig.draw_without_rendering()
    assert not any("$" in label.get_text() for label in axes.get_xticklabels())


def test_limits_move_in_whole_steps():
    fig = Canvas()
    axes = fig.subplots()
    style.limits(axes, 0.013, 0.9)
    assert axes.get_ylim() == pytest.approx((0.0, 1.0))
    style.limits(axes, 3.0, 3.0)
    low, high = axes.get_ylim()
    assert low <= 3.0 <= high
    assert low < high
    axes.set_yscale("log")
    style.limits(axes, 3e-4, 20)
    assert axes.get_ylim() == pytest.approx((1e-4, 100))
    style.limits(axes, 1.0, 1.0)
    assert axes.get_ylim() == pytest.approx((1, 10))
    with pytest.raises(ValueError, match="0 < low"):
        style.limits(axes, 0.0, 1.0)
