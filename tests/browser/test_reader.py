"""What a reader does with a live figure, and what may go wrong under their hands (on a page made for it)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import toy
from live import KEPT, Watched, figure, frames, pixels, serve, settled, until, wake
from playwright.sync_api import BrowserContext, Locator, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]
NAME = "live-toy"


@pytest.fixture(scope="module")
def toys(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the toy site, at the root of a host this time."""
    server, address = serve(toy.make(built, tmp_path_factory.mktemp("toy")))
    yield address
    server.shutdown()
    server.server_close()


@pytest.fixture
def live(toys: str, watched: Watched) -> Locator:
    """The first figure of a page that was just opened, not yet touched."""
    watched.page.goto(toys)
    return figure(watched.page, NAME)


@pytest.fixture(scope="module")
def one_page(toys: str, shared: BrowserContext) -> Iterator[Page]:
    page = shared.new_page()
    page.goto(toys)
    yield page
    page.close()


@pytest.fixture
def alive(one_page: Page) -> Locator:
    """A figure that is alive and stands at its start, on a page that the tests use one after the other."""
    live = figure(one_page, NAME)
    wake(live)
    live.locator("[data-do=reset]").click()
    settled(live)
    return live


def row(live: Locator, name: str) -> Locator:
    return live.locator(f'.ngd-control[data-name="{name}"]')


def slider(live: Locator, name: str) -> Locator:
    return row(live, name).locator("input[type=range]")


def typed(live: Locator, name: str, text: str) -> None:
    box = row(live, name).locator("input[type=text]")
    box.fill(text)
    box.press("Enter")


def said(live: Locator) -> str:
    return live.locator(".ngd-said").inner_text()


# ------------------------------------------------------------------ coming alive


def test_the_size_is_said_before_anything_is_fetched(live: Locator, watched: Watched) -> None:
    assert re.search(r"\(1\d MB\)", said(live))
    assert not [url for url in watched.requests if "python-" in url or "ngdlib-" in url]


def test_progress_shows_bytes_and_steps(toys: str, reader: Callable[..., Page]) -> None:
    page = reader()
    page.goto(toys)
    live = figure(page, NAME)
    page.evaluate(
        """(id) => {
          const figure = document.getElementById(id), said = figure.querySelector(".ngd-said");
          window.heard = []; window.bar = [];
          new MutationObserver(() => {
            heard.push(said.textContent);
            const bar = figure.querySelector("progress");
            if (!bar.hidden) window.bar.push(bar.value);
          }).observe(said, { childList: true, characterData: true, subtree: true });
        }""",
        NAME,
    )
    wake(live)
    heard, bar = page.evaluate("[heard, bar]")
    assert any("of 1" in text and "MB" in text for text in heard), heard
    assert any(text.startswith("Loading matplotlib") for text in heard), heard
    assert bar == sorted(bar)
    assert bar[-1] > 0.8
    assert live.locator("progress").is_hidden()


def test_nothing_moves_and_the_picture_does_not_jump(live: Locator) -> None:
    page = live.page
    page.evaluate(
        """() => { window.shift = 0; new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) window.shift += entry.value;
        }).observe({ type: "layout-shift", buffered: true }); }"""
    )
    page.wait_for_function(
        "(id) => document.querySelector(`#${id} .only-light`).complete", arg=NAME
    )
    before = page.locator("p", has_text="Below").bounding_box()
    wake(live)
    page.wait_for_timeout(300)
    assert page.locator("p", has_text="Below").bounding_box() == before
    assert page.evaluate("window.shift") == 0
    different = page.evaluate(
        """(id) => {
          const figure = document.getElementById(id), canvas = figure.querySelector("canvas");
          const picture = figure.querySelector(".only-light");
          const other = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
          const ink = other.getContext("2d");
          ink.drawImage(picture, 0, 0, canvas.width, canvas.height);
          const a = ink.getImageData(0, 0, canvas.width, canvas.height).data;
          const b = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          let count = 0;
          for (let k = 0; k < a.length; k++) count += Math.abs(a[k] - b[k]) > 40;
          return [count / a.length, picture.naturalWidth, canvas.width];
        }""",
        NAME,
    )
    assert different[1] == different[2]
    assert different[0] < 0.001, different


def test_the_last_position_wins(alive: Locator) -> None:
    live = alive
    row(live, "kind").locator("select").select_option(label="slow")
    settled(live)
    before = frames(live)
    count = slider(live, "n")
    count.press("Home")
    for _ in range(8):
        count.press("ArrowRight")
    answer = settled(live)
    assert json.loads(answer["values"])["n"] == 10
    assert "10 points" in live.locator(".ngd-description").inner_text()
    assert frames(live) - before <= 5


def test_two_figures_share_one_worker(live: Locator, watched: Watched) -> None:
    wake(live)
    second = figure(watched.page, f"{NAME}-2")
    wake(second)
    typed(second, "x", "0.5")
    assert settled(second)["description"].startswith("The line rises by 0.500")
    assert "rises by 1.000" in live.locator(".ngd-description").inner_text()
    assert len(watched.page.workers) == 1


# ------------------------------------------------------------------ tools


def test_keyboard_only(live: Locator, watched: Watched) -> None:
    page = watched.page
    page.keyboard.press("Tab")
    x = slider(live, "x")
    expect(x).to_be_focused()
    settled(live)
    values = []
    for key in ("End", "Home", "ArrowRight", "PageUp", "ArrowLeft", "PageDown"):
        page.keyboard.press(key)
        values.append(json.loads(settled(live)["values"])["x"])
    assert values[0] == 2.0
    assert values[1] == 0
    assert values[2] == 0.01
    assert values[3] > 0.015
    assert x.get_attribute("aria-valuetext") == f"{values[-1]:g}"
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(row(live, "n").locator("input[type=text]")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.wait_for_timeout(50)
    assert json.loads(settled(live)["values"])["kind"] in ("fails", "good")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # reset
    assert json.loads(settled(live)["values"]) == {"x": 1.0, "n": 3, "kind": "good"}
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # pin
    expect(live.locator("[data-do=pin]")).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize(
    ("name", "text", "value", "words"),
    [
        ("x", "0.37", 0.37, ""),
        ("x", "3e-1", 0.3, ""),
        ("x", "77", 2.0, "x goes from 0 to 2 here: 2 is used."),
        ("x", "-4", 0, "x goes from 0 to 2 here: 0 is used."),
        ("n", "6.4", 6, "n takes whole numbers: 6 is used."),
        ("n", "11", 10, "n goes from 2 to 10 here: 10 is used."),
        ("n", "many", 3, "“many” is not a number, so n stays 3."),
        ("n", "Infinity", 3, "“Infinity” is not a number, so n stays 3."),
    ],
)
def test_typed_values(alive: Locator, name: str, text: str, value: float, words: str) -> None:
    live = alive
    typed(live, name, text)
    assert json.loads(settled(live)["values"])[name] == value
    assert row(live, name).locator("input[type=text]").input_value() == f"{value:g}"
    assert words in said(live)


def test_ticks_set_their_value(alive: Locator) -> None:
    live = alive
    row(live, "x").get_by_role("button", name="x 0.1").click()
    assert json.loads(settled(live)["values"])["x"] == 0.1


def test_pinned_curves_stay_until_unpinned(alive: Locator) -> None:
    live = alive
    pin = live.locator("[data-do=pin]")
    slider(live, "x").press("End")
    settled(live)
    alone = pixels(live)
    typed(live, "x", "1")
    settled(live)
    pin.click()
    expect(pin).to_have_text("Unpin")
    slider(live, "x").press("End")
    settled(live)
    assert pixels(live) != alone
    pin.click()
    expect(pin).to_have_text("Pin this curve")
    live.page.wait_for_timeout(500)
    assert pixels(live) == alone


def test_the_data_can_be_read_and_copied(alive: Locator) -> None:
    live = alive
    live.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    typed(live, "x", "0.1")
    settled(live)
    live.locator("summary").click()
    table = live.locator("table")
    expect(table.locator("thead th")).to_have_text(["x", "curve"])
    expect(table.locator("tbody tr").nth(2).locator("td")).to_have_text(["", "0.2"])
    live.locator("[data-do=csv]").click()
    expect(live.locator(".ngd-said")).to_have_text("The numbers are copied.")
    copied = live.page.evaluate("navigator.clipboard.readText()")
    assert copied == "x,curve\n0.1,0\n,0.1\n,0.2\n"


def test_a_link_carries_the_setting(live: Locator, watched: Watched, toys: str) -> None:
    page = watched.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    wake(live)
    typed(live, "x", "0.25")
    row(live, "kind").locator("select").select_option(label="slow")
    settled(live)
    live.locator("[data-do=link]").click()
    link = page.evaluate("navigator.clipboard.readText()")
    assert parse_qs(urlsplit(link).query) == {"toy.x": ["0.25"], "toy.kind": ["slow"]}
    assert urlsplit(link).fragment == NAME
    page.goto(toys)
    page.goto(link)
    assert json.loads(settled(live)["values"]) == {"x": 0.25, "n": 3, "kind": "slow"}


def test_a_link_asks_before_it_fetches(toys: str, reader: Callable[..., Page]) -> None:
    page = reader()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{toys}?toy.n=7")
    live = figure(page, NAME)
    assert said(live).startswith("The link asks for n 7; the picture shows the start.")
    page.wait_for_timeout(500)
    assert not [url for url in requests if "python-" in url]
    live.get_by_role("button", name=re.compile(r"Compute it \(1\d MB\)")).click()
    assert json.loads(settled(live)["values"])["n"] == 7


@pytest.mark.parametrize(
    "query",
    [
        "toy.x=__import__('os')&toy.n=alert(1)&toy.kind=<script>alert(1)</script>",
        "toy.q=3&other.x=2&x=4&__proto__.x=1&toy.__proto__=1&toy.constructor=2",
        "toy.x=1e999&toy.n=0x10&toy.kind=GOOD",
        "toy.x=%00&toy.n=%F0%9F%92%A9&toy.x=" + "9" * 5000,
        "%E0%A4%A&toy.n",
    ],
)
def test_a_hostile_link_changes_nothing(
    live: Locator, watched: Watched, toys: str, query: str
) -> None:
    dialogs: list[str] = []
    watched.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    watched.page.goto(f"{toys}?{query}")
    assert live.evaluate("(f) => f.ngdValues()") == {"x": 1.0, "n": 3, "kind": "good"}
    assert not dialogs


def test_a_linked_value_out_of_range_is_clamped_and_said(
    toys: str, reader: Callable[..., Page]
) -> None:
    page = reader()
    page.goto(f"{toys}?toy.n=99")
    live = figure(page, NAME)
    assert live.evaluate("(f) => f.ngdValues().n") == 10
    assert "n goes from 2 to 10 here: 10 is used." in said(live)


def test_colab_is_offered_where_the_repository_is_known(alive: Locator) -> None:
    live = alive
    link = live.get_by_role("link", name="Wider networks in Colab")
    assert (link.get_attribute("href") or "").endswith(
        "/github/someone/the-book/blob/main/book/00-orientation/how_to_use.ipynb"
    )


def test_the_theme_switch_is_followed(alive: Locator) -> None:
    live = alive
    corner = """() => [...document.querySelector("canvas").getContext("2d").getImageData(2, 2, 1, 1).data]"""
    assert live.page.evaluate(corner) == [255, 255, 255, 255]
    before = frames(live)
    live.page.evaluate("document.documentElement.dataset.theme = 'dark'")
    expect(live).to_have_attribute("data-frames", str(before + 1))
    assert max(live.page.evaluate(corner)[:3]) < 60


def test_another_width_is_drawn_sharp(live: Locator, watched: Watched) -> None:
    wake(live)
    assert live.locator("canvas").evaluate("(c) => c.width") == 1000
    watched.page.set_viewport_size({"width": 400, "height": 800})
    live.page.wait_for_function(
        """() => { const c = document.querySelector("canvas");
                   return Math.abs(c.width - 2 * c.clientWidth) <= 2 && c.clientWidth < 400; }"""
    )


# ------------------------------------------------------------------ what may go wrong


def test_a_setting_that_fails_is_one_line_and_the_figure_recovers(alive: Locator) -> None:
    live = alive
    row(live, "kind").locator("select").select_option(label="fails")
    settled(live)
    slider(live, "x").press("End")
    expect(live).to_have_attribute("data-state", "error")
    assert said(live) == "x = 2 is more than this figure can bear."
    assert live.locator(".ngd-announce").inner_text() == said(live)
    slider(live, "x").press("Home")
    assert json.loads(settled(live)["values"])["x"] == 0


def test_a_dead_worker_is_restarted_once_and_then_said(live: Locator, watched: Watched) -> None:
    wake(live)
    watched.page.workers[0].evaluate("self.close()")
    typed(live, "x", "0.5")
    assert settled(live)["description"].startswith("The line rises by 0.500")
    row(live, "kind").locator("select").select_option(label="dies")
    expect(live).to_have_attribute("data-state", "starting")
    expect(live).to_have_attribute("data-state", "error", timeout=90_000)
    assert said(live).startswith("Python stopped:")
    assert said(live).endswith("Move a control to try again.")
    row(live, "kind").locator("select").select_option(label="good")
    assert settled(live)["description"].startswith("The line rises by 0.500")


def test_a_minute_of_silence_is_a_failure(live: Locator, watched: Watched) -> None:
    page = watched.page
    page.clock.install()
    page.reload()
    row(live, "kind").locator("select").focus()
    deadline = time.monotonic() + 90
    while live.get_attribute("data-state") != "live" and time.monotonic() < deadline:
        page.clock.run_for(200)
        page.wait_for_timeout(50)
    row(live, "kind").locator("select").select_option(label="hangs")
    page.clock.run_for(59_000)
    assert live.get_attribute("data-state") == "computing"
    page.clock.run_for(2_000)
    assert live.get_attribute("data-state") == "error"
    assert said(live) == "No answer for a minute, so it was stopped. Move a control to try again."


@pytest.mark.parametrize("missing", ["WebAssembly", "Worker", "DecompressionStream"])
def test_a_browser_that_cannot_compute_shows_the_picture(
    toys: str, reader: Callable[..., Page], missing: str
) -> None:
    page = reader()
    page.add_init_script(f"delete window.{missing}")
    page.goto(toys)
    live = figure(page, NAME)
    assert said(live).startswith("This browser has no WebAssembly or module workers")
    assert live.locator(".only-light").is_visible()
    assert live.locator("input[type=range]").first.is_disabled()


def test_a_browser_without_module_workers(toys: str, reader: Callable[..., Page]) -> None:
    page = reader()
    page.add_init_script(
        "const Old = Worker; window.Worker = function (url) { return new Old(url); };"
    )
    page.goto(toys)
    live = figure(page, NAME)
    slider(live, "x").focus()
    expect(live).to_have_attribute("data-state", "picture")
    assert "module workers" in said(live)


def test_files_that_cannot_be_fetched(toys: str, reader: Callable[..., Page]) -> None:
    page = reader()
    page.context.route("**/packages.zip", lambda route: route.fulfill(status=503))
    page.goto(toys)
    live = figure(page, NAME)
    slider(live, "x").focus()
    expect(live).to_have_attribute("data-state", "error")
    assert "packages.zip could not be fetched (503)" in said(live)
    page.context.unroute("**/packages.zip")
    slider(live, "x").press("End")
    assert json.loads(settled(live)["values"])["x"] == 2


def test_a_reader_who_saves_data_is_not_served_by_mere_focus(toys: str, watched: Watched) -> None:
    page = watched.page
    page.add_init_script(
        "Object.defineProperty(navigator, 'connection', { value: { saveData: true } })"
    )
    page.goto(toys)
    live = figure(page, NAME)
    slider(live, "x").focus()
    page.wait_for_timeout(500)
    assert not page.workers
    page.keyboard.press("End")
    settled(live)


def test_a_warm_cache_starts_near_the_screen(toys: str, reader: Callable[..., Page]) -> None:
    page = reader()
    page.goto(toys)
    live = figure(page, NAME)
    wake(live)
    page.goto(toys)
    until(page, "navigator.locks.query().then((all) => all.held.length === 1)")
    assert "Move a control" in said(live)


def test_a_second_start_takes_what_python_compiled(toys: str, reader: Callable[..., Page]) -> None:
    page = reader()
    page.goto(toys)
    first = wake(figure(page, NAME))
    until(page, KEPT)
    page.goto(toys)
    assert wake(figure(page, NAME))["numbers"] == first["numbers"]
    # Without it Python cannot start: so it was taken, and a cache that was damaged is said, and mended.
    page.evaluate(
        """async () => { const cache = await caches.open("ngd-python");
             for (const request of await cache.keys())
               if (request.url.endsWith(".stdlib")) await cache.put(request, new Response("damaged")); }"""
    )
    page.goto(toys)
    live = figure(page, NAME)
    row(live, "x").locator("input[type=range]").press("End")
    assert json.loads(settled(live)["values"])["x"] == 2


def test_offline_once_loaded(toys: str, reader: Callable[..., Page]) -> None:
    page = reader(service_workers="allow")
    page.goto(toys)
    page.evaluate("navigator.serviceWorker.ready")
    page.wait_for_function("navigator.serviceWorker.controller")
    page.reload()
    live = figure(page, NAME)
    wake(live)
    page.context.set_offline(True)
    typed(live, "x", "0.5")
    settled(live)
    page.reload()
    assert live.locator(".only-light").evaluate("(i) => i.decode().then(() => i.naturalWidth)") > 0
    typed(live, "x", "0.7")
    assert settled(live)["description"].startswith("The line rises by 0.700")
