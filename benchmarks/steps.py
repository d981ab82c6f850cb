"""Speed and memory of one training step, as a ratio to the work that the method cannot avoid.

    python benchmarks/steps.py            prints a table
    python benchmarks/steps.py --write    and writes results/steps.json

N = 100, M_0 = 784, three layers, float32 with float64 solves, zero damping (unit-wise: relative 1e-3
with relu, and 0 with erf). The yardstick of a case is forward pass, backward pass, Gram matrices, the
factorisations and the update, written out in NumPy; of unit-wise, our exact step; of a kernel, one
float64 elementwise exp of its size. Both are timed in turn in the same process, and the ratio is of the
minima of 7. Every case has a process of its own, whose peak memory is the whole process's.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from environment import CORE, environment, write

import ngdlib

N, M0 = 100, 784
IMPORT = 0.15  # seconds, NumPy included


class Case(NamedTuple):
    """One row: what is timed, and what it must reach."""

    method: str
    width: int
    outputs: int = 1
    ratio: float = 0.0
    gib: float = 0.0
    activation: str = "relu"


CASES = [
    Case("exact", 4096, 1, 1.8, 0.35),
    Case("exact", 4096, 10, 1.8, 0.45),
    Case("block_diagonal", 4096, 1, 1.8, 0.35),
    Case("block_tridiagonal", 4096, 1, 3, 0.35),
    Case("kfac", 2048, 1, 2.5, 0.4),
    Case("kfac", 4096, 1, 2.5, 0.4),
    Case("exact", 512, 10, 2, 0.4),
    Case("block_diagonal", 512, 10, 2, 0.4),
    Case("block_tridiagonal", 512, 10, 3, 0.4),
    Case("unit_wise", 1024, 1, 4),
    Case("unit_wise", 1024, 1, 4, activation="erf"),
    Case("unit_wise", 4096, 1, 0, 0.5),
    Case("kernel", 1000, 1, 80, activation="relu"),
    Case("kernel", 1000, 1, 80, activation="erf"),
    Case("kernel", 1000, 1, 300, activation="tanh"),
]


def problem(case: Case) -> tuple:
    """Inputs of unit norm, random targets, a network and its parameters, in float32."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, M0)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = rng.standard_normal((N, case.outputs)).astype(np.float32)
    net = ngdlib.MLP((M0, case.width, case.width, case.outputs), case.activation)
    return net, net.init(0, dtype=np.float32), x, y


def step(method: str, damping: Any, net: Any, params: Any, x: Any, y: Any) -> Any:
    """Ours: a whole step, from parameters to parameters."""
    f, layers = net.linearise(params, x)
    return net.update(params, ngdlib.natural_gradient(method, layers, f - y, damping=damping), 0.01)


def unavoidable(method: str, net: Any, params: Any, x: Any, y: Any) -> Any:
    """Forward, backward, Gram matrices, one factorisation per system, update."""
    f, layers = net.linearise(params, x)
    n, c = f.shape
    r = (f - y).reshape(-1).astype(np.float64)
    kernels = ngdlib.empirical_kernels(layers)
    if method == "kfac":
        systems = [s for k in kernels for s in (k.A, k.G.reshape(n * c, n * c))]
        v = [
            np.linalg.solve(s.astype(np.float64) + np.eye(len(s)), np.eye(len(s))) for s in systems
        ]
        weights = [
            (G @ (r[:, None] * np.repeat(A, c, 0))) for A, G in zip(v[::2], v[1::2], strict=True)
        ]
        pulled = [
            (w.astype(np.float32) @ a).reshape(n, c, -1)
            for w, (a, _) in zip(weights, layers, strict=True)
        ]
        step = [
            g.reshape(n * c, -1).T @ p.reshape(n * c, -1)
            for (_, g), p in zip(layers, pulled, strict=True)
        ]
    else:
        T = [k.ntk().reshape(n * c, n * c) for k in kernels]
        T = [sum(T)] if method == "exact" else T
        v = [np.linalg.solve(t.astype(np.float64), r).astype(np.float32).reshape(n, c) for t in T]
        step = [layer.pull(x) for layer, x in zip(layers, v * len(layers), strict=False)]
    return net.update(params, step, 0.01)


def infinite(case: Case) -> tuple[Callable, Callable]:
    """The analytical kernel at depth 10, inputs of unequal norms."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case.width, 64)) * rng.uniform(0.5, 2, (case.width, 1))
    other = x[::-1].copy()
    net = ngdlib.MLP((64, *[1] * 9, 1), case.activation, 1.5, 0.1)
    square = rng.standard_normal((case.width, case.width))
    return lambda: np.exp(square), lambda: ngdlib.infinite_kernels(net, x, other)


def measure(case: Case) -> dict:
    """Interleaved, the minima of 7."""
    if case.method == "kernel":
        yardstick, ours = infinite(case)
    else:
        arguments = problem(case)
        unit_wise = case.method == "unit_wise"
        damping = ngdlib.damping.relative(1e-3) if unit_wise and case.activation == "relu" else 0.0

        def yardstick() -> Any:
            if unit_wise:
                return step("exact", 0.0, *arguments)
            return unavoidable(case.method, *arguments)

        def ours() -> Any:
            return step(case.method, damping, *arguments)

    times: dict[str, list[float]] = {"yardstick": [], "ours": []}
    for _ in range(7):
        for name, function in (("yardstick", yardstick), ("ours", ours)):
            start = time.perf_counter()
            result = function()
            times[name].append(time.perf_counter() - start)
            del result
    seconds = {name: min(t) for name, t in times.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        **case._asdict(),
        "target_ratio": case.ratio,
        "target_gib": case.gib,
        "seconds": round(seconds["ours"], 4),
        "ratio": round(seconds["ours"] / seconds["yardstick"], 2),
        "gib": round(peak, 3),
    }


def import_seconds() -> dict[str, float]:
    """Of `import numpy` and then `import ngdlib` in a new process, the best of 7."""
    code = (
        "import time; t = [time.perf_counter()]; import numpy; t.append(time.perf_counter()); "
        "import ngdlib; t.append(time.perf_counter()); print(t[1] - t[0], t[2] - t[1])"
    )
    command = [sys.executable, "-c", code]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(7)]
    numpy, own = min((tuple(map(float, run.stdout.split())) for run in runs), key=sum)
    return {"numpy": round(numpy, 3), "ngdlib": round(own, 3), "target": IMPORT}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--case", type=int, help="one case, as JSON")
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(measure(CASES[options.case])))
        return
    rows = []
    print(
        f"{'method':<18}{'activation':<11}{'width':>6}{'C':>4}{'seconds':>10}{'ratio':>8}{'target':>8}{'GiB':>8}"
    )
    for k in range(len(CASES)):
        done = subprocess.run(
            [sys.executable, __file__, "--case", str(k)], check=True, capture_output=True, text=True
        )
        row = json.loads(done.stdout)
        rows.append(row)
        print(
            f"{row['method']:<18}{row['activation']:<11}{row['width']:>6}{row['outputs']:>4}"
            f"{row['seconds']:>10.4f}{row['ratio']:>8.2f}{row['target_ratio']:>8}{row['gib']:>8.3f}",
            flush=True,
        )
    imported = import_seconds()
    print("import, seconds: ", imported)
    if options.write:
        measured = [*CORE, "ngdlib/models/infinite.py", "benchmarks/steps.py"]
        write(
            "steps",
            {"environment": environment(["numpy"], measured), "import": imported, "cases": rows},
        )


if __name__ == "__main__":
    main()
