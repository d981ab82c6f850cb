"""The checks of chapter 2 know the right answers, other forms of them, and the named mistakes."""

import re

import numpy as np

from ngdlib.exercises import ch02

from .verdicts import printed, verdicts

PAGE = "01-foundations/fisher_information.md"


def in_xi(J, r, T):
    N, K = len(r), J @ T
    return T @ np.linalg.solve(K.T @ K / N, K.T @ r / N)


def least_squares(J, r, T):
    return np.linalg.lstsq(J, r, rcond=None)[0]


def parts(J, r, T):
    N = len(r)
    return J.T @ r / N, J.T @ J / N, T.T @ (J.T @ J / N) @ T


def wrong(formula):
    return lambda J, r, T: formula(*parts(J, r, T), T)


solve = np.linalg.solve
STEPS = [
    (wrong(lambda g, F, K, T: solve(K, T.T @ g)), "step in xi"),
    (wrong(lambda g, F, K, T: T @ T.T @ g), "left the metric out"),
    (wrong(lambda g, F, K, T: T.T @ g), "gradient in xi"),
    (wrong(lambda g, F, K, T: T @ solve(K, g)), "gradient must change"),
    (wrong(lambda g, F, K, T: T @ solve(F, T.T @ g)), "metric must change"),
    (wrong(lambda g, F, K, T: T.T @ solve(K, T.T @ g)), "mapped back with T^T"),
    (wrong(lambda g, F, K, T: solve(T, solve(K, T.T @ g))), "mapped back with T^-1"),
    (wrong(lambda g, F, K, T: -solve(F, g)), "sign"),
    (wrong(lambda g, F, K, T: solve(F, g) / 7), "too many"),
    (wrong(lambda g, F, K, T: solve(F, g) * 7), "missing"),
    (wrong(lambda g, F, K, T: g), "Jacobian J T"),
]
COUNTER = [
    (([1, 2], [1, 2], 1), "fit is perfect"),
    (([1, 1], [0, 2], 1), "gradient is zero"),
    (([0, 0], [1, 2], 1), "All x are zero"),
    (([1, 1], [0, 0], 1), "about equal"),
    (([1, 1], [0, 0], 9), "wrong way round"),
    (([1, 1], [0, 0], 0.5), "right direction"),
    (([1, 2], [1], 1), "same length"),
    ((1, 2), "three things"),
    ((["a"], [1], 1), "three things"),
    (([1.0], [np.inf], 1), "NaN or infinity"),
]
COIN = [
    ((6.25, 0.16), "wrong way round"),
    ((0.16, 0.16), "same number"),
    ((0.16, 1.0), "square df/dp"),
    ((0.16, 0.16**3), "multiplied by (dp/df)^2"),
    ((0.4, 2.5), "standard deviations"),
    ((0.64, 25), "one label"),
    ((0.25, 4), "fair coin"),
    ((1, 1), "Score of the logit"),
    (0.16, "shape"),
]


test_verdicts = verdicts(
    (ch02.check_invariant_step, [in_xi, least_squares], STEPS),
    (
        ch02.check_counterexample,
        [([1, 2], [1.1, 2.1], 1), (np.ones(3), np.zeros(3), 0.01), [(1.0,), (0.0,), -0.2]],
        COUNTER,
    ),
    (ch02.check_coin, [(0.16, 6.25), [0.16, 1 / 0.16], np.array([0.2 * 0.8, 6.25])], COIN),
)


def test_printed_solutions_are_right():
    _, names = printed(PAGE, "sol-fi-invariance")
    assert ch02.check_invariant_step(names["natural_step"])
    text, _ = printed(PAGE, "sol-fi-counterexample")
    x, y, w = re.search(r"x = \((.*?)\)\$, \$y = \((.*?)\)\$, \$w = (\d)", text).groups()
    answer = [float(v) for v in x.split(",")], [float(v) for v in y.split(",")], float(w)
    assert ch02.check_counterexample(answer)
    text, _ = printed(PAGE, "sol-fi-coin")
    assert ch02.check_coin([float(v) for v in re.findall(r"= ([\d.]+)\$", text)])
