"""Chapter 8: neighbouring layers coupled. A pattern that is singular, indefinite, and has poles."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ngdlib.arrays import Array
from ngdlib.figures import Choice, Figure, LogSlider, Slider, networks, style
from ngdlib.figures.block_diagonal import CLASSES, near, scale_bar, share, show_fisher, small_fisher
from ngdlib.fisher import empirical_kernels
from ngdlib.layers import Layer
from ngdlib.models.mlp import MLP, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_DEPTHS = np.arange(2, 13)
_SAMPLES, _WIDTH = 16, 256
_FLOOR, _CEILING = 1e-6, 1e4  # of the loss, relative to the start
_LEAST = 1e-6  # damping at the left end; an undamped step is drawn there too


def sigma(depth: int) -> np.ndarray:
    """The pattern Sigma, (L, L): ones on the three central diagonals."""
    distance = abs(np.subtract.outer(np.arange(depth), np.arange(depth)))
    return 1.0 * (distance <= 1)


class Blocks(NamedTuple):
    """A small network's Fisher matrix, and how much of it two approximations keep."""

    fisher: np.ndarray  # (P, P)
    sizes: np.ndarray  # (L,) parameters per layer
    share_diagonal: float  # of |F|^2 (Frobenius) that block-diagonal keeps
    share: float  # and block-tri-diagonal


def compute_blocks() -> Blocks:
    """Both approximations of one Fisher matrix."""
    fisher, sizes = small_fisher()
    return Blocks(fisher, sizes, *(share(fisher, near(sizes, reach)) for reach in (0, 1)))


def draw_blocks(fig: Canvas) -> Callable[[Blocks], None]:
    """Left block-diagonal, right block-tri-diagonal."""
    axes = fig.subplots(1, 2)
    one = show_fisher(axes[0], "block-diagonal keeps")
    three = show_fisher(axes[1], "block-tri-diagonal keeps")
    axes[0].set_ylabel("layer")
    scale_bar(fig, axes)

    def update(data: Blocks) -> None:
        one(data.fisher * near(data.sizes, 0), data.sizes)
        three(data.fisher * near(data.sizes, 1), data.sizes)

    return update


def describe_blocks(data: Blocks) -> str:
    """How much of F each keeps, and that the second has negative eigenvalues."""
    lowest = np.linalg.eigvalsh(data.fisher * near(data.sizes, 1))
    return (
        f"Of the squared norm of the Fisher matrix block-diagonal keeps {100 * data.share_diagonal:.0f} % and "
        f"block-tri-diagonal {100 * data.share:.0f} %: all but the corners far from the diagonal. But "
        f"{(lowest < -1e-10 * lowest[-1]).sum()} of its {len(lowest)} eigenvalues are negative, the lowest being "
        f"{lowest[0] / lowest[-1]:.2f} times the largest."
    )


blocks = Figure(compute_blocks, draw_blocks, describe_blocks, size=(7.2, 3.5))


class Pattern(NamedTuple):
    """Sigma at every depth: its eigenvalues, and what it makes of the layers."""

    depth: np.ndarray  # (K,) a depth for each eigenvalue
    eigenvalue: np.ndarray  # (K,)
    weights: (
        np.ndarray
    )  # (11, 12) x_l with Sigma x = 1, the shortest; NaN-free: -1 where no layer is


def compute_pattern() -> Pattern:
    """Spectrum and layer weights, L = 2 .. 12."""
    spectra = [np.linalg.eigvalsh(sigma(int(L))) for L in _DEPTHS]
    weights = np.full((len(_DEPTHS), _DEPTHS[-1]), -1.0)
    for row, L in zip(weights, _DEPTHS, strict=True):
        row[:L] = np.linalg.pinv(sigma(int(L))).sum(1)
    depth = np.concatenate([np.full(len(s), L) for s, L in zip(spectra, _DEPTHS, strict=True)])
    return Pattern(depth, np.concatenate(spectra), weights)


def draw_pattern(fig: Canvas) -> Callable[[Pattern], None]:
    """Left the eigenvalues of Sigma by depth, right the weight of every layer."""
    left, right = fig.subplots(1, 2, width_ratios=(1.15, 1))
    left.set(
        xlim=(1.5, 12.5), ylim=(-1.8, 3.2), xlabel="layers L", ylabel=r"eigenvalues of $\Sigma$"
    )
    left.set_xticks(_DEPTHS)
    left.set_title("Zero at 2, 5, 8, 11; negative from 3 on")
    left.axhline(0, color="C7", linewidth=0.9)
    looks = (
        ("positive", {"color": "C0", "marker": "o", "markersize": 4}),
        ("zero", {"color": "C1", "marker": "X", "markersize": 8}),
        ("negative", {"color": "C4", "marker": "D", "markersize": 4}),
    )
    dots = [left.plot([], [], linestyle="", label=word, **look)[0] for word, look in looks]
    left.legend(loc="lower center", ncols=3, columnspacing=0.8, handlelength=1.0)
    image = right.imshow(np.zeros((11, 12)), vmin=0, vmax=1, aspect="auto")
    image.set_extent((0.5, 12.5, 12.5, 1.5))
    right.grid(False)
    right.set_xticks(range(1, 13))
    right.set_yticks(_DEPTHS)
    right.set(xlabel="layer", ylabel="layers L")
    right.set_title(r"Weight $x_l$ of every layer")
    bar = fig.colorbar(image, ax=right, shrink=0.8)
    bar.set_ticks([0, 0.5, 1])

    def update(data: Pattern) -> None:
        value = data.eigenvalue
        parts = (value > 1e-9, abs(value) <= 1e-9, value < -1e-9)
        for dot, part in zip(dots, parts, strict=True):
            dot.set_data(data.depth[part], value[part])
        image.set_data(np.ma.masked_less(np.round(data.weights, 9), 0))

    return update


def describe_pattern(data: Pattern) -> str:
    """Where the spectrum touches zero, and which layers move."""
    singular = sorted({int(L) for L, v in zip(*data[:2], strict=True) if abs(v) < 1e-9})
    moving = (data.weights > 1e-9).sum(1)
    still = ", ".join(
        f"{m} of {L}" for m, L in zip(moving, _DEPTHS, strict=True) if L % 3 != 2 and L < 8
    )
    return (
        f"The pattern has a zero eigenvalue at the depths {', '.join(map(str, singular))} and negative ones from "
        f"depth 3 on. Of the layers only every third has a weight: {still} layers move. At the singular "
        f"depths two in three layers have weight 1/2."
    )


pattern = Figure(compute_pattern, draw_pattern, describe_pattern, size=(7.2, 3.5))


class _Start(NamedTuple):
    """A network at its start, with the eigenvectors of its block-tri-diagonal metric."""

    net: MLP
    params: Params
    layers: list[Layer]
    r: np.ndarray  # (n,)
    poles: np.ndarray  # the dampings > 0 at which the damped metric is singular, descending
    lam: np.ndarray  # (L n,) eigenvalues of K = T^1/2 (Sigma (x) I) T^1/2, T = Theta_l / N
    null: np.ndarray  # (L n,) True for the n that Sigma makes zero
    lift: np.ndarray  # (L n, L n) T^-1/2 U: from K's eigenvectors to the weights of the samples
    push: np.ndarray  # (n, L n) C = (T_1^1/2 .. T_L^1/2) U
    theta: np.ndarray  # (n, n) sum_l Theta_l / N


def _start(net: MLP, params: Params, x: Array, y: Array) -> _Start:
    """G_bar(rho) = C diag(1 / (lam + rho)) C^T: one eigendecomposition serves every damping."""
    f, layers = net.linearise(params, x)
    n, L = len(x), net.depth
    T = np.stack([k.ntk()[:, 0, :, 0] for k in empirical_kernels(layers)]) / n
    value, vector = np.linalg.eigh(T)
    root, inverse = ((vector * value[:, None, :] ** p) @ vector.swapaxes(1, 2) for p in (0.5, -0.5))
    S = sigma(L)
    K = np.block([[S[l, m] * root[l] @ root[m] for m in range(L)] for l in range(L)])
    lam, U = np.linalg.eigh(K)
    null = np.zeros(len(lam), dtype=bool)
    if L % 3 == 2:
        null[np.argsort(abs(lam))[:n]] = True
    lift = np.concatenate([inv @ u for inv, u in zip(inverse, U.reshape(L, n, -1), strict=True)])
    push = np.concatenate(list(root), axis=1) @ U
    poles = -lam[(lam < 0) & ~null]
    return _Start(net, params, layers, (f - y)[:, 0], poles, lam, null, lift, push, T.sum(0))


@functools.lru_cache(maxsize=16)
def _at(depth: int) -> _Start:
    data = networks.problem(CLASSES, train=64)
    x, y = data.x_train[:_SAMPLES], data.y_train[:_SAMPLES]
    return networks.run(_start, _WIDTH, x, y, depth=depth)


def _ratio(r: np.ndarray, r0: np.ndarray) -> Any:
    """|r|^2 / |r_0|^2 along the last axis, clipped to what the picture shows."""
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = (r**2).sum(-1) / (r0**2).sum()
    return np.clip(np.where(np.isfinite(ratio), ratio, _CEILING), 1e-30, _CEILING)


def _measure(start: _Start, weights: list[np.ndarray]) -> float:
    """Loss of the real network after one step, relative to the start."""
    x = networks.problem(CLASSES, train=64).x_train[:_SAMPLES]
    y = networks.problem(CLASSES, train=64).y_train[:_SAMPLES, 0]
    with np.errstate(over="ignore", invalid="ignore"):
        after = networks.outputs_after(start.net, start.params, start.layers, x, weights)[:, 0]
        return float(_ratio(after - y, start.r))


@functools.lru_cache(maxsize=256)
def _one_step(depth: int, damping: float, pseudo_inverse: bool) -> tuple[float, float]:
    """(block-tri-diagonal, exact): measured loss ratios after one step of size 1/ceil(L/3) and 1."""
    start = _at(depth)
    n = len(start.r)
    v = np.linalg.solve(start.theta + damping * np.eye(n), start.r) / n
    exact = _measure(start, [v[:, None]] * depth)
    if depth % 3 == 2 and damping == 0 and not pseudo_inverse:
        return _CEILING, exact
    with np.errstate(divide="ignore"):
        inverse = np.where(start.null, 0.0, 1 / (start.lam + damping))
    v = start.lift @ (inverse * (start.push.T @ start.r))
    eta = 1 / np.ceil(depth / 3)
    return _measure(start, list(eta * v.reshape(depth, n, 1) / n)), exact


@functools.lru_cache(maxsize=16)
def _sweep(depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dampings, predicted loss ratio, that of exact); the poles are among the dampings."""
    start = _at(depth)
    eta = 1 / np.ceil(depth / 3)
    near = np.concatenate([start.poles * s for s in (0.98, 1.02)])
    rho = np.unique(np.r_[np.geomspace(_LEAST, 1, 241), near[near > _LEAST]])
    inverse = np.where(start.null, 0.0, 1 / (start.lam + rho[:, None]))
    moved = (inverse * (start.push.T @ start.r)) @ start.push.T
    ratio = _ratio(start.r - eta * moved, start.r)
    at_poles = start.poles[start.poles > _LEAST]
    order = np.argsort(np.r_[rho, at_poles], kind="stable")
    rho = np.r_[rho, at_poles][order]
    ratio = np.r_[ratio, np.full(len(at_poles), _CEILING)][order]
    value, vector = np.linalg.eigh(start.theta)
    left = rho[:, None] / (value + rho[:, None]) * (vector.T @ start.r)
    return rho, ratio, _ratio(left, start.r)


class Poles(NamedTuple):
    """One block-tri-diagonal step at every depth, and at every damping."""

    layers: int
    damping: float
    pseudo_inverse: float  # 1 or 0
    depths: np.ndarray  # (11,)
    measured: np.ndarray  # (11,) loss after the step / loss before, in the network
    exact: np.ndarray  # (11,) the same of the exact method
    sweep: np.ndarray  # (R,) dampings
    predicted: np.ndarray  # (R,) loss ratio at `layers`, linear theory
    predicted_exact: np.ndarray  # (R,)
    poles: np.ndarray  # (K,) dampings at which the metric is singular


def compute_poles(layers: int, damping: float, pseudo_inverse: bool) -> Poles:
    """Steps of size 1 / ceil(L/3) on 16 digits, width 256; ratios are clipped at ten thousand.

    A plain solve at zero damping and depth 3s + 2 has no answer: it counts as the ceiling. (What a
    computer gives there, an error or noise, is the accident of its rounding.)
    """
    steps = [_one_step(int(L), float(damping), bool(pseudo_inverse)) for L in _DEPTHS]
    measured, exact = np.array(steps).T
    rho, predicted, predicted_exact = _sweep(layers)
    return Poles(
        layers, float(damping), float(pseudo_inverse), _DEPTHS, measured, exact,
        rho, predicted, predicted_exact, _at(layers).poles,
    )  # fmt: skip


def draw_poles(fig: Canvas) -> Callable[[Poles], None]:
    """Left one step at every depth, right the chosen depth at every damping."""
    left, right = fig.subplots(1, 2, sharey=True)
    btd, plain = style.METHODS["block_tridiagonal"], style.METHODS["exact"]
    left.set_yscale("log")
    left.set(xlim=(1.5, 12.5), ylim=(_FLOOR, 2 * _CEILING), xlabel="layers L")
    left.set_ylabel("loss after one step / before")
    left.set_xticks(_DEPTHS)
    left.set_title("Measured, at every depth")
    left.axhline(1, color="C7", linewidth=0.9)
    (line,) = left.plot([], [], label="block-tri-diagonal", animated=True, **btd)
    (dots,) = left.plot([], [], label="exact", gid="no-pin", animated=True, **plain)
    here = {"color": "C9", "marker": "o", "linestyle": "", "fillstyle": "none", "markersize": 11}
    (ring,) = left.plot([], [], gid="no-pin", animated=True, **here)
    left.legend(loc="lower left")
    right.set_xscale("log")
    right.set(xlim=(_LEAST * 0.7, 1.4), xlabel=r"damping $\rho$")
    right.set_title("Predicted, at every damping")
    right.axhline(1, color="C7", linewidth=0.9)
    thin = {"marker": "", "linewidth": 1.2, "animated": True}
    (curve,) = right.plot([], [], **btd | thin | {"linestyle": "-"})
    (smooth,) = right.plot([], [], gid="no-pin", **plain | thin)
    (rug,) = right.plot(
        [], [], "|", color="C4", markersize=9, label="poles", gid="no-pin", animated=True
    )
    (dot,) = right.plot([], [], label="measured", animated=True, **btd | {"linestyle": ""})
    (ring_right,) = right.plot([], [], gid="no-pin", animated=True, **here)
    right.legend(loc="lower right")

    def update(data: Poles) -> None:
        k = data.layers - _DEPTHS[0]
        line.set_data(data.depths, np.maximum(data.measured, _FLOOR))
        dots.set_data(data.depths, np.maximum(data.exact, _FLOOR))
        ring.set_data([data.layers], [max(data.measured[k], _FLOOR)])
        curve.set_data(data.sweep, np.maximum(data.predicted, _FLOOR / 10))
        smooth.set_data(data.sweep, np.maximum(data.predicted_exact, _FLOOR / 10))
        rug.set_data(data.poles, np.full(len(data.poles), 2 * _FLOOR))
        there = [max(data.damping, _LEAST)], [max(data.measured[k], _FLOOR)]
        dot.set_data(*there)
        ring_right.set_data(*there)

    return update


def describe_poles(data: Poles) -> str:
    """The chosen depth, its poles, and how many depths are worse off than before the step."""
    ratio = data.measured[data.layers - _DEPTHS[0]]
    words = f"{data.layers} layers, damping {data.damping:.3g}: "
    if data.layers % 3 == 2 and data.damping == 0 and not data.pseudo_inverse:
        words += "the metric is singular and a plain solve has no answer. "
    else:
        much = f"more than {_CEILING:.0f}" if ratio >= _CEILING else f"{ratio:.2g}"
        words += f"one step leaves {much} times the loss"
        words += f", the exact method {data.exact[data.layers - _DEPTHS[0]]:.2g}. "
    if len(data.poles):
        words += (
            f"There are {len(data.poles)} poles, from a damping of {data.poles.min():.2g} to "
            f"{data.poles.max():.2g}. "
        )
    else:
        words += "There are 0 poles: with two layers the method is the exact one. "
    plain = data.damping == 0 and not data.pseudo_inverse
    lost = [str(L) for L in data.depths if plain and L % 3 == 2]
    if lost:
        words += f"There is no answer at the depths {', '.join(lost)}. "
    worse = [str(L) for L, m in zip(data.depths, data.measured, strict=True) if m > 1]
    worse = [L for L in worse if L not in lost]
    if worse:
        return words + f"The step makes the loss larger at depth {', '.join(worse)}."
    return words + f"At no {'other ' * bool(lost)}depth does the step make the loss larger."


poles = Figure(
    compute_poles,
    draw_poles,
    describe_poles,
    size=(7.2, 3.6),
    controls={
        "layers": Slider(2, 12, 3, ticks=(2, 5, 8, 11), label="layers L"),
        "damping": LogSlider(_LEAST, 1.0, 0.0, zero=True, ticks=(1e-4, 1e-2, 1), label="damping ρ"),
        "pseudo_inverse": Choice(
            {False: "plain solve", True: "pseudo-inverse"}, False, label="singular metric"
        ),
    },
)
