"""Each mutant is killed by the test that is named for it; without a patch, those tests pass."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .mutants import MUTANTS

ROOT = Path(__file__).parents[2]
SOURCES = {
    path: path.read_text()
    for path in sorted((ROOT / "ngdlib").rglob("*.py"))
    if not {"figures", "explore", "exercises"} & set(path.relative_to(ROOT).parts)
}
# Paths are left out of what must be found: a line may move to another file.


def place_of(mutant):
    places = [path for path, text in SOURCES.items() if mutant.old in text]
    assert len(places) == 1, f"{mutant.mistake}: in {len(places)} files; write the patch anew"
    assert SOURCES[places[0]].count(mutant.old) == 1, mutant.mistake
    return places[0]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.mistake)
def test_the_patch_fits(mutant):
    place_of(mutant)


def run(folder, nodes):
    """The exit status and the output of some tests on the copy in `folder`."""
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
    ]
    command += ["-c", str(folder / "pyproject.toml"), "--rootdir", str(folder), *nodes]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def copy(folder):
    for name in ("ngdlib", "tests/unit", "tests/contract"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.slow
def test_every_mutant_is_killed_by_its_test(tmp_path):
    nodes = sorted({m.test for m in MUTANTS})
    status, output = run(copy(tmp_path / "sound"), nodes)
    assert status == 0, output
    assert str(tmp_path / "sound") in run_where(tmp_path / "sound")

    def survives(numbered):
        number, mutant = numbered
        folder = copy(tmp_path / str(number))
        path = folder / place_of(mutant).relative_to(ROOT)
        path.write_text(path.read_text().replace(mutant.old, mutant.new))
        status, output = run(folder, [mutant.test])
        shutil.rmtree(folder)
        return None if status == 1 else f"{mutant.mistake}: {output[-500:]}"  # 1: a test failed

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        alive = [line for line in pool.map(survives, enumerate(MUTANTS)) if line]
    assert not alive, "\n".join(alive)


def run_where(folder):
    """Where the package comes from in a copy: not from the installed one."""
    command = [sys.executable, "-c", "import ngdlib; print(ngdlib.__file__)"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
