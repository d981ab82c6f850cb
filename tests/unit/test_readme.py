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
