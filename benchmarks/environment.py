"""What every result carries: machine, versions, and the hash of the files that were measured."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CORE = (
    "ngdlib/arrays.py",
    "ngdlib/layers.py",
    "ngdlib/damping.py",
    "ngdlib/solve.py",
    "ngdlib/structure",
    "ngdlib/fisher",
    "ngdlib/models/mlp.py",
)


def sha256(measured: Sequence[str]) -> str:
    """The hash of some files, and of all Python files below some folders."""
    digest = hashlib.sha256()
    for name in measured:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def exp_ms() -> float:
    """Milliseconds of an elementwise exp of 1000 x 1000 float64, the best of 20: how fast the machine is just now."""
    numbers, times = np.random.default_rng(0).standard_normal((1000, 1000)), []
    for _ in range(20):
        start = time.perf_counter()
        np.exp(numbers)
        times.append(time.perf_counter() - start)
    return round(1e3 * min(times), 2)


def environment(packages: Sequence[str], measured: Sequence[str]) -> dict:
    """Machine and versions; `measured` names the files whose change makes the result stale."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "all"),
        "exp_ms": exp_ms(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "measured": list(measured),
        "sha256": sha256(measured),
    }


def write(name: str, result: dict[str, Any]) -> None:
    """Into benchmarks/results, where a test looks whether it is stale."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
