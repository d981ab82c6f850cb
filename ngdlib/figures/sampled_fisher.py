"""Chapter 3: two estimates of the Fisher matrix from sampled labels, and how noisy they are."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ngdlib import estimators
from ngdlib.figures import Choice, Figure, LogSlider, Slider, networks, style
from ngdlib.models.mlp import MLP, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

CLASSES = (3, 5)
SAMPLES = np.array([1, 4, 16, 64, 256])  # labels per image
_IMAGES = 8
_DRAWS = 200
_DOTS = 40
_FLOOR = 1e-3  # lower end of the relative error
SCORE = {"color": "C0", "marker": "o"}  # the same two looks in all pictures of the chapter
HESSIAN = {"color": "C1", "marker": "s"}
BLOCKS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def quadrants(images: int = _IMAGES) -> np.ndarray:
    """Threes and fives, each as the mean grey value of its four quarters, (images, 4), of unit norm."""
    x = networks.problem(CLASSES, train=64).x_train[:images]
    x = x.reshape(images, 2, 4, 2, 4).mean((2, 4)).reshape(images, 4)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _expand(net: MLP, params: Params, x: np.ndarray) -> estimators.Expansion:
    return estimators.expand(net, params, x)


@functools.lru_cache(maxsize=32)
def expansion(width: int, activation: str) -> estimators.Expansion:
    """A (4, width, width, 1) network on eight images, to second order."""
    return networks.run(_expand, width, quadrants(), inputs=4, activation=activation)


class Cloud(NamedTuple):
    """Many estimates of one diagonal entry of F, per number of labels."""

    samples: np.ndarray  # (k,)
    truth: float
    score: np.ndarray  # (k x draws,)
    hessian: np.ndarray  # (k x draws,)
    score_spread: np.ndarray  # (k,) standard deviation in closed form
    hessian_spread: np.ndarray  # (k,)
    negative: np.ndarray  # (k,) share of the Hessian's estimates below zero


def compute_cloud(width: int = 6, draws: int = _DOTS) -> Cloud:
    """Squared error, tanh; the entry is that of the noisiest Hessian in layer 2."""
    net, loss = expansion(width, "tanh"), "squared_error"
    F, first = estimators.fisher(net, loss), net.sizes[0]
    spread = [
        np.sqrt(np.diag(v(net, loss, samples=1)))
        for v in (estimators.score_variance, estimators.hessian_variance)
    ]
    k = first + int(spread[1][first : first + net.sizes[1]].argmax())
    found: list[list[float]] = [[], []]
    for samples in SAMPLES.tolist():
        for seed in range(draws):
            e = estimators.draw(loss, net.f, samples=samples, seed=1000 * samples + seed)[:, :, 0]
            found[0].append(float(((e**2).mean(1) * net.J[:, 0, k] ** 2).mean()))
            found[1].append(float(F[k, k] + (e.mean(1) * net.H[:, 0, k, k]).mean()))
    score, hessian = np.array(found)
    root = np.sqrt(SAMPLES)
    below = (hessian.reshape(len(SAMPLES), -1) < 0).mean(1)
    return Cloud(
        SAMPLES, float(F[k, k]), score, hessian, spread[0][k] / root, spread[1][k] / root, below
    )


def draw_cloud(fig: Canvas) -> Callable[[Cloud], None]:
    """Left the score's estimates, right the Hessian's, in units of the truth."""
    panels = fig.subplots(1, 2, sharey=True)
    parts = []
    titles = ("Outer product of the score", "Negative Hessian")
    for ax, title, look in zip(panels, titles, (SCORE, HESSIAN), strict=True):
        ax.set_xscale("log")
        ax.set(xlim=(0.5, 600), ylim=(-1.6, 4.2), xlabel="labels per image $S$")
        ax.set_xticks(SAMPLES, [str(s) for s in SAMPLES])
        ax.set_title(title)
        ax.axhspan(-1.6, 0, color="C7", alpha=0.15, linewidth=0)
        (dots,) = ax.plot([], [], linestyle="", markersize=3, alpha=0.5, **look)
        edges = [
            ax.plot([], [], label="two standard deviations" if k == 0 else None, **style.METHODS["theory"])[0]
            for k in range(2)
        ]  # fmt: skip
        ax.axhline(1, color="C9", linewidth=0.9)
        parts.append((dots, edges))
    panels[0].set_ylabel("estimate / truth")
    panels[0].legend(loc="upper right", fontsize=8)

    def update(data: Cloud) -> None:
        draws = len(data.score) // len(data.samples)
        jitter = np.tile(np.exp(np.linspace(-0.3, 0.3, draws)), len(data.samples))
        x = np.repeat(data.samples, draws) * jitter
        for (dots, edges), found, spread in zip(
            parts,
            (data.score, data.hessian),
            (data.score_spread, data.hessian_spread),
            strict=True,
        ):
            dots.set_data(x, np.clip(found / data.truth, -1.55, 4.15))
            for edge, sign in zip(edges, (-2, 2), strict=True):
                edge.set_data(data.samples, 1 + sign * spread / data.truth)

    return update


def describe_cloud(data: Cloud) -> str:
    """The spreads at one label, and how often the Hessian's estimate is negative."""
    score, hessian = data.score_spread / data.truth, data.hessian_spread / data.truth
    return (
        "Estimates of one diagonal entry, divided by its true value. With one label per image their standard "
        f"deviation is {score[0]:.2g} for the score and {hessian[0]:.2g} for the Hessian, with "
        f"{data.samples[-1]} labels {score[-1]:.2g} and {hessian[-1]:.2g}. At one label "
        f"{100 * data.negative[0]:.0f} % of the Hessian's estimates are negative, and none of the score's."
    )


cloud = Figure(compute_cloud, draw_cloud, describe_cloud, size=(7.2, 3.4))


class Spread(NamedTuple):
    """The relative error |estimate - F| / |F| (Frobenius), predicted and drawn."""

    samples: int
    width: int
    activation: str
    loss: str
    grid: np.ndarray  # (k,) labels per image
    score_theory: np.ndarray  # (k,) root mean square
    hessian_theory: np.ndarray
    score: np.ndarray  # (k,) root mean square of the draws
    hessian: np.ndarray
    score_low: np.ndarray  # (k,) a tenth of the draws lie below
    score_high: np.ndarray  # a tenth above
    hessian_low: np.ndarray
    hessian_high: np.ndarray
    score_blocks: (
        np.ndarray
    )  # (6,) the same error for the blocks of layers, in units of |F|, at `samples`
    hessian_blocks: np.ndarray
    lowest: float  # smallest eigenvalue of one Hessian estimate over the largest of F
    negative: int  # how many of its eigenvalues are negative
    parameters: int


@functools.lru_cache(maxsize=64)
def _moments(width: int, activation: str, loss: str) -> tuple[np.ndarray, ...]:
    """F, the two variances at one label, and the Gram matrices of J J^T and of H over the images."""
    net = expansion(width, activation)
    J, H = net.J[:, 0], net.H[:, 0].reshape(len(net.f), -1)
    return (
        estimators.fisher(net, loss),
        estimators.score_variance(net, loss, samples=1),
        estimators.hessian_variance(net, loss, samples=1),
        (J @ J.T) ** 2,
        H @ H.T,
    )


@functools.lru_cache(maxsize=64)
def _errors(width: int, activation: str, loss: str) -> np.ndarray:
    """|estimate - F| / |F| of many draws, (2, k, draws), from sums over images only."""
    net = expansion(width, activation)
    F, _, _, outer, bend = _moments(width, activation, loss)
    n, scale = len(net.f), np.linalg.norm(F)
    I = estimators.information(loss, net.f)[:, 0, 0]
    out = []
    for samples in SAMPLES.tolist():
        e = estimators.draw(loss, net.f, samples=samples * _DRAWS, seed=samples)
        e = e.reshape(n, _DRAWS, samples)
        pair = ((e**2).mean(2) - I[:, None], e.mean(2))
        out.append(
            [
                np.sqrt(np.maximum(np.einsum("nd,nm,md->d", c, K, c), 0)) / n / scale
                for c, K in zip(pair, (outer, bend), strict=True)
            ]
        )
    return np.array(out).swapaxes(0, 1)


def compute_spread(samples: int, width: int, activation: str, loss: str) -> Spread:
    """Two hundred draws of the labels at each of five sizes; blocks and eigenvalues at `samples`."""
    net = expansion(width, activation)
    F, *variances, _, _ = _moments(width, activation, loss)
    errors = _errors(width, activation, loss)
    scale = np.linalg.norm(F)
    ends = np.cumsum((0, *net.sizes))
    cuts = [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    theory = [np.sqrt(v.sum() / SAMPLES) / scale for v in variances]
    blocks = [
        np.array([np.sqrt(v[cuts[l], cuts[m]].sum() / samples) / scale for l, m in BLOCKS])
        for v in variances
    ]
    e = estimators.draw(loss, net.f, samples=samples, seed=0)
    eigenvalues = np.linalg.eigvalsh(estimators.hessian_estimate(net, loss, e))
    largest = np.linalg.norm(F, 2)
    below = int((eigenvalues < -1e-9 * largest).sum())
    low, high = np.quantile(errors, 0.1, axis=2), np.quantile(errors, 0.9, axis=2)
    rms = np.sqrt((errors**2).mean(2))
    return Spread(
        samples, width, activation, loss, SAMPLES, theory[0], theory[1], rms[0], rms[1],
        low[0], high[0], low[1], high[1], blocks[0], blocks[1],
        float(eigenvalues[0] / largest), below, len(F),
    )  # fmt: skip


def draw_spread(fig: Canvas) -> Callable[[Spread], None]:
    """Left the error against the number of labels, right the error of each block of layers."""
    left, right = fig.subplots(1, 2, width_ratios=(1.15, 1))
    left.set_xscale("log")
    left.set_yscale("log")
    left.set(xlim=(0.6, 420), ylim=(_FLOOR, 20), xlabel="labels per image $S$")
    left.set_ylabel("relative error")
    left.set_xticks(SAMPLES, [str(s) for s in SAMPLES])
    left.set_title(r"The error falls as $1/\sqrt{S}$")
    parts = []
    for name, look, shift in (("score", SCORE, 0.93), ("Hessian", HESSIAN, 1.07)):
        (line,) = left.plot([], [], color=look["color"], linestyle=":", gid="no-pin", animated=True)
        (dots,) = left.plot([], [], linestyle="", label=name, animated=True, **look)
        bars = [
            left.plot([], [], color=look["color"], linewidth=1.2, gid="no-pin", animated=True)[0]
            for _ in SAMPLES
        ]
        parts.append((line, dots, bars, shift))
    (here,) = left.plot([], [], color="C7", linewidth=0.9, gid="no-pin", animated=True)
    left.plot([], [], color="C9", linestyle=":", label="closed form")
    left.legend(loc="lower left", fontsize=8)
    right.set_yscale("log")
    right.set(xlim=(-0.6, 5.6), ylim=(_FLOOR, 20))
    right.set_xticks(range(6), [f"{l + 1}-{m + 1}" for l, m in BLOCKS])
    right.set_xlabel("block: layers")
    right.set_title("Where it sits")
    columns = [
        right.bar(
            np.arange(6) + at, np.full(6, _FLOOR), 0.38, color=look["color"], animated=True,
            hatch=hatch, edgecolor="C9", linewidth=0.5,
        )
        for at, look, hatch in ((-0.2, SCORE, ""), (0.2, HESSIAN, "//"))
    ]  # fmt: skip

    def update(data: Spread) -> None:
        found = (
            (data.score_theory, data.score, data.score_low, data.score_high),
            (data.hessian_theory, data.hessian, data.hessian_low, data.hessian_high),
        )
        for (line, dots, bars, shift), (theory, rms, low, high) in zip(parts, found, strict=True):
            line.set_data(data.grid, np.maximum(theory, _FLOOR / 2))
            dots.set_data(data.grid * shift, np.maximum(rms, _FLOOR / 2))
            for k, bar in enumerate(bars):
                bar.set_data([data.grid[k] * shift] * 2, np.maximum([low[k], high[k]], _FLOOR / 2))
        here.set_data([data.samples] * 2, [_FLOOR, 20])
        for group, heights in zip(columns, (data.score_blocks, data.hessian_blocks), strict=True):
            for bar, height in zip(group, heights, strict=True):
                bar.set_height(np.clip(height, _FLOOR / 2, 20))

    return update


def describe_spread(data: Spread) -> str:
    """Both errors at the chosen number of labels, and the eigenvalues of one Hessian estimate."""
    root = np.sqrt(data.samples)
    loss = {"squared_error": "squared error", "logistic": "logistic loss"}[data.loss]
    quiet = [
        f"{l + 1}-{m + 1}"
        for (l, m), b in zip(BLOCKS, data.hessian_blocks, strict=True)
        if b < 1e-12
    ]
    return (
        f"{data.parameters} weights ({data.activation}, width {data.width}), {loss}, {data.samples} "
        f"label{'s' * (data.samples > 1)} per image: the score is off by {data.score_theory[0] / root:.2g} of the norm "
        f"of F, the Hessian by {data.hessian_theory[0] / root:.2g}. The Hessian is exact in "
        f"block{'s' * (len(quiet) > 1)} {', '.join(quiet)}. One draw of it has {data.negative} negative "
        f"eigenvalues, the lowest {data.lowest:.2g} times the largest of F."
    )


spread = Figure(
    compute_spread,
    draw_spread,
    describe_spread,
    controls={
        "samples": LogSlider(1, 256, 4, ticks=(1, 4, 16, 64, 256), label="labels S"),
        "width": Slider(2, 8, 6, cpu=16, gpu=16, ticks=(2, 4, 8), label="width M"),
        "activation": Choice({"tanh": "tanh", "relu": "ReLU"}, "tanh"),
        "loss": Choice({"squared_error": "squared error", "logistic": "logistic"}, "squared_error"),
    },
)
