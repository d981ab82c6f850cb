"""How the built website behaves in a reader's browser: first paint, weight, start of Python, slider to picture.

    make book; python benchmarks/site.py            prints a table
    python benchmarks/site.py --write               and writes results/site.json

Headless Chromium, localhost, device pixel ratio 2, chapter 6. A move is an input event on a slider of "one step",
until the new picture is on the canvas and the browser comes to its next frame.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from environment import CORE, environment, write
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))
from live import KEPT, SITE, chromium_path, serve, until, wake  # noqa: E402

CHAPTER, FIGURE = "book/02-approximations/exact.html", "live-one-step"
TARGETS = {
    "first_contentful_paint_ms": 800,
    "first_visit_kb_gzip": 900,
    "python_ready_cold_s": 8,
    "python_ready_cached_s": 4,
    "move_width_512_p95_ms": 150,
    "move_width_256_p95_ms": 80,
    "main_thread_longest_block_ms": 50,
    "layout_shift": 0,
    "memory_growth_over_500_moves_mb": 30,
}
WATCH = """() => {
  window.tasks = []; window.shifts = [];
  new PerformanceObserver((list) => list.getEntries().forEach((e) => tasks.push([e.startTime, e.duration])))
    .observe({ type: "longtask", buffered: true });
  new PerformanceObserver((list) => list.getEntries().forEach((e) => shifts.push([e.startTime, e.value])))
    .observe({ type: "layout-shift", buffered: true });
}"""
MOVE = """async ([figure, name, positions]) => {
  const element = document.getElementById(figure);
  const slider = element.querySelector(`[data-name="${name}"] input[type=range]`);
  const times = [];
  for (const share of positions) {
    const before = element.dataset.frames, position = Math.round(share * slider.max);
    if (Number(slider.value) === position) continue;
    const begin = performance.now();
    await new Promise((done) => {
      const seen = new MutationObserver(() => {
        if (element.dataset.frames !== before) { seen.disconnect(); requestAnimationFrame(done); }
      });
      seen.observe(element, { attributes: true, attributeFilter: ["data-frames"] });
      slider.value = position;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
    });
    times.push(performance.now() - begin);
    if (element.dataset.state === "error") throw new Error(element.querySelector(".ngd-said").textContent);
    await new Promise((go) => setTimeout(go, 10));
  }
  return times;
}"""


def reader(browser: Browser) -> Page:
    """A page of a reader with an empty cache."""
    context = browser.new_context(
        device_scale_factor=2,
        viewport={"width": 1280, "height": 900},
        service_workers="block",
        bypass_csp=False,
    )
    context.set_default_timeout(120_000)
    return context.new_page()


def first_visit(browser: Browser, address: str, times: int = 7) -> dict[str, float]:
    """First contentful paint, and what came over the line, compressed."""
    paints, size = [], 0
    for _ in range(times):
        page, bodies = reader(browser), {}  # type: ignore[var-annotated]
        page.on("response", lambda r, bodies=bodies: bodies.update({r.url: r}))
        page.goto(address, wait_until="networkidle")
        paints.append(
            page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        )
        size = sum(len(gzip.compress(response.body())) for response in list(bodies.values()))
        page.context.close()
    return {
        "first_contentful_paint_ms": round(statistics.median(paints)),
        "first_visit_kb_gzip": round(size / 1e3),
    }


def ready(page: Page) -> float:
    """Seconds from the first touch until Python answers."""
    marks = "performance.getEntriesByName('ngd-{}')[0].startTime"
    wake(page.locator(f"#{FIGURE}"))
    return page.evaluate(f"({marks.format('ready')} - {marks.format('wake')}) / 1000")


def starts(browser: Browser, address: str) -> tuple[dict[str, float], Page]:
    """Cold and from the cache; the page of the last start goes on to the moves."""
    page = reader(browser)
    page.goto(address)
    cold = ready(page)
    until(page, KEPT)
    again = page.context.new_page()
    page.close()
    # The top of the page, so that the warm start near a figure does not come before the touch.
    again.add_init_script(
        "Object.defineProperty(navigator, 'connection', { value: { saveData: true } })"
    )
    again.goto(address)
    again.evaluate(WATCH)
    slider = again.locator(f"#{FIGURE} input[type=range]").first
    slider.scroll_into_view_if_needed()
    slider.press("ArrowRight")
    cached = ready(again)
    return {"python_ready_cold_s": round(cold, 2), "python_ready_cached_s": round(cached, 2)}, again


def some_positions(count: int) -> Iterator[float]:
    """Places on a slider, evenly spread but not in order."""
    return ((k * 0.6180339887) % 1 for k in range(1, count + 1))


def type_in(page: Page, name: str, value: float) -> None:
    box = page.locator(f'#{FIGURE} [data-name="{name}"] input[type=text]')
    box.fill(str(value))
    box.press("Enter")
    wake(page.locator(f"#{FIGURE}"))


def moves(page: Page, width: int, count: int) -> dict[str, float]:
    """Slider to picture at one width, N = 64: three controls, one after the other."""
    type_in(page, "width", width)
    type_in(page, "samples", 64)
    times: list[float] = []
    for name in ("step_size", "damping", "draw"):
        times += page.evaluate(MOVE, [FIGURE, name, list(some_positions(count))])
    cuts = statistics.quantiles(times, n=20)
    return {
        f"move_width_{width}_p50_ms": round(statistics.median(times), 1),
        f"move_width_{width}_p95_ms": round(cuts[-1], 1),
        f"move_width_{width}_count": len(times),
    }


def memory(browser_folder: Path = Path("/proc")) -> float:
    """Resident memory of Chromium's renderers in MB (Linux)."""
    total = 0.0
    for process in browser_folder.glob("[0-9]*"):
        try:
            if b"--type=renderer" in (process / "cmdline").read_bytes():
                total += int((process / "statm").read_text().split()[1]) * 4096 / 1e6
        except OSError:
            continue
    return total


def growth(page: Page) -> dict[str, float]:
    """Memory after 500 moves, less that after 100 (Python and the browser settle first)."""
    page.evaluate(MOVE, [FIGURE, "step_size", list(some_positions(100))])
    before = memory()
    page.evaluate(MOVE, [FIGURE, "step_size", list(some_positions(500))])
    return {
        "memory_mb": round(memory()),
        "memory_growth_over_500_moves_mb": round(memory() - before, 1),
    }


MEASURED = (
    *CORE,
    "ngdlib/explore",
    "ngdlib/figures/networks.py",
    "ngdlib/figures/exact.py",
    "book/_static/live/live.js",
    "book/_static/live/worker.mjs",
    "book/_static/live/live.css",
    "book/_ext/pyodide.lock.json",
)


def surroundings(browser: Browser) -> dict[str, Any]:
    """Machine, versions, how busy it was, and the hash of what was measured."""
    lock = json.loads((ROOT / "book/_ext/pyodide.lock.json").read_text())
    return environment(["playwright"], MEASURED) | {
        "chromium": browser.version,
        "pyodide": lock["version"],
        "load_average_at_start": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--site", type=Path, default=SITE)
    arguments = parser.parse_args()
    server, address = serve(arguments.site)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        result: dict[str, Any] = {"environment": surroundings(browser)}
        result |= first_visit(browser, address + CHAPTER)
        times, page = starts(browser, address + CHAPTER)
        result |= times
        for width in (512, 256):
            result |= moves(page, width, arguments.moves)
        woken = page.evaluate("performance.getEntriesByName('ngd-wake')[0].startTime")
        # Before the touch the theme and MathJax work; what comes after it is ours.
        blocks = [length for start, length in page.evaluate("tasks") if start >= woken]
        result["main_thread_longest_block_ms"] = round(max(blocks, default=0))
        result["layout_shift"] = sum(v for start, v in page.evaluate("shifts") if start >= woken)
        result |= growth(page)
        browser.close()
    server.shutdown()
    server.server_close()
    result["targets"] = TARGETS
    result["missed"] = [name for name, most in TARGETS.items() if result[name] > most]
    for name, value in result.items():
        if name not in ("environment", "targets", "missed"):
            print(
                f"{name:36s} {value}" + (f"   (at most {TARGETS[name]})" if name in TARGETS else "")
            )
    print("missed:", ", ".join(result["missed"]) or "nothing")
    if arguments.write:
        write("site", result)


if __name__ == "__main__":
    main()
