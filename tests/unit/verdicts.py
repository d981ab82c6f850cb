"""What the tests of the chapters' exercise checks share."""

import re
from pathlib import Path

import numpy as np
import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"


def verdicts(*exercises):
    """A test of exercises, each given as: its check, right answers, and wrong ones beside words of their message.

    No answer is neither right nor wrong, and a text or a negative number is wrong for every check.
    """
    cases = []
    for check, right, wrong in exercises:
        cases += [(check, None, None, "No answer yet")]
        cases += [(check, answer, True, "Right") for answer in right]
        cases += [(check, answer, False, words) for answer, words in wrong]
        cases += [(check, answer, False, "Not yet") for answer in ("seven", -1.0)]

    @pytest.mark.parametrize(
        ("check", "answer", "right", "words"),
        cases,
        ids=[f"{check.__name__}: {words}" for check, *_, words in cases],
    )
    def test(check, answer, right, words):
        verdict = check(answer)
        assert verdict.right is right, verdict
        assert words in repr(verdict), verdict

    return test


def printed(page, label):
    """The text of a solution as the page has it, and what its code defines."""
    text = (BOOK / page).read_text("utf-8")
    text = re.search(rf":label: {label}\n(.*?)\n```{{code-cell}}", text, re.S)[1]
    names = {"np": np}
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(code, names)
    return text, names
