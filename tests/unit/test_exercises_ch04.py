"""The checks of chapter 4 know the right answer and name every misconception."""

import numpy as np
import pytest

from ngdlib.exercises import ch04
from ngdlib.figures.function_space import power_law


def fit(width, value, *, logs="xy", dof=2, swap=False, sign=1, out="slope"):
    x = np.log(width) if "x" in logs else width
    y = np.log(value) if "y" in logs else value
    if swap:
        x, y = y, x
    design = np.stack([x, np.ones_like(x)], 1) if out != "origin" else x[:, None]
    solution, *_ = np.linalg.lstsq(design, y, rcond=None)
    rest = y - design @ solution
    variance = rest @ rest / (len(x) - (1 if out == "origin" else dof))
    if out == "scatter":
        return solution[0], variance**0.5
    return sign * solution[0], (variance * np.linalg.inv(design.T @ design)[0, 0]) ** 0.5


def test_fit():
    assert ch04.check_fit(fit)
    assert ch04.check_fit(lambda w, v: power_law(w, v)[:2])

    def by_polyfit(width, value):
        line, cov = np.polyfit(np.log(width), np.log(value), 1, cov=True)
        return line[0], cov[0, 0] ** 0.5

    assert ch04.check_fit(by_polyfit)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"logs": ""}, "logarithms of both"),
        ({"logs": "y"}, "exponential"),
        ({"swap": True}, "swapped"),
        ({"sign": -1}, "The sign"),
        ({"dof": 0}, "not by n."),
        ({"dof": 1}, "not n - 1"),
        ({"out": "scatter"}, "scatter"),
        ({"out": "origin"}, "through the origin"),
    ],
)
def test_wrong_fits_are_recognised(wrong, words):
    verdict = ch04.check_fit(lambda w, v: fit(w, v, **wrong))
    assert verdict.right is False
    assert words in verdict.message


def test_weights():
    assert ch04.check_weights((-0.5, -1, -0.5))
    assert ch04.check_weights(np.array([-1, -2, -1]) / 2)
    wrong = {
        (-1, -1, -1): "middle layer only",
        (-0.5, -0.5, -0.5): "both sides",
        (0.5, 1, 0.5): "The sign",
        (0, 0, 0): "its own size",
        (-0.5, -1, -1): "by itself",
        (-1, -1, -0.5): "image's size",
        (0, -0.5, 0): "forgotten",
    }
    for answer, words in wrong.items():
        verdict = ch04.check_weights(answer)
        assert verdict.right is False
        assert words in verdict.message
    assert "shape (3,)" in ch04.check_weights(-1).message


def linearised(f, layers, step, *, sign=1, only=None, biases=True, start=True, by_n=False):
    total = np.zeros_like(f)
    for k, (layer, dW) in enumerate(zip(layers, step, strict=True)):
        if only in (None, k):
            du = layer.a @ dW.T if biases else layer.a[:, :-1] @ dW[:, :-1].T
            total = total + (layer.g * du[:, None, :]).sum(2)
    return start * f - sign * total / (len(f) if by_n else 1)


def test_linearised():
    assert ch04.check_linearised(linearised)

    def with_the_jacobian(f, layers, step):
        rows = [np.einsum("nci,nj->ncij", k.g, k.a).reshape(f.size, -1) for k in layers]
        theta = np.concatenate([s.ravel() for s in step])
        return f - (np.concatenate(rows, 1) @ theta).reshape(f.shape)

    assert ch04.check_linearised(with_the_jacobian)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sign": -1}, "The sign"),
        ({"start": 0, "sign": -1}, "move down"),
        ({"start": 0}, "add it to f"),
        ({"only": 2}, "Only the last layer"),
        ({"biases": False}, "biases did not move"),
        ({"by_n": True}, "1/N has come in"),
    ],
)
def test_wrong_linearisations_are_recognised(wrong, words):
    verdict = ch04.check_linearised(lambda *a: linearised(*a, **wrong))
    assert verdict.right is False
    assert words in verdict.message


@pytest.mark.parametrize("check", [ch04.check_fit, ch04.check_weights, ch04.check_linearised])
def test_no_answer_and_nonsense(check):
    assert check(None).right is None
    assert check("half").right is False
    assert check(7.5).right is False
