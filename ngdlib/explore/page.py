"""Figures in the website: a complete picture in the HTML, and what JavaScript needs to bring it to
life.

The page is whole without JavaScript: the first frame for the light and the dark page, with words
that say what it shows. `data-spec` names the figure and its controls; the site's script builds the
sliders from it and asks `ngdlib.explore.browser` for frames.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import os
from typing import Any

from ngdlib.explore.declaration import Declaration
from ngdlib.explore.frame import Frame

PAGE_RATIO = 2.0  # sharp on the screens that most readers have
SMALLEST = 0.62  # of its full width: on a narrower screen the picture scrolls, so that its letters can be read


class Picture:
    """The first frame of a figure: an HTML element, a PNG, or a sentence, as the place asks for it.

    values, data, description: what it shows. save(path) writes a PNG.
    """

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration
        self.values = declaration.defaults()
        self.data = declaration.compute(self.values).data
        self.description = declaration.describe(self.data)
        self._layout: list[tuple[float, float, float, float]] | None = None

    def __repr__(self) -> str:
        return self.description

    def png(self, *, dark: bool = False, pixel_ratio: float = PAGE_RATIO, level: int = 9) -> bytes:
        """The picture as PNG."""
        frame = Frame(self.declaration.figure, pixel_ratio, dark, self._layout)
        frame.show(self.data)
        self._layout = frame.layout
        return frame.png(level)

    def save(
        self, path: str | os.PathLike[str], *, dark: bool = False, pixel_ratio: float = PAGE_RATIO
    ) -> None:
        """Write the picture to a PNG file."""
        with open(path, "wb") as file:
            file.write(self.png(dark=dark, pixel_ratio=pixel_ratio))

    def _repr_html_(self) -> str:
        return self.html

    @functools.cached_property
    def html(self) -> str:
        """The element of the page."""
        live = bool(self.declaration.controls)
        width, height = (round(100 * side) for side in self.declaration.figure.size)
        images = "".join(
            f'<img class="ngd-frame {names}" src="{self._uri(dark)}"'
            f' alt="{_quote(self.description)}"'
            f' width="{width}" height="{height}" loading="lazy" decoding="async">'
            for dark, names in ((False, "ngd-light only-light"), (True, "ngd-dark only-dark"))
        )
        picture = (
            f'<div class="ngd-scroll"><div class="ngd-picture" style="min-width:{SMALLEST * width:.0f}px">'
            f"{images}</div></div>"
        )
        caption = f'<p class="ngd-description">{html.escape(self.description)}</p>'
        if not live:
            return (
                f'<figure class="ngd-still" style="max-width:{width}px">'
                f"{picture}<figcaption>{caption}</figcaption></figure>"
            )
        # The layout goes with it: the live picture then stands exactly where the still one stood.
        spec = json.dumps(
            self.declaration.spec() | {"layout": self._layout},
            allow_nan=False,
            separators=(",", ":"),
        )
        still = html.escape(
            f"A still picture at {self.declaration.text(self.values)}. Moving it needs JavaScript."
        )
        return (
            f'<figure class="ngd-live" style="max-width:{width}px" data-spec="{_quote(spec)}">'
            f'<div class="ngd-controls"></div>{picture}<figcaption>{caption}'
            f'<p class="ngd-status" role="status">{still}</p></figcaption></figure>'
        )

    def _uri(self, dark: bool) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png(dark=dark)).decode("ascii")


def _quote(text: Any) -> str:
    return html.escape(str(text), quote=True)
