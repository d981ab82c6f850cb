"""Figures in a reader's browser: what the page's Web Worker calls under Pyodide.

    from ngdlib.explore.browser import Session
    session = Session()
    answer = session.make(key, spec_json, width_css, pixel_ratio, dark)     # the first frame
    answer = session.frame(key, values_json, numbers)                       # any other

`spec_json` is the text of the page's data-spec attribute. Every call answers and none raises: if
`answer.error` is not empty it is one readable line, and the other fields are empty. `answer.buffer`
is a flat memoryview of RGBA bytes (JavaScript: `answer.buffer.getBuffer("u8clamped")`) that the
next call overwrites.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

from ngdlib.explore.declaration import Declaration, columns, from_page, one_line
from ngdlib.explore.frame import Frame


class Answer(NamedTuple):
    """One frame, or one error."""

    buffer: memoryview | None
    width: int  # device pixels
    height: int
    description: str
    numbers: str  # JSON {"column": [numbers]}, "" if not asked for
    milliseconds: float  # of the computation alone
    error: str = ""
    note: str = ""  # what was clamped or ignored
    values: str = "{}"  # JSON of the values used


class _Live:
    def __init__(self, declaration: Declaration, ratio: float, dark: bool, layout: Any) -> None:
        self.declaration = declaration
        self.values = declaration.defaults()
        self.data: Any = None
        self.pinned: Any = None
        self.frame = Frame(declaration.figure, ratio, dark, layout)


class Session:
    """All live figures of one page."""

    def __init__(self) -> None:
        self._live: dict[str, _Live] = {}

    def make(
        self,
        key: str,
        spec_json: str,
        width_css: float = 0,
        pixel_ratio: float = 1,
        dark: bool = False,
    ) -> Answer:
        """Make the figure `key`, or make it anew for another size or theme (values and pin are
        kept).

        width_css is the width of its place on the page; 0 is its natural width. The answer shows the
        default values, laid out as the page's picture; made anew, the values it had.
        """
        try:
            spec = json.loads(spec_json)
            declaration = from_page(spec)
            natural = 100 * declaration.figure.size[0]
            ratio = pixel_ratio * ((width_css or natural) / natural)
            old = self._live.get(key)
            layout = old.frame.layout if old else spec.get("layout")
            new = _Live(declaration, min(max(ratio, 0.25), 4.0), bool(dark), layout)
            if old is None:
                computed = declaration.compute(new.values)
                new.data = computed.data
                self._live[key] = new
                return self._answer(new, computed.data, computed.milliseconds, True, "")
            if old.pinned is not None:
                new.frame.show(old.pinned)
                new.frame.pin()
                new.pinned = old.pinned
            new.values, new.data = old.values, old.data
            self._live[key] = new
            return self._answer(new, new.data, 0.0, True, "")
        except Exception as error:
            return _failed(error)

    def frame(self, key: str, values_json: str = "{}", numbers: bool = True) -> Answer:
        """The frame at these values, clamped to their ranges; unknown names are ignored."""
        try:
            live = self._find(key)
            given = json.loads(values_json)
            if not isinstance(given, dict):
                raise ValueError(f"values must be a JSON object, but are {values_json[:60]}.")
            live.values, note = live.declaration.clean(given)
            computed = live.declaration.compute(live.values)
            live.data = computed.data
            return self._answer(live, computed.data, computed.milliseconds, numbers, note)
        except Exception as error:
            return _failed(error)

    def pin(self, key: str) -> Answer:
        """Keep the present curves as faint copies, to compare the next settings with."""
        try:
            live = self._find(key)
            live.frame.show(live.data)
            live.frame.pin()
            live.pinned = live.data
            return self._answer(live, live.data, 0.0, True, "")
        except Exception as error:
            return _failed(error)

    def unpin(self, key: str) -> Answer:
        """Take the faint copies away."""
        try:
            live = self._find(key)
            live.frame.unpin()
            live.pinned = None
            return self._answer(live, live.data, 0.0, True, "")
        except Exception as error:
            return _failed(error)

    def drop(self, key: str) -> None:
        """Forget a figure and free its memory."""
        self._live.pop(key, None)

    def _find(self, key: str) -> _Live:
        if key not in self._live:
            raise ValueError(f"figure {key!r} has not been made yet.")
        return self._live[key]

    def _answer(self, live: _Live, data: Any, ms: float, numbers: bool, note: str) -> Answer:
        buffer = live.frame.show(data)
        width, height = live.frame.pixels
        words = live.declaration.describe(data)
        text = numbers_json(data) if numbers else ""
        return Answer(buffer, width, height, words, text, ms, "", note, json.dumps(live.values))


def numbers_json(data: Any) -> str:
    """The numbers behind a picture as JSON {"column": [..]}; what is not finite is null."""
    table = columns(data)
    clean = {
        name: [v if not isinstance(v, float) or math.isfinite(v) else None for v in column]
        for name, column in table.items()
    }
    return json.dumps(clean, allow_nan=False)


def _failed(error: BaseException) -> Answer:
    return Answer(None, 0, 0, "", "", 0.0, one_line(error))
