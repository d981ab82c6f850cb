"""Chapter 2: the Fisher information as a distance, and a path that does not depend on coordinates.

The model is small enough to be drawn: a three or an eight, told apart by two pixels of the digits,
p(eight | z) = 1 / (1 + exp(-w . z)) with two weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ngdlib.figures import Choice, Figure, LogSlider, Slider, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

PIXELS = (18, 42)  # rows 2 and 5 of column 2, of 8 x 8: an eight has ink there, a three has not
_START = np.array([1.0, -0.5])
_TIME = 5.0  # eta times the number of steps
_FAR = 50.0


@functools.lru_cache(maxsize=1)
def two_pixels() -> tuple[np.ndarray, np.ndarray]:
    """z (200, 2), two pixels of threes and eights with mean 0 and variance 1; labels (200,), 1 for eight."""
    from ngdlib.datasets import digits

    data = digits(classes=(3, 8), train=200, test=2, seed=0, loss="logistic")
    z = data.x_train[:, PIXELS]
    return (z - z.mean(0)) / z.std(0), np.asarray(data.y_train, dtype=float).reshape(-1)


def probability(w: np.ndarray) -> np.ndarray:
    """p(eight) of every image, (200,), for weights w (2,)."""
    return 1 / (1 + np.exp(-np.clip(two_pixels()[0] @ w, -500, 500)))


def loss(w: np.ndarray) -> np.ndarray:
    """Cross-entropy of models w (..., 2), in nats, mean over the images."""
    z, y = two_pixels()
    u = w @ z.T
    return (np.logaddexp(0, u) - y * u).mean(-1)


def slope(w: np.ndarray) -> np.ndarray:
    """Gradient of the loss, (2,)."""
    z, y = two_pixels()
    return z.T @ (probability(w) - y) / len(y)


def fisher(w: np.ndarray, weights: str = "exact") -> np.ndarray:
    """Fisher information (2, 2), E[p (1 - p) z z^T].

    "empirical" has (p - y)^2 in the place of p (1 - p).
    """
    z, y = two_pixels()
    p = probability(w)
    weight = p * (1 - p) if weights == "exact" else (p - y) ** 2
    return (z * weight[:, None]).T @ z / len(y)


def kl(w: np.ndarray, others: np.ndarray) -> np.ndarray:
    """KL divergence from the model w (2,) to others (..., 2), in nats, mean over the images."""
    # log p - log q = (u - v) - (softplus(u) - softplus(v)); log(1 - p) - log(1 - q) has no u - v.
    u, v = w @ two_pixels()[0].T, others @ two_pixels()[0].T
    return (np.logaddexp(0, v) - np.logaddexp(0, u) - probability(w) * (v - u)).mean(-1)


def _ring(
    height: Callable[[np.ndarray], np.ndarray], centre: np.ndarray, level: float
) -> np.ndarray:
    """The contour (91, 2) of a convex function around its minimum, by bisection along rays."""
    angle = np.linspace(0, 2 * np.pi, 91)
    rays = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    low, high = np.zeros(91), np.full(91, _FAR)
    for _ in range(32):
        middle = (low + high) / 2
        inside = height(centre + middle[:, None] * rays) < level
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return centre + low[:, None] * rays


def _ellipse(metric: np.ndarray, centre: np.ndarray, level: float) -> np.ndarray:
    """The points (91, 2) with  d^T metric d / 2 = level."""
    eigenvalues, vectors = np.linalg.eigh(metric)
    angle = np.linspace(0, 2 * np.pi, 91)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return centre + circle * np.sqrt(2 * level / eigenvalues) @ vectors.T


@functools.lru_cache(maxsize=1)
def best() -> np.ndarray:
    """The weights (2,) of least loss: Newton's method."""
    w = np.zeros(2)
    for _ in range(30):
        w = w - np.linalg.solve(fisher(w), slope(w))
    return w


@functools.lru_cache(maxsize=1)
def _contours() -> list[np.ndarray]:
    bottom = float(loss(best()))
    return [_ring(loss, best(), bottom + rise) for rise in (0.01, 0.04, 0.12, 0.3, 0.6)]


class Ellipses(NamedTuple):
    """Distances between models: the KL divergence, the Fisher matrix, the empirical Fisher matrix."""

    centre: np.ndarray  # (2,)
    levels: np.ndarray  # (3,) nats
    divergence: np.ndarray  # (3 x 91, 2) where KL reaches a level
    quadratic: np.ndarray  # (3 x 91, 2) where d^T F d / 2 does
    error: np.ndarray  # (3,) largest relative error of d^T F d / 2 on the contour of KL
    places: np.ndarray  # (k, 2)
    exact: np.ndarray  # (k x 91, 2) ellipses of F there
    empirical: np.ndarray  # (k x 91, 2) ellipses of the empirical Fisher there
    ratio: np.ndarray  # (k,) trace of the empirical over the trace of F


def compute_ellipses() -> Ellipses:
    """Contours of the KL divergence around one model, and both Fisher matrices at several."""
    centre = np.array([1.0, 1.5])
    levels = np.array([0.002, 0.02, 0.1])
    F = fisher(centre)
    rings = [_ring(lambda w: kl(centre, w), centre, level) for level in levels.tolist()]
    error = [
        np.abs(np.einsum("ki,ij,kj->k", r - centre, F, r - centre) / (2 * level) - 1).max()
        for r, level in zip(rings, levels.tolist(), strict=True)
    ]
    places = np.array([[x, y] for x in (-1.0, 1.0, 3.0) for y in (-1.0, 1.0, 3.0)])
    exact, empirical = (
        np.concatenate([_ellipse(fisher(w, kind), w, 0.008) for w in places])
        for kind in ("exact", "empirical")
    )
    ratio = [np.trace(fisher(w, "empirical")) / np.trace(fisher(w)) for w in places]
    return Ellipses(
        centre,
        levels,
        np.concatenate(rings),
        np.concatenate([_ellipse(F, centre, level) for level in levels]),
        np.array(error),
        places,
        exact,
        empirical,
        np.array(ratio),
    )


def draw_ellipses(fig: Canvas) -> Callable[[Ellipses], None]:
    """Left contours of KL and their ellipses, right the two metrics side by side."""
    left, right = fig.subplots(1, 2)
    left.set(xlim=(-1.2, 4.2), ylim=(-0.9, 4.5), xlabel="$w_1$", ylabel="$w_2$")
    left.set_title("How far is another model?")
    names = ("0.002 nats", "0.02 nats", "0.1 nats")
    marks = ("-", "--", "-.")
    rings = [
        left.plot([], [], color="C0", linestyle=s, linewidth=1.6, label=n, animated=True)[0]
        for s, n in zip(marks, names, strict=True)
    ]
    ovals = [
        left.plot(
            [], [], label="ellipses" if k == 2 else None, animated=True, **style.METHODS["theory"]
        )[0]
        for k in range(3)
    ]
    (middle,) = left.plot([], [], "+", color="C9", markersize=9, animated=True)
    left.legend(loc="upper right", fontsize=8)

    right.set(xlim=(-2.2, 4.6), ylim=(-3.2, 4.6), xlabel="$w_1$", ylabel="$w_2$")
    right.set_title("Fisher and empirical Fisher")
    look = {"linewidth": 1.5, "animated": True}
    (exact,) = right.plot([], [], color="C0", label="Fisher", **look)
    (empirical,) = right.plot([], [], color="C1", linestyle="--", label="empirical", **look)
    (fit,) = right.plot([], [], "*", color="C9", markersize=9, label="best fit", animated=True)
    right.legend(loc="lower center", fontsize=8, ncols=3, columnspacing=1.0)

    def pieces(points: np.ndarray) -> np.ndarray:  # (2, k): nan lifts the pen between two ellipses
        gap = np.full((len(points) // 91, 1, 2), np.nan)
        return np.concatenate([points.reshape(-1, 91, 2), gap], axis=1).reshape(-1, 2).T

    def update(data: Ellipses) -> None:
        for k in range(3):
            rings[k].set_data(*data.divergence[91 * k : 91 * (k + 1)].T)
            ovals[k].set_data(*data.quadratic[91 * k : 91 * (k + 1)].T)
        middle.set_data(*data.centre[:, None])
        exact.set_data(*pieces(data.exact))
        empirical.set_data(*pieces(data.empirical))
        fit.set_data(*best()[:, None])

    return update


def describe_ellipses(data: Ellipses) -> str:
    """How good the ellipses are, and how different the two metrics."""
    errors = ", ".join(f"{100 * e:.0f}" for e in data.error)
    return (
        "Left, the models at a KL divergence of 0.002, 0.02 and 0.1 nats from one model lie on ovals; the Fisher "
        f"ellipses are off by at most {errors} percent. Right, ellipses at nine places: the trace of the "
        f"empirical Fisher is {data.ratio.min():.2f} to {data.ratio.max():.1f} times that of the Fisher matrix."
    )


ellipses = Figure(compute_ellipses, draw_ellipses, describe_ellipses, size=(7.2, 3.7))


def _to_w(xi: np.ndarray, skew: float, shape: str) -> np.ndarray:
    bend = xi[..., 1] ** 2 / 3 if shape == "curved" else xi[..., 1]
    return np.stack([xi[..., 0] + skew * bend, xi[..., 1]], axis=-1)


def _to_xi(w: np.ndarray, skew: float, shape: str) -> np.ndarray:
    return _to_w(w, -skew, shape)


def _jacobian(xi: np.ndarray, skew: float, shape: str) -> np.ndarray:
    return np.array([[1.0, skew * (2 * xi[1] / 3 if shape == "curved" else 1.0)], [0.0, 1.0]])


def _descend(
    skew: float, step_size: float, damping: float, shape: str, natural: bool
) -> np.ndarray:
    """The path (t + 1, 2) in xi; gradient descent steps by eta over the largest curvature at the start."""
    xi = _to_xi(_START, skew, shape)
    T = _jacobian(xi, skew, shape)
    largest = np.linalg.eigvalsh(T.T @ fisher(_START) @ T)[-1]
    path = [xi]
    for _ in range(int(np.ceil(_TIME / step_size - 1e-9))):
        w, T = _to_w(xi, skew, shape), _jacobian(xi, skew, shape)
        g = T.T @ slope(w)
        if natural:
            g = np.linalg.solve(T.T @ fisher(w) @ T + damping * np.eye(2), g)
        else:
            g = g / largest
        xi = np.clip(xi - step_size * g, -_FAR, _FAR)
        path.append(xi)
    return np.array(path)


@functools.lru_cache(maxsize=32)
def _unskewed(step_size: float, damping: float, natural: bool) -> np.ndarray:
    return _descend(0.0, step_size, damping, "straight", natural)


class Paths(NamedTuple):
    """The same descent in two coordinate systems."""

    skew: float
    step_size: float
    damping: float
    shape: str
    rings: np.ndarray  # (5 x 91, 2) contours of the loss in xi
    gradient: np.ndarray  # (t + 1, 2) in xi
    natural: np.ndarray  # (t + 1, 2) in xi
    gradient_w: np.ndarray  # (t + 1, 2) in w
    natural_w: np.ndarray  # (t + 1, 2) in w
    gradient_moved: float  # largest distance, in w, from the path without skew
    natural_moved: float


def compute_paths(skew: float, step_size: float, damping: float, shape: str) -> Paths:
    """Gradient and natural-gradient descent in coordinates xi, with w = (xi_1 + skew xi_2, xi_2).

    shape "curved" has skew xi_2^2 / 3 instead. Both start at the same model and run until
    step_size x steps = 5; damping: rho, in units of F.
    """
    gradient, natural = (_descend(skew, step_size, damping, shape, kind) for kind in (False, True))
    gradient_w, natural_w = (_to_w(path, skew, shape) for path in (gradient, natural))

    def moved(w: np.ndarray, kind: bool) -> float:
        return float(np.linalg.norm(w - _unskewed(step_size, damping, kind), axis=1).max())

    return Paths(
        skew,
        step_size,
        damping,
        shape,
        _to_xi(np.concatenate(_contours()), skew, shape),
        gradient,
        natural,
        gradient_w,
        natural_w,
        moved(gradient_w, False),
        moved(natural_w, True),
    )


def draw_paths(fig: Canvas) -> Callable[[Paths], None]:
    """Left the coordinates of the computation, right the model itself."""
    left, right = fig.subplots(1, 2)
    left.set(xlim=(-3, 8), ylim=(-1.2, 4.6), xlabel=r"$\xi_1$", ylabel=r"$\xi_2$")
    left.set_title("In the coordinates that are trained")
    right.set(xlim=(-0.2, 4.6), ylim=(-1.2, 4.6), xlabel="$w_1$", ylabel="$w_2$")
    right.set_title("The same models, as weights")
    for ring in _contours():
        right.plot(*ring.T, color="C7", linewidth=0.8, alpha=0.6)
    right.plot(*best()[:, None], "*", color="C9", markersize=9)
    rings = [
        left.plot([], [], color="C7", linewidth=0.8, alpha=0.6, gid="no-pin", animated=True)[0]
        for _ in range(5)
    ]
    lines = {}
    for axes in (left, right):
        for name, key in (("gradient", "gradient"), ("natural", "exact")):
            look = style.METHODS[key] | {"linewidth": 1.3, "markersize": 4}
            label = "gradient" if name == "gradient" else "natural gradient"
            (lines[axes, name],) = axes.plot([], [], label=label, animated=True, **look)
    (start,) = left.plot([], [], "o", color="C9", markersize=7, gid="no-pin", animated=True)
    right.plot(*_START[:, None], "o", color="C9", markersize=7)
    left.legend(loc="upper right", fontsize=8)

    def update(data: Paths) -> None:
        for k, ring in enumerate(rings):
            ring.set_data(*data.rings[91 * k : 91 * (k + 1)].T)
        lines[left, "gradient"].set_data(*data.gradient.T)
        lines[left, "natural"].set_data(*data.natural.T)
        lines[right, "gradient"].set_data(*data.gradient_w.T)
        lines[right, "natural"].set_data(*data.natural_w.T)
        for line in lines.values():
            line.set_markevery(max(1, len(data.natural) // 20))
        start.set_data(*data.natural[:1].T)

    return update


def describe_paths(data: Paths) -> str:
    """How far the skew moved either path."""
    natural = "less than 1e-9" if data.natural_moved < 1e-9 else f"up to {data.natural_moved:.2g}"
    away = np.linalg.norm(data.gradient_w[-1] - best())
    words = (
        f"Skew {data.skew:.2f} ({data.shape}), step size {data.step_size:.2g}, damping {data.damping:.1g}. "
        f"Compared with no skew, the models on the path of gradient descent moved by up to "
        f"{data.gradient_moved:.2g}, those of the natural gradient by {natural}. After "
        f"{len(data.natural) - 1} steps gradient descent is {away:.2g} from the best weights, "
        f"the natural gradient {np.linalg.norm(data.natural_w[-1] - best()):.2g}."
    )
    return words


paths = Figure(
    compute_paths,
    draw_paths,
    describe_paths,
    size=(7.2, 3.7),
    controls={
        "skew": Slider(-1.5, 1.5, 0.8, step=0.05, ticks=(-1, 0, 1), label="skew"),
        "step_size": LogSlider(0.05, 1.0, 0.3, ticks=(0.1, 0.3, 1), label="step size η"),
        "shape": Choice(
            {"straight": "straight", "curved": "curved"}, "straight", label="coordinates"
        ),
        "damping": LogSlider(1e-4, 1.0, 0.0, zero=True, ticks=(1e-3, 1e-1), label="damping ρ"),
    },
)
