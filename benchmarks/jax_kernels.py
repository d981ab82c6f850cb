"""JAX: empirical kernels against neural-tangents, the compiled step against NumPy, memory of a convolution.

    python benchmarks/jax_kernels.py                      prints the tables
    python benchmarks/jax_kernels.py --write              and writes results/jax_kernels.json
    python benchmarks/jax_kernels.py --device gpu --write the same on a GPU, with larger sizes, into
                                                          results/jax_kernels_gpu.json

N = 100, M_0 = 784, three layers, relu, float32 (solves in float64), warm. What is compared runs in turn in
one process; seconds are the minima of 7. The memory is the peak of a process of its own, above what it held
when the step had been compiled for one sample.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from environment import CORE, environment, write

import ngdlib

N, M0, ROUNDS = 100, 784, 7
SIZES = {"cpu": (1024, 4096), "gpu": (1024, 4096, 16384, 32768)}
BUDGETS = (256 * 2**20, 768 * 2**20)
FILES = [
    *CORE,
    "ngdlib/models/autodiff.py",
    "ngdlib/models/tracing.py",
    "benchmarks/jax_kernels.py",
]


def interleaved(functions: dict[str, Callable[[], Any]]) -> dict[str, float]:
    import jax

    for function in functions.values():
        jax.block_until_ready(function())
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name, function in functions.items():
            time.sleep(
                0.1
            )  # OpenBLAS's threads spin for a while, and the next one would pay for it
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    return {name: min(s) for name, s in seconds.items()}


def problem(width: int, outputs: int) -> tuple:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, M0)).astype(np.float32)
    y = rng.standard_normal((N, outputs)).astype(np.float32)
    return ngdlib.MLP((M0, width, width, outputs)), x / np.linalg.norm(x, axis=1, keepdims=True), y


def kernel(width: int, outputs: int) -> dict:
    import jax
    import jax.numpy as jnp

    from ngdlib.interop import neural_tangents
    from ngdlib.models import autodiff

    nt = neural_tangents.load()
    net, x, _ = problem(width, outputs)
    params = net.init(0, xp=jnp, dtype=jnp.float32)
    x = jnp.asarray(x)
    any_net = autodiff.network(net.apply, params, x)

    def ours(net: Any) -> Callable:
        return jax.jit(
            lambda p, x: sum(k.ntk() for k in ngdlib.empirical_kernels(net.layers(p, x)))
        )

    # Their own network, so that their rules see the products that they know.
    stax = nt.stax
    hidden = [stax.Dense(width, W_std=2**0.5, b_std=None), stax.Relu()]
    _, apply, _ = stax.serial(*hidden, *hidden, stax.Dense(outputs, W_std=2**0.5, b_std=None))
    (w1, _), (w2, _), (w3, _) = params
    their_params = [(w1.T, None), (), (w2.T, None), (), (w3.T, None)]
    theirs = jax.jit(
        nt.empirical_ntk_fn(
            apply,
            trace_axes=(),
            vmap_axes=0,
            implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES,
        )
    )
    written, traced = ours(net), ours(any_net)
    difference = abs(
        jnp.transpose(theirs(x, None, their_params), (0, 2, 1, 3)) - written(params, x)
    ).max()
    seconds = interleaved(
        {
            "neural_tangents": lambda: theirs(x, None, their_params),
            "ngdlib": lambda: written(params, x),
            "autodiff": lambda: traced(params, x),
        }
    )
    return {
        "width": width,
        "outputs": outputs,
        "seconds": seconds,
        "faster": seconds["neural_tangents"] / seconds["ngdlib"],
        "faster_autodiff": seconds["neural_tangents"] / seconds["autodiff"],
        "relative_difference": float(difference / abs(written(params, x)).max()),
    }


def step(width: int, outputs: int) -> dict:
    import jax
    import jax.numpy as jnp

    net, x, y = problem(width, outputs)
    params = net.init(0, dtype=np.float32)
    moved = [tuple(None if a is None else jnp.asarray(a) for a in layer) for layer in params]

    def one(params: Any, x: Any, y: Any, rho: Any) -> Any:
        f, layers = net.linearise(params, x)
        s = ngdlib.natural_gradient("exact", layers, f - y, damping=rho)
        return net.update(params, s, 0.01)

    # As in training: the old parameters' memory is taken for the new ones.
    compiled, xj, yj = jax.jit(one, donate_argnums=0), jnp.asarray(x), jnp.asarray(y)

    def next_step() -> Any:
        nonlocal moved
        moved = compiled(moved, xj, yj, 1e-4)
        return moved

    seconds = interleaved({"numpy": lambda: one(params, x, y, 1e-4), "jax": next_step})
    return {
        "width": width,
        "outputs": outputs,
        "seconds": seconds,
        "ratio": seconds["jax"] / seconds["numpy"],
    }


def convolution(budget: int | None) -> dict:
    """Peak memory of one exact step of a convolutional network: 128 images, 70 000 parameters."""
    import jax
    import jax.numpy as jnp

    from ngdlib.models import autodiff

    def apply(params: Any, x: Any) -> Any:
        for w in params["filters"]:
            axes = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=axes)
            x = jnp.maximum(x, 0)
        return x.mean((1, 2)) @ params["out"]

    shapes = [(3, 3, 1, 32), (3, 3, 32, 64), (3, 3, 64, 64), (3, 3, 64, 128)]
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        scale = (2 / np.prod(shape[:-1])) ** 0.5
        return jnp.asarray(scale * rng.standard_normal(shape), jnp.float32)

    params = {"filters": [draw(*s) for s in shapes], "out": draw(128, 10)}
    x = jnp.asarray(rng.standard_normal((128, 16, 16, 1)), jnp.float32)
    y = jnp.asarray(rng.standard_normal((128, 10)), jnp.float32)
    net = autodiff.network(apply, params, x[:2], memory=budget)

    @jax.jit
    def one(params: Any, x: Any, y: Any) -> Any:
        f, layers = net.linearise(params, x)
        return net.update(
            params, ngdlib.natural_gradient("exact", layers, f - y, damping=1e-3), 1.0
        )

    jax.block_until_ready(one(params, x[:1], y[:1]))
    compiled = one.lower(params, x, y).compile()
    _forget_peak()  # that of the compiler
    before = _memory("VmRSS")
    start = time.perf_counter()
    jax.block_until_ready(compiled(params, x, y))
    return {
        "budget": budget,
        "jacobian": 128 * 10 * 4 * sum(int(np.prod(s)) for s in [*shapes, (128, 10)]),
        "peak": _memory("VmHWM") - before,
        "planned_by_xla": compiled.memory_analysis().temp_size_in_bytes,
        "seconds": time.perf_counter() - start,
    }


def _memory(field: str) -> int:
    """Bytes of this process, from Linux: VmRSS, held now; VmHWM, the most since `_forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--convolution", type=int, help="one budget in bytes, 0 for none, as JSON")
    options = parser.parse_args()
    import jax

    try:
        device = jax.devices(options.device)[0]
    except RuntimeError:
        sys.exit(
            f"--device {options.device}: JAX {jax.__version__} sees no such device here; it "
            f"sees {jax.devices()}. A GPU needs its driver and pip install jax[cuda12]."
        )
    jax.config.update("jax_default_device", device)
    if options.convolution is not None:
        print(json.dumps(convolution(options.convolution or None)))
        return
    result: dict[str, Any] = {
        "device": device.device_kind,
        "kernels": [],
        "steps": [],
        "memory": [],
    }
    for table, measure in (("kernels", kernel), ("steps", step)):
        for width in SIZES[options.device]:
            for outputs in (1, 10):
                result[table].append(measure(width, outputs))
                print(table, json.dumps(result[table][-1]), flush=True)
    for budget in (*BUDGETS, 0):
        line = subprocess.run(
            [sys.executable, __file__, "--device", options.device, "--convolution", str(budget)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        result["memory"].append(json.loads(line))
        print("memory", line.strip(), flush=True)
    if options.write:
        packages = ["numpy", "jax", "jaxlib", "neural-tangents"]
        result = {"environment": environment(packages, FILES), **result}
        write("jax_kernels" + ("_gpu" if options.device == "gpu" else ""), result)


if __name__ == "__main__":
    main()
