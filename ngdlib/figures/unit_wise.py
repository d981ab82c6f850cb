"""Chapter 10: one block per unit, and how large a block must be."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ngdlib.figures import Choice, Figure, LogSlider, Slider, networks, style
from ngdlib.isotropy import optimal_learning_rate
from ngdlib.layers import Layer
from ngdlib.models.mlp import MLP, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

CLASSES = (3, 5)
SAMPLES = 24
DRAW = 1  # seed of the weights in the live figures: one without a lucky width
_LOW, _HIGH = 1e-4, 1e4  # ends of the axis of loss ratios


# ------------------------------------------------------------------ blocks of units, one output


def block_step(
    layer: Layer, residual: np.ndarray, size: int, relative: float
) -> tuple[np.ndarray, np.ndarray]:
    """The step (i, j) of a layer in blocks of `size` units, and its share of G_bar; one output.

    Block b has the kernel K_nm = (g_bn . g_bm) A_nm. It is solved after scaling by s_n = |g_bn|, so
    that a unit which is nearly off costs no digits; rows with s_n = 0 move nothing and are left out.
    """
    g, (n, units) = layer.g[:, 0], layer.g[:, 0].shape
    blocks = (
        np.pad(g, ((0, 0), (0, -units % size))).reshape(n, -1, size).swapaxes(0, 1)
    )  # (b, n, k)
    A = layer.a @ layer.a.T
    s = np.linalg.norm(blocks, axis=2)
    on = s > 0
    unit = blocks / np.where(on, s, 1.0)[:, :, None]
    rho = relative * (s**2 * np.diagonal(A)).sum() / s.size  # N times the damping of F
    K = unit @ unit.swapaxes(1, 2) * A
    inverse_s = np.where(on, 1 / np.where(on, s, 1.0), 0.0)
    shifted = K + np.eye(n) * (np.where(on, rho * inverse_s**2, 1.0))[:, None, :]
    v = inverse_s * np.linalg.solve(shifted, (inverse_s * residual)[:, :, None])[:, :, 0]
    weights = (v[:, :, None] * blocks).swapaxes(0, 1).reshape(n, -1)[:, :units]
    if not relative:
        return weights.T @ layer.a, np.diag(on.sum(0).astype(float))
    kept = np.linalg.solve(shifted, K)  # (K + rho / s^2)^-1 K, block by block
    G = (inverse_s[:, :, None] * kept * s[:, None, :]).sum(0).T
    return weights.T @ layer.a, G


def one_step(
    net: MLP, params: Params, x: np.ndarray, y: np.ndarray, size: int, relative: float
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray, float]:
    """One step with the best step size: the step (times it), G_bar, residuals before and after, and it."""
    f, layers = net.linearise(params, x)
    r = (f - y)[:, 0]
    steps, shares = zip(*(block_step(layer, r, size, relative) for layer in layers), strict=True)
    G = np.sum(shares, axis=0)
    eta = optimal_learning_rate(G)
    after = (net.apply(net.update(params, list(steps), eta), x) - y)[:, 0]
    return [eta * step for step in steps], G, r, after, eta


def _ratio(after: np.ndarray, before: np.ndarray) -> float:
    """Loss after over loss before, up to the end of the axis: beyond it, rounding is magnified too."""
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = (after**2).sum() / (before**2).sum()
    return float(np.clip(np.nan_to_num(ratio, nan=_HIGH, posinf=_HIGH), 1e-30, _HIGH))


# ------------------------------------------------------------------ masks


class Masks(NamedTuple):
    """The Fisher matrix of a small network, and what each approximation keeps of it."""

    matrices: np.ndarray  # (6, P, P), over the largest entry
    kept: np.ndarray  # (6,) entries that may differ from zero


MASKS = ("exact", "block_tridiagonal", "block_diagonal", "mini_block", "unit_wise", "diagonal")


@functools.lru_cache(maxsize=1)
def compute_masks() -> Masks:
    """F of a (6, 6, 6, 1) ReLU network from 32 digits on their leading six directions."""
    x = networks.problem(CLASSES, train=64).x_train
    x = x[:32] @ np.linalg.svd(x, full_matrices=False)[2][:6].T
    layers = networks.run(MLP.layers, 6, x, inputs=6, seed=8)
    J = np.concatenate([layer.jacobian().reshape(len(x), -1) for layer in layers], axis=1)
    F = J.T @ J / len(x)
    layer_of = np.repeat([0, 1, 2], [36, 36, 6])
    unit_of = np.repeat(np.arange(13), 6)
    group_of = np.repeat([0, 1, 2, 3, 4], [18, 18, 18, 18, 6])
    parameter = np.arange(78)
    distance = abs(layer_of[:, None] - layer_of)
    masks = [
        distance < 3, distance < 2, distance < 1,
        *(which[:, None] == which for which in (group_of, unit_of, parameter)),
    ]  # fmt: skip
    return Masks(
        np.stack([np.where(mask, F, 0.0) for mask in masks]) / abs(F).max(),
        np.array([float(mask.sum()) for mask in masks]),
    )


def draw_masks(fig: Canvas) -> Callable[[Masks], None]:
    """Six heat-maps in one scale."""
    panels = fig.subplots(2, 3).ravel()
    images = []
    for ax, name in zip(panels, MASKS, strict=True):
        ax.grid(False)
        ax.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0))
        for side in ("top", "right"):
            ax.spines[side].set_visible(True)
        ax.set_title(style.NAMES[name] + (", 3 units" if name == "mini_block" else ""))
        images.append(
            ax.imshow(
                np.zeros((2, 2)), vmin=-1, vmax=1, cmap=style.diverging(), extent=(0, 1, 1, 0)
            )
        )
    bar = fig.colorbar(images[0], ax=list(panels), shrink=0.6, ticks=(-1, 0, 1))
    bar.set_label("cube root of the entries")

    def update(data: Masks) -> None:
        for image, matrix in zip(images, data.matrices, strict=True):
            image.set_data(np.cbrt(matrix))

    return update


def describe_masks(data: Masks) -> str:
    """How many entries each one keeps."""
    kept = ", ".join(
        f"{style.NAMES[name]} {count:.0f}" for name, count in zip(MASKS, data.kept, strict=True)
    )
    return (
        "The Fisher matrix of a network with two hidden layers of 6 ReLU units and one output, from 32 "
        f"digits, and what is left of its entries under each mask: {kept}."
    )


masks = Figure(compute_masks, draw_masks, describe_masks, size=(7.2, 4.9))


# ------------------------------------------------------------------ one step against the block's size


class Blocks(NamedTuple):
    """One step for every size of block, and how far the steps of the blocks reach."""

    width: int
    size: int
    damping: float
    activation: str
    norm: float
    sizes: np.ndarray  # 1, 2, 4 .. width
    measured: np.ndarray  # loss after one step over loss before
    predicted: np.ndarray  # by linear theory
    alpha: float  # of the chosen size
    deviation: float
    chosen: float  # measured, at the chosen size
    reach: np.ndarray  # |change of the pre-activations| of each block of layer 1 and sample, sorted
    reach_share: np.ndarray  # share of them that is larger
    reach_units: np.ndarray  # the same for single units
    reach_units_share: np.ndarray
    furthest: float


def _reach(step: np.ndarray, x: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted lengths of the blocks' changes in pre-activation, and the share that is at least as long."""
    u = x @ step.T  # (n, i)
    blocks = np.pad(u, ((0, 0), (0, -u.shape[1] % size))).reshape(len(u), -1, size)
    length = np.sort(np.linalg.norm(blocks, axis=2).ravel())
    length = length[length > 0]
    share = np.arange(len(length), 0, -1) / len(length)
    # At most 300 points: all of the tail, and every few of the rest.
    pick = np.unique(np.geomspace(1, len(length), 300).astype(int))
    return length[-pick], share[-pick]


def _experiment(
    net: MLP, params: Params, x: np.ndarray, y: np.ndarray, *, size: int, damping: float
) -> Blocks:
    sizes = [1 << k for k in range(net.widths[1].bit_length()) if 1 << k <= net.widths[1]]
    a = x * (net.weight_variance / net.widths[0]) ** 0.5
    measured, predicted, reach = [], [], {}
    alpha = deviation = chosen = 0.0
    for k in sizes:
        step, G, before, after, eta = one_step(net, params, x, y, k, damping)
        measured.append(_ratio(after, before))
        predicted.append(_ratio(before - eta * G @ before, before))
        if k in (1, size):
            reach[k] = _reach(step[0], a, k)
        if k == size:
            alpha = float(np.trace(G) / len(G))
            deviation = float(np.linalg.norm(G - alpha * np.eye(len(G)), 2) / alpha)
            chosen = measured[-1]
    return Blocks(
        net.widths[1], size, damping, net.activation, 0.0,
        np.array(sizes, dtype=float), np.array(measured), np.array(predicted),
        alpha, deviation, chosen, *reach[size], *reach[1], float(reach[size][0].max()),
    )  # fmt: skip


def compute_blocks(
    size: int, damping: float, width: int, activation: str, norm: float, draw: int = DRAW
) -> Blocks:
    """One step on 24 digits of norm `norm`, in blocks of 1, 2, 4 .. units; `size` is rounded to these."""
    data = networks.problem(CLASSES, train=64)
    size = min(1 << round(np.log2(size)), 1 << (width.bit_length() - 1))
    x, y = norm * data.x_train[:SAMPLES], data.y_train[:SAMPLES]
    out: Blocks = networks.run(
        _experiment,
        width,
        x,
        y,
        activation=activation,
        seed=draw,
        size=size,
        damping=float(damping),
    )
    return out._replace(norm=float(norm))


def draw_blocks(fig: Canvas) -> Callable[[Blocks], None]:
    """Left the loss after one step against the size of a block, right how far blocks move."""
    left, right = fig.subplots(1, 2, width_ratios=(1.1, 1))
    left.set_xscale("log", base=2)
    left.set_yscale("log")
    left.set(
        xlim=(0.8, 640),
        ylim=(_LOW / 2, _HIGH * 2),
        xlabel="units per block",
        ylabel="loss after / before",
    )
    left.set_xticks([1, 4, 16, 64, 256], ["1", "4", "16", "64", "256"])
    left.set_title("One step")
    left.axhline(1.0, color="C7", linewidth=0.9)
    move = {"animated": True}
    (theory,) = left.plot([], [], label="linear theory", **style.METHODS["theory"] | move)
    (line,) = left.plot([], [], label="measured", **style.METHODS["mini_block"] | move)
    (here,) = left.plot(
        [],
        [],
        linestyle="",
        marker="o",
        markersize=13,
        fillstyle="none",
        color="C5",
        label="this size",
        **move,
    )
    left.legend(loc="upper right")

    right.set_xscale("log")
    right.set_yscale("log")
    right.set(xlim=(1e-4, 1e5), ylim=(1e-4, 2), xlabel="change of a block's input $u$, layer 1")
    right.set_ylabel("share of larger changes")
    right.set_title("Tails of the step")
    t = np.array([1.0, 1e3])
    right.plot(t, 0.3 / t, color="C7", linewidth=1.1, linestyle=(0, (4, 2)), label=r"slope $-1$")
    (units,) = right.plot(
        [], [], label="single units", **style.METHODS["unit_wise"] | move | {"marker": ""}
    )
    (blocks,) = right.plot([], [], color="C5", linewidth=2.2, label="this size", **move)
    right.legend(loc="upper right")

    def update(data: Blocks) -> None:
        theory.set_data(data.sizes, np.clip(data.predicted, _LOW, _HIGH))
        line.set_data(data.sizes, np.clip(data.measured, _LOW, _HIGH))
        here.set_data([data.size], [np.clip(data.chosen, _LOW, _HIGH)])
        units.set_data(np.clip(data.reach_units, 1e-4, 1e5), data.reach_units_share)
        blocks.set_data(np.clip(data.reach, 1e-4, 1e5), data.reach_share)

    return update


def describe_blocks(data: Blocks) -> str:
    """What one step does at the chosen size."""
    units = "one unit" if data.size == 1 else f"{data.size} units"
    damped = f"relative damping {data.damping:.2g}" if data.damping else "no damping"
    much = f"{data.chosen:.2g}" if data.chosen < _HIGH else f"more than {_HIGH:,.0f}"
    predicted = data.predicted[list(data.sizes).index(data.size)]
    theory = "0" if predicted < 1e-12 else f"{predicted:.2g}"
    kind = data.activation.replace("relu", "ReLU")
    return (
        f"Blocks of {units}, width {data.width}, {kind}, inputs of norm {data.norm:.2g}, {damped}: "
        f"alpha is {data.alpha:.4g}, {100 * data.deviation:.2g} % off isotropy. One step multiplies the "
        f"loss by {much}; linear theory says {theory}. The largest change of a block's input is {data.furthest:.2g}."
    )


blocks = Figure(
    compute_blocks,
    draw_blocks,
    describe_blocks,
    controls={
        "size": LogSlider(1, 256, 1, ticks=(1, 16, 256), label="units per block"),
        "damping": LogSlider(
            1e-5, 1.0, 0.01, zero=True, ticks=(1e-4, 1e-2), label="relative damping"
        ),
        "width": Slider(64, 256, 256, step=32, cpu=512, gpu=512, ticks=(64, 128)),
        "activation": Choice({"relu": "ReLU", "tanh": "tanh", "erf": "erf"}, "relu"),
        "norm": Slider(1.0, 8.0, 1.0, step=0.5, ticks=(1, 4), label="norm of the inputs"),
    },
)


# ------------------------------------------------------------------ one step against the width


class Widths(NamedTuple):
    """Loss after one step over loss before, per width and draw of the weights."""

    widths: np.ndarray
    ratios: np.ndarray  # (curves, widths, draws)
    median: np.ndarray  # (curves, widths)


CURVES = (("relu", 1, 0.0), ("relu", 1, 0.01), ("relu", 16, 0.0), ("tanh", 1, 0.0))


@functools.lru_cache(maxsize=2)
def compute_widths(draws: int = 9) -> Widths:
    """Unit-wise and mini-block steps on 24 digits, widths 64 to 512."""
    data = networks.problem(CLASSES, train=64)
    x, y, widths = data.x_train[:SAMPLES], data.y_train[:SAMPLES], (64, 128, 256, 512)
    ratios = np.empty((len(CURVES), len(widths), draws))
    for w, width in enumerate(widths):
        for draw in range(draws):
            for c, (activation, size, damping) in enumerate(CURVES):
                net = MLP((64, width, width, 1), activation)
                _, _, before, after, _ = one_step(net, net.init(seed=draw), x, y, size, damping)
                ratios[c, w, draw] = _ratio(after, before)
    return Widths(np.array(widths, dtype=float), ratios, np.median(ratios, axis=2))


def draw_widths(fig: Canvas) -> Callable[[Widths], None]:
    """Medians as lines, every draw as a dot."""
    ax = fig.subplots()
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set(xlim=(52, 640), ylim=(3e-4, 1e6), xlabel="width", ylabel="loss after one step / before")
    ax.set_xticks([64, 128, 256, 512], ["64", "128", "256", "512"])
    ax.set_title("Units alone explode with ReLU; damping, larger blocks or tanh hold them")
    ax.axhline(1.0, color="C7", linewidth=0.9)
    unit, mini = style.METHODS["unit_wise"], style.METHODS["mini_block"]
    looks: list[dict[str, Any]] = [
        unit, unit | {"linestyle": "-", "fillstyle": "none"}, mini,
        style.METHODS["unit_wise"] | {"color": "C8", "marker": "o"},
    ]  # fmt: skip
    words = (
        "ReLU, unit-wise, no damping",
        "ReLU, unit-wise, relative damping 0.01",
        "ReLU, blocks of 16 units, no damping",
        "tanh, unit-wise, no damping",
    )
    lines = [
        ax.plot([], [], label=word, markersize=6, **look)[0]
        for word, look in zip(words, looks, strict=True)
    ]
    dots = [
        ax.plot([], [], linestyle="", marker=".", markersize=3, alpha=0.6, color=look["color"])[0]
        for look in looks
    ]
    ax.legend(loc="upper right", ncols=2)

    def update(data: Widths) -> None:
        draws = data.ratios.shape[2]
        for line, cloud, median, ratios in zip(lines, dots, data.median, data.ratios, strict=True):
            line.set_data(data.widths, np.clip(median, 3e-4, 1e6))
            cloud.set_data(np.repeat(data.widths, draws), np.clip(ratios.ravel(), 3e-4, 1e6))

    return update


def describe_widths(data: Widths) -> str:
    """Medians at the narrowest and the widest."""
    relu, damped, mini, tanh = data.median
    return (
        f"Loss after one step over the loss before, medians of {data.ratios.shape[2]} draws, at width "
        f"{data.widths[0]:.0f} and {data.widths[-1]:.0f}: ReLU without damping {relu[0]:.2g} and {relu[-1]:.2g}; "
        f"with relative damping 0.01, {damped[0]:.2g} and {damped[-1]:.2g}; in blocks of 16 units "
        f"{mini[0]:.2g} and {mini[-1]:.2g}; tanh {tanh[0]:.2g} and {tanh[-1]:.2g}."
    )


widths = Figure(compute_widths, draw_widths, describe_widths, size=(7.2, 3.8))
