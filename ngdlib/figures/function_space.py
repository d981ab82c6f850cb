"""Chapter 4: wide networks move little. Parameters, kernel and outputs against their linearisation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ngdlib.arrays import Array, namespace
from ngdlib.figures import Choice, Figure, LogSlider, Slider, networks, style
from ngdlib.fisher import empirical_kernels
from ngdlib.layers import Layer, gradient
from ngdlib.models.mlp import MLP, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from ngdlib.datasets import Data

SAMPLES = 24
STEPS = 20
SHARE = 0.25  # step size, as a share of the largest stable one, in the figures without that control
VARIANCE = {"relu": 2.0, "tanh": 1.5}  # sigma_w^2 that keeps signals alive
_HIGH = 1e6  # a residual beyond this is called lost
_LOW = 1e-5


@functools.lru_cache(maxsize=1)
def digits() -> Data:
    """Twelve zeros, then twelve ones, and as many test digits in the same order."""
    data = networks.problem(classes=(0, 1), train=SAMPLES, test=SAMPLES)
    train, test = (np.argsort(y[:, 0], kind="stable") for y in (data.y_train, data.y_test))
    return data._replace(
        x_train=data.x_train[train],
        y_train=data.y_train[train],
        x_test=data.x_test[test],
        y_test=data.y_test[test],
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g}" if share < 1 else f"{100 * share:.0f}"


class Descent(NamedTuple):
    """Gradient descent beside that of the linearised network; T + 1 entries each."""

    residual: np.ndarray  # (T + 1, n)
    linear: np.ndarray  # (T + 1, n), of the network linearised at the start
    parameters: np.ndarray  # |theta_t - theta_0| / |theta_0|
    kernel: np.ndarray  # |Theta_t - Theta_0| / |Theta_0|
    first: np.ndarray  # (n, n) kernel at the start, no 1/N
    last: np.ndarray  # (n, n) and at the end
    entries: np.ndarray  # (L,) mean |change| of an entry of each W_l
    lost: int  # the step at which the run flew away, or -1

    @property
    def outputs(self) -> np.ndarray:
        """|f_t - linearised f_t| / |r_0|."""
        gap = np.linalg.norm(self.residual - self.linear, axis=1)
        return gap / np.linalg.norm(self.residual[0])


def _theta(layers: list[Layer]) -> Array:
    return sum(k.ntk()[:, 0, :, 0] for k in empirical_kernels(layers))


def _norm(arrays: Any) -> Any:
    return sum((a**2).sum() for a in arrays) ** 0.5


def _descend(
    net: MLP, params: Params, x: Array, y: Array, share: Any, *, steps: int
) -> dict[str, Any]:
    xp = namespace(x)
    start = params
    f, layers = net.linearise(params, x)
    first = theta = _theta(layers)
    eta = 2 * share * len(x) / xp.linalg.eigvalsh(first)[-1]
    residual, linear = [(f - y)[:, 0]], [(f - y)[:, 0]]
    parameters, kernel = [0.0 * eta], [0.0 * eta]
    for _ in range(steps):
        params = net.update(params, gradient(layers, f - y), eta)
        f, layers = net.linearise(params, x)
        theta = _theta(layers)
        residual.append((f - y)[:, 0])
        linear.append(linear[-1] - eta / len(x) * (first @ linear[-1]))
        parameters.append(_norm([W - V for (W, _), (V, _) in zip(params, start, strict=True)]))
        kernel.append(_norm([theta - first]))
    sizes = (_norm([W for W, _ in start]), _norm([first]))
    sides = zip(net.widths[1:], net.widths[:-1], strict=True)
    entries = [
        abs(W - V).sum() / (o * i)
        for (W, _), (V, _), (o, i) in zip(params, start, sides, strict=True)
    ]
    return {
        "residual": xp.stack(residual),
        "linear": xp.stack(linear),
        "parameters": xp.stack(parameters) / sizes[0],
        "kernel": xp.stack(kernel) / sizes[1],
        "first": first,
        "last": theta,
        "entries": xp.stack(entries),
    }


def descend(
    width: int,
    share: float,
    activation: str = "relu",
    draw: int = 0,
    scale: float = 1.0,
    steps: int = STEPS,
    xp: Any = np,
    max_width: int | None = None,
) -> Descent:
    """Gradient descent on 24 digits by three layers, and the linearised network beside it.

    share: step size in units of the largest stable one of the start. scale: the output's factor s;
    s f fits y as f fits y / s, with all residuals and steps in units of 1 / s.
    """
    data = digits()
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        run = networks.run(
            _descend,
            width,
            xp.asarray(data.x_train),
            xp.asarray(data.y_train / scale),
            share,
            xp=xp,
            max_width=max_width,
            activation=activation,
            weight_variance=VARIANCE[activation],
            seed=draw,
            steps=steps,
        )
        found = {name: np.array(a, dtype=np.float64) for name, a in run.items()}
    r = found["residual"]
    bad = ~(np.abs(r).max(1) < _HIGH * np.abs(r[0]).max()) | ~np.isfinite(found["kernel"])
    lost = int(bad.argmax()) if bad.any() else -1
    if bad.any():  # a run that flies away stays at the edge of the picture
        gone = np.logical_or.accumulate(bad)
        r[gone] = np.abs(r[0]).max() * _HIGH
        for name in ("parameters", "kernel"):
            found[name][gone] = _HIGH
        found["last"], found["entries"] = found["first"], np.full(3, _HIGH)
    found = {name: np.clip(a, -1e12, 1e12) for name, a in found.items()}
    found["residual"], found["linear"] = r * scale, found["linear"] * scale
    return Descent(**found, lost=lost)


# ------------------------------------------------------------------ live: the lazy regime


class Lazy(NamedTuple):
    """What moves in a run of gradient descent, and how far the linearised network is from it."""

    width: int
    share: float
    steps: np.ndarray
    parameters: np.ndarray  # relative movement
    kernel: np.ndarray
    outputs: np.ndarray  # distance from the linearised network, relative to the first residual
    network: np.ndarray  # (n,) outputs at the end
    linear: np.ndarray  # (n,) of the linearised network
    targets: np.ndarray
    lost: int


def compute_lazy(
    width: int,
    share: float,
    activation: str,
    draw: int,
    xp: Any = np,
    max_width: int | None = None,
) -> Lazy:
    """Ten steps on 24 digits by a network of three layers."""
    run = descend(width, share, activation, draw, steps=10, xp=xp, max_width=max_width)
    y = digits().y_train[:, 0]
    cut = np.clip(np.stack([run.residual[-1], run.linear[-1]]) + y, -99, 99)
    return Lazy(
        width, float(share), np.arange(11.0), run.parameters, run.kernel,
        np.clip(run.outputs, 0, _HIGH), cut[0], cut[1], y, run.lost,
    )  # fmt: skip


def draw_lazy(fig: Canvas) -> Callable[[Lazy], None]:
    """Left every digit's output against that of the linearised network, right the three drifts."""
    left, right = fig.subplots(1, 2, width_ratios=(1, 1.3))
    left.set(xlim=(-2.1, 2.1), ylim=(-2.1, 2.1), xlabel="linearised network", ylabel="network")
    left.set_title("Outputs after ten steps")
    left.plot([-2.1, 2.1], [-2.1, 2.1], color="C7", linewidth=0.9)
    dots = {"linestyle": "", "animated": True}
    (zeros,) = left.plot([], [], "o", color="C0", markersize=5, label="zeros", **dots)
    (ones,) = left.plot([], [], "s", color="C1", markersize=5, label="ones", **dots)
    left.legend(loc="upper left")
    right.set_yscale("log")
    right.set(xlim=(0, 10.3), ylim=(_LOW, 30), xlabel="step", ylabel="relative distance")
    right.set_title("How far from the start, and from the line")
    looks = (("C2", "--", "^"), ("C3", "-.", "D"), ("C9", "-", "o"))
    words = (r"kernel $\Theta$ moved", "weights moved", "outputs off the line")
    kernel, weights, outputs = (
        right.plot([], [], color=c, linestyle=s, marker=m, markersize=4, label=word, animated=True)[
            0
        ]
        for (c, s, m), word in zip(looks, words, strict=True)
    )
    right.legend(loc="lower right")

    def update(data: Lazy) -> None:
        low = data.targets < 0
        for dot, mask in ((zeros, low), (ones, ~low)):
            inside = np.clip(np.stack([data.linear[mask], data.network[mask]]), -2.05, 2.05)
            dot.set_data(*inside)
        curves = (data.kernel, data.parameters, data.outputs)
        for line, values in zip((kernel, weights, outputs), curves, strict=True):
            line.set_data(data.steps[1:], np.clip(values[1:], _LOW, 30))

    return update


def describe_lazy(data: Lazy) -> str:
    """The three distances at the end."""
    start = f"Width {data.width}, step size {data.share:.3g} of the largest stable one. "
    if data.lost >= 0:
        return start + f"The network is lost at step {data.lost}: its outputs grow without bound."
    return start + (
        f"After ten steps the weights have moved by {100 * data.parameters[-1]:.2g} % of their size, "
        f"the kernel by {_percent(data.kernel[-1])} %, and the outputs are off the linearised "
        f"network's by {_percent(data.outputs[-1])} % of the first residual."
    )


_ACTIVATION = Choice({"relu": "ReLU", "tanh": "tanh"}, "relu")

lazy = Figure(
    compute_lazy,
    draw_lazy,
    describe_lazy,
    controls={
        "width": Slider(16, 512, 256, step=16, cpu=1024, gpu=4096, ticks=(64, 256)),
        "share": Slider(
            0.02, 1.5, 0.5, step=0.02, ticks=(0.5, 1), label="step size / largest stable one"
        ),
        "activation": _ACTIVATION,
        "draw": Slider(0, 11, 0, label="draw of the weights"),
    },
)


# ------------------------------------------------------------------ live: the output's scale


class Features(NamedTuple):
    """The kernel before and after training a network with output s f."""

    width: int
    scale: float
    before: np.ndarray  # (n, n), divided by the mean of its diagonal
    after: np.ndarray  # (n, n), divided by the same number
    brightness: float  # what `after` is divided by for the picture, its own mean diagonal
    drift: float
    alignment_before: float
    alignment_after: float
    left: float  # |r| / |r_0| at the end
    left_linear: float
    lost: int


def alignment(theta: np.ndarray, y: np.ndarray) -> float:
    """y^T Theta y / (|y|^2 |Theta|): 1 if Theta is a multiple of y y^T; 0 if Theta is 0."""
    size = np.linalg.norm(theta)
    return float(y @ theta @ y / (y @ y * size)) if size else 0.0


def compute_features(
    width: int,
    scale: float,
    activation: str = "relu",
    xp: Any = np,
    max_width: int | None = None,
) -> Features:
    """Twenty-four steps of a tenth of the largest stable size."""
    run = descend(width, 0.1, activation, 3, scale=scale, steps=24, xp=xp, max_width=max_width)
    y = digits().y_train[:, 0]
    unit = run.first.trace() / SAMPLES
    norm = np.linalg.norm(run.residual[0])
    return Features(
        width, float(scale), run.first / unit, run.last / unit,
        float(run.last.trace() / SAMPLES / unit), float(run.kernel[-1]),
        alignment(run.first, y), alignment(run.last, y),
        float(np.linalg.norm(run.residual[-1]) / norm),
        float(np.linalg.norm(run.linear[-1]) / norm), run.lost,
    )  # fmt: skip


def draw_features(fig: Canvas) -> Callable[[Features], None]:
    """The kernel of 24 digits before and after, each in units of its own mean diagonal."""
    panels = fig.subplots(1, 2)
    images = []
    for ax, title in zip(panels, ("Kernel before training", "Kernel after training"), strict=True):
        images.append(ax.imshow(np.zeros((SAMPLES, SAMPLES)), cmap="viridis", animated=True))
        images[-1].set_clim(0, 1)
        ax.grid(False)
        ax.set_xticks([5.5, 17.5], ["zeros", "ones"])
        ax.set_yticks([5.5, 17.5], ["zeros", "ones"], rotation=90, va="center")
        ax.set_title(title)
    fig.colorbar(images[1], ax=panels, shrink=0.8, label="in units of its mean diagonal")

    def update(data: Features) -> None:
        images[0].set_data(data.before)
        images[1].set_data(data.after / (data.brightness or 1.0))

    return update


def describe_features(data: Features) -> str:
    """How far the kernel went, and what it learned."""
    start = (
        f"Width {data.width}, output scale s = {data.scale:.3g} (s times the root of the width: "
        f"{data.scale * data.width**0.5:.2g}). "
    )
    if data.lost >= 0:
        return start + f"The network is lost at step {data.lost}; the right panel shows the start."
    if not data.brightness:
        return start + "The steps were too long: no unit is on any more, and the kernel is 0."
    return start + (
        f"The kernel moved by {_percent(data.drift)} % and its alignment with the labels went from "
        f"{data.alignment_before:.2f} to {data.alignment_after:.2f}. The residual left is "
        f"{100 * data.left:.2g} % of what it was; the linear theory says {100 * data.left_linear:.2g} %."
    )


features = Figure(
    compute_features,
    draw_features,
    describe_features,
    size=(7.2, 3.5),
    controls={
        "scale": LogSlider(1 / 32, 1.0, 1.0, ticks=(1 / 32, 0.1, 1), label="output scale s"),
        "width": Slider(16, 256, 256, step=16, cpu=1024, gpu=4096, ticks=(64, 128, 256)),
        "activation": _ACTIVATION,
    },
)


# ------------------------------------------------------------------ static


class Against(NamedTuple):
    """Outputs of a narrow and of a wide network against those of their linearisations."""

    widths: tuple[int, int]
    train_network: np.ndarray  # (2, n)
    train_linear: np.ndarray
    test_network: np.ndarray
    test_linear: np.ndarray
    gap: np.ndarray  # (2,) of the training outputs, relative to the first residual


@functools.lru_cache(maxsize=2)
def compute_against(widths: tuple[int, int] = (32, 1024), steps: int = STEPS) -> Against:
    """Outputs on training and test digits after `steps` steps, and what the linear theory says."""
    data, found = digits(), []
    for width in widths:
        net = MLP((64, width, width, 1))
        params = net.init(seed=0)
        f, layers = net.linearise(params, data.x_train)
        f_test, layers_test = net.linearise(params, data.x_test)
        eta = 2 * SHARE * SAMPLES / np.linalg.eigvalsh(_theta(layers))[-1]
        theta = _theta(layers)
        rows = sum(k.ntk()[:, 0, :, 0] for k in empirical_kernels(layers_test, layers))
        line, line_test = f[:, 0].copy(), f_test[:, 0].copy()
        r0 = np.linalg.norm(f - data.y_train)
        for _ in range(steps):
            params = net.update(params, gradient(layers, f - data.y_train), eta)
            r = line - data.y_train[:, 0]
            line, line_test = (
                line - eta / SAMPLES * theta @ r,
                line_test - eta / SAMPLES * rows @ r,
            )
            f, layers = net.linearise(params, data.x_train)
        found.append((f[:, 0], line, net.apply(params, data.x_test)[:, 0], line_test, r0))
    net_, line_, test_, test_line, r0s = (np.array(a) for a in zip(*found, strict=True))
    return Against(
        widths, net_, line_, test_, test_line, np.linalg.norm(net_ - line_, axis=1) / r0s
    )


def draw_against(fig: Canvas) -> Callable[[Against], None]:
    """One panel per width."""
    panels = fig.subplots(1, 2, sharey=True)
    marks = []
    for ax in panels:
        ax.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), xlabel="linearised network")
        ax.plot([-1.2, 1.2], [-1.2, 1.2], color="C7", linewidth=0.9)
        marks.append(
            [
                ax.plot([], [], label=style.NAMES[name], **style.METHODS[name] | {"linestyle": ""})[
                    0
                ]
                for name in ("train", "test")
            ]
        )
    panels[0].set_ylabel("network")
    panels[0].legend(loc="upper left")

    def update(data: Against) -> None:
        for k, (ax, (train, test)) in enumerate(zip(panels, marks, strict=True)):
            ax.set_title(f"Width {data.widths[k]}: {100 * data.gap[k]:.2g} % off the line")
            train.set_data(data.train_linear[k], data.train_network[k])
            test.set_data(data.test_linear[k], data.test_network[k])

    return update


def describe_against(data: Against) -> str:
    """The two gaps."""
    return (
        f"Each mark is a digit after {STEPS} steps of gradient descent: its output in the network against "
        f"its output in the linearised network. At width {data.widths[0]} the marks scatter about the "
        f"diagonal, {100 * data.gap[0]:.2g} % of the first residual off on the training set; at width "
        f"{data.widths[1]} they lie on it, {100 * data.gap[1]:.2g} % off."
    )


against = Figure(compute_against, draw_against, describe_against)


class PowerLaw(NamedTuple):
    """value = constant * width^slope, fitted by least squares in the logarithms."""

    slope: float
    error: float  # one standard error of the slope
    constant: float


def power_law(width: np.ndarray, value: np.ndarray) -> PowerLaw:
    """Fit a power law to points (n,): ordinary least squares of log value on log width."""
    x, y = np.log(width), np.log(value)
    spread = ((x - x.mean()) ** 2).sum()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / spread
    rest = y - y.mean() - slope * (x - x.mean())
    error = (rest @ rest / (len(x) - 2) / spread) ** 0.5
    return PowerLaw(float(slope), float(error), float(np.exp(y.mean() - slope * x.mean())))


class Exponents(NamedTuple):
    """Drifts after ten steps against the width; (activations, widths, draws)."""

    widths: np.ndarray
    kernel: np.ndarray
    outputs: np.ndarray
    entries: np.ndarray  # (activations, widths, draws, 3) mean |change| of a weight, layer by layer


ACTIVATIONS = ("tanh", "relu")


@functools.lru_cache(maxsize=1)
def compute_exponents(draws: int = 12) -> Exponents:
    """Ten steps at widths 64 to 512, `draws` networks each."""
    widths = (64, 128, 256, 512)
    kernel, outputs, entries = [], [], []
    for activation in ACTIVATIONS:
        for width in widths:
            for draw in range(draws):
                run = descend(width, 0.5, activation, 1000 * width + draw, steps=10)
                kernel.append(run.kernel[-1])
                outputs.append(run.outputs[-1])
                entries.append(run.entries)
    shape = (len(ACTIVATIONS), len(widths), draws)
    return Exponents(
        np.array(widths, dtype=float),
        np.reshape(kernel, shape),
        np.reshape(outputs, shape),
        np.reshape(entries, (*shape, 3)),
    )


def fit(widths: np.ndarray, values: np.ndarray) -> PowerLaw:
    """The power law of values (widths, draws), every draw a point."""
    return power_law(np.repeat(widths, values.shape[1]), values.ravel())


def draw_exponents(fig: Canvas) -> Callable[[Exponents], None]:
    """Left tanh, right ReLU: medians of the draws, single draws behind, fitted lines."""
    panels = fig.subplots(1, 2, sharey=True)
    looks = (("C2", "^", "--"), ("C9", "o", "-"), ("C1", "s", "-."))
    names = (r"kernel $\Theta$", "outputs off the line", "a hidden weight")
    artists = []
    for ax, title in zip(panels, ("tanh", "ReLU"), strict=True):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set(xlim=(50, 650), ylim=(1e-4, 2), xlabel="width")
        ax.set_xticks([64, 128, 256, 512], ["64", "128", "256", "512"])
        ax.set_title(title)
        for (c, m, s), name in zip(looks, names, strict=True):
            (every,) = ax.plot([], [], m, color=c, markersize=2.5, alpha=0.35)
            (middle,) = ax.plot([], [], m, color=c, markersize=6, label=name)
            (line,) = ax.plot([], [], color=c, linestyle=s, linewidth=1.2)
            artists.append((every, middle, line))
    panels[0].set_ylabel("movement in ten steps")
    panels[1].legend(loc="upper right")

    def update(data: Exponents) -> None:
        k = iter(artists)
        for a in range(len(ACTIVATIONS)):
            for values in (data.kernel[a], data.outputs[a], data.entries[a, :, :, 1]):
                every, middle, line = next(k)
                law = fit(data.widths, values)
                every.set_data(np.repeat(data.widths, values.shape[1]), values.ravel())
                middle.set_data(data.widths, np.exp(np.log(values).mean(1)))
                line.set_data(data.widths, law.constant * data.widths**law.slope)

    return update


def describe_exponents(data: Exponents) -> str:
    """The slopes with their standard errors."""
    words = []
    for a, name in enumerate(("tanh", "ReLU")):
        laws = [
            fit(data.widths, v) for v in (data.kernel[a], data.outputs[a], data.entries[a, :, :, 1])
        ]
        k, o, w = (f"{law.slope:.2f} ± {law.error:.2f}" for law in laws)
        words.append(f"for {name} the kernel {k}, the outputs {o}, a hidden weight {w}")
    return (
        "Log-log slopes against the width, fitted to "
        f"{data.kernel.shape[2]} draws at each of {len(data.widths)} widths: {'; '.join(words)}."
    )


exponents = Figure(compute_exponents, draw_exponents, describe_exponents, size=(7.2, 3.8))
