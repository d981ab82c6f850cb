"""The checks of chapter 6 know the right answer and name every misconception."""

import numpy as np
import pytest

from ngdlib.exercises import Verdict, call, ch06, judge


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


def test_the_step_of_the_solution_is_right():
    assert ch06.check_step(step)

    def in_parameter_space(J, r, rho):
        F = np.einsum("ncp,ncq->pq", J, J) / len(J)
        gradient = np.einsum("ncp,nc->p", J, r) / len(J)
        return np.linalg.solve(F + rho * np.eye(len(F)), gradient)

    assert ch06.check_step(in_parameter_space)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"matrix": "1", "rhs": "1"}, "units of F"),
        ({"rhs": "1"}, "N times too long"),
        ({"matrix": "1"}, "its 1/N was dropped"),
        ({"matrix": "NC", "rhs": "NC"}, "not the number N C"),
        ({"sign": -1}, "The sign"),
        ({"order": "r"}, "The residual was flattened"),
        ({"order": "J"}, "J was flattened"),
        ({"twice": 2}, "twice"),
        ({"out": "v"}, "weights of the samples"),
    ],
)
def test_wrong_steps_are_recognised(wrong, words):
    verdict = ch06.check_step(lambda J, r, rho: step(J, r, rho, **wrong))
    assert verdict.right is False
    assert words in verdict.message


def test_the_plain_gradient_is_recognised():
    verdict = ch06.check_step(lambda J, r, rho: np.einsum("ncp,nc->p", J, r) / len(J))
    assert "That is the gradient" in verdict.message


def test_steps():
    assert ch06.check_steps(7)
    losses = 0.7 ** (2 * np.arange(20))
    assert ch06.check_steps(np.argmax(losses < 0.01))
    words = {13: "square", 6: "round up", 2: "leaves", 4: "not what it leaves", 8: "small steps"}
    for answer, word in words.items():
        verdict = ch06.check_steps(answer)
        assert verdict.right is False
        assert word in verdict.message
    assert "whole" in ch06.check_steps(np.log(100) / (2 * np.log(1 / 0.7))).message


def test_sizes():
    import ngdlib

    params = ngdlib.MLP((64, 16, 16, 3), bias_variance=1.0).init()
    count = sum(W.size + b.size for W, b in params)
    assert ch06.check_sizes((count, 20 * 3))
    wrong = {
        (1328, 60): "Biases are",
        (count, 20): "N C rows",
        (1328, 20): "Two things",
        (60, count): "other way round",
        (16 * 65, 60): "first layer",
        (count**2, 3600): "entries",
    }
    for answer, word in wrong.items():
        verdict = ch06.check_sizes(answer)
        assert verdict.right is False
        assert word in verdict.message


@pytest.mark.parametrize("check", [ch06.check_step, ch06.check_steps, ch06.check_sizes])
def test_no_answer_and_nonsense(check):
    assert check(None).right is None
    assert "No answer yet" in repr(check(None))
    assert check("seven").right is False
    assert check(-1.0).right is False


def test_functions_that_fail_say_why():
    def stops(J, r, rho):
        raise ValueError("no such matrix")

    assert "ValueError: no such matrix" in ch06.check_step(stops).message
    assert ch06.check_step(lambda J, r, rho: None).right is None
    assert "shape (40,)" in ch06.check_step(lambda J, r, rho: np.zeros(3)).message
    assert "NaN" in ch06.check_step(lambda J, r, rho: np.full(40, np.nan)).message
    given = np.ones(2)
    assert call(lambda a: a.fill(7), given) is None
    assert call(3, given) == Verdict(False, "Pass the function itself, not int.")
    assert given.tolist() == [1, 1]


def test_mistakes_come_in_order_and_never_hide_the_right_answer():
    assert judge(1.0, 1.0, "yes", [(1.0, "no")]).message == "yes"
    assert judge(2.0, 1.0, "yes", [(2.0, "first"), (2.0, "second")]).message == "first"
    assert judge(3.0, 1.0, "yes", [(2.0, "first")], otherwise="else").message == "else"
