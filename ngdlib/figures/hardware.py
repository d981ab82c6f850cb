"""Chapter 26: what a step costs, which part of it grows with what, and where its digits are lost."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ngdlib.arrays import Array
from ngdlib.figures import Choice, Figure, LogSlider, networks
from ngdlib.fisher import empirical_kernels
from ngdlib.layers import Layer
from ngdlib.models.mlp import MLP

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_ROWS = 10.0 ** np.linspace(1, 6, 101)  # N C
_WORK = (1e4, 1e26)
_BYTES = (1e3, 1e16)


def operations(widths: Sequence[int], samples: Any) -> dict[str, Any]:
    """Floating-point operations of one exact step, part by part.

    Matrix products and the solve; an addition and a multiplication
    count as two. Function space, no biases.
    """
    N, C = 1.0 * samples, widths[-1]
    inputs, units = sum(widths[:-1]), sum(widths[1:])
    P = sum(i * o for i, o in zip(widths, widths[1:]))
    return {
        "passes": 2 * N * P + 2 * N * C * (P - widths[0] * widths[1]),
        "kernel": 2 * N**2 * (inputs + C**2 * units),
        "solve": (N * C) ** 3,  # Cholesky 1/3, LU 2/3
        "step": 2 * N * P + 2 * N * C * units,
    }


def parameter_space(widths: Sequence[int], samples: Any) -> Any:
    """The same for one P x P system: 2 N C P^2 to build it, 2 P^3 / 3 to solve it."""
    P = 1.0 * sum(i * o for i, o in zip(widths, widths[1:]))
    return 2 * samples * widths[-1] * P**2 + 2 * P**3 / 3


def crossover(widths: Sequence[int], devices: int = 1, price: float = 1.0) -> float:
    """The N C at which the solve costs as much as all the rest of the step.

    The rest is split among the devices, the solve is not; an operation of the solve costs `price`
    times one of the rest. With n = N C:  price n^2 = (t + 2 s n) / devices.
    """
    one = operations(widths, 1)
    n = 1.0 * widths[-1]
    t, s = (one["passes"] + one["step"]) / n, one["kernel"] / (2 * n**2)
    return float((s + (s**2 + price * devices * t) ** 0.5) / (price * devices))


class Parts(NamedTuple):
    """Work and memory of one device against N C."""

    width: int
    outputs: int
    devices: int
    price: float
    rows: np.ndarray  # N C
    rest: np.ndarray  # the two passes and the step, operations
    kernel: np.ndarray
    solve: np.ndarray  # times the price
    primal: np.ndarray  # the P x P system in its place, on one device
    crossover: float  # in N C
    at: float  # the work of the solve there
    factors: np.ndarray  # a and g, bytes
    matrix: np.ndarray  # one N C x N C matrix
    parameters: float  # all of them, float32
    fisher: float  # the P x P matrix, float64


def compute_parts(width: int, outputs: int, devices: int, price: float) -> Parts:
    """A network (64, M, M, C) in float32, solved in float64."""
    widths = (64, width, width, outputs)
    work = operations(widths, _ROWS / outputs)
    P = sum(i * o for i, o in zip(widths, widths[1:]))
    n = crossover(widths, devices, price)
    factors = 4 * (_ROWS / outputs) * (sum(widths[:-1]) + outputs * sum(widths[1:]))
    return Parts(
        width, outputs, devices, float(price), _ROWS,
        (work["passes"] + work["step"]) / devices, work["kernel"] / devices, price * work["solve"],
        price * parameter_space(widths, _ROWS / outputs), n, price * n**3,
        factors, 8 * _ROWS**2, 4.0 * P, 8.0 * P**2,
    )  # fmt: skip


def draw_parts(fig: Canvas) -> Callable[[Parts], None]:
    """Left the work of each part, right the memory, both against N C, in logarithms."""
    left, right = fig.subplots(1, 2)
    for ax in (left, right):
        ax.set(xscale="log", yscale="log", xlim=(10, 1e6), xlabel="residuals $N C$")
    left.set(ylim=_WORK, ylabel="operations")
    left.set_title("Work of one device")
    right.set(ylim=_BYTES, ylabel="bytes")
    right.set_title("Memory of one device")
    move = {"animated": True}
    (rest,) = left.plot([], [], color="C0", label="passes, step", **move)
    (kernel,) = left.plot([], [], color="C2", linestyle="--", label="kernel", **move)
    (solve,) = left.plot([], [], color="C1", linestyle="-.", label="solve", **move)
    (primal,) = left.plot([], [], color="C7", linestyle=":", label="$P \\times P$", **move)
    (dot,) = left.plot([], [], "o", color="C1", markersize=8, label="solve = rest", **move)
    left.legend(loc="upper left", ncols=2, columnspacing=1.0)
    (factors,) = right.plot([], [], color="C0", label="$a$ and $g$", **move)
    (matrix,) = right.plot([], [], color="C1", linestyle="-.", label="$NC \\times NC$", **move)
    (weights,) = right.plot([], [], color="C9", linewidth=1.2, label="weights", **move)
    (fisher,) = right.plot([], [], color="C7", linestyle=":", label="$P \\times P$", **move)
    right.legend(loc="upper left", ncols=2, columnspacing=1.0)

    def update(data: Parts) -> None:
        lines = (rest, kernel, solve, primal, factors, matrix)
        names = ("rest", "kernel", "solve", "primal", "factors", "matrix")
        for line, name in zip(lines, names, strict=True):
            line.set_data(data.rows, getattr(data, name))
        dot.set_data([data.crossover], [data.at])
        weights.set_data([10, 1e6], [data.parameters] * 2)
        fisher.set_data([10, 1e6], [data.fisher] * 2)

    return update


def describe_parts(data: Parts) -> str:
    """Where the solve takes over, and what dominates on either side."""
    several = "one device" if data.devices == 1 else f"{data.devices} devices"
    dear = "" if data.price == 1 else f", an operation of the solve {data.price:g} times dearer"
    n, N = data.crossover, data.crossover / data.outputs
    return (
        f"Width {data.width}, {data.outputs} output{'s' if data.outputs > 1 else ''}, {several}{dear}. "
        "Passes and step grow with N, the kernel with its square, the solve with its cube. The solve "
        f"costs as much as all the rest at {n:,.0f} residuals, {N:,.0f} samples. There a matrix of the "
        f"solve takes {_bytes(8 * n**2)}; the P x P Fisher matrix would take {_bytes(data.fisher)}."
    )


def _bytes(size: float) -> str:
    power = max(0, min(5, int(np.log10(max(size, 1)) // 3)))
    return f"{size / 1000.0**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"


parts = Figure(
    compute_parts,
    draw_parts,
    describe_parts,
    controls={
        "width": LogSlider(32, 16384, 1024, ticks=(64, 1024, 8192), label="width M"),
        "outputs": Choice({1: "1", 10: "10", 100: "100"}, 10, label="outputs C"),
        "devices": Choice({1: "1", 8: "8", 64: "64"}, 1),
        "price": Choice(
            {1: "as much", 2: "twice as much", 64: "64 times as much"}, 1,
            label="float64 costs",
        ),
    },
)  # fmt: skip


class Digits(NamedTuple):
    """Relative error of the samples' weights v, with (Theta / N + rho) v = r, in four precisions."""

    damping: np.ndarray
    tensor: np.ndarray  # factors rounded to 10 bits as in TF32, solved in float64
    single: np.ndarray  # float32 throughout
    mixed: np.ndarray  # float32 product, float64 solve
    double: np.ndarray  # float64 product of the float32 factors, float64 solve
    condition: float  # of Theta


def to_tf32(array: np.ndarray) -> np.ndarray:
    """float32 numbers rounded to the 10 bits of mantissa that TF32 keeps, ties to even."""
    bits = np.asarray(array, dtype=np.float32).view(np.uint32)
    half = np.uint32(0xFFF) + ((bits >> np.uint32(13)) & np.uint32(1))
    return ((bits + half) & np.uint32(0xFFFFE000)).view(np.float32)


def _kernel(layers: Sequence[Layer], cast: Callable[[Array], Array]) -> np.ndarray:
    n = len(layers[0].a)
    kernels = empirical_kernels([Layer(cast(a), cast(g)) for a, g in layers])
    return sum(K.ntk() for K in kernels).reshape(n, n) / n


@functools.lru_cache(maxsize=2)
def compute_digits(width: int = 256, samples: int = 64) -> Digits:
    """Threes against fives; the reference is the same float32 network, computed in float64."""
    data = networks.problem((3, 5), train=samples)
    net = MLP((64, width, width, 1))
    params, x = net.init(0, dtype=np.float32), data.x_train.astype(np.float32)
    exact = [(W.astype(np.float64), None) for W, _ in params]
    r = net.apply(exact, x.astype(np.float64))[:, 0] - data.y_train[:, 0]
    theta = _kernel(net.layers(exact, x.astype(np.float64)), np.float64)
    layers = net.layers(params, x)
    kernels = [_kernel(layers, cast) for cast in (to_tf32, np.float32, np.float32, np.float64)]
    solve_in = (np.float64, np.float32, np.float64, np.float64)
    damping, eye = 10.0 ** np.linspace(-8, -1, 15), np.eye(samples)
    errors = np.zeros((4, len(damping)))
    for k, rho in enumerate(damping):
        right = np.linalg.solve(theta + rho * eye, r)
        for i, (K, dtype) in enumerate(zip(kernels, solve_in, strict=True)):
            v = np.linalg.solve(K.astype(dtype) + (rho * eye).astype(dtype), r.astype(dtype))
            errors[i, k] = np.linalg.norm(v - right) / np.linalg.norm(right)
    tensor, single, mixed, double = errors
    return Digits(damping, tensor, single, mixed, double, float(np.linalg.cond(theta)))


def draw_digits(fig: Canvas) -> Callable[[Digits], None]:
    """The error of each precision against the damping."""
    ax = fig.subplots()
    ax.set(xscale="log", yscale="log", xlim=(5e-9, 2e-1), ylim=(1e-9, 1e-2))
    ax.set(xlabel=r"damping $\rho$", ylabel="relative error of $v$")
    ax.set_title("Digits are lost in the product, not in the solve")
    looks: list[dict[str, Any]] = [
        {"color": "C4", "marker": "D", "label": "product TF32, solve float64"},
        {"color": "C1", "marker": "o", "markersize": 9, "fillstyle": "none", "linestyle": ""}
        | {"label": "product float32, solve float32"},
        {"color": "C0", "marker": "o", "label": "product float32, solve float64"},
        {"color": "C2", "marker": "^", "label": "product float64, solve float64"},
    ]
    lines = [ax.plot([], [], **look)[0] for look in looks]
    fig.legend(loc="outside right upper")

    def update(data: Digits) -> None:
        for line, errors in zip(lines, data[1:5], strict=True):
            line.set_data(data.damping, errors)

    return update


def describe_digits(data: Digits) -> str:
    """The errors at the smallest damping."""
    tensor, single, mixed, double = (e[0] for e in data[1:5])
    return (
        f"The condition number of Theta is {data.condition:.2g}. At damping {data.damping[0]:.0e} the "
        f"relative error is {tensor:.1e} where the kernel's product is rounded as in TF32, {mixed:.1e} "
        f"with a float32 product and a float64 solve, {single:.1e} with both in float32, and "
        f"{double:.1e} with both in float64. All errors fall as the damping grows: at "
        f"{data.damping[-1]:.0e} they are {data.tensor[-1]:.1e}, {data.mixed[-1]:.1e}, "
        f"{data.single[-1]:.1e} and {data.double[-1]:.1e}."
    )


digits = Figure(compute_digits, draw_digits, describe_digits, size=(7.2, 3.2))
