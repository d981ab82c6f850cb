"""Figures on a kernel: core ipywidgets and nothing else, in Jupyter, VS Code and Colab.

Moves of a slider arrive one by one, faster than pictures can be made. So a move only leaves its
values in `Latest`, which works on the newest ones when the kernel has read the moves that are
already waiting; what lies between is never computed.
"""

from __future__ import annotations

import asyncio
import html
import math
import os
import time
from collections.abc import Callable
from typing import Any

from ngdlib.explore.declaration import Declaration, one_line
from ngdlib.explore.frame import Frame
from ngdlib.figures.controls import Choice, LogSlider, Slider

try:
    import ipywidgets
except ImportError as error:
    raise ImportError(
        "explore() draws sliders in a notebook with ipywidgets, which is not installed here: run "
        "pip install ipywidgets and restart the kernel."
    ) from error

_SETTLE = 0.004  # seconds without a new move before the last one is worked on ..
_PATIENCE = 0.040  # .. but not longer than this: a figure under a moving hand must keep answering
_PIXEL_RATIO = 2.0


class Latest:
    """Calls `work` with the last of the values requested; earlier ones still waiting are dropped.

    Under a running event loop (a kernel) the work happens in a task, so that the loop can read the
    moves that are queued. Without one it happens at once.
    """

    def __init__(self, work: Callable[[Any], None]) -> None:
        self._work = work
        self._waiting: list[Any] = []
        self._busy = False
        self._task: asyncio.Task[None] | None = None

    def request(self, value: Any) -> None:
        """Work on `value` soon, unless something newer is requested before."""
        self._waiting = [value]
        if self._busy:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._now()
            return
        self._busy = True
        self._task = loop.create_task(self._soon())

    def _now(self) -> None:
        self._busy = True
        try:
            while self._waiting:
                self._work(self._waiting.pop())
        finally:
            self._busy = False

    async def _soon(self) -> None:
        try:
            while self._waiting:
                start = time.monotonic()
                seen = None
                while self._waiting[0] is not seen and time.monotonic() - start < _PATIENCE:
                    seen = self._waiting[0]
                    await asyncio.sleep(_SETTLE)
                self._work(self._waiting.pop())
        finally:
            self._busy = False


class Explorer(ipywidgets.VBox):
    """The widget of one figure: sliders, a picture, the words for it, and a line that says how it
    went.

    inputs       {name: ipywidgets control}; setting `inputs["width"].value` moves the figure.
    picture      the Image widget; `message` stands in its place when a computation fails.
    values, data, description   what the picture shows. save(path) writes it.
    """

    def __init__(self, declaration: Declaration, device: str = "cpu") -> None:
        self.declaration, self.device = declaration, device
        self.frame = Frame(declaration.figure, _PIXEL_RATIO)
        self.values = declaration.defaults()
        self.data: Any = None
        self.description = ""
        self.computed = 0  # how many settings were worked on
        width, height = (round(100 * side) for side in declaration.figure.size)
        self.inputs = {name: _control(name, c) for name, c in declaration.controls.items()}
        self.picture = ipywidgets.Image(
            format="png", layout=ipywidgets.Layout(width=f"{width}px", max_width="100%")
        )
        self.message = ipywidgets.HTML(
            layout=ipywidgets.Layout(width=f"{width}px", min_height=f"{height}px", display="none")
        )
        self.words = ipywidgets.HTML(layout=ipywidgets.Layout(max_width=f"{width}px"))
        self.status = ipywidgets.HTML()
        self.pin_button = ipywidgets.ToggleButton(
            value=False,
            description="Pin this curve",
            tooltip="Keep it as a faint copy to compare with",
        )
        self.reset_button = ipywidgets.Button(description="Reset", tooltip="Back to the start")
        self._latest = Latest(self._work)
        for control in self.inputs.values():
            control.observe(self._moved, "value")
        self.pin_button.observe(self._pin, "value")
        self.reset_button.on_click(self._reset)
        buttons = [ipywidgets.HBox([self.pin_button, self.reset_button])] if self.inputs else []
        super().__init__(
            [*self.inputs.values(), *buttons, self.picture, self.message, self.words, self.status]
        )
        self.add_class("ngd-explorer")
        self._work(self.values)

    def __repr__(self) -> str:
        return self.description or f"a live figure, {self.declaration.where}"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the present picture to a PNG file."""
        with open(path, "wb") as file:
            file.write(self.frame.png(9))

    def _moved(self, _change: Any) -> None:
        self._latest.request({name: control.value for name, control in self.inputs.items()})

    def _work(self, values: dict[str, Any]) -> None:
        """Compute, draw and say so; whatever goes wrong becomes one line, and the sliders stay."""
        self.computed += 1
        try:
            values, note = self.declaration.clean(values)
            computed = self.declaration.compute(values)
            description = self.declaration.describe(computed.data)
            self.frame.show(computed.data)
            picture = self.frame.png()
        except Exception as error:
            self._fail(error)
            return
        self.values, self.data, self.description = values, computed.data, description
        self.picture.value = picture
        self._place(self.picture)
        self.words.value = f'<div style="line-height:1.4">{html.escape(description)}</div>'
        status = f"computed on {self.device} in {max(1, round(computed.milliseconds))} ms"
        self.status.value = f"<small>{html.escape('; '.join(filter(None, (status, note))))}</small>"

    def _fail(self, error: Exception) -> None:
        self.message.value = f"<b>Not computed:</b> {html.escape(one_line(error))}"
        self._place(self.message)
        self.words.value = ""
        self.status.value = "<small>Move a slider to go on.</small>"

    def _place(self, shown: Any) -> None:
        # None, not "": the default of ipywidgets, which 7 and 8 both take.
        for widget in (self.picture, self.message):
            widget.layout.display = None if widget is shown else "none"

    def _pin(self, _change: Any) -> None:
        if self.data is None:
            return
        if self.pin_button.value:
            self.frame.show(self.data)
            self.frame.pin()
        else:
            self.frame.unpin()
        self.frame.show(self.data)
        self.picture.value = self.frame.png()

    def _reset(self, _button: Any) -> None:
        for name, value in self.declaration.defaults().items():
            self.inputs[name].value = value
        self.pin_button.value = False


def _control(name: str, control: Slider | LogSlider | Choice) -> Any:
    """The ipywidgets control of a Slider, LogSlider or Choice."""
    common: dict[str, Any] = {
        "description": control.label or name.replace("_", " "),
        "style": {"description_width": "12em"},
        "layout": ipywidgets.Layout(width="36em", max_width="100%"),
    }
    if isinstance(control, Choice):
        options = [(text, value) for value, text in control.options]
        return ipywidgets.Dropdown(options=options, value=control.value, **common)
    if isinstance(control, LogSlider) and (control.zero or control.integer):
        # FloatLogSlider knows neither a position for 0 nor whole numbers.
        positions = sorted({*control.positions(), control.value})
        return ipywidgets.SelectionSlider(
            options=[(control.text(v), v) for v in positions],
            value=control.value,
            continuous_update=True,
            **common,
        )
    if control.unit:
        common["description"] += f" ({control.unit})"
    if isinstance(control, LogSlider):
        return ipywidgets.FloatLogSlider(
            value=control.value,
            base=10.0,
            min=math.log10(control.low),
            max=math.log10(control.high),
            step=control.step,
            readout_format=".2g",
            continuous_update=True,
            **common,
        )
    kind = ipywidgets.IntSlider if control.integer else ipywidgets.FloatSlider
    decimals = max(0, -math.floor(math.log10(control.step or 1) + 1e-9))
    more = {} if control.integer else {"readout_format": f".{decimals}f"}
    return kind(
        value=control.value,
        min=control.low,
        max=control.high,
        step=control.step,
        continuous_update=True,
        **more,
        **common,
    )
