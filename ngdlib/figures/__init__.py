"""The book's figures: one module per chapter, numbers and drawing kept apart.

A figure is a module-level `Figure` with three parts: `compute` makes numbers, `draw` makes a
picture of them, `describe` says the same in words. `ngdlib.explore.explore` shows it, live where it
has controls. Modules load when they are first named (`from ngdlib import figures; figures.exact`),
and none imports matplotlib before something is drawn.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from ngdlib.figures.controls import Choice, Control, LogSlider, Slider

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["Choice", "Control", "Figure", "LogSlider", "Slider", "modules"]


class Figure(NamedTuple):
    """A figure: numbers, picture and words, and the controls that move it.

    compute   (**controls) -> data: a dict or NamedTuple of numbers, float64 arrays and strings; no
              matplotlib. It may take `xp` (the array namespace to use) and `max_width` (the largest
              width of this home).
    draw      draw(fig) -> update(data): makes all artists once; update only changes their data.
              Artists that move are made with `animated=True` and are redrawn alone; changing
              anything else redraws all.
    describe  describe(data) -> one or two sentences with the numbers: the picture's alternative
              text.
    size      inches at 100 dots per inch, so CSS pixels / 100.
    controls  {name: Slider | LogSlider | Choice}; `explore` can replace or fix each of them.
    """

    compute: Callable[..., Any]
    draw: Callable[[matplotlib.figure.Figure], Callable[[Any], None]]
    describe: Callable[[Any], str]
    size: tuple[float, float] = (7.2, 3.4)
    controls: Mapping[str, Control] = MappingProxyType({})


def modules() -> list[str]:
    """The names of all modules in this package, without importing them."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def __getattr__(name: str) -> ModuleType:
    full = f"{__name__}.{name}"
    if name.startswith("_") or importlib.util.find_spec(full) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(full)


def __dir__() -> list[str]:
    return sorted({*globals(), *modules()})
