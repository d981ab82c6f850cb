"""The check of chapter 0 knows the right answer and names every misconception."""

import re
from pathlib import Path

import numpy as np
import pytest

from ngdlib.exercises import ch00

PAGE = Path(__file__).resolve().parents[2] / "book" / "00-orientation" / "how_to_use.md"


def test_no_answer_yet():
    assert ch00.check_valley(None).right is None


@pytest.mark.parametrize("answer", [(40 / 21, 19 / 21), [1.905, 0.905], np.array([1.9048, 0.9048])])
def test_the_answer_of_the_solution_is_right(answer):
    assert ch00.check_valley(answer)


def test_the_best_of_many_step_sizes_is_right():
    eta = np.linspace(0, 2.4, 240_001)
    slower = np.maximum(abs(1 - eta), abs(1 - eta / 20))
    assert ch00.check_valley((eta[slower.argmin()], slower.min()))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ((1, 0.95), "keeps 0.95"),
        ((2, 0.9), "flat direction alone"),
        ((2, 1), "jumps for ever"),
        ((20, 0), "-19"),
        ((40 / 21, -19 / 21), "absolute value"),
        ((40 / 21, 2 / 21), "takes away"),
        ((40 / 21, (19 / 21) ** 2), "factor of the loss"),
        (40 / 21, "two numbers"),
        ((0.5, 0.5), "Draw"),
        ("a half", "made of numbers"),
    ],
)
def test_wrong_answers_are_recognised(wrong, words):
    verdict = ch00.check_valley(wrong)
    assert verdict.right is False
    assert words in verdict.message


def test_the_solution_on_the_page_passes():
    text = PAGE.read_text("utf-8")
    eta = re.search(r"\\eta = .* = (\d+)/(\d+) \\approx", text)
    factor = re.search(r"by the factor \$(\d+)/(\d+) \\approx", text)
    assert eta
    assert factor
    pair = [int(m[1]) / int(m[2]) for m in (eta, factor)]
    assert ch00.check_valley(pair)
