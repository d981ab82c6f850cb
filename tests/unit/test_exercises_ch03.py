"""The checks of chapter 3 know the right answers, other forms of them, and the named mistakes."""

import re

import numpy as np

from ngdlib.exercises import ch03

from .verdicts import BOOK, verdicts

RIGHT = ["hessian", "score", "hessian", "none", "both"]
EXACT = [
    ([*RIGHT[:k], word, *RIGHT[k + 1 :]], ch03._MESSAGES[k][word])
    for k in range(5)
    for word in ("score", "hessian", "both", "none")
    if word != RIGHT[k]
] + [
    ("hessian", "list of 5 words"),
    (RIGHT[:3], "list of 5 words"),
    (["hesse", *RIGHT[1:]], "the words are"),
]
WEIGHT = [
    ((36, 2592, 4), "one label"),
    ((36, 162, 0.25), "1/S^2"),
    ((36, 324, 1), "Var(e^2) is 2"),
    ((36, 972, 1), "second moment"),
    ((36, 25.4558441, 1), "standard deviations"),
    ((6, 18, 1), "F is J^2"),
    ((36, 648, 0.5), "not H = 2"),
    ((36, 1, 648), "other way round"),
    ((36, 648, 0), "bends"),
    ((9, 40.5, 1), "2 w, not w"),
    ((1, 2, 3), "J = 2 w"),
    (36, "shape"),
]
LABELS = [
    (800, "all labels together"),
    (8, "not 1"),
    (0.8, "square the 5 %"),
    (1, "square the 5 %"),
    (24, "fourth moment"),
    (40000, "multiplied by the inputs"),
    (4, "root of it"),
    (20, "One over 5 %"),
    (17, "relative variance of a mean"),
]

test_verdicts = verdicts(
    (
        ch03.check_exact,
        [RIGHT, tuple(RIGHT), ["Hessian", " score", "HESSIAN", "None", "both "]],
        EXACT,
    ),
    (ch03.check_weight, [(36, 648, 1), [36.0, 2 * 6**4 / 4, 2**2 / 4]], WEIGHT),
    (ch03.check_labels, [16, 16.0, np.float64(2) / 50 / 0.05**2], LABELS),
)


def test_printed_solutions_are_right():
    text = (BOOK / "01-foundations/sampled_fisher.md").read_text("utf-8")
    words = re.search(r'`(\["hessian".*?\])`', text)[1]
    assert ch03.check_exact(eval(words))
    F = re.search(r"so \$F = (\d+)\$", text)[1]
    first = re.search(r"four have \$(\d+)\$", text)[1]
    second = re.search(r"H\^2/4 = (\d)\$", text)[1]
    assert ch03.check_weight([float(F), float(first), float(second)])
    assert ch03.check_labels(float(re.search(r"= 800\$ and \$S = (\d+)\$", text)[1]))
