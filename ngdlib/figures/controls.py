"""The controls of a live figure: what can be moved, how far in each home, and where it starts.

A control is plain data. It knows nothing of widgets or web pages; each home of `ngdlib.explore`
reads it and builds its own slider. The range may depend on the home, because a browser, a laptop
and a graphics card can afford different widths: `low .. high` is the browser's range, `cpu=` and
`gpu=` replace `high` on a kernel.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

HOMES = ("browser", "cpu", "gpu")
_DECADE_STEP = 0.05  # log sliders move by a twentieth of a decade unless told otherwise


def _number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, but is {value!r}.")


def _plain(value: Any) -> Any:
    """A NumPy scalar becomes the Python number it stands for, so that JSON can hold it."""
    return value.item() if hasattr(value, "item") else value


def _ticks(ticks: object) -> tuple[tuple[float, str], ...]:
    pairs = ticks.items() if isinstance(ticks, Mapping) else ticks
    result = []
    for tick in pairs:  # type: ignore[attr-defined]
        value, text = tick if isinstance(tick, (tuple, list)) else (tick, None)
        _number("a tick", value)
        result.append((_plain(value), f"{value:g}" if text is None else str(text)))
    return tuple(result)


def _nice_step(low: float, high: float, value: float) -> float:
    """The largest 1, 2 or 5 x 10^k with 100 positions or more, `high` and `value` among them."""
    for exponent in range(math.floor(math.log10((high - low) / 100)), -13, -1):
        for digit in (5, 2, 1):
            step = digit * 10.0**exponent
            if (high - low) / step * (1 + 1e-9) >= 100 and all(
                _on_grid(low, step, v) for v in (high, value)
            ):
                return float(f"{step:.12g}")
        if (high - low) / 10.0**exponent > 1e4:
            break
    return (high - low) / 100


def _on_grid(low: float, step: float, value: float) -> bool:
    positions = (value - low) / step
    return abs(positions - round(positions)) < 1e-6


@dataclasses.dataclass(frozen=True)
class _Range:
    """What `Slider` and `LogSlider` share: a range per home, a value, ticks, a label and a unit."""

    low: float
    high: float
    value: float
    step: float | None = dataclasses.field(default=None, kw_only=True)
    ticks: Any = dataclasses.field(default=(), kw_only=True)
    label: str | None = dataclasses.field(default=None, kw_only=True)
    unit: str = dataclasses.field(default="", kw_only=True)
    cpu: float | None = dataclasses.field(default=None, kw_only=True)
    gpu: float | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        kind = type(self).__name__
        for name in ("low", "high", "value", "step", "cpu", "gpu"):
            given = _plain(getattr(self, name))
            object.__setattr__(self, name, given)
            if given is not None:
                _number(f"{kind}: {name}", given)
        object.__setattr__(self, "ticks", _ticks(self.ticks))
        if not self.low < self.high:
            raise ValueError(
                f"{kind}: low must be below high, but low is {self.low} and high is {self.high}."
            )
        for name in ("cpu", "gpu"):
            given = getattr(self, name)
            if given is not None and given <= self.low:
                raise ValueError(
                    f"{kind}: {name} is the upper end of the range on that home and must be above "
                    "low = "
                    f"{self.low}, but is {given}."
                )
        self._check_value()
        top = max(self._tops())
        for tick, _ in self.ticks:
            if not (self.low <= tick <= top or (tick == 0 and self._zero())):
                raise ValueError(f"{kind}: the tick {tick} lies outside {self.low} to {top}.")

    def _check_value(self) -> None:
        lowest = min(self._tops())
        if not (self.low <= self.value <= lowest or (self.value == 0 and self._zero())):
            raise ValueError(
                f"{type(self).__name__}: value {self.value} lies outside {self.low} to {lowest}. "
                "It must lie in the range of every home."
            )

    def _zero(self) -> bool:
        return False

    def _tops(self) -> list[float]:
        return [v for v in (self.high, self.cpu, self.gpu) if v is not None]

    @property
    def integer(self) -> bool:
        """Whether every value is a whole number, as when low, high and value are given as ints."""
        return all(isinstance(v, int) for v in (self.low, self.high, self.value))

    def high_at(self, home: str) -> float:
        """The upper end in a home: "browser", "cpu" or "gpu" (which falls back to the cpu's)."""
        if home not in HOMES:
            raise ValueError(f"unknown home {home!r}; the homes are {', '.join(HOMES)}.")
        on_kernel = self.cpu if home == "cpu" or self.gpu is None else self.gpu
        return self.high if home == "browser" or on_kernel is None else on_kernel

    def at(self, home: str) -> Any:
        """The same control with the range of one home; ticks beyond it are dropped."""
        high = self.high_at(home)
        ticks = tuple(tick for tick in self.ticks if tick[0] <= high)
        return dataclasses.replace(self, high=high, ticks=ticks, cpu=None, gpu=None)

    def values_at(self, home: str) -> tuple[float, ...]:
        """The values at which a test looks: both ends of the home's range, and the start."""
        low = 0.0 if self._zero() else self.low
        return tuple(dict.fromkeys((low, self.value, self.high_at(home))))

    def clamp(self, value: object) -> float:
        """The nearest value that this control can have; TypeError if `value` is not a number."""
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise TypeError(f"{value!r} is not a number.") from None
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or math.isnan(value):
            raise TypeError(f"{value!r} is not a number.")
        number = float(min(max(float(value), self.low), self.high))
        if self._zero() and float(value) < self._least():
            return 0.0
        # Sliders add their steps up: 0.30000000000000004 is meant to be 0.3.
        return round(number) if self.integer else float(f"{number:.12g}")

    def _least(self) -> float:
        return self.low

    def _spec(self, name: str) -> dict[str, Any]:
        return {
            "kind": "slider",
            "name": name,
            "label": self.label or name.replace("_", " "),
            "unit": self.unit,
            "low": self.low,
            "high": self.high,
            "value": self.value,
            "step": self.step,
            "integer": self.integer,
            "log": False,
            "zero": False,
            "ticks": [list(tick) for tick in self.ticks],
        }


@dataclasses.dataclass(frozen=True)
class Slider(_Range):
    """A number between `low` and `high`, starting at `value`.

    Whole numbers if low, high and value are ints. `step` is the distance of neighbouring positions
    (1 for whole numbers, else about a hundredth of the range). `ticks` marks the values that
    matter: numbers, or {number: text}. `cpu` and `gpu` replace `high` on a kernel. ValueError if
    value, step or a tick does not fit.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        step = self.step
        if step is None:
            step = 1 if self.integer else _nice_step(self.low, self.high, self.value)
            object.__setattr__(self, "step", step)
        elif step <= 0:
            raise ValueError(f"Slider: step must be positive, but is {step}.")
        else:
            for name in ("value", "high", "cpu", "gpu"):
                given = getattr(self, name)
                if given is not None and not _on_grid(self.low, step, given):
                    raise ValueError(
                        f"Slider: {name} = {given} cannot be reached from low = {self.low} in "
                        f"steps of {step}. Choose low, step and value so that it can."
                    )
        if self.integer and not isinstance(step, int):
            raise ValueError(
                f"Slider: the range is whole numbers, but step is {step!r}. Give low, high or "
                "value as a "
                "float, or step as an int."
            )

    def spec(self, name: str) -> dict[str, Any]:
        """What the page needs to build this control, as plain JSON values."""
        return self._spec(name)

    def text(self, value: float) -> str:
        """The value as the reader sees it."""
        return f"{value:g}" + (f" {self.unit}" if self.unit else "")


@dataclasses.dataclass(frozen=True)
class LogSlider(_Range):
    """A positive number on a logarithmic scale; `step` is in decades (a twentieth by default).

    With `zero=True` there is one more position below `low`, and it means exactly 0 (`value=0`
    starts there). Whole numbers if low, high and value are ints. Otherwise as `Slider`.
    """

    zero: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low <= 0:
            raise ValueError(
                f"LogSlider: low must be above 0, but is {self.low}. For a position that means "
                "exactly 0, "
                "give the smallest positive value as low and zero=True."
            )
        if self.step is None:
            object.__setattr__(self, "step", _DECADE_STEP)
        elif self.step <= 0:
            raise ValueError(f"LogSlider: step (in decades) must be positive, but is {self.step}.")

    def _zero(self) -> bool:
        return self.zero

    def _least(self) -> float:
        return self.low * 10 ** (-(self.step or _DECADE_STEP) / 2)

    def spec(self, name: str) -> dict[str, Any]:
        """As `Slider.spec`; `step` is in decades, and with `zero` one more position means 0."""
        return self._spec(name) | {"log": True, "zero": self.zero}

    def text(self, value: float) -> str:
        """The value as the reader sees it."""
        if self.integer:
            number = f"{value:g}"
        else:
            number = "0" if value == 0 else short(value)
        return number + (f" {self.unit}" if self.unit else "")

    def positions(self) -> list[float]:
        """Every value on the slider's grid, from lowest to highest; 10 ** exponent, ends exact."""
        count = round(math.log10(self.high / self.low) / self.step)  # type: ignore[operator]
        count = max(count, 1)
        ratio = math.log10(self.high / self.low) / count
        values = [self.low, *(self.low * 10 ** (ratio * k) for k in range(1, count)), self.high]
        if self.integer:
            values = sorted({round(v) for v in values})
        else:
            values = [float(f"{v:.4g}") for v in values]
        return [0.0, *values] if self.zero else values


def short(value: float) -> str:
    """A number in two or three digits: 0.25, 12, 1e-4, 3.2e-6."""
    if 1e-3 <= abs(value) < 1e4 or value == 0:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several options (strings, numbers or bools); {option: text} gives readable names."""

    options: Any
    value: Any
    label: str | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        pairs: Sequence[tuple[Any, str]]
        if isinstance(self.options, str) or not hasattr(self.options, "__iter__"):
            raise ValueError(f"Choice: options must be a list of options, but is {self.options!r}.")
        if isinstance(self.options, Mapping):
            pairs = [(_plain(value), str(text)) for value, text in self.options.items()]
        else:
            pairs = [
                (_plain(o[0]), str(o[1]))
                if isinstance(o, (tuple, list))
                else (_plain(o), _words(o))
                for o in self.options
            ]
        values = [value for value, _ in pairs]
        if len(values) < 2:
            raise ValueError(
                f"Choice: two options or more are needed, but options is {self.options!r}."
            )
        for value in values:
            if not isinstance(value, (str, bool, int, float)):
                raise ValueError(f"Choice: an option is a string, number or bool, not {value!r}.")
        if len({repr(v) for v in values}) < len(values):
            raise ValueError(f"Choice: an option appears twice in {values}.")
        if self.value not in values:
            raise ValueError(f"Choice: value {self.value!r} is not one of the options {values}.")
        object.__setattr__(self, "options", tuple(pairs))

    def at(self, home: str) -> Choice:
        """Choices are the same in every home."""
        if home not in HOMES:
            raise ValueError(f"unknown home {home!r}; the homes are {', '.join(HOMES)}.")
        return self

    def values_at(self, home: str) -> tuple[Any, ...]:
        """Every option: a test looks at all of them."""
        return tuple(value for value, _ in self.at(home).options)

    def clamp(self, value: object) -> Any:
        """The option equal to `value`, or written like it; TypeError if there is none."""
        for option, text in self.options:
            if value == option or (isinstance(value, str) and value in (str(option), text)):
                return option
        raise TypeError(f"{value!r} is not one of {', '.join(str(o) for o, _ in self.options)}.")

    def spec(self, name: str) -> dict[str, Any]:
        """What the page needs to build this control, as plain JSON values."""
        return {
            "kind": "choice",
            "name": name,
            "label": self.label or name.replace("_", " "),
            "value": self.value,
            "options": [list(pair) for pair in self.options],
        }

    def text(self, value: object) -> str:
        """The option as the reader sees it."""
        return next((text for option, text in self.options if option == value), str(value))


def _words(option: object) -> str:
    if isinstance(option, bool):
        return "yes" if option else "no"
    return str(option).replace("_", " ")


Control = Slider | LogSlider | Choice


def from_spec(spec: Mapping[str, Any]) -> Control:
    """The control that `spec()` described: how the browser gets its controls from the page."""
    if spec["kind"] == "choice":
        return Choice([tuple(o) for o in spec["options"]], spec["value"], label=spec["label"])
    common = {
        "step": spec["step"],
        "ticks": [tuple(t) for t in spec["ticks"]],
        "label": spec["label"],
        "unit": spec["unit"],
    }
    # JSON writes the float 1.0 as 1 in some hands: the flag, not the spelling, says what the range
    # is.
    kind = int if spec["integer"] else float
    low, high, value = kind(spec["low"]), kind(spec["high"]), kind(spec["value"])
    if spec["log"]:
        return LogSlider(low, high, value, zero=spec["zero"], **common)
    if not spec["integer"]:
        common["step"] = float(common["step"])
    return Slider(low, high, value, **common)
