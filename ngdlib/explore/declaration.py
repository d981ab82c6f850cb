"""What `explore` was asked to show: a figure, its controls in this home, and what is held fixed.

Every home asks the same four things of it: the starting values, values cleaned of what a reader or
a link may have typed, the numbers at these values, and the words for them.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import math
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from ngdlib.figures import Figure
from ngdlib.figures.controls import Choice, Control, LogSlider, Slider, from_spec

_SUPPLIED = ("xp", "max_width")  # arguments of compute that come from the home, not from a control


def address(figure: Figure) -> str:
    """Where a module-level figure lives, "module:name"; TypeError or ValueError if it is none."""
    given: Any = figure
    if not isinstance(given, Figure):
        what = "a lambda" if getattr(given, "__name__", "") == "<lambda>" else f"{given!r}"
        raise TypeError(
            "explore() needs an ngdlib.figures.Figure that can be imported by name, but was given "
            f"{what}. "
            "Define compute, draw and describe in a module and name a Figure(compute, draw, "
            "describe) there."
        )
    homes = [getattr(part, "__module__", "") for part in figure[:3]] + ["__main__"]
    for module in dict.fromkeys(homes):
        for name, value in vars(sys.modules.get(module, object)).items():
            if value is figure:
                return f"{module}:{name}"
    raise ValueError(
        "this Figure cannot be imported by name: no module-level variable of "
        f"{', '.join(m for m in dict.fromkeys(homes[:3]) if m)} holds it. Give it a name at the "
        "top level of "
        "the module that defines its functions (a lambda or a local variable does not do)."
    )


def resolve(where: str) -> Figure:
    """The figure at an address "module:name"; ValueError if there is none."""
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", where):
        raise ValueError(f"{where!r} is not the address of a figure (module:name).")
    module, name = where.split(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"there is no figure {where}: {error}.") from error
    if not isinstance(found, Figure):
        raise ValueError(f"{where} is not a Figure but {type(found).__name__}.")
    return found


class Computed:
    """The numbers of one setting, and how long they took in milliseconds."""

    def __init__(self, data: Any, milliseconds: float) -> None:
        self.data, self.milliseconds = data, milliseconds


@dataclasses.dataclass(frozen=True)
class Declaration:
    """A figure with its controls for one home; `fixed` holds arguments that do not move."""

    figure: Figure
    controls: Mapping[str, Control]
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    home: str = "browser"
    xp: Any = np
    where: str = ""

    def defaults(self) -> dict[str, Any]:
        """The values the figure starts with."""
        return {name: control.value for name, control in self.controls.items()}

    def clean(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """All values inside their ranges, and a note on what had to be changed ("" if nothing).

        Unknown names are ignored, missing or unreadable values are the defaults, others are
        clamped.
        """
        result, notes = self.defaults(), []
        for name, control in self.controls.items():
            if name not in values:
                continue
            try:
                result[name] = control.clamp(values[name])
            except TypeError as error:
                notes.append(f"{name}: {error}")
                continue
            if (
                not isinstance(control, Choice)
                and not math.isclose(result[name], float(values[name]))
                and (result[name] in (control.low, control.high))
            ):
                ends = f"{control.text(control.low)} to {control.text(control.high)}"
                notes.append(f"{name} goes from {ends}")
        return result, "; ".join(notes)

    def compute(self, values: Mapping[str, Any]) -> Computed:
        """compute(**values, **fixed) as NumPy numbers, timed until they are there."""
        start = time.perf_counter()
        supplied: dict[str, Any] = {}
        takes = inspect.signature(self.figure.compute).parameters
        if "xp" in takes:
            supplied["xp"] = self.xp
        if "max_width" in takes and "max_width" not in self.fixed:
            width = self.controls.get("width")
            fixed = self.fixed.get("width")
            supplied["max_width"] = width.high if isinstance(width, (Slider, LogSlider)) else fixed
        data = _to_numpy(self.figure.compute(**(supplied | dict(self.fixed) | dict(values))))
        return Computed(data, (time.perf_counter() - start) * 1e3)

    def describe(self, data: Any) -> str:
        """The figure's words for `data`, on one line."""
        return " ".join(self.figure.describe(data).split())

    def text(self, values: Mapping[str, Any]) -> str:
        """The setting in words: "width 256, damping 1e-4"."""
        spec = {name: c.label or name.replace("_", " ") for name, c in self.controls.items()}
        return ", ".join(
            f"{spec[name]} {c.text(values[name])}" for name, c in self.controls.items()
        )

    def spec(self) -> dict[str, Any]:
        """All that a page needs, as plain JSON values."""
        try:
            json.dumps(dict(self.fixed), allow_nan=False)
        except (TypeError, ValueError):
            raise TypeError(
                f"explore({self.where}): the page stores fixed arguments as JSON, so they must be "
                "numbers, "
                f"strings, bools or lists of these, but are {sorted(self.fixed)}. Let compute make "
                "the data."
            ) from None
        return {
            "figure": self.where,
            "size": [round(100 * side) for side in self.figure.size],
            "controls": [control.spec(name) for name, control in self.controls.items()],
            "fixed": dict(self.fixed),
        }


def declare(
    figure: Figure, given: Mapping[str, Any], home: str = "browser", xp: Any = np
) -> Declaration:
    """Join the figure's own controls with those given; a plain value fixes its argument."""
    where = address(figure)
    takes = inspect.signature(figure.compute).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    for name in (*figure.controls, *given):
        if not anything and (name not in takes or name in _SUPPLIED):
            known = [n for n in takes if n not in _SUPPLIED]
            raise TypeError(
                f"{where} has no control {name!r}; it has {', '.join(known) or 'none'}."
            )
    merged = {**figure.controls, **given}
    controls = {
        n: c.at(home) for n, c in merged.items() if isinstance(c, (Slider, LogSlider, Choice))
    }
    fixed = {n: v for n, v in merged.items() if n not in controls}
    missing = [
        name
        for name, p in takes.items()
        if p.default is p.empty
        and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        and name not in merged
        and name not in _SUPPLIED
    ]
    if missing:
        raise TypeError(
            f"{where} needs a control or a value for {', '.join(missing)}: "
            f"explore(..., {missing[0]}=Slider(low, high, value))."
        )
    return Declaration(figure, controls, fixed, home, xp, where)


def from_page(spec: Mapping[str, Any]) -> Declaration:
    """The declaration that a page's data-spec describes, for the browser."""
    controls = {c["name"]: from_spec(c) for c in spec["controls"]}
    return declare(resolve(spec["figure"]), {**controls, **spec.get("fixed", {})}, home="browser")


def _to_numpy(data: Any) -> Any:
    """Arrays of any library become NumPy's (which waits for a device that is still computing)."""
    if isinstance(data, Mapping):
        return {key: _to_numpy(value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(_to_numpy(value) for value in data))
    if isinstance(data, (list, tuple)):
        return type(data)(_to_numpy(value) for value in data)
    if hasattr(data, "__array__") and not isinstance(data, (np.ndarray, np.generic)):
        return np.asarray(data)
    return data


def columns(data: Any, prefix: str = "") -> dict[str, list[float]]:
    """All numbers of a figure's data as named columns; a matrix gives one per column."""
    if isinstance(data, Mapping):
        items = list(data.items())
    elif isinstance(data, tuple) and hasattr(data, "_fields"):
        items = list(zip(data._fields, data, strict=True))
    elif isinstance(data, (list, tuple)) and any(
        isinstance(v, (Mapping, tuple, list, np.ndarray)) for v in data
    ):
        items = list(enumerate(data))
    else:
        return _column(prefix or "value", data)
    result: dict[str, list[float]] = {}
    for key, value in items:
        result |= columns(value, f"{prefix}.{key}" if prefix else str(key))
    return result


def _column(name: str, data: Any) -> dict[str, list[float]]:
    if data is None or isinstance(data, str):
        return {}
    array = np.asarray(data)
    if array.dtype.kind not in "biuf":
        return {}
    if array.ndim <= 1:
        return {name: array.reshape(-1).tolist()}
    flat = array.reshape(array.shape[0], -1)
    return {f"{name}[{k}]": flat[:, k].tolist() for k in range(flat.shape[1])}


def one_line(error: BaseException) -> str:
    """An exception as one readable line."""
    text = " ".join(str(error).split()) or "no message"
    kind = type(error).__name__
    return text if isinstance(error, (ValueError, TypeError)) and " " in text else f"{kind}: {text}"
