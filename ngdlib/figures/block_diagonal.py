"""Chapter 7: the layers, each on its own. Every one of them fits all of the residual."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ngdlib.arrays import Array, float64, namespace
from ngdlib.figures import Figure, Slider, networks, style
from ngdlib.fisher import empirical_kernels
from ngdlib.models.mlp import MLP, Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

CLASSES = (3, 5)
_SAMPLES = 32
_STEPS = 6
_FLOOR, _CEILING = 1e-8, 1e4
_DARKEST = 1e-4  # entries of F below this share of the largest are drawn alike


class Mask(NamedTuple):
    """The Fisher matrix of a small network, and what an approximation keeps of it."""

    fisher: np.ndarray  # (P, P), F = J^T J / N
    kept: np.ndarray  # (P, P) 1 where the approximation keeps the entry, else 0
    sizes: np.ndarray  # (L,) parameters per layer
    share: float  # of |F|^2 (Frobenius) that is kept


@functools.lru_cache(maxsize=1)
def small_fisher() -> tuple[np.ndarray, np.ndarray]:
    """F of a (16, 8, 8, 8, 1) network on 32 digits shrunk to 4 x 4 pixels; and the layers' sizes."""
    data = networks.problem(CLASSES, train=64)
    x = data.x_train[:_SAMPLES].reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(_SAMPLES, 16)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    net = MLP((16, 8, 8, 8, 1), activation="tanh")
    J = [b.jacobian().reshape(_SAMPLES, -1) for b in net.layers(net.init(seed=0), x)]
    whole = np.concatenate(J, axis=1)
    return whole.T @ whole / _SAMPLES, np.array([j.shape[1] for j in J])


def near(sizes: np.ndarray, reach: int) -> np.ndarray:
    """(P, P) 1 in the blocks (l, m) with |l - m| <= reach, else 0."""
    layer = np.repeat(np.arange(len(sizes)), sizes)
    return 1.0 * (abs(layer[:, None] - layer) <= reach)


def share(fisher: np.ndarray, kept: np.ndarray) -> float:
    """The part of |F|^2 (Frobenius) that is kept."""
    return float(((fisher * kept) ** 2).sum() / (fisher**2).sum())


def compute_blocks() -> Mask:
    """The block-diagonal approximation of the small network's Fisher matrix."""
    fisher, sizes = small_fisher()
    kept = near(sizes, 0)
    return Mask(fisher, kept, sizes, share(fisher, kept))


def show_fisher(ax: Axes, title: str) -> Callable[[np.ndarray, np.ndarray], None]:
    """An image of |F| on a logarithmic scale; entries that are not kept take the darkest colour."""
    image = ax.imshow(
        np.zeros((2, 2)), vmin=np.log10(_DARKEST), vmax=0, interpolation="antialiased"
    )
    ax.grid(False)
    ax.set_title(title)

    def update(matrix: np.ndarray, sizes: np.ndarray) -> None:
        size = abs(matrix) / abs(matrix).max()
        image.set_data(np.log10(np.maximum(size, _DARKEST)))
        ends = np.cumsum(sizes)
        image.set_extent((0, ends[-1], ends[-1], 0))
        centres = ends - sizes / 2
        ax.set_xticks(centres, [str(l + 1) for l in range(len(sizes))])
        ax.set_yticks(centres, [str(l + 1) for l in range(len(sizes))])
        ax.set_xlabel("layer")

    ax.image = image  # type: ignore[attr-defined]
    return update


def draw_blocks(fig: Canvas) -> Callable[[Mask], None]:
    """Left F itself, right the blocks that are kept."""
    axes = fig.subplots(1, 2)
    whole = show_fisher(axes[0], r"Fisher matrix $F$")
    blocks = show_fisher(axes[1], "what block-diagonal keeps")
    axes[0].set_ylabel("layer")
    scale_bar(fig, axes)

    def update(data: Mask) -> None:
        whole(data.fisher, data.sizes)
        blocks(data.fisher * data.kept, data.sizes)

    return update


def scale_bar(fig: Canvas, axes: Any) -> None:
    """One colour bar for all panels, in powers of ten."""
    bar = fig.colorbar(axes[0].image, ax=list(axes), shrink=0.8)
    exponents = range(round(np.log10(_DARKEST)), 1)
    bar.set_ticks(list(exponents), labels=[style.power(10.0**e) for e in exponents])
    bar.set_label(r"$|F_{pq}|$ / largest")


def describe_blocks(data: Mask) -> str:
    """How much of F is thrown away."""
    ends = np.cumsum(data.sizes)[:-1]
    rows = np.split(abs(data.fisher), ends)
    mean = np.array([[block.mean() for block in np.split(row, ends, axis=1)] for row in rows])
    between = mean[np.triu_indices(len(mean), 1)]
    return (
        f"The Fisher matrix of a network with {data.sizes.sum()} weights in {len(data.sizes)} layers is full: of the "
        f"{len(between)} blocks between different layers, {(between > np.diag(mean).min()).sum()} are on average "
        "brighter than the darkest one on the diagonal. Block-diagonal keeps "
        f"{100 * data.kept.mean():.0f} % of the entries and {100 * data.share:.0f} % of the squared "
        "Frobenius norm."
    )


blocks = Figure(compute_blocks, draw_blocks, describe_blocks, size=(7.2, 3.5))


class Overshoot(NamedTuple):
    """Block-diagonal steps on 32 digits, predicted and measured."""

    layers: int
    width: int
    eta: float
    moved: np.ndarray  # (L + 1,) layers 1 .. k have taken their part of the first step
    left: np.ndarray  # (L + 1,) r_k . r_0 / |r_0|^2, measured
    predicted_left: np.ndarray  # (L + 1,) 1 - eta k
    steps: np.ndarray  # (T + 1,)
    loss: np.ndarray  # (T + 1,) of the network
    predicted_loss: np.ndarray  # (T + 1,) (1 - eta L)^2t times the first


def _walk(net: MLP, params: Params, x: Array, y: Array, eta: Any, *, steps: int) -> dict[str, Any]:
    """Steps of every layer for itself; and the first one layer by layer."""
    xp, n = namespace(x), len(x)
    residuals, one_by_one = [], []
    for t in range(steps + 1):
        f, layers = net.linearise(params, x)
        residuals.append((f - y)[:, 0])
        if t == steps:
            break
        kernels = xp.stack([k.ntk()[:, 0, :, 0] for k in empirical_kernels(layers)])
        with float64(xp):
            # A run that diverges may end with dead units and a singular kernel: the picture still
            # needs a number, so each kernel gets a trace of damping, far below what can be seen.
            theta = kernels.astype(xp.float64)
            trace = xp.trace(theta, axis1=1, axis2=2)[:, None, None]
            theta = theta + (1e-14 * trace / n + 1e-200) * xp.eye(n)
            v = xp.linalg.solve(theta, xp.stack([(f - y).astype(xp.float64)] * len(layers)))
        v = v.astype(f.dtype)
        if t == 0:
            for k in range(len(layers) + 1):
                weights = [eta * v[l] * (l < k) for l in range(len(layers))]
                after = networks.outputs_after(net, params, layers, x, weights)
                one_by_one.append((after - y)[:, 0])
        params = net.update(params, [b.pull(w) for b, w in zip(layers, v, strict=True)], eta)
    return {"steps": residuals, "layers": one_by_one}


def compute_overshoot(
    layers: int, eta_layers: float, width: int, xp: Any = np, max_width: int | None = None
) -> Overshoot:
    """Steps of size eta = eta_layers / layers, threes against fives.

    Losses are clipped at ten thousand; a run that leaves the numbers stays there.
    """
    data = networks.problem(CLASSES, train=64)
    x, y = data.x_train[:_SAMPLES], data.y_train[:_SAMPLES]
    eta = eta_layers / layers
    with np.errstate(over="ignore", invalid="ignore"):
        run = networks.run(
            _walk, width, xp.asarray(x), xp.asarray(y), eta,
            xp=xp, max_width=max_width, depth=layers, steps=_STEPS,
        )  # fmt: skip
        r, part = (np.array([np.asarray(a, float) for a in run[k]]) for k in ("steps", "layers"))
        loss = (r**2).sum(1) / (2 * _SAMPLES)
        gone = np.logical_or.accumulate(~(loss < _CEILING))
        loss[gone] = _CEILING
    k, t = np.arange(layers + 1), np.arange(_STEPS + 1)
    theory = loss[0] * (1 - eta_layers) ** (2.0 * t)
    return Overshoot(
        layers, width, float(eta), k, part @ r[0] / (r[0] @ r[0]), 1 - eta * k,
        t, loss, np.clip(theory, 1e-30, _CEILING),
    )  # fmt: skip


def draw_overshoot(fig: Canvas) -> Callable[[Overshoot], None]:
    """Left the residual while one layer after another moves, right the loss per step."""
    left, right = fig.subplots(1, 2)
    look = style.METHODS["block_diagonal"] | {"linestyle": "", "animated": True}
    left.set(xlim=(-0.2, 6.2), ylim=(-3.2, 1.3), xlabel="layers moved so far")
    left.set_ylabel("residual left")
    left.set_title("One step, layer by layer")
    left.axhspan(-1, 1, color="C7", alpha=0.15, linewidth=0, label="shrinks")
    left.axhline(0, color="C7", linewidth=0.9)
    (line,) = left.plot(
        [], [], gid="no-pin", label="theory", animated=True, **style.METHODS["theory"]
    )
    (dots,) = left.plot([], [], label="network", **look)
    left.legend(loc="lower left")
    right.set_yscale("log")
    right.set(xlim=(-0.2, _STEPS + 0.2), ylim=(_FLOOR, _CEILING), xlabel="step", ylabel="loss")
    right.set_title("Loss after each step")
    (theory,) = right.plot([], [], gid="no-pin", animated=True, **style.METHODS["theory"])
    (measured,) = right.plot([], [], **look)

    def update(data: Overshoot) -> None:
        line.set_data(data.moved, data.predicted_left)
        dots.set_data(data.moved, np.clip(data.left, -3.15, 1.25))
        theory.set_data(data.steps, np.maximum(data.predicted_loss, _FLOOR / 10))
        measured.set_data(data.steps, np.clip(data.loss, _FLOOR, _CEILING))

    return update


def describe_overshoot(data: Overshoot) -> str:
    """What one step leaves of the residual, and what the loss does."""
    product = data.eta * data.layers
    end = "below 1e-20" if data.loss[-1] < 1e-20 else f"{data.loss[-1]:.2g}"
    words = (
        f"{data.layers} layer{'s' * (data.layers > 1)} of width {data.width}, step size {data.eta:.3g}: every layer "
        f"takes {data.eta:.3g} of the residual, and theory says that {1 - product:.2g} of it is left; the network "
        f"has {data.left[-1]:.2g}. "
    )
    if data.loss.max() >= _CEILING:
        return words + f"The network's loss leaves the scale (above {_CEILING:.0e})."
    return words + (
        f"In {_STEPS} steps the network's loss goes from {data.loss[0]:.2g} to {end}"
        + (", where theory has it grow without end." if abs(1 - product) > 1 + 1e-9 else ".")
    )


overshoot = Figure(
    compute_overshoot,
    draw_overshoot,
    describe_overshoot,
    controls={
        "eta_layers": Slider(0.0, 4.0, 1.0, step=0.05, ticks=(0, 1, 2, 3, 4), label="η L"),
        "layers": Slider(1, 6, 3, ticks=(1, 3, 6), label="layers L"),
        # Below 96 units the last layer is all but singular for 32 samples, and rounding is magnified.
        "width": Slider(
            96, 256, 256, step=16, cpu=1024, gpu=4096, ticks=(96, 256), label="width M"
        ),
    },
)
