"""One figure on one canvas: drawn in full once, then only what moves.

A full drawing of two panels takes about 30 ms natively and 90 ms in a browser, most of it ticks,
labels and text that do not change from one slider position to the next. So a Frame keeps the
picture of everything static and draws the animated artists over it. Whether something static did
change it reads from matplotlib itself: a change of a non-animated artist marks the figure as stale,
a change of an animated one does not.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from typing import Any

from ngdlib.figures import Figure, style

DPI = 100  # one CSS pixel is a hundredth of an inch
_FAINT = 0.35  # opacity of a pinned curve


class Frame:
    """A live picture of `figure`; `show(data)` returns its pixels.

    pixel_ratio: device pixels per CSS pixel. dark: draw for a dark page. The layout is made for the
    first data shown and then stays, so that axes do not jump while a reader moves a slider. `layout`
    is that of another frame of the figure: the positions of its axes.
    """

    def __init__(
        self,
        figure: Figure,
        pixel_ratio: float = 1.0,
        dark: bool = False,
        layout: Sequence[tuple[float, float, float, float]] | None = None,
    ) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas

        if not pixel_ratio > 0:
            raise ValueError(f"pixel_ratio must be positive, but is {pixel_ratio}.")
        self.figure, self.pixel_ratio, self.dark = figure, float(pixel_ratio), dark
        self._background: Any = None
        self._before: Any = None
        self._ghosts: list[Any] = []
        with style.page(dark):
            self._fig = Canvas(figsize=figure.size, dpi=DPI * pixel_ratio, layout="constrained")
            self._canvas = FigureCanvasAgg(self._fig)
            self._update = figure.draw(self._fig)
            if layout and len(layout) == len(self._fig.axes):
                self._fig.set_layout_engine("none")
                for axes, box in zip(self._fig.axes, layout, strict=True):
                    axes.set_position(box)
            if not callable(self._update):
                raise TypeError(
                    "draw(fig) must return update(data), a function, but returned "
                    f"{self._update!r}."
                )

    @property
    def layout(self) -> list[tuple[float, float, float, float]]:
        """Left, bottom, width, height of all axes, as fractions of the picture."""
        boxes = [axes.get_position(original=True).bounds for axes in self._fig.axes]
        return [(round(x, 9), round(y, 9), round(w, 9), round(h, 9)) for x, y, w, h in boxes]

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height in device pixels."""
        return self._canvas.get_width_height(physical=True)

    def show(self, data: Any) -> memoryview:
        """Draw `data`; the pixels as a flat view of RGBA bytes, valid until the next call."""
        with style.page(self.dark):
            try:
                self._update(data)
                if self._background is None or self._static_changed():
                    self._draw_static()
                self._canvas.restore_region(self._background)
                for axes, artist in self._animated():
                    self._draw_one(axes, artist)
            except BaseException:
                self._background = None  # half-updated artists: the next call starts afresh
                raise
        return memoryview(self._canvas.buffer_rgba()).cast("B")

    def pin(self) -> None:
        """Keep faint copies of what the moving artists show now, in place of earlier ones."""
        from matplotlib.collections import Collection
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        self._ghosts = []
        for axes, artist in self._animated():
            # Faint pictures over pictures, or words over words, help nobody: curves, dots and bars
            # only.
            if not isinstance(artist, (Line2D, Collection, Patch)) or artist.get_gid() == "no-pin":
                continue
            ghost = copy.copy(artist)
            ghost.stale_callback = None
            alpha = artist.get_alpha()
            ghost.set_alpha(_FAINT * (1.0 if alpha is None else alpha))
            self._ghosts.append((axes, ghost))
        self._background = None

    def unpin(self) -> None:
        """Take the pinned copies away."""
        self._ghosts = []
        self._background = None

    def png(self, level: int = 1) -> bytes:
        """The picture as it stands, as an opaque PNG; level 9 is small, level 1 is fast."""
        from PIL import Image

        image = Image.frombuffer(
            "RGBA", self.pixels, self._canvas.buffer_rgba(), "raw", "RGBA", 0, 1
        )
        image = image.convert("RGB")
        if level > 6 and image.getcolors(256) is not None:
            image = image.quantize(256, dither=Image.Dither.NONE)  # lossless: few colours
        buffer = io.BytesIO()
        image.save(buffer, "png", compress_level=level)
        return buffer.getvalue()

    def _axes(self) -> list[Any]:
        """All axes, each followed by the insets in it."""
        found: list[Any] = []
        waiting: list[Any] = self._fig.axes[::-1]
        while waiting:
            axes = waiting.pop()
            if axes not in found:
                found.append(axes)
                waiting += axes.child_axes[::-1]
        return found

    def _animated(self) -> list[tuple[Any, Any]]:
        """The artists that move, in drawing order, each with its axes (None: the figure itself)."""
        found = []
        for axes in (*self._axes(), None):
            owner = self._fig if axes is None else axes
            if not owner.get_visible():
                continue
            artists = [a for a in owner.get_children() if a.get_animated() and a.get_visible()]
            found += [(axes, a) for a in sorted(artists, key=lambda a: a.get_zorder())]
        return found

    def _draw_one(self, axes: Any, artist: Any) -> None:
        (self._fig if axes is None else axes).draw_artist(artist)

    def _draw_static(self) -> None:
        style.quiet(self._fig)
        self._canvas.draw()
        if self._before is None:
            self._fig.set_layout_engine("none")
        for axes, ghost in self._ghosts:
            self._draw_one(axes, ghost)
        self._background = self._canvas.copy_from_bbox(self._fig.bbox)
        self._before = self._axes_state()
        self._settle()

    def _static_artists(self) -> list[Any]:
        """What is drawn in full only, but for the axes and their ticks."""
        every = self._axes()
        found = [a for a in self._fig.get_children() if a not in every]
        for axes in every:
            ticks = (axes.xaxis, axes.yaxis)
            found += [a for a in axes.get_children() if a not in every and a not in ticks]
            found += [axes.xaxis.label, axes.yaxis.label]
        return [a for a in found if not a.get_animated()]

    def _settle(self) -> None:
        """Mark everything as drawn."""
        every = self._axes()
        parts = [part for axes in every for part in (axes, axes.xaxis, axes.yaxis)]
        for artist in (*self._static_artists(), *parts, self._fig):
            artist.stale = False

    def _static_changed(self) -> bool:
        if not self._fig.stale:
            return False
        # Setting an axis to the limits it already has marks it as stale too, so of the axes look at
        # what they show. Anything else that is stale is a change.
        if any(a.stale for a in self._static_artists()) or self._axes_state() != self._before:
            return True
        self._settle()
        return False

    def _axes_state(self) -> list[Any]:
        """Limits, ticks and words: the limits may change and leave the ticks alone, or not."""
        state: list[Any] = []
        for axes in self._axes():
            state += [axes.get_visible(), axes.get_position().bounds, axes.get_aspect()]
            for axis in (axes.xaxis, axes.yaxis):
                state += [axis.get_visible(), axis.get_scale(), axis.get_inverted()]
                state += [tuple(axis.get_view_interval()), tuple(axis.get_majorticklocs())]
                state += [axis.get_major_formatter(), axis.get_label_text()]
        return state
