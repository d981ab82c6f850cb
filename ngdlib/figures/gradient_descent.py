"""Chapter 1: gradient descent seen from the outputs. One kernel, and one rate for each of its modes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import ngdlib
from ngdlib.figures import Figure, LogSlider, Slider, networks, style
from ngdlib.layers import gradient

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from ngdlib.datasets import Data

_SAMPLES = 24
_RUN = 10  # steps that the network itself takes in the live figure
_LOW, _HIGH = 1e-6, 1e6  # losses are drawn between these
_GROUPS = {
    "mode 1": slice(0, 1),
    "mode 2": slice(1, 2),
    "modes 3-8": slice(2, 8),
    "modes 9-24": slice(8, 24),
}
_LINES = ("-", (0, (5, 2)), "-.", (0, (1, 1)))
_MARKERS = ("o", "s", "D", "^")
_COLORS = ("C0", "C1", "C2", "C3")
_TIMES = np.unique(np.r_[0, np.geomspace(1, 1e4, 81).round()])


@functools.lru_cache(maxsize=1)
def _digits() -> Data:
    """Twelve zeros, then twelve ones."""
    data = networks.problem(classes=(0, 1), train=_SAMPLES, test=2)
    order = np.argsort(data.y_train[:, 0], kind="stable")
    return data._replace(x_train=data.x_train[order], y_train=data.y_train[order])


def _start(net: ngdlib.MLP, params: Any, x: Any, y: Any) -> tuple[Any, Any]:
    f, layers = net.linearise(params, x)
    theta = sum(k.ntk() for k in ngdlib.empirical_kernels(layers))
    return theta.reshape(len(x), len(x)), (f - y)[:, 0]


def _steps(net: ngdlib.MLP, params: Any, x: Any, y: Any, step_size: Any, *, steps: int) -> list:
    residuals = []
    for _ in range(steps + 1):
        f, layers = net.linearise(params, x)
        residuals.append((f - y)[:, 0])
        params = net.update(params, gradient(layers, f - y), step_size)
    return residuals


class _Spectrum(NamedTuple):
    theta: np.ndarray  # (n, n) at the start
    eigenvalues: np.ndarray  # (n,) of theta / N, largest first
    vectors: np.ndarray  # (n, n), in columns
    c: np.ndarray  # (n,) the residual at the start, in the modes


@functools.lru_cache(maxsize=8)
def _spectrum(width: int, depth: int, xp: Any = np, max_width: int | None = None) -> _Spectrum:
    data = _digits()
    x, y = data.x_train, data.y_train
    answer = networks.run(_start, width, x, y, xp=xp, max_width=max_width, depth=depth)
    theta, r = (np.asarray(a, dtype=np.float64) for a in answer)
    eigenvalues, vectors = np.linalg.eigh(theta / _SAMPLES)
    return _Spectrum(theta, eigenvalues[::-1], vectors[:, ::-1], vectors[:, ::-1].T @ r)


def _descend(
    width: int, depth: int, step_size: float, steps: int, xp: Any = np, max_width: int | None = None
) -> np.ndarray:
    """Residuals (steps + 1, n) of the network itself; a run that flies away stays away."""
    data = _digits()
    x, y = data.x_train, data.y_train
    with np.errstate(over="ignore", invalid="ignore"):
        residuals = networks.run(
            _steps, width, x, y, step_size, xp=xp, max_width=max_width, depth=depth, steps=steps
        )
        r = np.array([np.asarray(a, dtype=np.float64) for a in residuals])
        gone = np.logical_or.accumulate(~((r**2).sum(1) / (2 * _SAMPLES) < _HIGH))
    r[gone] = (2 * _HIGH) ** 0.5  # a loss of _HIGH
    return r


class Modes(NamedTuple):
    """Gradient descent on 24 digits: each mode of the kernel has its own rate."""

    step_size: float
    largest_step: float  # 2 N / lambda_max
    width: int
    depth: int
    eigenvalues: np.ndarray  # (N,) of Theta / N, largest first
    steps: np.ndarray  # (T,)
    predicted: np.ndarray  # (T,) loss after these steps, kernel frozen
    mode_loss: np.ndarray  # (T, 4) the share of mode 1, of mode 2, of modes 3 to 8 and 9 to 24
    measured: np.ndarray  # (11,) loss of the network after 0 .. 10 steps


def compute_modes(
    step_size: float, width: int, depth: int, xp: Any = np, max_width: int | None = None
) -> Modes:
    """Loss by mode, (1 - eta lambda_i / N)^2t c_i^2 / 2N, and the first steps of the real network.

    step_size: eta. width: M. depth: L, the number of weight layers. Losses above a million are
    clipped.
    """
    _, eigenvalues, _, c = _spectrum(width, depth, xp, max_width)
    log_factor = np.log(np.maximum(np.abs(1 - step_size * eigenvalues), 1e-300))
    power = np.clip(2 * _TIMES[:, None] * log_factor, -700, 700)
    loss = np.clip(np.exp(power) * c**2 / (2 * _SAMPLES), 0, _HIGH)
    r = _descend(width, depth, step_size, _RUN, xp, max_width)
    return Modes(
        float(step_size),
        float(2 / eigenvalues[0]),
        width,
        depth,
        eigenvalues,
        _TIMES,
        np.minimum(loss.sum(1), _HIGH),
        np.stack([loss[:, group].sum(1) for group in _GROUPS.values()], axis=1),
        (r**2).sum(1) / (2 * _SAMPLES),
    )


def draw_modes(fig: Canvas) -> Callable[[Modes], None]:
    """Left the loss against the step, in all and by mode; right the spectrum and the limit 2 / eta."""
    left, right = fig.subplots(1, 2, width_ratios=(1.25, 1))
    left.set_xscale("symlog", linthresh=1, linscale=0.5)
    left.set_yscale("log")
    left.set(xlim=(-0.15, 1e4), ylim=(_LOW, 1e2), xlabel="step", ylabel="loss")
    left.set_xticks([0, 1, 10, 100, 1000, 10000], ["0", "1", "10", "100", "$10^3$", "$10^4$"])
    left.set_title("The loss is a sum over modes")
    modes = [
        left.plot(
            [], [], color=c, linestyle=s, linewidth=1.4, label=name, gid="no-pin", animated=True
        )[0]
        for name, c, s in zip(_GROUPS, _COLORS, _LINES, strict=True)
    ]
    (total,) = left.plot([], [], animated=True, label="all, theory", **style.METHODS["theory"])
    look = {"color": "C9", "linestyle": "", "marker": "o", "markersize": 4}
    (measured,) = left.plot([], [], animated=True, label="network", **look)
    left.legend(loc="upper right", ncols=2, columnspacing=1.0)

    rank = np.arange(1, _SAMPLES + 1)
    right.set_yscale("log")
    right.set(xlim=(0, _SAMPLES + 1), ylim=(1e-5, 1e2), xlabel="mode", ylabel=r"$\lambda_i / N$")
    right.set_title(r"Modes above $2/\eta$ explode")
    spectrum = [
        right.plot([], [], marker, linestyle="", color=c, markersize=5, animated=True)[0]
        for c, marker in zip(_COLORS, _MARKERS, strict=True)
    ]
    (limit,) = right.plot([], [], color="C9", linestyle="--", label=r"$2/\eta$", animated=True)
    right.legend(loc="upper right")

    def update(data: Modes) -> None:
        for line, loss in zip(modes, data.mode_loss.T, strict=True):
            line.set_data(data.steps, np.clip(loss, _LOW / 10, _HIGH))
        total.set_data(data.steps, np.clip(data.predicted, _LOW / 10, _HIGH))
        measured.set_data(np.arange(_RUN + 1), np.clip(data.measured, _LOW / 10, _HIGH))
        for mark, group in zip(spectrum, _GROUPS.values(), strict=True):
            mark.set_data(rank[group], data.eigenvalues[group])
        limit.set_data([0, _SAMPLES + 1], [2 / data.step_size] * 2)

    return update


def describe_modes(data: Modes) -> str:
    """What the step size does to the fastest and to the slowest mode."""
    fast, slow = (1 - data.step_size * data.eigenvalues[i] for i in (0, -1))
    above = int((data.step_size * data.eigenvalues > 2).sum())
    words = (
        f"Width {data.width}, {data.depth} layers, step size {data.step_size:.3g} (the largest stable one is "
        f"{data.largest_step:.3g}). A step multiplies mode 1 by {fast:.3g} and mode {_SAMPLES} by {slow:.6f}. "
    )
    if above:
        noun = "mode grows" if above == 1 else "modes grow"
        words += f"{above} {noun}: theory says that the loss explodes. "
    else:
        words += (
            f"Theory: the loss falls from {data.predicted[0]:.2g} to "
            f"{np.interp(1000, data.steps, data.predicted):.2g} in 1000 steps. "
        )
    if data.measured[-1] >= _HIGH:
        return (
            words + f"The network's loss leaves the scale (above {_HIGH:.0e}) within {_RUN} steps."
        )
    return words + f"The network's loss after {_RUN} steps is {data.measured[-1]:.2g}."


modes = Figure(
    compute_modes,
    draw_modes,
    describe_modes,
    size=(7.2, 3.6),
    controls={
        "step_size": LogSlider(0.5, 500.0, 20.0, ticks=(1, 10, 100), label="step size η"),
        "width": Slider(
            16, 384, 256, step=16, cpu=2048, gpu=4096, ticks=(64, 256), label="width M"
        ),
        "depth": Slider(2, 4, 3, label="layers L"),
    },
)


class KernelDecay(NamedTuple):
    """The kernel of 24 digits, and the modes of a wide network's residual while it descends."""

    kernel: np.ndarray  # (N, N), no 1/N; the first half of the samples are zeros, the rest ones
    eigenvalues: np.ndarray  # (N,) of Theta / N, largest first
    step_size: float
    measured: np.ndarray  # (T + 1, 4) what is left of the modes, in the four groups
    predicted: np.ndarray  # (T + 1, 4)
    same: float  # mean kernel between two different images of one digit
    different: float  # and between a zero and a one


def _groups(c: np.ndarray) -> np.ndarray:
    """(T + 1, 4): the size of the residual in each group of modes, relative to the start."""
    sizes = np.stack([np.linalg.norm(c[:, g], axis=1) for g in _GROUPS.values()], axis=1)
    return sizes / sizes[0]


def compute_kernel(width: int = 1024, depth: int = 3, steps: int = 16) -> KernelDecay:
    """Theta at the start, and its modes measured in a run at eta = 0.2 of the largest stable step."""
    data = _digits()
    theta, eigenvalues, vectors, c = _spectrum(width, depth)
    step_size = 0.4 / eigenvalues[0]
    r = _descend(width, depth, step_size, steps) @ vectors
    t = np.arange(steps + 1)[:, None]
    theory = (1 - step_size * eigenvalues) ** t * c
    label = data.y_train[:, 0] > 0
    one_class = label[:, None] == label
    return KernelDecay(
        theta,
        eigenvalues,
        float(step_size),
        _groups(r),
        _groups(theory),
        float(theta[one_class & ~np.eye(_SAMPLES, dtype=bool)].mean()),
        float(theta[~one_class].mean()),
    )


def draw_kernel(fig: Canvas) -> Callable[[KernelDecay], None]:
    """Left the kernel as a picture, right the modes, measured (marks) and predicted (lines)."""
    left, right = fig.subplots(1, 2, width_ratios=(1, 1.15))
    image = left.imshow(np.zeros((_SAMPLES, _SAMPLES)), cmap="viridis", animated=True)
    left.grid(False)
    left.set_xticks([5.5, 17.5], ["zeros", "ones"])
    left.set_yticks([5.5, 17.5], ["zeros", "ones"], rotation=90, va="center")
    left.set_title(r"The kernel $\Theta$ of 24 digits")
    image.set_clim(0, 0.12)
    fig.colorbar(image, ax=left, shrink=0.8)
    right.set_yscale("log")
    right.set(xlim=(-0.5, 16.5), ylim=(1e-2, 2), xlabel="step", ylabel=r"residual left in the mode")
    right.set_xticks([0, 4, 8, 12, 16])
    right.set_title("Each mode at its own rate")
    lines, dots = [], []
    for name, c, s, m in zip(_GROUPS, _COLORS, _LINES, _MARKERS, strict=True):
        lines += right.plot([], [], color=c, linestyle=s, linewidth=1.4, animated=True)
        dots += right.plot([], [], m, color=c, markersize=5, label=name, animated=True)
    right.legend(loc="lower right")

    def update(data: KernelDecay) -> None:
        image.set_data(data.kernel)
        t = np.arange(len(data.measured))
        for k, (line, dot) in enumerate(zip(lines, dots, strict=True)):
            line.set_data(t, data.predicted[:, k])
            dot.set_data(t, data.measured[:, k])

    return update


def describe_kernel(data: KernelDecay) -> str:
    """The blocks of the picture and the four rates."""
    left = ", ".join(f"{v:.2g}" for v in data.measured[-1])
    gap = np.abs(data.measured - data.predicted).max()
    return (
        f"The kernel has two bright blocks: on average {data.same:.2f} between two images of the same digit and "
        f"{data.different:.2f} between a zero and a one. After {len(data.measured) - 1} steps of size "
        f"{data.step_size:.3g} the residual in mode 1, mode 2, modes 3 to 8 and modes 9 to 24 is "
        f"{left} of what it was; no mark is further than {gap:.2f} from its predicted line."
    )


kernel = Figure(compute_kernel, draw_kernel, describe_kernel, size=(7.2, 3.4))
