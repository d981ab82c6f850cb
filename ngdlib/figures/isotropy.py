"""Chapter 11: one matrix per method, and how far it is from a multiple of the identity."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ngdlib.figures import Choice, Figure, LogSlider, Slider, networks, style
from ngdlib.fisher import Fisher, block_tridiagonal, find, mini_block
from ngdlib.isotropy import isotropy
from ngdlib.layers import Layer
from ngdlib.models.mlp import MLP
from ngdlib.solve import Method, natural_gradient

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.image import AxesImage

CLASSES = (3, 5)
NAMES = tuple(name for name in style.METHODS if name not in ("theory", "measured", "train", "test"))
_BLOCK = 8  # units of a mini-block
_ROUNDING = 1e-9  # a deviation below this is rounding
_LOWEST = 1e-16  # left end of the meter
_HIGHEST = 30.0  # its right end, and that of the eigenvalues
_DARKEST = 1e-4  # entries of F below this share of the largest are drawn alike


def digits_by_class(samples: int) -> np.ndarray:
    """The first threes and fives of the training set, (samples, 64), threes first."""
    data = networks.problem(CLASSES, train=64)
    return data.x_train[:samples][np.argsort(data.y_train[:samples, 0], kind="stable")]


def options(method: str) -> Fisher:
    """The method as this chapter shows it: every depth, mini-blocks of eight units."""
    if method == "block_tridiagonal":
        return block_tridiagonal(pseudo_inverse=True)
    return mini_block(_BLOCK) if method == "mini_block" else find(method)


def promised(
    method: str, samples: int, depth: int, width: int, outputs: int = 1, activation: str = "relu"
) -> float:
    """The alpha of the table of this chapter, where it has one; 0 where no alpha is promised."""
    if method == "kfac":
        return samples * (depth - 1) + 1.0
    if method == "block_diagonal":
        return float(depth)
    if method == "block_tridiagonal":
        return float(ceil(depth / 3))
    if method in ("unit_wise", "mini_block"):
        size = 1 if method == "unit_wise" else min(_BLOCK, width)
        on = 1 - 0.5**size if activation == "relu" else 1.0
        # A block reaches at most min(units, outputs) of the outputs of a sample.
        reach = min(size, outputs) / outputs
        return on * ceil(width / size) * (depth - 1) * reach + min(1, size / outputs) * ceil(
            outputs / size
        )
    return 1.0 if method == "exact" else 0.0


def diagonal_matrix(layers: Sequence[Layer], damping: float = 0.0) -> np.ndarray:
    """G_bar of the diagonal Fisher matrix for one output, (n, n), without a number per weight and sample.

    G_nm = sum_ij g_ni a_nj g_mi a_mj / (N D_ij + N rho): one matrix product over pairs of samples.
    """
    n = len(layers[0].a)
    first, second = np.triu_indices(n)
    pairs = np.zeros(len(first))
    for a, g in layers:
        D = (g[:, 0] ** 2).T @ a**2 / n + damping
        W = np.where(D > 0, 1 / np.where(D > 0, D, 1.0), 0.0)
        pairs += (((g[first, 0] * g[second, 0]) @ W) * (a[first] * a[second])).sum(1) / n
    G = np.empty((n, n))
    G[first, second] = G[second, first] = pairs
    return G


def matrix_of(method: str, layers: Sequence[Layer], damping: float) -> tuple[np.ndarray, bool]:
    """G_bar, (n c, n c), and whether the undamped step exists. Where it does not, G_bar of a
    damping far below the largest eigenvalue of F stands in."""
    if method == "diagonal" and layers[0].g.shape[1] == 1:
        return diagonal_matrix(layers, damping), True
    fisher: Method = options(method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # K-FAC warns where its conditions fail; we show it
        try:
            return isotropy(fisher, layers, damping=damping).matrix, True
        except ValueError:
            tiny = 1e-8 if method == "block_tridiagonal" else 1e-10  # the former is indefinite
            largest = float(np.linalg.norm(isotropy("gradient", layers).matrix, 2))
            return isotropy(fisher, layers, damping=tiny * largest).matrix, False


def alpha_and_deviation(matrix: np.ndarray) -> tuple[float, float]:
    """alpha = tr G / N C  and  |G - alpha I|_2 / alpha."""
    alpha = float(np.trace(matrix) / len(matrix))
    return alpha, float(np.linalg.norm(matrix / alpha - np.eye(len(matrix)), 2))


def _word(deviation: float) -> str:
    return "0" if deviation < _ROUNDING else f"{deviation:.2g}"


def _map(ax: Axes, title: str, **options: Any) -> AxesImage:
    """An empty picture of G_bar / alpha: 1 and above in the warm colour, 0 the paper."""
    ax.grid(False)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title)
    blank = np.zeros((2, 2))
    look: dict[str, Any] = {"vmin": -1, "vmax": 1, "cmap": style.diverging()}
    return ax.imshow(blank, extent=(0, 1, 1, 0), **look, **options)


# ------------------------------------------------------------------ the gallery


class Gallery(NamedTuple):
    """G_bar / alpha of every method, on the same network and the same digits."""

    samples: int
    width: int
    matrices: np.ndarray  # (methods x n, n), one below the other, in the order of NAMES
    alpha: np.ndarray  # (methods,)
    deviation: np.ndarray  # (methods,)


@functools.lru_cache(maxsize=2)
def compute_gallery(samples: int = 16, width: int = 256) -> Gallery:
    """Threes and fives through a (64, width, width, 1) ReLU network, no damping."""
    layers = networks.run(MLP.layers, width, digits_by_class(samples))
    found = [matrix_of(name, layers, 0.0)[0] for name in NAMES]
    alpha, deviation = np.array([alpha_and_deviation(G) for G in found]).T
    scaled = np.concatenate([G / a for G, a in zip(found, alpha, strict=True)])
    return Gallery(samples, width, scaled, alpha, deviation)


def draw_gallery(fig: Canvas) -> Callable[[Gallery], None]:
    """Eight heat-maps in one scale, each with its alpha and its deviation."""
    panels = fig.subplots(2, 4)
    images = [_map(ax, style.NAMES[name]) for ax, name in zip(panels.flat, NAMES, strict=True)]
    for ax in panels.flat:
        ax.set_xlabel(" \n ", fontsize=8.5)
    bar = fig.colorbar(images[0], ax=panels, shrink=0.6, ticks=(-1, 0, 1))
    bar.set_label(r"$\bar G \,/\, \alpha$")

    def update(data: Gallery) -> None:
        pieces = data.matrices.reshape(len(NAMES), data.samples, -1)
        for ax, image, G, alpha, deviation in zip(
            panels.flat, images, pieces, data.alpha, data.deviation, strict=True
        ):
            image.set_data(G)
            ax.set_xlabel(f"α = {round(alpha, 9):.4g}\ndeviation {_word(deviation)}")

    return update


def describe_gallery(data: Gallery) -> str:
    """Each method's alpha and deviation."""
    each = "; ".join(
        f"{style.NAMES[name]} {alpha:.3g} and {_word(deviation)}"
        for name, alpha, deviation in zip(NAMES, data.alpha, data.deviation, strict=True)
    )
    return (
        f"The matrices of {len(NAMES)} methods on {data.samples} digits at width {data.width}. Alpha and the "
        f"deviation from alpha I are: {each}. The last two have bright entries off the diagonal."
    )


gallery = Figure(compute_gallery, draw_gallery, describe_gallery, size=(7.2, 4.6))


# ------------------------------------------------------------------ what is kept of F


class Masks(NamedTuple):
    """The Fisher matrix of a small network, as each method has it."""

    fishers: np.ndarray  # (methods x P, P), absolute values over the largest
    sizes: np.ndarray  # (L,) parameters per layer
    entries: np.ndarray  # (methods,) share of the entries that are not zero
    error: np.ndarray  # (methods,) |F_hat - F| / |F|, Frobenius


@functools.lru_cache(maxsize=1)
def compute_masks(samples: int = 32) -> Masks:
    """A (16, 8, 8, 8, 1) tanh network and digits shrunk to 4 x 4 pixels: 264 weights."""
    x = digits_by_class(samples).reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(samples, 16)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    net = MLP((16, 8, 8, 8, 1), activation="tanh")
    layers = net.layers(net.init(seed=0), x)
    J = np.concatenate([b.jacobian().reshape(samples, -1) for b in layers], axis=1)
    F = J.T @ J / samples
    dense = []
    for name in NAMES:
        fisher = mini_block(4) if name == "mini_block" else find(name)
        dense.append(fisher.parameter_space(layers).dense())
    return Masks(
        np.concatenate([abs(D) / abs(D).max() for D in dense]),
        np.array([b.a.shape[1] * b.g.shape[2] for b in layers]),
        np.array([(abs(D) > 0).mean() for D in dense]),
        np.array([np.linalg.norm(D - F) / np.linalg.norm(F) for D in dense]),
    )


def draw_masks(fig: Canvas) -> Callable[[Masks], None]:
    """Eight pictures of the same matrix on a logarithmic scale; what is not kept is darkest."""
    panels = fig.subplots(2, 4)
    images = []
    for ax, name in zip(panels.flat, NAMES, strict=True):
        ax.grid(False)
        ax.set_title("identity" if name == "gradient" else style.NAMES[name])
        image = ax.imshow(
            np.zeros((2, 2)), vmin=np.log10(_DARKEST), vmax=0, interpolation="antialiased"
        )
        ax.set_xlabel(" \n ", fontsize=8.5)
        images.append(image)
    bar = fig.colorbar(images[0], ax=panels, shrink=0.6)
    exponents = range(round(np.log10(_DARKEST)), 1)
    bar.set_ticks(list(exponents), labels=[style.power(10.0**e) for e in exponents])
    bar.set_label("|entry| / largest")

    def update(data: Masks) -> None:
        ends = np.cumsum(data.sizes)
        pieces = data.fishers.reshape(len(NAMES), ends[-1], -1)
        for ax, image, F, entries, error in zip(
            panels.flat, images, pieces, data.entries, data.error, strict=True
        ):
            image.set_data(np.log10(np.maximum(F, _DARKEST)))
            image.set_extent((0, ends[-1], ends[-1], 0))
            ax.set_xticks(ends[:-1], [])
            ax.set_yticks(ends[:-1], [])
            words = f"error {_word(error)}" if error < 2 else "no likeness"
            ax.set_xlabel(f"{100 * entries:.3g} % kept\n{words}")

    return update


def describe_masks(data: Masks) -> str:
    """How much of the matrix each method keeps, and how wrong it is."""
    each = "; ".join(
        f"{style.NAMES[name]} {100 * entries:.3g} % and {_word(error)}"
        for name, entries, error in zip(NAMES[:-1], data.entries, data.error, strict=False)
    )
    return (
        f"The Fisher matrix of a network with {data.sizes.sum()} weights in {len(data.sizes)} layers, as the methods "
        f"have it. Entries that are not zero, and relative error in the Frobenius norm: {each}. Gradient descent "
        "has the identity."
    )


masks = Figure(compute_masks, draw_masks, describe_masks, size=(7.2, 4.6))


# ------------------------------------------------------------------ against width


class Widths(NamedTuple):
    """The deviation against the width: means over some draws of the weights."""

    widths: np.ndarray
    diagonal: np.ndarray  # |G - alpha I|_2 / alpha
    entry: np.ndarray  # largest entry of |G - alpha I| / alpha, diagonal Fisher
    top: np.ndarray  # largest eigenvalue of G / alpha, diagonal Fisher
    unit_wise: np.ndarray
    mini_block: np.ndarray
    active: np.ndarray  # tr G of the diagonal Fisher
    draws: int


@functools.lru_cache(maxsize=2)
def compute_widths(samples: int = 16, draws: int = 5) -> Widths:
    """ReLU, three layers, no damping."""
    x = digits_by_class(samples)
    widths = np.array([16, 32, 64, 128, 256, 512, 1024])
    rows = []
    for width in widths.tolist():
        found = []
        for draw in range(draws):
            layers = networks.run(MLP.layers, width, x, seed=draw)
            G = diagonal_matrix(layers)
            alpha, deviation = alpha_and_deviation(G)
            scaled = G / alpha
            found.append(
                (
                    deviation,
                    abs(scaled - np.eye(samples)).max(),
                    np.linalg.eigvalsh(scaled)[-1],
                    *(
                        alpha_and_deviation(matrix_of(name, layers, 0.0)[0])[1]
                        for name in ("unit_wise", "mini_block")
                    ),
                    np.trace(G),
                )
            )
        rows.append(np.mean(found, axis=0))
    deviation, worst, top, units, blocks, active = np.array(rows).T
    return Widths(widths, deviation, worst, top, units, blocks, active, draws)


def draw_widths(fig: Canvas) -> Callable[[Widths], None]:
    """Left the deviation of three methods, right two more meters on the diagonal Fisher."""
    left, right = fig.subplots(1, 2)
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set(xlim=(12, 1400), xlabel="width $M$")
        ax.set_xticks([16, 64, 256, 1024])
    left.set_yscale("log")
    left.set(ylim=(3e-3, 20), ylabel=r"deviation")
    left.set_title("Wider helps only where a mean settles")
    lines = {
        name: left.plot([], [], label=style.NAMES[name], **style.METHODS[name])[0]
        for name in ("diagonal", "unit_wise", "mini_block")
    }
    (slope,) = left.plot([], [], label=r"$\sim 1/\sqrt{M}$", **style.METHODS["theory"])
    left.legend(loc="upper right", bbox_to_anchor=(1.0, 0.75), fontsize=8)
    right.set(ylim=(0, 5.2))
    right.set_title("The diagonal Fisher, in units of α")
    look = style.METHODS["diagonal"]
    (top,) = right.plot([], [], label="largest eigenvalue", **look | {"linestyle": "-"})
    (entry,) = right.plot([], [], label="worst entry", **look | {"marker": "s", "color": "C4"})
    right.axhline(1, **style.METHODS["theory"])
    right.legend(loc="center right", fontsize=8)

    def update(data: Widths) -> None:
        for name, line in lines.items():
            line.set_data(data.widths, getattr(data, name))
        slope.set_data(data.widths, data.unit_wise[0] * np.sqrt(data.widths[0] / data.widths))
        top.set_data(data.widths, data.top)
        entry.set_data(data.widths, data.entry)

    return update


def describe_widths(data: Widths) -> str:
    """First and last values."""
    return (
        f"From width {data.widths[0]} to {data.widths[-1]} the deviation of unit-wise falls from "
        f"{data.unit_wise[0]:.2g} to {data.unit_wise[-1]:.2g} and that of mini-blocks of {_BLOCK} from "
        f"{data.mini_block[0]:.2g} to {data.mini_block[-1]:.2g}. That of the diagonal Fisher goes from "
        f"{data.diagonal[0]:.2g} to {data.diagonal[-1]:.2g}; its largest eigenvalue from {data.top[0]:.2g} to "
        f"{data.top[-1]:.2g} times alpha, its worst entry from {data.entry[0]:.2g} to {data.entry[-1]:.2g}."
    )


widths = Figure(compute_widths, draw_widths, describe_widths, size=(7.2, 3.4))


# ------------------------------------------------------------------ exact at finite width

FLOWS = ("exact", "block_diagonal", "block_tridiagonal")


class Flow(NamedTuple):
    """A path of given length in ever smaller steps, and its distance from theory at the end."""

    width: int
    products: np.ndarray  # (k,) eta alpha
    tanh: np.ndarray  # (methods x k,) |r_T - (1 - eta alpha)^T r_0| / |r_0|
    relu: np.ndarray  # (methods x k,)
    flips: np.ndarray  # (k,) most often that one ReLU unit switched on one digit, exact


def walk(
    method: str, activation: str, product: float, width: int, samples: int
) -> tuple[float, int]:
    """T = 1 / product steps of size product / alpha: the distance from theory, and the most switches of a unit."""
    data = networks.problem(CLASSES, train=64)
    x, y = data.x_train[:samples], data.y_train[:samples]
    net = MLP((64, width, width, 1), activation=activation)
    params, fisher = net.init(seed=0), options(method)
    eta = product / promised(method, samples, 3, width, activation=activation)
    steps = round(1 / product)
    on, start = [], net.apply(params, x) - y
    for _ in range(steps):
        f, layers = net.linearise(params, x)
        on.append(np.concatenate([(b.g[:, 0] != 0).ravel() for b in layers[:-1]]))
        step = natural_gradient(fisher, layers, f - y, damping=0.0)
        params = net.update(params, step, eta)
    switched = np.array(on)
    left = net.apply(params, x) - y - (1 - product) ** steps * start
    return (
        float(np.linalg.norm(left) / np.linalg.norm(start)),
        int((switched[1:] != switched[:-1]).sum(0).max(initial=0)),
    )


@functools.lru_cache(maxsize=2)
def compute_flow(width: int = 32, samples: int = 16) -> Flow:
    """Exact, block-diagonal and block-tri-diagonal, with a smooth activation and one with kinks."""
    products = np.array([1.0, 0.3, 0.1, 0.03, 0.01])
    runs = {
        kind: [[walk(m, kind, c, width, samples) for c in products.tolist()] for m in FLOWS]
        for kind in ("tanh", "relu")
    }
    ends = {
        kind: np.array([[end for end, _ in row] for row in rows]) for kind, rows in runs.items()
    }
    flips = np.array([switches for _, switches in runs["relu"][0]])
    return Flow(width, products, ends["tanh"].ravel(), ends["relu"].ravel(), flips)


def draw_flow(fig: Canvas) -> Callable[[Flow], None]:
    """Left tanh, right ReLU: the distance from theory against the length of a step."""
    panels = fig.subplots(1, 2, sharey=True)
    lines = []
    for ax, title in zip(panels, ("tanh: theory is reached", "ReLU: a rest remains"), strict=True):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set(xlim=(0.007, 1.4), ylim=(1e-6, 3), xlabel=r"step $\eta\alpha$")
        ax.set_title(title)
        lines += [ax.plot([], [], label=style.NAMES[m], **style.METHODS[m])[0] for m in FLOWS]
    panels[0].set_ylabel("distance from theory")
    panels[0].legend(loc="upper left", fontsize=8)

    def update(data: Flow) -> None:
        k = len(data.products)
        for line, ends in zip(
            lines, np.concatenate([data.tanh, data.relu]).reshape(-1, k), strict=True
        ):
            line.set_data(data.products, ends)

    return update


def describe_flow(data: Flow) -> str:
    """Where both activations end."""
    k = len(data.products)
    first, last = data.tanh.reshape(-1, k), data.relu.reshape(-1, k)
    return (
        f"Width {data.width}: a path of length 1 in 1 to {round(1 / data.products[-1])} steps. With tanh the exact "
        f"method's distance from theory falls from {first[0, 0]:.2g} to {first[0, -1]:.1g}, with ReLU from "
        f"{last[0, 0]:.2g} to {last[0, -1]:.1g}, and the last two values of ReLU differ by "
        f"{100 * abs(last[0, -2] / last[0, -1] - 1):.0f} percent only. One unit switches {data.flips[-1]} times."
    )


flow = Figure(compute_flow, draw_flow, describe_flow, size=(7.2, 3.3))


# ------------------------------------------------------------------ the meter


class Meter(NamedTuple):
    """G_bar of one method, its eigenvalues, and its deviation."""

    method: str
    layers: int
    width: int
    samples: int
    damping: float
    activation: str
    matrix: np.ndarray  # G_bar / alpha, (n, n)
    eigenvalues: np.ndarray  # (n,) of G_bar / alpha, rising
    alpha: float
    promised: float  # by the table; 0 if it promises nothing
    deviation: float
    worst_entry: float  # of |G_bar / alpha - I|
    exists: bool  # whether the undamped step does


def compute_meter(
    method: str,
    layers: int,
    width: int,
    samples: int,
    damping: float,
    activation: str,
) -> Meter:
    """Threes and fives, in this order, through a network of that depth and width."""
    blocks = networks.run(
        MLP.layers, width, digits_by_class(samples), depth=layers, activation=activation
    )
    G, exists = matrix_of(method, blocks, damping)
    alpha, deviation = alpha_and_deviation(G)
    scaled = G / alpha
    eigenvalues = np.linalg.eigvalsh((scaled + scaled.T) / 2)
    worst = float(abs(scaled - np.eye(samples)).max())
    table = promised(method, samples, layers, width, activation=activation)
    return Meter(
        method, layers, width, samples, damping, activation, scaled, eigenvalues, alpha, table,
        deviation, worst, exists,
    )  # fmt: skip


def draw_meter(fig: Canvas) -> Callable[[Meter], None]:
    """Left the matrix, right its eigenvalues and, below, the meter."""
    axes = fig.subplot_mosaic([["map", "spectrum"], ["map", "meter"]], height_ratios=[3.2, 1])
    image = _map(axes["map"], r"$\bar G / \alpha$, threes first", animated=True)
    bar = fig.colorbar(image, ax=axes["map"], shrink=0.7, ticks=(-1, 0, 1))
    bar.ax.tick_params(labelsize=8)
    ax = axes["spectrum"]
    ax.set_yscale("log")
    ax.set(xlim=(-0.02, 1.02), ylim=(1e-4, _HIGHEST), xticks=[], xlabel="eigenvalues, sorted")
    ax.set_title(r"Eigenvalues of $\bar G / \alpha$")
    look: dict[str, Any] = {"linestyle": "", "marker": "o", "animated": True}
    (dots,) = ax.plot([], [], color="C0", **look)
    ax.axhline(1, **style.METHODS["theory"])
    ax = axes["meter"]
    ax.set_xscale("log")
    ax.set(xlim=(_LOWEST, _HIGHEST), ylim=(0, 1), yticks=[], xlabel=r"deviation")
    ax.set_xticks([1e-15, 1e-10, 1e-5, 1])
    ax.grid(False)
    ax.axvspan(_LOWEST, _ROUNDING, color="C2", alpha=0.18, linewidth=0)
    ax.text(2e-16, 0.74, "rounding", fontsize=8)
    ax.axvspan(1, _HIGHEST, color="C1", alpha=0.18, linewidth=0)
    (needle,) = ax.plot([], [], color="C9", linewidth=5, solid_capstyle="butt", animated=True)

    def update(data: Meter) -> None:
        image.set_data(data.matrix)
        dots.set_data(
            np.linspace(0, 1, len(data.eigenvalues)),
            np.clip(data.eigenvalues, 1.2e-4, _HIGHEST / 1.2),
        )
        needle.set_data([_LOWEST, np.clip(data.deviation, 2 * _LOWEST, _HIGHEST)], [0.5, 0.5])

    return update


def describe_meter(data: Meter) -> str:
    """Alpha, what the table promises, the deviation and what it means."""
    damped = f", damping {data.damping:.0e}" if data.damping else ""
    kind = data.activation.replace("relu", "ReLU")
    words = (
        f"{style.NAMES[data.method][0].upper()}{style.NAMES[data.method][1:]}, {data.layers} layers of width "
        f"{data.width} ({kind}), {data.samples} digits{damped}: α = {round(data.alpha, 9):.4g}"
    )
    words += f", where the table says {data.promised:.4g}. " if data.promised else ". "
    if data.deviation < _ROUNDING:
        words += f"Isotropic: the deviation is rounding, below {_ROUNDING:.0e}."
    else:
        low, high = data.eigenvalues[[0, -1]]
        words += (
            f"The deviation is {data.deviation:.2g}, the worst entry {data.worst_entry:.2g}; eigenvalues go from "
            f"{low:.2g} to {high:.3g} times α."
        )
    if not data.exists:
        words += (
            " A layer has too few weights to fit the residuals: this is the limit of small damping."
        )
    return words


meter = Figure(
    compute_meter,
    draw_meter,
    describe_meter,
    size=(7.2, 3.5),
    controls={
        "method": Choice({name: style.NAMES[name] for name in NAMES}, "unit_wise"),
        "layers": Slider(2, 5, 3, cpu=8, gpu=8, ticks=(2, 3, 5), label="layers L"),
        "width": Slider(8, 256, 64, step=8, cpu=512, gpu=512, ticks=(8, 64, 128), label="width M"),
        "samples": Slider(2, 24, 16, cpu=32, gpu=32, ticks=(2, 16), label="samples N"),
        "damping": LogSlider(1e-8, 1.0, 0.0, zero=True, ticks=(1e-6, 1e-3, 1), label="damping ρ"),
        "activation": Choice({"relu": "ReLU", "tanh": "tanh"}, "relu"),
    },
)
