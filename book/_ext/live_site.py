"""The website's live figures: what the pages, and the site around them, need so that sliders compute.

- Each `<figure class="ngd-live">` that `ngdlib.explore` wrote gets its controls, so that nothing moves on the page
  when the script wakes them, and its pictures become files that load when they come near.
- Python for the browser, its packages and ngdlib are put into the site (live_pack.py). Where they cannot be had, the
  figures stay pictures and say why.
- Every page gets a Content-Security-Policy (page_policy.py), and the site a service worker for reading offline.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import live_pack
import page_policy
from fetch_runtime import RuntimeUnavailable
from ngd_book import COLAB, ROOT, branch, repository
from PIL import Image
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from ngdlib.figures.controls import LogSlider, from_spec

logger = logging.getLogger(__name__)
STATIC = Path(__file__).resolve().parents[1] / "_static" / "live"

FIGURE = re.compile(r'<figure class="ngd-(?:live|still)".*?</figure>', re.DOTALL)
DATA_URI = re.compile(r'src="data:image/png;base64,([A-Za-z0-9+/=]+)"')
SPEC = re.compile(r'data-spec="([^"]*)"')
STATUS = re.compile(r'<p class="ngd-status"[^>]*>(.*?)</p>', re.DOTALL)


def make_runtime(app: Sphinx) -> None:
    """Put Python for the browser into the site, before the first page asks how large it is."""
    if app.builder.name != "html":
        return
    out = Path(app.outdir)
    try:
        manifest = live_pack.write(
            ROOT / "ngdlib", out / "_static" / "live", out.parent / ".live-runtime"
        )
    except RuntimeUnavailable as problem:
        app.ngd_live = {"why": str(problem)}  # type: ignore[attr-defined]
        # Said even by a quiet build, and no warning, because those fail it.
        print(f"Live figures stay pictures: {problem}", file=sys.stderr)
        return
    text = json.dumps(manifest, indent=1).encode()
    (out / "_static" / "live" / "manifest.json").write_bytes(text)
    size = sum(manifest["files"].values())
    app.ngd_live = {"manifest": text, "size": size}  # type: ignore[attr-defined]


def write_pages_again(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """Write every page again when the scripts or the runtime changed: their versions stand in each page."""
    names = sorted(path.name for path in STATIC.iterdir())
    now = version(*names) + json.dumps(getattr(app, "ngd_live", {}), default=str)
    before, env.ngd_live = getattr(env, "ngd_live", None), now  # type: ignore[attr-defined]
    return [] if before == now else sorted(env.found_docs)


def version(*names: str) -> str:
    """Hash of some of our static files: it goes into their addresses, so that no browser keeps an old one."""
    return live_pack.short_hash(b"".join((STATIC / name).read_bytes() for name in names))


def megabytes(size: int) -> str:
    """A number of bytes as the reader sees it."""
    return f"{size / 1e6:.0f} MB"


# ------------------------------------------------------------------ pages


def finish_page(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Finish the figures of one page, and add what the page's head must say."""
    if app.builder.name != "html":
        return
    root = "../" * page.count("/")
    taken: set[str] = set()
    body = context.get("body") or ""
    body = FIGURE.sub(lambda match: finish_figure(app, page, root, match[0], taken), body)
    if body:
        context["body"] = body
    app.add_js_file("live/site.js", loading_method="defer")
    # Without a mode the theme's script complains on every first visit.
    context["default_mode"] = context.get("default_mode") or "auto"
    # Without an icon browsers ask for /favicon.ico, outside the book's own folder.
    icon = f'<link rel="icon" type="image/svg+xml" href="{root}_static/live/icon.svg">'
    context["metatags"] = context.get("metatags", "") + ("" if app.config.html_favicon else icon)
    if 'class="ngd-' not in body:
        return
    app.add_css_file("live/live.css")
    live = getattr(app, "ngd_live", {})
    if taken and "manifest" in live:
        app.add_js_file("live/live.js", loading_method="defer")
        facts = {
            "manifest": f"manifest.json?v={live_pack.short_hash(live['manifest'])}",
            "worker": f"worker.mjs?v={version('worker.mjs')}",
            "size": megabytes(live["size"]),
        }
        context["metatags"] = (
            context.get("metatags", "")
            + f'<meta name="ngd-live" content="{html.escape(json.dumps(facts))}">'
            + "<noscript><style>.ngd-controls,.ngd-tools,.ngd-data{display:none!important}</style></noscript>"
        )


def finish_figure(app: Sphinx, page: str, root: str, figure: str, taken: set[str]) -> str:
    """The figure with its pictures as files and, if it can come alive, with its controls and tools."""
    images = Path(app.outdir) / "_images"

    def to_file(match: re.Match[str]) -> str:
        content = base64.b64decode(match[1])
        name = f"ngd-{hashlib.sha256(content).hexdigest()[:16]}.webp"
        if not (images / name).exists():
            images.mkdir(parents=True, exist_ok=True)
            # The same pixels in a third of the bytes.
            picture = Image.open(io.BytesIO(content)).convert("RGB")
            picture.save(images / name, "webp", lossless=True, quality=80)
        return f'src="{root}_images/{name}"'

    figure = DATA_URI.sub(to_file, figure)
    spec = SPEC.search(figure)
    if not spec:
        return figure
    live = getattr(app, "ngd_live", {})
    if "manifest" not in live:
        note = (
            "A picture only: this copy of the site was built without Python for the browser. "
            "Open the chapter as a notebook to move it."
        )
        return STATUS.sub(f'<p class="ngd-status">{note}</p>', figure)
    facts = json.loads(html.unescape(spec[1]))
    name = f"live-{facts['figure'].rpartition(':')[2].replace('_', '-')}"
    name = next(n for k in range(1, 100) if (n := name if k == 1 else f"{name}-{k}") not in taken)
    taken.add(name)
    size = megabytes(live["size"])
    figure = figure.replace('<figure class="ngd-live"', f'<figure class="ngd-live" id="{name}"', 1)
    figure = figure.replace(
        '<div class="ngd-controls"></div>',
        f'<div class="ngd-controls" role="group" aria-label="Controls of the figure">'
        f"{''.join(control(name, c) for c in facts['controls'])}</div>",
        1,
    )
    figure = STATUS.sub(
        lambda match: (
            '<p class="ngd-status">'
            f'<span class="ngd-said">Move a control to compute in your browser, which fetches Python '
            f"once ({size}).</span><noscript>{match[1]}</noscript></p>"
            '<p class="ngd-announce" role="status" aria-live="polite"></p>'
        ),
        figure,
    )
    return figure.replace("</figcaption>", tools(app, page) + "</figcaption>", 1)


def control(figure: str, spec: dict[str, Any]) -> str:
    """The markup of one control; live.js sets its positions."""
    label, name = html.escape(spec["label"]), html.escape(spec["name"])
    place = f"{figure}-{name}"
    if spec["kind"] == "choice":
        options = "".join(
            f'<option value="{k}"{" selected" if value == spec["value"] else ""}>{html.escape(text)}</option>'
            for k, (value, text) in enumerate(spec["options"])
        )
        return (
            f'<div class="ngd-control" data-name="{name}"><label for="{place}">{label}</label>'
            f'<select id="{place}" autocomplete="off">{options}</select></div>'
        )
    unit = html.escape(spec["unit"])
    ticks = "".join(
        f'<button type="button" tabindex="-1" data-value="{value!r}" style="--at:{place_of(spec, value):.4f}" '
        f'aria-label="{label} {html.escape(text)}">{html.escape(text)}</button>'
        for value, text in spec["ticks"]
    )
    return (
        f'<div class="ngd-control" data-name="{name}"><label for="{place}">{label}</label>'
        f'<div class="ngd-track"><input type="range" id="{place}" autocomplete="off">'
        f'<div class="ngd-ticks">{ticks}</div></div>'
        f'<span class="ngd-typed"><input type="text" inputmode="decimal" autocomplete="off" '
        f'spellcheck="false" aria-label="{label}, typed"><span class="ngd-unit">{unit}</span></span></div>'
    )


def place_of(spec: dict[str, Any], value: float) -> float:
    """Where a slider's thumb stands at `value`: 0 at its left end, 1 at its right one."""
    slider = from_spec(spec)
    if isinstance(slider, LogSlider):
        positions = slider.positions()
        nearest = min(positions, key=lambda position: abs(position - value))
        return positions.index(nearest) / (len(positions) - 1)
    return (value - spec["low"]) / (spec["high"] - spec["low"])


def tools(app: Sphinx, page: str) -> str:
    """Reset, pin, link, Colab, and the numbers behind the picture."""
    colab = ""
    url = repository(app)
    if url and "github.com" in url and (ROOT / f"{page}.ipynb").exists():
        path = url.split("github.com/", 1)[1].removesuffix(".git")
        colab = (
            f'<a class="ngd-colab" href="{COLAB}/github/{html.escape(path)}/blob/{branch(app)}/{page}.ipynb">'
            "Wider networks in Colab</a>"
        )
    return (
        '<div class="ngd-tools"><button type="button" data-do="reset">Reset</button>'
        '<button type="button" data-do="pin" aria-pressed="false">Pin this curve</button>'
        f'<button type="button" data-do="link">Copy link</button>{colab}</div>'
        '<details class="ngd-data"><summary>Data</summary><div class="ngd-table" tabindex="0" role="region" '
        'aria-label="Numbers behind the picture"></div>'
        '<button type="button" data-do="csv">Copy as CSV</button></details>'
    )


# ------------------------------------------------------------------ site

# The theme has every page fetch icon fonts that few use (those which use them load them by their style sheet), and
# gives two of its controls names that hide the words written on them.
NEEDLESS = {
    re.compile(r'<link rel="preload"[^>]*fa-(?:brands|regular)-400[^>]*>\s*'): "",
    re.compile(r'<summary aria-label="Toggle hidden content"'): "<summary",
    re.compile(r'(<button [^>]*search-button-field[^>]*) aria-label="Search"'): r"\1",
}


def finish_site(app: Sphinx, error: Exception | None) -> None:
    """After all pages are there: the service worker, and every page's policy."""
    if error or app.builder.name != "html":
        return
    out = Path(app.outdir)
    live = getattr(app, "ngd_live", {})
    (out / "sw.js").write_bytes((STATIC / "sw.js").read_bytes())
    (out / "_headers").write_text(page_policy.HEADERS)
    for path in out.rglob("*.html"):
        text = path.read_text("utf-8")
        new = text
        for pattern, rest in NEEDLESS.items():
            new = pattern.sub(rest, new)
        new = page_policy.protect(new)
        if new != text:
            path.write_text(new, "utf-8")
    total = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    part = (
        f", of which {megabytes(live['size'])} are Python for live figures"
        if "size" in live
        else ""
    )
    logger.info(f"The site weighs {megabytes(total)}{part}.")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect all of it to the build."""
    app.connect("builder-inited", make_runtime)
    app.connect("env-get-outdated", write_pages_again)
    app.connect("html-page-context", finish_page, priority=900)
    app.connect("build-finished", finish_site, priority=950)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
