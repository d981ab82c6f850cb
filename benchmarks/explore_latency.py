"""How long a slider move of chapter 6's figure takes on a kernel, from the new value to the new picture.

    python benchmarks/explore_latency.py            prints a table
    python benchmarks/explore_latency.py --write    and writes results/explore_latency.json

A move is what the widget does when a slider's value changes: numbers, words, picture, PNG, at two
device pixels per CSS pixel. Width 1024 and N = 64 throughout, or a new width at every move. The
target is 150 ms at the 95th percentile on two cores, on NumPy and on JAX. Where other programs
keep the cores busy, OPENBLAS_NUM_THREADS=1: threads that wait for each other then cost more than
they bring, and the waiting is not the figure's.
"""

from __future__ import annotations

import argparse
import os
import random
import time

import numpy as np
from environment import CORE, environment, write

from ngdlib.explore import explore
from ngdlib.explore.kernel import Explorer
from ngdlib.figures import exact

TARGET_MS = 150
PACKAGES = ("numpy", "jax", "matplotlib", "ipywidgets")
MEASURED = (*CORE, "ngdlib/explore", "ngdlib/figures/networks.py", "ngdlib/figures/exact.py")


def moves(kind: str, count: int) -> list[dict]:
    """Slider positions: one control moves at a time, as under a hand."""
    rng = random.Random(0)
    start = {"step_size": 1.0, "width": 1024, "samples": 64, "damping": 0.0, "draw": exact.DRAW}
    value = {
        "width": lambda: rng.randrange(16, 1025, 16),
        "step_size": lambda: round(rng.uniform(0, 2.2), 2),
        "damping": lambda: 10 ** rng.uniform(-6, 0),
        "samples": lambda: rng.randrange(2, 65, 2),
    }
    return [start | {kind: value[kind]()} for _ in range(count)]


def measure(widget: Explorer, settings: list[dict]) -> dict:
    """Milliseconds per move, after two that warm up (and, on JAX, compile)."""
    for setting in settings[:2]:
        widget._work(setting)
    times = []
    for setting in settings:
        begin = time.perf_counter()
        widget._work(setting)
        times.append(1e3 * (time.perf_counter() - begin))
        assert widget.message.layout.display == "none", widget.message.value
    p50, p95 = (float(q) for q in np.percentile(times, [50, 95]))
    return {"moves": len(times), "p50_ms": round(p50, 1), "p95_ms": round(p95, 1),
            "max_ms": round(max(times), 1)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--moves", type=int, default=60)
    arguments = parser.parse_args()
    os.environ["NGDLIB_HOME"] = "kernel"
    result = {
        "environment": environment(PACKAGES, [*MEASURED, "benchmarks/explore_latency.py"]),
        "target_p95_ms": TARGET_MS,
        "backends": {},
    }
    for backend in ("numpy", "jax"):
        widget = explore(exact.one_step, backend=backend)
        result["backends"][backend] = {}
        for kind in ("width", "step_size", "damping", "samples"):
            row = measure(widget, moves(kind, arguments.moves))
            result["backends"][backend][kind] = row
            print(f"{backend:6s} {kind:10s} {row}", flush=True)
    worst = max(row["p95_ms"] for rows in result["backends"].values() for row in rows.values())
    print(f"worst 95th percentile {worst} ms; target {TARGET_MS} ms")
    if arguments.write:
        write("explore_latency", result)


if __name__ == "__main__":
    main()
