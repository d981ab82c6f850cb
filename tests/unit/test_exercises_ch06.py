"""The checks of chapter 6 know the right answer and name every misconception."""

from functools import partial

import numpy as np

import ngdlib
from ngdlib.exercises import Verdict, call, ch06, judge

from .verdicts import verdicts


def step(J, r, damping, *, matrix="N", rhs="N", order="n", twice=1, sign=1, out="step"):
    """The solution of exercise 6.2, with switches for what can go wrong."""
    n, c, p = J.shape
    scale = {"N": n, "1": 1, "NC": n * c}
    flat, column = J.reshape(n * c, p), r.ravel()
    if order == "r":
        column = r.T.ravel()
    if order == "J":
        flat = J.swapaxes(0, 1).reshape(n * c, p)
    K = flat @ flat.T / scale[matrix] + twice * damping * np.eye(n * c)
    v = np.linalg.solve(K, column / scale[rhs])
    return v if out == "v" else sign * flat.T @ v


def in_parameter_space(J, r, rho):
    F = np.einsum("ncp,ncq->pq", J, J) / len(J)
    return np.linalg.solve(F + rho * np.eye(len(F)), gradient(J, r))


def gradient(J, r, rho=None):
    return np.einsum("ncp,nc->p", J, r) / len(J)


NET = ngdlib.MLP((64, 16, 16, 3), bias_variance=1.0)
COUNT = sum(W.size + b.size for W, b in NET.init())

test_verdicts = verdicts(
    (
        ch06.check_step,
        [step, in_parameter_space],
        [
            (partial(step, matrix="1", rhs="1"), "units of F"),
            (partial(step, rhs="1"), "N times too long"),
            (partial(step, matrix="1"), "its 1/N was dropped"),
            (partial(step, matrix="NC", rhs="NC"), "not the number N C"),
            (partial(step, sign=-1), "The sign"),
            (partial(step, order="r"), "The residual was flattened"),
            (partial(step, order="J"), "J was flattened"),
            (partial(step, twice=2), "twice"),
            (partial(step, out="v"), "weights of the samples"),
            (gradient, "That is the gradient"),
            (lambda J, r, rho: np.zeros(3), "shape (40,)"),
            (lambda J, r, rho: np.full(40, np.nan), "NaN"),
        ],
    ),
    (
        ch06.check_steps,
        [7, np.argmax(0.7 ** (2 * np.arange(20)) < 0.01)],
        [
            (13, "square"),
            (6, "round up"),
            (2, "leaves"),
            (4, "not what it leaves"),
            (8, "small steps"),
            (np.log(100) / (2 * np.log(1 / 0.7)), "whole"),
        ],
    ),
    (
        ch06.check_sizes,
        [(COUNT, 20 * 3)],
        [
            ((1328, 60), "Biases are"),
            ((COUNT, 20), "N C rows"),
            ((1328, 20), "Two things"),
            ((60, COUNT), "other way round"),
            ((16 * 65, 60), "first layer"),
            ((COUNT**2, 3600), "entries"),
        ],
    ),
)


def test_functions_that_fail_say_why():
    def stops(J, r, rho):
        raise ValueError("no such matrix")

    assert "ValueError: no such matrix" in ch06.check_step(stops).message
    assert ch06.check_step(lambda J, r, rho: None).right is None
    given = np.ones(2)
    assert call(lambda a: a.fill(7), given) is None
    assert call(3, given) == Verdict(False, "Pass the function itself, not int.")
    assert given.tolist() == [1, 1]


def test_mistakes_come_in_order_and_never_hide_the_right_answer():
    assert judge(1.0, 1.0, "yes", [(1.0, "no")]).message == "yes"
    assert judge(2.0, 1.0, "yes", [(2.0, "first"), (2.0, "second")]).message == "first"
    assert judge(3.0, 1.0, "yes", [(2.0, "first")], otherwise="else").message == "else"
