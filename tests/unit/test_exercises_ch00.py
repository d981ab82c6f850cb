"""The check of chapter 0 knows the right answer and names every misconception."""

import re

import numpy as np

from ngdlib.exercises import ch00

from .verdicts import BOOK, verdicts

test_verdicts = verdicts(
    (
        ch00.check_valley,
        [(40 / 21, 19 / 21), [1.905, 0.905], np.array([1.9048, 0.9048])],
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
)


def test_the_best_of_many_step_sizes_is_right():
    eta = np.linspace(0, 2.4, 240_001)
    slower = np.maximum(abs(1 - eta), abs(1 - eta / 20))
    assert ch00.check_valley((eta[slower.argmin()], slower.min()))


def test_the_solution_on_the_page_passes():
    text = (BOOK / "00-orientation/how_to_use.md").read_text("utf-8")
    eta = re.search(r"\\eta = .* = (\d+)/(\d+) \\approx", text)
    factor = re.search(r"by the factor \$(\d+)/(\d+) \\approx", text)
    assert eta
    assert factor
    pair = [int(m[1]) / int(m[2]) for m in (eta, factor)]
    assert ch00.check_valley(pair)
