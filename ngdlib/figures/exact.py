"""Chapter 6: one exact natural-gradient step fits the data, as far as the network is linear."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ngdlib.arrays import Array, float64, namespace
from ngdlib.figures import Figure, LogSlider, Slider, networks, style
from ngdlib.fisher import empirical_kernels
from ngdlib.isotropy import isotropy
from ngdlib.models.mlp import MLP, Params
from ngdlib.training import train

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

CLASSES = (3, 5)  # alike enough that gradient descent needs its time
DRAW = 10  # seed of the weights: of the first dozen, the one closest to the median at every width
_MOST = 64  # samples; JAX pads to it
_SWEEP = np.linspace(0.0, 2.2, 221)
_FLOOR, _CEILING = 1e-6, 1e2


class OneStep(NamedTuple):
    """One exact natural-gradient step on digits: predicted by the linear theory, and measured."""

    width: int
    samples: int
    step_size: float
    damping: float
    loss_before: float
    loss_after: float
    predicted_after: float
    gradient_after: float  # predicted, after the best step of gradient descent
    residual_before: np.ndarray  # (n,)
    residual_after: np.ndarray
    predicted_residual: np.ndarray
    sweep: np.ndarray  # step sizes
    sweep_exact: np.ndarray  # predicted loss at each
    sweep_gradient: np.ndarray  # the same for gradient descent, in units of its best step size
    twins: float = 0.0  # distance of the first two digits, where they have opposite labels
    switched: int = 0  # hidden units that are on for one of them and off for the other


def _step(
    net: MLP, params: Params, x: Array, y: Array, count: Any, step_size: Any, damping: Any
) -> dict[str, Array]:
    """One step on the first `count` samples; the others are padding, which a traced count needs."""
    xp = namespace(x)
    f, layers = net.linearise(params, x)
    theta = sum(kernel.ntk()[:, 0, :, 0] for kernel in empirical_kernels(layers))
    with float64(xp):
        there = (xp.arange(len(x)) < count).astype(xp.float64)
        K = theta.astype(xp.float64) * there[:, None] * there / count
        r = (f - y)[:, 0].astype(xp.float64) * there
        v = xp.linalg.solve(K + xp.diag(damping * there + 1 - there), r)
        moved, slope = K @ v, K @ r
        best = (r @ slope) / (slope @ slope)
        weights = (step_size * v / count)[:, None]
    after = networks.outputs_after(net, params, layers, x, [weights.astype(f.dtype)] * len(layers))
    on = [layer.g[:2, 0] != 0 for layer in layers[:-1]]
    with float64(xp):
        return {
            "switched": sum((pair[0] != pair[1]).sum() for pair in on),
            "before": r,
            "after": (after - y)[:, 0].astype(xp.float64) * there,
            "moved": moved,  # the residual is predicted to lose eta times this
            "moved_gradient": best * slope,  # the same for gradient descent's best step size
        }


def _loss(r: np.ndarray) -> Any:
    """|r|^2 / 2N along the last axis, kept inside the picture."""
    loss = (r**2).mean(-1) / 2
    return np.clip(np.where(np.isfinite(loss), loss, _CEILING), 1e-30, _CEILING)


def _one_step(
    x: np.ndarray,
    y: np.ndarray,
    width: int,
    samples: int,
    step_size: float,
    damping: float,
    seed: int,
    xp: Any,
    max_width: int | None,
) -> OneStep:
    rows = samples if xp is np else len(x)
    run = networks.run(
        _step, width, xp.asarray(x[:rows]), xp.asarray(y[:rows]), samples, step_size, damping,
        xp=xp, max_width=max_width, inputs=x.shape[1], seed=seed,
    )  # fmt: skip
    before, after, moved, slope = (  # a step that explodes ends at the edge of the picture
        np.nan_to_num(np.asarray(run[name], dtype=np.float64)[:samples], nan=1e3).clip(-1e3, 1e3)
        for name in ("before", "after", "moved", "moved_gradient")
    )
    sweep = _SWEEP[:, None]
    return OneStep(
        width, samples, float(step_size), float(damping),
        float(_loss(before)), float(_loss(after)), float(_loss(before - step_size * moved)),
        float(_loss(before - slope)), before, after, before - step_size * moved,
        _SWEEP, _loss(before - sweep * moved), _loss(before - sweep * slope), 0.0,
        int(run["switched"]),
    )  # fmt: skip


def compute_one_step(
    width: int, samples: int, step_size: float, damping: float, draw: int = DRAW, xp: Any = np,
    max_width: int | None = None,
) -> OneStep:  # fmt: skip
    """One step on `samples` digits, threes against fives, by a network with two hidden layers."""
    data = networks.problem(CLASSES, train=_MOST)
    return _one_step(
        data.x_train, data.y_train, width, samples, step_size, damping, draw, xp, max_width
    )


def compute_twins(
    width: int, distance: float, step_size: float, damping: float, xp: Any = np,
    max_width: int | None = None,
) -> OneStep:  # fmt: skip
    """The same with 32 digits, of which two lie `distance` apart and have opposite labels."""
    data = networks.problem(CLASSES, train=_MOST)
    x, y = data.x_train.copy(), data.y_train.copy()
    away = x[2] - (x[2] @ x[0]) * x[0]
    angle = 2 * np.arcsin(distance / 2)
    x[1] = np.cos(angle) * x[0] + np.sin(angle) * away / np.linalg.norm(away)
    y[1] = -y[0]
    step = _one_step(x, y, width, 32, step_size, damping, DRAW, xp, max_width)
    return step._replace(twins=float(distance))


def draw_one_step(fig: Canvas) -> Callable[[OneStep], None]:
    """Left the loss against the step size, right every residual before and after the step."""
    left, right = fig.subplots(1, 2, width_ratios=(1.25, 1))
    left.set_yscale("log")
    left.set(xlim=(-0.05, 2.25), ylim=(_FLOOR, _CEILING), xlabel=r"step size $\eta$", ylabel="loss")
    left.set_title("Training loss after one step")
    line = {"marker": "", "animated": True}
    dot = {"color": "C0", "linestyle": "", "marker": "o", "animated": True}
    (gradient,) = left.plot([], [], label="gradient, predicted", **style.METHODS["gradient"] | line)
    (theory,) = left.plot([], [], label="natural, predicted", **style.METHODS["theory"] | line)
    (measured,) = left.plot([], [], label="natural, measured", **dot | {"markersize": 8})
    left.legend(loc="upper center")

    right.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
    right.set(xlabel="residual before", ylabel="residual after")
    right.set_title("Every digit's residual")
    right.plot([-1.1, 1.1], [-1.1, 1.1], color="C7", linewidth=0.9, label="unmoved")
    cross = {"color": "C9", "linestyle": "", "marker": "+", "markersize": 5, "animated": True}
    (crosses,) = right.plot([], [], label="predicted", gid="no-pin", **cross)
    (dots,) = right.plot([], [], label="measured", **dot | {"markersize": 4.5})
    right.legend(loc="upper left")

    def update(data: OneStep) -> None:
        gradient.set_data(data.sweep, data.sweep_gradient)
        theory.set_data(data.sweep, np.maximum(data.sweep_exact, _FLOOR))
        measured.set_data([data.step_size], [np.clip(data.loss_after, _FLOOR, _CEILING)])
        x = np.clip(data.residual_before, -1.1, 1.1)
        dots.set_data(x, np.clip(data.residual_after, -1.1, 1.1))
        crosses.set_data(x, np.clip(data.predicted_residual, -1.1, 1.1))

    return update


def _outcome(data: OneStep) -> str:
    predicted = "0" if data.predicted_after < 1e-12 else f"{data.predicted_after:.2g}"
    share = data.loss_after / data.loss_before
    if data.loss_after >= _CEILING:
        after = f"beyond {_CEILING:.0f}"
    elif share < 10:
        percent = f"{100 * share:.0f}" if share > 0.1 else f"{100 * share:.2g}"
        after = f"{data.loss_after:.2g}, {percent} % of what it was"
    else:
        after = f"{data.loss_after:.3g}, {share:.0f} times what it was"
    return (
        f"takes the training loss from {data.loss_before:.3g} to {after}; the linear theory "
        f"predicts {predicted}. The best step of gradient descent would leave "
        f"{data.gradient_after:.2g}."
    )


def describe_one_step(data: OneStep) -> str:
    """The drop, predicted and measured."""
    damped = f" and damping {data.damping:.2g}" if data.damping else ""
    return (
        f"At width {data.width}, one exact natural-gradient step of size {data.step_size:.2f}"
        f"{damped} on {data.samples} digits {_outcome(data)}"
    )


def describe_twins(data: OneStep) -> str:
    """The same, with the two digits that contradict each other."""
    damped = f" and damping {data.damping:.2g}" if data.damping else ""
    switch = "unit switches" if data.switched == 1 else "units switch"
    return (
        f"Two of the 32 digits are {data.twins:.2g} apart and have opposite labels; "
        f"{data.switched or 'no'} hidden {switch} between them. "
        f"At width {data.width} a step of size {data.step_size:.2f}{damped} {_outcome(data)}"
    )


one_step = Figure(
    compute_one_step,
    draw_one_step,
    describe_one_step,
    controls={
        "step_size": Slider(0.0, 2.2, 1.0, step=0.02, ticks=(0, 1, 2), label="step size"),
        "width": Slider(16, 512, 256, step=16, cpu=1024, gpu=4096, ticks=(64, 256)),
        "samples": Slider(2, _MOST, 32, step=2, ticks=(8, 32)),
        "damping": LogSlider(1e-6, 1.0, 0.0, zero=True, ticks=(1e-4, 1e-2)),
        "draw": Slider(0, 11, DRAW, label="draw of the weights"),
    },
)

twins = Figure(
    compute_twins,
    draw_one_step,
    describe_twins,
    controls={
        "distance": LogSlider(1e-3, 1.0, 0.03, ticks=(0.001, 0.01, 0.1, 1)),
        "damping": LogSlider(1e-6, 1.0, 0.0, zero=True, ticks=(1e-4, 1e-2)),
        "width": Slider(16, 512, 256, step=16, cpu=1024, gpu=4096, ticks=(64, 256)),
        "step_size": Slider(0.0, 2.2, 1.0, step=0.02, ticks=(0, 1, 2), label="step size"),
    },
)


class Descent(NamedTuple):
    """Training and test loss per step, measured and predicted, of three runs from one start."""

    train: np.ndarray  # (runs, steps + 1)
    test: np.ndarray
    predicted_train: np.ndarray
    predicted_test: np.ndarray


@functools.lru_cache(maxsize=2)
def compute_descent(width: int = 512, steps: int = 20) -> Descent:
    """Gradient descent with eta = 1 / lambda_max beside the natural gradient with 0.3 and 1."""
    net = MLP((64, width, width, 1))
    data, params = networks.problem(CLASSES, train=64, test=64), net.init(seed=0)
    steepest = np.linalg.norm(isotropy("gradient", net.layers(params, data.x_train)).matrix, 2)
    runs = [
        train(net, params, data, method=method, damping=0.0, learning_rate=eta, steps=steps)
        for method, eta in (("gradient", float(1 / steepest)), ("exact", 0.3), ("exact", 1.0))
    ]
    names = ("train_loss", "test_loss", "predicted_train_loss", "predicted_test_loss")
    return Descent(*(np.stack([getattr(run, name) for run in runs]) for name in names))


def draw_descent(fig: Canvas) -> Callable[[Descent], None]:
    """Left the training loss, right the test loss, against the number of steps."""
    panels = fig.subplots(1, 2, sharey=True)
    dots = {"linestyle": "", "markersize": 4}
    looks = [style.METHODS[m] | dots for m in ("gradient", "exact", "exact")]
    looks[2] |= {"marker": "s", "fillstyle": "none", "markersize": 6}
    words = (
        r"gradient, $\eta = 1/\lambda_{\max}$",
        r"natural, $\eta = 0.3$",
        r"natural, $\eta = 1$",
    )
    lines = []
    for ax, title in zip(panels, ("Training loss", "Test loss"), strict=True):
        ax.set_yscale("log")
        ax.set(xlim=(-0.5, 20.5), ylim=(4e-9, 10), xlabel="step")
        ax.set_xticks(range(0, 21, 5))
        ax.set_title(title)
        measured = [
            ax.plot([], [], label=word, **look)[0] for word, look in zip(words, looks, strict=True)
        ]
        theory = [ax.plot([], [], gid="no-pin", **style.METHODS["theory"])[0] for _ in words]
        theory[0].set_label("theory")
        lines += [measured, theory]
    panels[0].set_ylabel("loss")
    panels[1].legend(loc="lower left")

    def update(data: Descent) -> None:
        both = (data.train, data.predicted_train, data.test, data.predicted_test)
        for group, losses in zip(lines, both, strict=True):
            for artist, loss in zip(group, losses, strict=True):
                artist.set_data(np.arange(len(loss)), np.clip(loss, 1e-8, 10))

    return update


def describe_descent(data: Descent) -> str:
    """Where the three runs are after one step and at the end."""
    steps = data.train.shape[1] - 1
    return (
        f"The training loss starts at {data.train[0, 0]:.3g}. Gradient descent has "
        f"{data.train[0, -1]:.2g} left after {steps} steps. The natural gradient with step size 0.3 "
        f"has {data.train[1, 10]:.2g} left after 10 steps, where theory says "
        f"{data.predicted_train[1, 10]:.2g}; with step size 1 it has {data.train[2, 1]:.2g} left "
        f"after a single one. The test losses end at {data.test[0, -1]:.2g}, {data.test[1, -1]:.2g} "
        f"and {data.test[2, -1]:.2g}."
    )


descent = Figure(compute_descent, draw_descent, describe_descent)
