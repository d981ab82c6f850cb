"""A small site around figures made to misbehave: the site's own scripts, on pages of our own."""

from __future__ import annotations

import html
import importlib
import io
import json
import shutil
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

MODULE = '''
"""Figures that the tests can break."""
import time
from ngdlib.figures import Choice, Figure, LogSlider, Slider

def compute(x=1.0, kind="good", n=3):
    if kind == "fails" and x > 1.5:
        raise ValueError(f"x = {x:g} is more than this figure can bear.")
    if kind == "slow":
        time.sleep(0.25)
    if kind == "dies":
        raise SystemExit
    if kind == "hangs":
        while True:
            pass
    return {"x": float(x), "curve": [float(x) * k for k in range(n)]}

def draw(fig):
    ax = fig.subplots()
    ax.set(xlim=(0, 10), ylim=(0, 20))
    (line,) = ax.plot([], [], "o-", animated=True)
    return lambda data: line.set_data(range(len(data["curve"])), data["curve"])

def describe(data):
    return f"The line rises by {data['x']:.3f} per step over {len(data['curve'])} points."

toy = Figure(compute, draw, describe, (5.0, 2.5), {
    "x": LogSlider(1e-2, 2.0, 1.0, ticks=(0.1, 1), zero=True),
    "n": Slider(2, 10, 3),
    "kind": Choice(["good", "fails", "slow", "hangs", "dies"], "good"),
})
'''

PAGE = """<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Toy</title>
<link rel="icon" href="_static/live/icon.svg"><link rel="stylesheet" href="_static/live/live.css?v=1">
<style>body {{ font: 16px sans-serif; max-width: 700px }} html[data-theme=light] .only-dark,
html[data-theme=dark] .only-light {{ display: none }}</style>
<script defer src="_static/live/site.js?v=1"></script><script defer src="_static/live/live.js?v=1"></script>
{head}</head><body><main><h1>Toy</h1>{body}<p>Below</p></main></body></html>"""


def make(built: Path, folder: Path) -> Path:
    """Write the toy site into `folder`: index.html has two figures, the first of which can fail."""
    import live_site

    sys.modules.pop("ngdlib.figures.toy", None)
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "toy.py").write_text(MODULE)
    figures = importlib.import_module("ngdlib.figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "__path__", [*figures.__path__, str(folder / "code")])
        patch.setenv("NGDLIB_HOME", "page")
        toy = importlib.import_module("ngdlib.figures.toy").toy
        from ngdlib.explore import explore

        pictures = explore(toy)._repr_html_() + "<p>Between</p>" + explore(toy)._repr_html_()
    out = folder / "html"
    live = out / "_static" / "live"
    shutil.copytree(built / "_static" / "live", live)
    shutil.copy(built / "sw.js", out / "sw.js")
    manifest = json.loads((live / "manifest.json").read_text())
    with zipfile.ZipFile(io.BytesIO((live / manifest["library"]).read_bytes())) as before:
        entries = {name: before.read(name) for name in before.namelist()}
    entries["ngdlib/figures/toy.py"] = MODULE.encode()
    with zipfile.ZipFile(live / "ngdlib-toy.zip", "w") as after:
        for name, content in entries.items():
            after.writestr(name, content)
    manifest["files"].pop(manifest["library"])
    manifest["library"] = "ngdlib-toy.zip"
    manifest["files"]["ngdlib-toy.zip"] = (live / "ngdlib-toy.zip").stat().st_size
    (live / "manifest.json").write_text(json.dumps(manifest))

    options = {"repository_url": "https://github.com/someone/the-book", "repository_branch": "main"}
    app = SimpleNamespace(
        outdir=str(out),
        ngd_live={"manifest": b"", "size": sum(manifest["files"].values())},
        config=SimpleNamespace(html_theme_options=options),
    )
    taken: set[str] = set()
    chapter = "book/00-orientation/how_to_use"
    body = live_site.FIGURE.sub(
        lambda match: live_site.finish_figure(app, chapter, "", match[0], taken), pictures
    )
    facts = {"manifest": "manifest.json?v=1", "worker": "worker.mjs?v=1", "size": "16 MB"}
    head = f'<meta name="ngd-live" content="{html.escape(json.dumps(facts))}">'
    (out / "index.html").write_text(PAGE.format(head=head, body=body))
    return out
