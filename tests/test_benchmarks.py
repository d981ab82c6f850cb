"""Committed measurements belong to the files that they were made of: a stale one is refused."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from environment import sha256  # noqa: E402

RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda p: p.stem)
def test_result_belongs_to_this_code(path):
    env = json.loads(path.read_text())["environment"]
    assert {"machine", "versions"} <= env.keys()
    assert env["sha256"] == sha256(env["measured"]), (
        f"{path.name} is stale: run `python benchmarks/{path.stem}.py --write`"
    )


def test_a_changed_file_changes_the_hash(tmp_path, monkeypatch):
    monkeypatch.setattr("environment.ROOT", tmp_path)
    (tmp_path / "a.py").write_text("1")
    first = sha256(["a.py"])
    (tmp_path / "a.py").write_text("2")
    assert sha256(["a.py"]) != first


def test_every_benchmark_has_its_result_and_its_line():
    scripts = {p.stem for p in (ROOT / "benchmarks").glob("*.py")} - {"environment"}
    assert {p.stem for p in RESULTS} == scripts
    readme = (ROOT / "benchmarks" / "README.md").read_text()
    assert all(f"{name}.py" in readme for name in scripts)
