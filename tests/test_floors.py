"""Nothing imports upwards, and importing the package loads only what the mathematics needs."""

import ast
import subprocess
import sys
from pathlib import Path

import ngdlib

PACKAGE = Path(ngdlib.__file__).parent

# From the ground up. A module may import from its own floor and from those below.
FLOORS: list[set[str]] = [
    {"arrays"},
    {"layers", "structure", "likelihood", "damping", "forster"},
    {"fisher", "models"},
    {"checks", "solve", "isotropy", "estimators"},
    {"training", "interop"},
    {"files"},
    {"figures"},
    {"explore", "exercises"},
    {"__main__"},
]
# Data sets stand beside the house: they use arrays, and what is above the mathematics uses them.
ONLY_ARRAYS = "datasets"
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}
FLOOR[ONLY_ARRAYS] = FLOOR["training"]


def imports_of(path: Path) -> set[str]:
    """The top-level parts of ngdlib that a file imports anywhere, also inside functions."""
    here = ["ngdlib", *path.relative_to(PACKAGE).with_suffix("").parts]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            names = [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "ngdlib" and len(parts) > 1 and parts[1] in FLOOR:
                found.add(parts[1])
    return found


def modules() -> list[Path]:
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_every_module_has_a_floor() -> None:
    assert {part(p) for p in modules()} <= set(FLOOR)


def test_nothing_imports_upwards() -> None:
    wrong = []
    for path in modules():
        for other in imports_of(path) - {part(path)}:
            allowed = {"arrays"} if part(path) == ONLY_ARRAYS else None
            if (other not in allowed) if allowed else FLOOR[other] > FLOOR[part(path)]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert not wrong


HEAVY = ("jax", "matplotlib", "scipy", "ipywidgets", "IPython", "pooch")


def test_import_loads_nothing_heavy() -> None:
    code = f"import sys, ngdlib; print([m for m in {HEAVY} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
