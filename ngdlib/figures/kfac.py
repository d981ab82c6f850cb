"""Chapter 9: K-FAC, a block that is wrong and a step that is right."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ngdlib import forster
from ngdlib.figures import Choice, Figure, LogSlider, Slider, networks, style
from ngdlib.fisher import kfac
from ngdlib.isotropy import isotropy
from ngdlib.models.mlp import MLP
from ngdlib.training import train

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

CLASSES = (3, 5)
_MOST = 64  # digits
SEED = 8  # of the small network: one whose units are on for some digits and off for others
_FLOOR = 0.02  # lower end of the axis of eigenvalues


class Averages(NamedTuple):
    """One layer's block of F, its Kronecker product of averages, and their difference."""

    samples: int
    layer: int
    block: np.ndarray  # (P_l, P_l), over the largest entry of F
    kronecker: np.ndarray
    difference: np.ndarray
    error: float  # |F - K| / |F|, Frobenius


def compute_averages(samples: int, layer: int) -> Averages:
    """Blocks of layer 2 or 3 of a (64, 8, 8, 1) ReLU network, from its first `samples` digits."""
    data = networks.problem(CLASSES, train=_MOST)
    layers = networks.run(MLP.layers, 8, data.x_train[:samples], seed=SEED)
    a, g = layers[layer - 1]
    J = layers[layer - 1].jacobian().reshape(samples, -1)
    F = J.T @ J / samples
    K = np.kron(g[:, 0].T @ g[:, 0] / samples, a.T @ a / samples)
    scale, error = abs(F).max(), float(np.linalg.norm(F - K) / np.linalg.norm(F))
    return Averages(samples, layer, F / scale, K / scale, (K - F) / scale, error)


def draw_averages(fig: Canvas) -> Callable[[Averages], None]:
    """Three heat-maps in one scale: the block, K-FAC, and what K-FAC adds to it."""
    panels = fig.subplots(1, 3)
    titles = ("the block of $F$", r"K-FAC, $B \otimes A$", "K-FAC minus block")
    images = []
    for ax, title in zip(panels, titles, strict=True):
        ax.grid(False)
        ax.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0))
        ax.set_title(title)
        images.append(
            ax.imshow(
                np.zeros((2, 2)),
                vmin=-1,
                vmax=1,
                cmap=style.diverging(),
                extent=(0, 1, 1, 0),
                animated=True,
            )
        )
    bar = fig.colorbar(images[0], ax=panels, shrink=0.75, ticks=(-1, 0, 1))
    bar.set_label("cube root of the entries")

    def update(data: Averages) -> None:
        for image, matrix in zip(
            images, (data.block, data.kronecker, data.difference), strict=True
        ):
            # Compressed, so that small entries are seen beside the largest.
            image.set_data(np.cbrt(matrix))

    return update


def describe_averages(data: Averages) -> str:
    """How wrong the product of averages is."""
    size = len(data.block)
    words = "one digit" if data.samples == 1 else f"{data.samples} digits"
    wrong = (
        "none, up to rounding" if data.error < 1e-12 else f"{100 * data.error:.0f} % of its norm"
    )
    return (
        f"The {size} x {size} block of layer {data.layer}, averaged over {words}. What K-FAC gets wrong "
        f"is {wrong}. Colours show the cube root of each entry, so that small ones are seen."
    )


averages = Figure(
    compute_averages,
    draw_averages,
    describe_averages,
    size=(7.2, 2.7),
    controls={
        "samples": Slider(1, _MOST, 32, ticks=(1, 8, 32)),
        "layer": Choice({2: "layer 2, hidden", 3: "layer 3, the last"}, 2),
    },
)


class Conditions(NamedTuple):
    """G_bar of K-FAC, and each layer's share of it."""

    samples: int
    inputs: int
    width: int
    outputs: int
    damping: float
    split: str
    matrix: np.ndarray  # G_bar / alpha, (n c, n c)
    alpha: float
    deviation: float
    mean: np.ndarray  # (4,) alpha_1, alpha_2, alpha_3, alpha
    low: np.ndarray  # smallest eigenvalue of each G_bar_l and of G_bar
    high: np.ndarray
    promised: np.ndarray  # N, N, 1, 2N + 1
    transformed: bool


def layer_response(a: np.ndarray, g: np.ndarray, damping: float, split: str) -> np.ndarray:
    """G_bar of one layer, (n c, n c): N P_B o P_A, each mode filtered by the damping."""
    n, c, units = g.shape
    flat = g.reshape(n * c, units)
    (s, U), (t, V) = (np.linalg.eigh(X @ X.T / n) for X in (flat, a))
    keep, kept = s > 1e-12 * s[-1], t > 1e-12 * t[-1]
    s, U, t, V = s[keep], U[:, keep], t[kept], V[:, kept]
    rows = np.repeat(V, c, axis=0)
    if split == "factored" or not damping:
        pi = np.sqrt(t.sum() / a.shape[1] / (s.sum() / units))
        root = damping**0.5
        return n * ((U * (s / (s + root / pi))) @ U.T) * ((rows * (t / (t + root * pi))) @ rows.T)
    modes = (U[:, :, None] * rows[:, None, :]).reshape(n * c, -1)
    product = (s[:, None] * t).ravel()
    return n * (modes * (product / (product + damping))) @ modes.T


@functools.lru_cache(maxsize=64)
def _inputs(outputs: int, samples: int, inputs: int, transform: bool) -> np.ndarray:
    """Digits on their leading `inputs` directions, as unit vectors; in radial isotropic position if
    asked for and there are more digits than directions."""
    classes = CLASSES if outputs == 1 else (*CLASSES, 8)
    x = networks.problem(classes, train=_MOST).x_train
    if transform and samples > inputs:
        return forster.fit(x[:samples], components=inputs, tolerance=1e-7)(x[:samples])
    z = x[:samples] @ np.linalg.svd(x, full_matrices=False)[2][:inputs].T
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def compute_conditions(
    samples: int, inputs: int, width: int, outputs: int, damping: float, split: str, position: str
) -> Conditions:
    """G_bar of K-FAC in a network with two hidden layers, on digits with `inputs` numbers each."""
    transformed = position == "forster" and samples > inputs
    x = _inputs(outputs, samples, inputs, transformed)
    layers = networks.run(MLP.layers, width, x, inputs=inputs, outputs=outputs, seed=2)
    each = [layer_response(a, g, damping, split) for a, g in layers]
    each.append(np.sum(each, axis=0))
    mean = np.array([np.trace(G) / len(G) for G in each])
    values = [np.linalg.eigvalsh(G) for G in each]
    low, high = (np.array([v[k] for v in values]) for k in (0, -1))
    deviation = max(high[-1] - mean[-1], mean[-1] - low[-1]) / mean[-1]
    first = inputs if transformed else samples
    return Conditions(
        samples, inputs, width, outputs, float(damping), split, each[-1] / mean[-1],
        float(mean[-1]), float(deviation), mean, low, high,
        np.array([first, samples, 1.0, first + samples + 1.0]), transformed,
    )  # fmt: skip


def draw_conditions(fig: Canvas) -> Callable[[Conditions], None]:
    """Left G_bar over alpha, right the eigenvalues of each layer's share."""
    left, right = fig.subplots(1, 2, width_ratios=(1, 1.25))
    left.grid(False)
    left.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0))
    left.set_title(r"$\bar G / \alpha$ (colours: cube root)")
    image = left.imshow(
        np.zeros((2, 2)), vmin=-1, vmax=1, cmap=style.diverging(), extent=(0, 1, 1, 0),
        animated=True,
    )  # fmt: skip
    fig.colorbar(image, ax=left, shrink=0.8, ticks=(-1, 0, 1))

    right.set_yscale("log")
    right.set(xlim=(-0.6, 3.6), ylim=(_FLOOR / 1.5, 400), ylabel=r"eigenvalues of $\bar G_l$")
    right.set_xticks(range(4), ["layer 1", "layer 2", "layer 3", "sum"])
    right.grid(visible=False, axis="x")
    right.set_title("Each layer's share")
    where = np.arange(4)
    look = {"color": "C2", "animated": True}
    spans = [
        right.plot([], [], linewidth=7, alpha=0.45, solid_capstyle="butt", **look)[0] for _ in where
    ]
    spans[0].set_label("smallest to largest")
    (dots,) = right.plot(
        [], [], linestyle="", marker="^", markersize=8, label=r"mean, $\alpha_l$", **look
    )
    (marks,) = right.plot(
        [], [], linestyle="", marker="_", markersize=30, markeredgewidth=1.5, color="C9",
        label="promised", gid="no-pin", animated=True,
    )  # fmt: skip
    right.legend(loc="lower left", ncols=1)

    def update(data: Conditions) -> None:
        image.set_data(np.cbrt(data.matrix))  # so that small entries are seen
        for k, span in enumerate(spans):
            span.set_data([k, k], np.clip([data.low[k], data.high[k]], _FLOOR, 400))
        dots.set_data(where, np.clip(data.mean, _FLOOR, 400))
        marks.set_data(where, data.promised)

    return update


def describe_conditions(data: Conditions) -> str:
    """What each layer contributes, and how far the sum is from isotropic."""
    values = ", ".join(f"{v:.3g}" for v in data.mean[:3])
    inputs = "inputs in radial isotropic position" if data.transformed else "inputs"
    damped = ""
    if data.damping:
        damped = f", damping {data.damping:.2g} " + (
            "split between the factors" if data.split == "factored" else "on the block"
        )
    off = (
        "isotropic up to rounding"
        if data.deviation < 1e-6
        else f"{100 * data.deviation:.2g} % off isotropy"
    )
    return (
        f"{data.samples} digits with {data.inputs} {inputs}, {data.outputs} output"
        f"{'s' if data.outputs > 1 else ''}, width {data.width}{damped}: the layers contribute {values}, "
        f"together {data.alpha:.4g} where {data.promised[3]:.0f} is promised. The sum is {off}."
    )


conditions = Figure(
    compute_conditions,
    draw_conditions,
    describe_conditions,
    controls={
        "samples": Slider(2, 32, 24, ticks=(8, 24), label="samples N"),
        "inputs": Slider(4, 48, 32, ticks=(8, 24), label="inputs M₀"),
        "width": Slider(8, 256, 128, step=8, cpu=1024, gpu=1024, ticks=(24, 72), label="width M"),
        "outputs": Choice({1: "2 classes, one output", 3: "3 classes, three outputs"}, 1),
        "damping": LogSlider(1e-6, 1.0, 0.0, zero=True, ticks=(1e-4, 1e-2)),
        "split": Choice(
            {"whole": "on the block", "factored": "split by pi"}, "whole", label="damping goes"
        ),
        "position": Choice(
            {"raw": "as they are", "forster": "Forster transform"}, "raw", label="inputs"
        ),
    },
)


class Descent(NamedTuple):
    """Training and test loss per step of four runs from one start, measured and predicted."""

    train: np.ndarray  # (runs, steps + 1)
    test: np.ndarray
    predicted_train: np.ndarray
    predicted_test: np.ndarray
    accuracy: np.ndarray  # on the test set


@functools.lru_cache(maxsize=2)
def compute_descent(width: int = 512, samples: int = 32, steps: int = 6) -> Descent:
    """Exact natural gradient, K-FAC with both normalisations, gradient descent; best step sizes."""
    net = MLP((64, width, width, 1))
    data, params = networks.problem(CLASSES, train=samples, test=_MOST), net.init(seed=0)
    steepest = np.linalg.norm(isotropy("gradient", net.layers(params, data.x_train)).matrix, 2)
    runs = [
        train(net, params, data, method=method, damping=0.0, learning_rate=float(eta), steps=steps)
        for method, eta in (
            ("gradient", 1 / steepest),
            ("exact", 1.0),
            ("kfac", 1 / (2 * samples + 1)),
            (kfac("equal"), 1 / (3 * samples)),
        )
    ]
    names = (
        "train_loss",
        "test_loss",
        "predicted_train_loss",
        "predicted_test_loss",
        "test_accuracy",
    )
    return Descent(*(np.stack([getattr(run, name) for run in runs]) for name in names))


def draw_descent(fig: Canvas) -> Callable[[Descent], None]:
    """Left the training loss, right the test loss, against the number of steps."""
    panels = fig.subplots(1, 2)
    dots: dict[str, Any] = {"markersize": 5}
    looks = [style.METHODS[m] | dots for m in ("gradient", "exact", "kfac", "kfac")]
    looks[3] |= {"linestyle": (0, (1, 1.5)), "fillstyle": "none"}
    words = ("gradient descent", "exact", "K-FAC, textbook", "K-FAC, equal layers")
    panels[0].set_yscale("log")
    panels[0].set(ylim=(1e-10, 1), ylabel="loss")
    panels[1].set(ylim=(0, 0.18))
    lines = []
    for ax, title in zip(panels, ("Training loss", "Test loss, and theory's end"), strict=True):
        ax.set(xlim=(-0.3, 6.9), xlabel="step")
        ax.set_title(title)
        lines.append(
            [ax.plot([], [], label=w, **look)[0] for w, look in zip(words, looks, strict=True)]
        )
    ends = [
        panels[1].plot(
            [], [], linestyle="", marker="_", markersize=16, markeredgewidth=2, color=k["color"]
        )[0]
        for k in looks[1:]
    ]
    panels[1].legend(loc="upper right")

    def update(data: Descent) -> None:
        for group, losses in zip(lines, (data.train, data.test), strict=True):
            for line, loss in zip(group, losses, strict=True):
                line.set_data(np.arange(len(loss)), np.clip(loss, 1e-11, 10))
        for mark, loss in zip(ends, data.predicted_test[1:], strict=True):
            mark.set_data([6.55], loss[-1:])

    return update


def describe_descent(data: Descent) -> str:
    """Where the four runs end."""
    a, t, p = data.train, data.test, data.predicted_test
    return (
        f"The training loss starts at {a[0, 0]:.3g}. After three steps exact natural gradient has "
        f"{a[1, 3]:.1g} left, K-FAC {a[2, 3]:.1g} with textbook factors and {a[3, 3]:.1g} with equal layers, "
        f"gradient descent {a[0, 3]:.2g}. The test losses end at {t[1, -1]:.3f}, {t[2, -1]:.3f}, "
        f"{t[3, -1]:.3f} and {t[0, -1]:.3f}; theory says {p[1, -1]:.3f}, {p[2, -1]:.3f} and {p[3, -1]:.3f} "
        "for the first three."
    )


descent = Figure(compute_descent, draw_descent, describe_descent)
