"""What the browser tests share: a server, a watched page, and what they do to a live figure."""

from __future__ import annotations

import functools
import html
import http.server
import json
import math
import re
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from ngdlib.explore.browser import numbers_json
from ngdlib.explore.declaration import from_page

SITE = Path(__file__).resolve().parents[2] / "_build" / "html"
FIGURE = re.compile(r'<figure class="ngd-live" id="([^"]+)"[^>]*data-spec="([^"]*)"')


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder below a prefix, as a project's pages are served, and nothing outside of it."""

    prefix = "/"
    protocol_version = "HTTP/1.1"

    def translate_path(self, path: str) -> str:
        if not path.startswith(self.prefix):
            return "/nonexistent"
        return super().translate_path("/" + path[len(self.prefix) :])

    def log_message(self, *arguments: object) -> None:
        pass


def serve(folder: Path, prefix: str = "/") -> tuple[http.server.ThreadingHTTPServer, str]:
    """Serve `folder`; return the server and the address that stands for the folder, ending in /."""
    handler = type("Prefixed", (Handler,), {"prefix": prefix})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    )
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}{prefix}"


def chromium_path() -> str | None:
    """A Chromium of the system; None means Playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


class Watched:
    """A page whose errors and requests to other hosts are written down."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        page.on("request", self._request)

    def _console(self, message) -> None:  # type: ignore[no-untyped-def]
        if message.type == "error":
            self.problems.append(f"{message.type}: {message.text}")

    def _request(self, request) -> None:  # type: ignore[no-untyped-def]
        self.requests.append(request.url)
        if not re.match(r"http://127\.0\.0\.1:|data:|blob:", request.url):
            self.problems.append(f"asks another host: {request.url}")


def figures_of(page: Path) -> dict[str, dict[str, Any]]:
    """The live figures of a built page: id -> spec."""
    found = FIGURE.findall(page.read_text("utf-8"))
    return {name: json.loads(html.unescape(spec)) for name, spec in found}


def pages_with_figures(site: Path) -> list[str]:
    """The built pages that have live figures, as paths below the site."""
    pages = [p for p in sorted(site.rglob("*.html")) if "_static" not in p.parts]
    return [p.relative_to(site).as_posix() for p in pages if figures_of(p)]


def figure(page: Page, name: str) -> Locator:
    return page.locator(f"#{name}")


def frames(figure: Locator) -> int:
    """How many pictures it has computed so far."""
    return int(figure.get_attribute("data-frames") or 0)


def settled(figure: Locator, timeout: float = 90_000) -> dict[str, Any]:
    """Wait until the picture is that of the controls, and return its words and numbers; an error fails."""
    figure.page.wait_for_function(
        """(id) => {
          const figure = document.getElementById(id), state = figure.dataset.state;
          if (state === "error" || state === "picture") return true;
          if (state !== "live" || !figure.ngdAnswer) return false;
          const shown = JSON.parse(figure.ngdAnswer.values);
          return Object.entries(figure.ngdValues()).every(([name, value]) => shown[name] === value);
        }""",
        arg=figure.get_attribute("id"),
        timeout=timeout,
    )
    said = figure.locator(".ngd-said").inner_text()
    assert figure.get_attribute("data-state") == "live", said
    return figure.evaluate("(figure) => figure.ngdAnswer")


def until(page: Page, expression: str, timeout: float = 60_000) -> None:
    """Wait until the expression, or what its promise gives, is true; `wait_for_function` awaits nothing."""
    deadline = time.monotonic() + timeout / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"still not true: {expression}"
        page.wait_for_timeout(50)


KEPT = """async () => (await (await caches.open("ngd-python")).keys())
             .some((request) => request.url.endsWith(".stdlib"))"""  # what Python compiled is kept


def wake(figure: Locator) -> dict[str, Any]:
    """Touch a figure, and wait until it is alive."""
    figure.locator(".ngd-controls input, .ngd-controls select").first.focus()
    expect(figure).to_have_attribute("data-state", "live", timeout=90_000)
    return settled(figure)


def pixels(figure: Locator) -> str:
    """A fingerprint of the canvas."""
    return figure.locator("canvas").evaluate(
        """async (canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
          return [...sum].map((byte) => byte.toString(16).padStart(2, "0")).join("");
        }"""
    )


NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def close(a: float, b: float, largest: float) -> bool:
    """Equal to 1e-9, relative or beside the figure's largest number: 1 - 1e-16 may leave 0 elsewhere."""
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9 * min(largest, 1.0))


def same_as_native(spec: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """The browser's words and numbers are those of this Python at the same setting, to 1e-9."""
    declaration = from_page(spec)
    values = json.loads(answer["values"])
    data = declaration.compute(values).data
    ours, theirs = json.loads(numbers_json(data)), json.loads(answer["numbers"])
    assert list(ours) == list(theirs), values
    known = [abs(v) for column in ours.values() for v in column if v is not None]
    largest = max(known, default=1.0)
    for name, column in ours.items():
        assert len(column) == len(theirs[name]), (values, name)
        for a, b in zip(column, theirs[name], strict=True):
            if a is None or b is None:
                assert a is None, (values, name)
                assert b is None, (values, name)
            else:
                assert close(a, b, largest), (values, name, a, b)
    words, said = declaration.describe(data), answer["description"]
    assert NUMBER.sub("#", words) == NUMBER.sub("#", said), values
    for a, b in zip(NUMBER.findall(words), NUMBER.findall(said), strict=True):
        # A residual of 2e-16 may be one of 3e-16 elsewhere; every other number is the same text.
        assert a == b or close(float(a), float(b), largest), (values, words, said)
