"""Chapter 0: the first sliders. A ball rolls down by gradient steps; how long should a step be?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ngdlib.figures import Choice, Figure, LogSlider, Slider, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_STEPS = 12
_FLOOR = 1e-9  # where the picture of a loss ends; a loss of 0 is drawn there
_CEILING = 1e6
_LOSS_AXIS = (_FLOOR / 5, _CEILING)


class Landing(NamedTuple):
    """Gradient descent on w^2 / 2 from w = 1: w_t = (1 - eta)^t."""

    step_size: float
    position: np.ndarray  # (steps + 1,)
    loss: np.ndarray  # (steps + 1,)


def compute_landing(step_size: float) -> Landing:
    """Positions and losses of gradient descent on the parabola w^2 / 2, started at w = 1."""
    position = (1.0 - step_size) ** np.arange(_STEPS + 1)
    return Landing(float(step_size), position, position**2 / 2)


def draw_landing(fig: Canvas) -> Callable[[Landing], None]:
    """Left the parabola and the ball's stops, right the loss after each step."""
    left, right = fig.subplots(1, 2, width_ratios=(1.15, 1))
    w = np.linspace(-2.4, 2.4, 121)
    left.plot(w, w**2 / 2, color="C7", linewidth=1.2)
    left.set(xlim=(-2.4, 2.4), ylim=(-0.25, 2.9), xlabel="position $w$", ylabel="height $w^2/2$")
    left.set_title("Where the ball stops")
    (path,) = left.plot([], [], color="C0", linewidth=1.1, alpha=0.8, animated=True)
    (stops,) = left.plot([], [], "o", color="C0", markersize=6, animated=True)
    (start,) = left.plot([1.0], [0.5], "o", color="C1", markersize=9, gid="no-pin", animated=True)

    right.set_yscale("log")
    right.set(xlim=(-0.4, _STEPS + 0.4), ylim=_LOSS_AXIS, xlabel="step", ylabel="loss")
    right.set_title("Loss after each step")
    (loss,) = right.plot([], [], animated=True, **style.METHODS["exact"])

    def update(data: Landing) -> None:
        # Two points per step: from the parabola straight across to where the step lands, then down
        # to it.
        x, y = data.position, data.position**2 / 2
        path.set_data(np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1])
        stops.set_data(x[1:], y[1:])
        start.set_data(x[:1], y[:1])
        loss.set_data(np.arange(_STEPS + 1), np.clip(data.loss, _FLOOR, _CEILING))

    return update


def describe_landing(data: Landing) -> str:
    """What the ball did."""
    factor = 1 - data.step_size
    if abs(factor) < 1e-12:
        end = "The ball lands on the bottom in one step and stays there"
    elif abs(abs(factor) - 1) < 1e-12:
        end = (
            "The ball never gets lower"
            if factor > 0
            else "The ball jumps from side to side for ever"
        )
    elif abs(factor) > 1:
        end = "Each step overshoots by more than the last, and the ball flies away"
    else:
        end = (
            "The ball rolls down from one side"
            if factor > 0
            else "The ball swings from side to side"
        )
    return (
        f"With step size {data.step_size:.2f} each step multiplies the distance to the bottom by "
        f"{factor:.2f}. {end}: after {len(data.loss) - 1} steps the loss is {data.loss[-1]:.2g}; "
        "it started at 0.5."
    )


landing = Figure(
    compute_landing,
    draw_landing,
    describe_landing,
    controls={
        "step_size": Slider(0.0, 2.4, 0.3, step=0.02, ticks=(0, 1, 2), label="step size"),
    },
)


class Valley(NamedTuple):
    """Descent on (w1^2 + w2^2 / stretch) / 2 from (1, 1)."""

    stretch: float
    step_size: float
    method: str
    path: np.ndarray  # (steps + 1, 2)
    loss: np.ndarray  # (steps + 1,)


def compute_valley(stretch: float, step_size: float, method: str) -> Valley:
    """Gradient or natural-gradient descent; the valley is `stretch` times flatter along."""
    curvature = np.array([1.0, 1.0 / stretch])
    # The natural gradient divides by the curvature: every direction shrinks by 1 - eta.
    factor = 1.0 - step_size * (curvature if method == "gradient" else np.ones(2))
    path = factor ** np.arange(_STEPS + 1)[:, None]
    return Valley(float(stretch), float(step_size), method, path, (curvature * path**2).sum(1) / 2)


def draw_valley(fig: Canvas) -> Callable[[Valley], None]:
    """Left the valley from above with the path, right the loss after each step."""
    left, right = fig.subplots(1, 2, width_ratios=(1.15, 1))
    left.set(
        xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), xlabel="across the valley", ylabel="along the valley"
    )
    left.set_title("The path, seen from above")
    left.plot([0], [0], "+", color="C9", markersize=9)
    angle = np.linspace(0, 2 * np.pi, 90)
    heights = np.array([0.02, 0.08, 0.2, 0.4, 0.7, 1.1])
    rings = [
        left.plot([], [], color="C9", alpha=0.35, linewidth=0.9, gid="no-pin", animated=True)[0]
        for _ in heights
    ]
    (path,) = left.plot(
        [], [], markersize=5, animated=True, **style.METHODS["gradient"] | {"linestyle": "-"}
    )
    right.set_yscale("log")
    right.set(xlim=(-0.4, _STEPS + 0.4), ylim=_LOSS_AXIS, xlabel="step", ylabel="loss")
    right.set_title("Loss after each step")
    (loss,) = right.plot([], [], animated=True, **style.METHODS["gradient"])

    def update(data: Valley) -> None:
        for ring, height in zip(rings, heights, strict=True):
            radius = np.sqrt(2 * height)
            ring.set_data(radius * np.cos(angle), radius * np.sqrt(data.stretch) * np.sin(angle))
        look = style.METHODS["gradient" if data.method == "gradient" else "exact"]
        for line in (path, loss):
            line.set(color=look["color"], marker=look["marker"])
        loss.set_linestyle(look["linestyle"])
        path.set_data(*np.clip(data.path, -1e3, 1e3).T)
        loss.set_data(np.arange(_STEPS + 1), np.clip(data.loss, _FLOOR, _CEILING))

    return update


def describe_valley(data: Valley) -> str:
    """How far the ball got."""
    name = "Gradient descent" if data.method == "gradient" else "Natural gradient descent"
    return (
        f"{name} with step size {data.step_size:.2f} in a valley "
        f"{data.stretch:.0f} times flatter along than across: the loss goes from "
        f"{data.loss[0]:.2g} to {data.loss[-1]:.2g} in {len(data.loss) - 1} steps."
    )


valley = Figure(
    compute_valley,
    draw_valley,
    describe_valley,
    controls={
        "stretch": LogSlider(1.0, 100.0, 20.0, ticks=(1, 10, 100), label="length of the valley"),
        "step_size": Slider(0.0, 2.4, 0.5, step=0.02, ticks=(0, 1, 2), label="step size"),
        "method": Choice({"gradient": "gradient", "natural": "natural gradient"}, "gradient"),
    },
)
