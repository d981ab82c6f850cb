"""Every live figure of every chapter, dragged to its ends and its middle in Chromium."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from live import (
    SITE,
    Watched,
    figure,
    figures_of,
    pages_with_figures,
    pixels,
    same_as_native,
    settled,
    wake,
)
from playwright.sync_api import Locator

# One worker for all of them: Chromium and the Python inside it want both cores to themselves.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
PAGES = pages_with_figures(SITE) if SITE.is_dir() else []


def test_the_book_has_live_figures(built: Path) -> None:
    assert PAGES


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES)
def test_every_figure_computes_what_it_should(
    path: str, built: Path, site: str, watched: Watched
) -> None:
    page = watched.page
    page.goto(site + path)
    for name, spec in figures_of(built / path).items():
        live = figure(page, name)
        live.scroll_into_view_if_needed()
        same_as_native(spec, wake(live))
        for control in spec["controls"]:
            other, prepare = NEEDS.get(control["name"], ("", to_middle))
            for needed in (c for c in spec["controls"] if c["name"] == other):
                prepare(row_of(live, needed), needed)
                settled(live)
            seen = {pixels(live)}
            tried = 1
            for move in moves(control):
                move(row_of(live, control), control)
                answer = settled(live)
                said = live.locator(".ngd-said").inner_text()
                assert re.fullmatch(r"Computed in your browser in \d+ ms\.", said), said
                same_as_native(spec, answer)
                value = json.loads(answer["values"])[control["name"]]
                tried += value != control["value"]
                seen.add(pixels(live))
            assert len(seen) > 1, f"{name}: moving {control['name']} changes nothing in the picture"
            assert tried > 1
            live.locator("[data-do=reset]").click()
            settled(live)


def row_of(live: Locator, control: dict[str, Any]) -> Locator:
    return live.locator(f'.ngd-control[data-name="{control["name"]}"]')


def moves(control: dict[str, Any]) -> list[Any]:
    """To the ends and to the middle of a slider; to every option of a choice."""
    if control["kind"] != "choice":
        return [to_low_end, to_high_end, to_middle]
    return [
        lambda row, control, k=k: row.locator("select").select_option(str(k))
        for k in range(len(control["options"]))
    ]


def to_low_end(row: Locator, control: dict[str, Any]) -> None:
    row.locator("input[type=range]").press("Home")


def to_high_end(row: Locator, control: dict[str, Any]) -> None:
    row.locator("input[type=range]").press("End")


def to_middle(row: Locator, control: dict[str, Any]) -> None:
    slider = row.locator("input[type=range]")
    box = slider.bounding_box()
    assert box
    mouse = slider.page.mouse
    mouse.move(box["x"] + box["width"] - 10, box["y"] + box["height"] / 2)
    mouse.down()
    mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=6)
    mouse.up()


def to_second_option(row: Locator, control: dict[str, Any]) -> None:
    row.locator("select").select_option("1")


# What a control does may show only elsewhere than where the figure starts: how damping is split where
# there is some, the Forster transform where N > M_0, the variance where the activation is not relu,
# which only scales the kernel.
NEEDS = {
    "split": ("damping", to_middle),
    "position": ("inputs", to_low_end),
    "weight_variance": ("activation", to_second_option),
}
