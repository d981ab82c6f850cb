"""Chromium, a server for the built site, and what every browser test asks of a page."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

# Tests are imported each by itself; what they share is in live.py here and in the book's own tools.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[2] / "book/_ext")]

from live import SITE, Watched, chromium_path, serve  # noqa: E402

AXE = ("axe-core@4.14.1", "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745")


@pytest.fixture(scope="session")
def built() -> Path:
    """The built site, with the browser's Python in it."""
    if not (SITE / "sw.js").exists():
        pytest.fail("the book is not built: run `make book` first (`make test` does)")
    if not (SITE / "_static/live/manifest.json").exists():
        message = (
            "the site was built without Python for the browser (see book/_ext/fetch_runtime.py)"
        )
        # On CI this is a failure; a reader without network can still run everything else.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return SITE


@pytest.fixture(scope="session")
def site(built: Path) -> Iterator[str]:
    """The address of the built site, below a sub-path."""
    server, address = serve(built, "/someone/the-book/")
    yield address
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path(),
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shared(browser: Browser) -> Iterator[BrowserContext]:
    """One reader with one cache: the browser's Python is fetched once, as for a reader of several pages."""
    context = browser.new_context(
        device_scale_factor=2, viewport={"width": 1280, "height": 900}, service_workers="block"
    )
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture
def watched(shared: BrowserContext) -> Iterator[Watched]:
    """A new page of the shared reader; whatever went wrong on it fails the test."""
    page = shared.new_page()
    result = Watched(page)
    yield result
    page.close()
    assert not result.problems


@pytest.fixture
def reader(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Make pages of new readers, each with an empty cache: reader(java_script_enabled=False, ...)."""
    contexts = []

    def new(**options: object) -> Page:
        settings = {
            "viewport": {"width": 1280, "height": 900},
            "service_workers": "block",
            **options,
        }
        context = browser.new_context(**settings)  # type: ignore[arg-type]
        context.set_default_timeout(60_000)
        contexts.append(context)
        return context.new_page()

    yield new
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The text of axe-core, fetched from npm once and kept in the user's cache folder."""
    import fetch_runtime

    name, sha256 = AXE
    kept = fetch_runtime.cache_folder().parent / f"{name}.tgz"
    if not kept.exists():
        npm = shutil.which("npm")
        if npm is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)("npm is needed for axe-core")
        packed = subprocess.run(
            [npm, "pack", "--silent", name, "--pack-destination", str(kept.parent)],
            capture_output=True,
            text=True,
            check=True,
        )
        (kept.parent / packed.stdout.split()[-1]).rename(kept)
    content = kept.read_bytes()
    assert hashlib.sha256(content).hexdigest() == sha256, "axe-core is not the one that was locked"
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        file = archive.extractfile("package/axe.min.js")
        assert file is not None
        return file.read().decode()
