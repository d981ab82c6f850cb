"""Every page of the built site in Chromium: errors, other hosts, readers without scripts, in the dark, by ear."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import page_policy
import pytest
from live import SITE, Watched, pages_with_figures
from playwright.sync_api import BrowserContext, Page

# One worker for all of them: Chromium and the Python inside it want both cores to themselves.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
ALL = [
    p.relative_to(SITE).as_posix() for p in sorted(SITE.rglob("*.html")) if "_static" not in p.parts
]
LIVE = pages_with_figures(SITE) if SITE.is_dir() else []
CONTRAST = """(selector) => {
  const channel = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = (rgb) => 0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2]);
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const [r, g, b, a = 1] = rgb(getComputedStyle(node).backgroundColor);
      if (a > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll(selector)].filter((n) => n.offsetParent && n.textContent.trim()).map((n) => {
    const [a, b] = [light(rgb(getComputedStyle(n).color)), light(behind(n))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
}"""


def test_pages_open_without_errors_and_ask_nobody_else(site: str, shared: BrowserContext) -> None:
    problems = {}
    for path in ALL:
        page = shared.new_page()
        watched = Watched(page)
        page.goto(site + path)
        # The first page passes on to the book's: scrolled while it does, Chromium never answers.
        page.wait_for_url(site + ("book/index.html" if path == "index.html" else path))
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_timeout(100)
        problems[path] = watched.problems
        page.close()
    assert not {path: found for path, found in problems.items() if found}


@pytest.mark.parametrize("path", LIVE)
def test_without_javascript_a_page_is_complete(
    path: str, site: str, reader: Callable[..., Page]
) -> None:
    page = reader(java_script_enabled=False)
    page.goto(site + path)
    for figure in page.locator(".ngd-live").all():
        pictures = figure.locator(".ngd-picture img")
        assert [picture.is_visible() for picture in pictures.all()] == [True, False]
        pictures.first.scroll_into_view_if_needed()
        box = pictures.first.bounding_box()
        assert box
        assert box["height"] > 100
        assert len(figure.locator(".ngd-description").inner_text()) > 40
        assert "needs JavaScript" in figure.locator("noscript").inner_text()
        assert not figure.locator(".ngd-controls").is_visible()
        assert not figure.locator(".ngd-tools").is_visible()
    assert len(page.locator("main").inner_text()) > 200


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    theme: str, built: Path, site: str, axe: str, shared: BrowserContext
) -> None:
    found = {}
    for path in LIVE:
        page = shared.new_page()
        page.add_init_script(f"localStorage.mode = localStorage.theme = '{theme}'")
        page.goto(site + path)
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        page.evaluate(axe)
        result = page.evaluate(
            """() => axe.run(document, { resultTypes: ["violations"],
                 runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })"""
        )
        bad = [
            f"{v['id']}: {n['target']} {n['failureSummary'][:160]}"
            for v in result["violations"]
            if v["impact"] in ("serious", "critical")
            for n in v["nodes"]
        ]
        if bad:
            found[path] = bad
        page.close()
    assert not found


def test_dark_pages_can_be_read(site: str, reader: Callable[..., Page]) -> None:
    page = reader(color_scheme="dark")
    page.goto(site + LIVE[0])
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    figure = page.locator(".ngd-live").first
    assert figure.locator(".only-dark").is_visible()
    assert not figure.locator(".only-light").is_visible()
    for selector in (
        ".ngd-description",
        ".ngd-said",
        ".ngd-control label",
        ".ngd-tools button",
    ):
        ratios = page.evaluate(CONTRAST, selector)
        assert ratios, selector
        assert min(ratios) >= 4.5, selector


@pytest.mark.parametrize("width", [360, 1280])
def test_figures_fit_the_screen(width: int, site: str, reader: Callable[..., Page]) -> None:
    page = reader(viewport={"width": width, "height": 800})
    for path in LIVE:
        page.goto(site + path)
        for figure in page.locator(".ngd-live").all():
            box = figure.bounding_box()
            assert box
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width + 1, (path, figure.get_attribute("id"))


def test_first_visit_is_light(built: Path, site: str, reader: Callable[..., Page]) -> None:
    """Before a figure is touched; the server here does not compress, so what came is compressed by us."""
    import gzip

    page = reader()
    for path in LIVE:
        bodies: dict[str, int] = {}
        page.on(
            "response",
            lambda r, bodies=bodies: bodies.update({r.url: len(gzip.compress(r.body()))}),
        )
        page.goto(site + path, wait_until="networkidle")
        total = sum(bodies.values())
        assert total <= 900_000, (path, total, sorted(bodies.items(), key=lambda b: -b[1])[:8])


@pytest.mark.parametrize("path", ALL)
def test_every_page_has_a_policy_without_loopholes(path: str, built: Path) -> None:
    text = (built / path).read_text("utf-8")
    if "<head>" not in text:
        assert "http-equiv" in text  # the redirect to the first page
        return
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy == page_policy.policy(text)
    scripts = policy.split("script-src")[1].split(";")[0]
    assert "unsafe" not in scripts
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert not re.search(r"<[a-z][^>]*\son[a-z]+=\"", text)
    # Nothing that loads comes before the policy.
    assert not re.search(r"<(script|link|img)\b", text[: text.index("Content-Security-Policy")])
