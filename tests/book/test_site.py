"""The built website, read as files: nothing from other hosts, nothing broken, nothing to excess."""

import gzip
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"

pytestmark = pytest.mark.book

# What a browser fetches by itself. An ordinary link is not among them.
FETCHED = {
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "object": ("data",),
    "embed": ("src",),
}


class Page(HTMLParser):
    """The parts of a page that the tests ask about."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.images: list[dict[str, str | None]] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids |= {v for v in (values.get("id"), values.get("name")) if v}
        if tag == "img":
            self.images.append(values)
        if tag == "a" and values.get("href"):
            self.links.append(values["href"] or "")
        relations = (values.get("rel") or "").split()
        if tag == "link" and not {"stylesheet", "icon", "preload", "manifest"} & set(relations):
            return
        self.fetched += [values[key] or "" for key in FETCHED.get(tag, ()) if values.get(key)]


@pytest.fixture(scope="session")
def pages() -> list[Page]:
    if not (SITE / ".complete").exists():
        pytest.fail("the book is not built: run `make book` first (`make test` does)")
    return [Page(p) for p in sorted(SITE.rglob("*.html")) if "_static" not in p.parts]


def chapters(pages: list[Page]) -> list[Page]:
    return [p for p in pages if (SITE / "book") in p.path.parents]


def test_every_chapter_has_a_page(pages: list[Page]) -> None:
    toc = (ROOT / "_toc.yml").read_text()
    files = re.findall(r"(?:root|file): (\S+)", toc)
    built = {p.path.relative_to(SITE).with_suffix("").as_posix() for p in pages}
    assert set(files) <= built
    assert (SITE / "index.html").exists()


def test_no_page_asks_another_host(pages: list[Page]) -> None:
    outside = [
        f"{page.path.name}: {url}" for page in pages for url in page.fetched if urlsplit(url).netloc
    ]
    assert not outside


def test_no_style_asks_another_host() -> None:
    pattern = re.compile(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)'\"]+")
    outside = [
        f"{p.name}: {m}" for p in SITE.rglob("*.css") for m in pattern.findall(p.read_text())
    ]
    assert not outside


def test_unwanted_scripts_are_gone(pages: list[Page]) -> None:
    unwanted = (
        "THEBE_JS_URL",
        "sphinx-thebe.js",
        "fontawesome/6.5.2/js",
        "require.min.js",
        "widget-state+json",
    )
    found = [(p.path.name, word) for p in pages for word in unwanted if word in p.path.read_text()]
    assert not found
    assert not list(SITE.rglob("fontawesome/*/js/*"))


def test_fetched_files_and_links_exist(pages: list[Page]) -> None:
    by_path = {p.path: p for p in pages}
    missing = []
    for page in pages:
        for url in page.fetched + page.links:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            path = unquote(parts.path)
            target = (page.path.parent / path).resolve() if path else page.path
            if not target.exists():
                missing.append(f"{page.path.name}: {url}")
            elif parts.fragment and target in by_path and parts.fragment not in by_path[target].ids:
                missing.append(f"{page.path.name}: {url} (no such place)")
    assert not missing


def test_every_picture_has_a_description(pages: list[Page]) -> None:
    without = [
        (p.path.name, i.get("src", "")[:60])
        for p in chapters(pages)
        for i in p.images
        if not i.get("alt")
    ]
    assert not without


def test_pages_have_one_title_and_no_failed_cell(pages: list[Page]) -> None:
    for page in chapters(pages):
        text = page.path.read_text()
        assert len(re.findall(r"<h1\b", text.partition("<article")[2])) == 1, page.path
        assert "{glue" not in text, page.path
        assert "{test}" not in text, page.path


def test_mathematics_is_typeset_from_here(pages: list[Page]) -> None:
    assert (SITE / "_static/mathjax/tex-chtml.js").stat().st_size > 1_000_000
    assert len(list((SITE / "_static/mathjax").rglob("*.woff"))) > 20
    assert not [p.path for p in pages if "cdn.jsdelivr" in p.path.read_text()]


def test_weight_of_a_page(pages: list[Page]) -> None:
    """First visit, compressed, without what a figure loads when it is touched."""
    for page in chapters(pages):
        files = {
            (page.path.parent / urlsplit(u).path).resolve()
            for u in page.fetched
            if u.endswith((".js", ".css")) or "?" in u
        }
        size = sum(len(gzip.compress(f.read_bytes())) for f in files | {page.path} if f.is_file())
        assert size < 900_000, (page.path, size)
