"""What README promises: its commands exist, its code runs, its picture is there and light."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")


def test_its_commands_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    asked = set(re.findall(r"\bmake (?:PYTHON=\S+ )?([a-z]+)\b(?= +#|`)", TEXT))
    assert {"book", "test", "serve", "lab", "help", "quick", "notebooks", "lock"} <= asked
    for target in asked:
        assert re.search(rf"(?m)^{target}:", makefile), target


def test_its_python_runs(capsys: pytest.CaptureFixture[str]):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert capsys.readouterr().out.startswith("[")
    loss = names["history"].train_loss
    assert loss[-1] < 1e-3 * loss[0]


def test_its_pictures_are_there_and_light():
    pictures = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", TEXT)
    assert pictures
    for description, path in pictures:
        assert len(description) > 40
        assert 0 < (ROOT / path).stat().st_size < 150_000


def test_its_folders_and_files_exist():
    for name in re.findall(r"`([A-Za-z_./-]+/|[A-Z][A-Za-z-]+(?:\.cff)?|_config\.yml)`", TEXT):
        assert (ROOT / name).exists(), name


def test_the_lock_says_how_it_is_remade():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (command,) = re.findall(r"(?m)^LOCK := (uv pip compile .*)$", makefile)
    first, *packages = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    assert first == f"# Remade by `make lock`: {command} --upgrade"
    assert not [p for p in packages if p.startswith("tensorflow")]
    assert all("==" in p for p in packages)
