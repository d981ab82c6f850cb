"""Chapter 5: kernels of infinitely wide networks beside those of real ones."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ngdlib.arrays import Array
from ngdlib.figures import Choice, Figure, Slider, networks, style
from ngdlib.figures.function_space import PowerLaw, digits, fit
from ngdlib.fisher import empirical_kernels
from ngdlib.models.infinite import infinite_kernels
from ngdlib.models.mlp import MLP, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SAMPLES = 24
VARIANCE = {"relu": 2.0, "tanh": 1.5}


def _empirical(net: MLP, params: Params, x: Array) -> Array:
    kernels = empirical_kernels(net.layers(params, x))
    return sum(k.ntk()[:, 0, :, 0] for k in kernels)


def infinite(net: MLP, x: np.ndarray) -> np.ndarray:
    """The neural tangent kernel (n, n) of `net` at infinite width; no 1/N."""
    return sum(k.ntk()[:, 0, :, 0] for k in infinite_kernels(net, x))


def single_q(net: MLP, x: np.ndarray) -> np.ndarray:
    """The same for ReLU by a recursion with one variance q for all inputs, their mean: wrong unless
    all inputs have the same norm."""
    K = net.weight_variance * x @ x.T / net.widths[0] + net.bias_variance
    q, layers, slopes = np.diag(K).mean(), [K], []
    for _ in range(net.depth - 1):
        c = np.clip(K / q, -1, 1)
        angle = np.arccos(c)
        slopes.append(net.weight_variance * (np.pi - angle) / (2 * np.pi))
        phi = q / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * c)
        K = net.weight_variance * phi + net.bias_variance
        q = net.weight_variance * q / 2 + net.bias_variance
        layers.append(K)
    B, total = np.ones_like(K), layers[-1]
    for K, slope in zip(layers[-2::-1], slopes[::-1], strict=True):
        B = B * slope
        total = total + B * K
    return total


class Pair(NamedTuple):
    """A network's kernel, a formula's, and their difference; in units of the formula's mean diagonal."""

    width: int
    network: np.ndarray  # (n, n)
    formula: np.ndarray
    difference: np.ndarray
    distance: float  # |network - formula| / |formula|
    unit: float  # the mean diagonal
    bias: float  # mean of network - formula over all entries, in these units
    name: str


def _pair(width: int, network: np.ndarray, formula: np.ndarray, name: str) -> Pair:
    unit = float(np.trace(formula) / len(formula))
    gap = network - formula
    return Pair(
        width, network / unit, formula / unit, gap / unit,
        float(np.linalg.norm(gap) / np.linalg.norm(formula)), unit, float(gap.mean() / unit), name,
    )  # fmt: skip


def compute_heat(
    width: int,
    depth: int,
    weight_variance: float,
    activation: str,
    draw: int,
    xp: Any = np,
    max_width: int | None = None,
) -> Pair:
    """One draw of a network on 24 digits, zeros first, beside its limit."""
    x = digits().x_train
    found = networks.run(
        _empirical, width, xp.asarray(x), xp=xp, max_width=max_width, depth=depth,
        activation=activation, weight_variance=weight_variance, seed=draw,
    )  # fmt: skip
    limit = infinite(MLP((64, *[1] * (depth - 1), 1), activation, weight_variance), x)
    return _pair(width, np.asarray(found, dtype=np.float64), limit, "infinite width")


def unequal(spread: float) -> np.ndarray:
    """The 24 digits with norms from 1 - spread to 1 + spread, in each class from small to large."""
    norms = 1 + spread * np.tile(np.linspace(-1, 1, SAMPLES // 2), 2)
    return digits().x_train * norms[:, None]


def compute_norms(
    spread: float, formula: str, width: int, xp: Any = np, max_width: int | None = None
) -> Pair:
    """Images of unequal norms, against the recursion with all variances or with a single one."""
    x = unequal(spread)
    found = networks.run(_empirical, width, xp.asarray(x), xp=xp, max_width=max_width, seed=2)
    net = MLP((64, 1, 1, 1))
    # With one variance arccos loses half the digits where norms are equal: show those that are left.
    limit = np.round(single_q(net, x), 7) if formula == "one" else infinite(net, x)
    words = "one variance for all" if formula == "one" else "a variance for each"
    return _pair(width, np.asarray(found, dtype=np.float64), limit, words)


def draw_pair(fig: Canvas) -> Callable[[Pair], None]:
    """Three heat-maps: network, formula, difference (with a scale of its own)."""
    panels = fig.subplots(1, 3)
    images = []
    titles = ("One network", "The formula", "Difference")
    for k, (ax, title) in enumerate(zip(panels, titles, strict=True)):
        look = {"cmap": "viridis", "vmin": 0, "vmax": 1.2}
        if k == 2:
            look = {"cmap": style.diverging(), "vmin": -0.4, "vmax": 0.4}
        image = ax.imshow(np.zeros((SAMPLES, SAMPLES)), animated=True, **look)
        images.append(image)
        ax.grid(False)
        ax.set_xticks([5.5, 17.5], ["zeros", "ones"])
        ax.set_yticks(
            [5.5, 17.5], ["zeros", "ones"] if k == 0 else ["", ""], rotation=90, va="center"
        )
        ax.set_title(title)
    fig.colorbar(images[1], ax=list(panels[:2]), location="bottom", shrink=0.6, aspect=30)
    fig.colorbar(images[2], ax=panels[2], location="bottom", shrink=0.9, aspect=22)

    def update(data: Pair) -> None:
        for image, values in zip(
            images, (data.network, data.formula, data.difference), strict=True
        ):
            image.set_data(values)

    return update


def describe_pair(data: Pair) -> str:
    """The distance between the two."""
    return (
        f"At width {data.width} the network's kernel is {100 * data.distance:.2g} % away from the formula's "
        f"({data.name}), in Frobenius norm; the mean difference is {100 * data.bias:+.1f} % of the mean "
        f"diagonal, which is {data.unit:.3g}."
    )


heat = Figure(
    compute_heat,
    draw_pair,
    describe_pair,
    size=(7.2, 3.5),
    controls={
        "width": Slider(16, 512, 128, step=16, cpu=1024, gpu=4096, ticks=(64, 256)),
        "depth": Slider(2, 5, 3, label="layers L"),
        "weight_variance": Slider(
            0.5, 4.0, 2.0, step=0.1, ticks=(1, 2, 3), label="weight variance"
        ),
        "activation": Choice({"relu": "ReLU", "tanh": "tanh"}, "relu"),
        "draw": Slider(0, 11, 0, label="draw of the weights"),
    },
)

norms = Figure(
    compute_norms,
    draw_pair,
    describe_pair,
    size=(7.2, 3.5),
    controls={
        "spread": Slider(0.0, 0.9, 0.5, step=0.05, ticks=(0.5,), label="spread of the norms"),
        "formula": Choice({"one": "one variance for all", "all": "a variance for each"}, "one"),
        "width": Slider(64, 512, 512, step=64, cpu=1024, gpu=4096, ticks=(256,)),
    },
)


class Errors(NamedTuple):
    """Distances from the limit, relative to it in Frobenius norm."""

    widths: np.ndarray
    single: np.ndarray  # (activations, widths, draws) of single networks
    mean: np.ndarray  # (activations, widths) of the mean over the draws


ACTIVATIONS = ("tanh", "relu")


@functools.lru_cache(maxsize=1)
def compute_errors(draws: int = 32) -> Errors:
    """Networks of three layers on 24 digits; every width and draw has weights of its own."""
    widths, x = (64, 128, 256, 512, 1024), digits().x_train
    single = np.empty((len(ACTIVATIONS), len(widths), draws))
    mean = np.empty(single.shape[:2])
    for a, activation in enumerate(ACTIVATIONS):
        variance = VARIANCE[activation]
        limit = infinite(MLP((64, 1, 1, 1), activation, variance), x)
        size = np.linalg.norm(limit)
        for w, width in enumerate(widths):
            net = MLP((64, width, width, 1), activation, variance)
            found = [_empirical(net, net.init(seed=1000 * width + d), x) for d in range(draws)]
            single[a, w] = [np.linalg.norm(theta - limit) / size for theta in found]
            mean[a, w] = np.linalg.norm(np.mean(found, axis=0) - limit) / size
    return Errors(np.array(widths, dtype=float), single, mean)


def law(data: Errors, activation: int) -> PowerLaw:
    """The power law of the single networks."""
    return fit(data.widths, data.single[activation])


def draw_errors(fig: Canvas) -> Callable[[Errors], None]:
    """Left tanh, right ReLU."""
    panels = fig.subplots(1, 2, sharey=True)
    artists = []
    for ax, title in zip(panels, ("tanh", "ReLU"), strict=True):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set(xlim=(50, 1300), ylim=(2e-3, 1), xlabel="width")
        ax.set_xticks([64, 128, 256, 512, 1024], ["64", "128", "256", "512", "1024"])
        ax.set_yticks([0.01, 0.1, 1], ["1 %", "10 %", "100 %"])
        ax.set_title(title)
        (every,) = ax.plot([], [], "o", color="C0", markersize=3, alpha=0.4, label="one network")
        (line,) = ax.plot([], [], color="C0", linewidth=1.4, label="fitted power law")
        (mean,) = ax.plot([], [], "s--", color="C1", label="mean of 32 networks")
        artists.append((every, line, mean))
    panels[0].set_ylabel("distance from the limit")
    panels[0].legend(loc="lower left")

    def update(data: Errors) -> None:
        for a, (every, line, mean) in enumerate(artists):
            p = law(data, a)
            every.set_data(np.repeat(data.widths, data.single.shape[2]), data.single[a].ravel())
            line.set_data(data.widths, p.constant * data.widths**p.slope)
            mean.set_data(data.widths, data.mean[a])

    return update


def describe_errors(data: Errors) -> str:
    """Slopes and sizes."""
    tanh, relu = law(data, 0), law(data, 1)
    return (
        f"The distance of one network's kernel from the limit falls with the width; the log-log slopes are "
        f"{tanh.slope:.2f} ± {tanh.error:.2f} for tanh and {relu.slope:.2f} ± {relu.error:.2f} for ReLU. At "
        f"width {data.widths[-1]:.0f} a network is {100 * data.single[0, -1].mean():.1f} % and "
        f"{100 * data.single[1, -1].mean():.1f} % off on average; the mean of {data.single.shape[2]} "
        f"kernels is {100 * data.mean[0, -1]:.1f} % and {100 * data.mean[1, -1]:.1f} % off."
    )


errors = Figure(compute_errors, draw_errors, describe_errors, size=(7.2, 3.5))
