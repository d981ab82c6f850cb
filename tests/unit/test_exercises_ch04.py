"""The checks of chapter 4 know the right answer and name every misconception."""

from functools import partial

import numpy as np

from ngdlib.exercises import ch04
from ngdlib.figures.function_space import power_law

from .verdicts import verdicts


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


def by_polyfit(width, value):
    line, cov = np.polyfit(np.log(width), np.log(value), 1, cov=True)
    return line[0], cov[0, 0] ** 0.5


def linearised(f, layers, step, *, sign=1, only=None, biases=True, start=True, by_n=False):
    total = np.zeros_like(f)
    for k, (layer, dW) in enumerate(zip(layers, step, strict=True)):
        if only in (None, k):
            du = layer.a @ dW.T if biases else layer.a[:, :-1] @ dW[:, :-1].T
            total = total + (layer.g * du[:, None, :]).sum(2)
    return start * f - sign * total / (len(f) if by_n else 1)


def with_the_jacobian(f, layers, step):
    rows = [np.einsum("nci,nj->ncij", k.g, k.a).reshape(f.size, -1) for k in layers]
    theta = np.concatenate([s.ravel() for s in step])
    return f - (np.concatenate(rows, 1) @ theta).reshape(f.shape)


test_verdicts = verdicts(
    (
        ch04.check_fit,
        [fit, lambda w, v: power_law(w, v)[:2], by_polyfit],
        [
            (partial(fit, logs=""), "logarithms of both"),
            (partial(fit, logs="y"), "exponential"),
            (partial(fit, swap=True), "swapped"),
            (partial(fit, sign=-1), "The sign"),
            (partial(fit, dof=0), "not by n."),
            (partial(fit, dof=1), "not n - 1"),
            (partial(fit, out="scatter"), "scatter"),
            (partial(fit, out="origin"), "through the origin"),
        ],
    ),
    (
        ch04.check_weights,
        [(-0.5, -1, -0.5), np.array([-1, -2, -1]) / 2],
        [
            ((-1, -1, -1), "middle layer only"),
            ((-0.5, -0.5, -0.5), "both sides"),
            ((0.5, 1, 0.5), "The sign"),
            ((0, 0, 0), "its own size"),
            ((-0.5, -1, -1), "by itself"),
            ((-1, -1, -0.5), "image's size"),
            ((0, -0.5, 0), "forgotten"),
            (-1, "shape (3,)"),
        ],
    ),
    (
        ch04.check_linearised,
        [linearised, with_the_jacobian],
        [
            (partial(linearised, sign=-1), "The sign"),
            (partial(linearised, start=0, sign=-1), "move down"),
            (partial(linearised, start=0), "add it to f"),
            (partial(linearised, only=2), "Only the last layer"),
            (partial(linearised, biases=False), "biases did not move"),
            (partial(linearised, by_n=True), "1/N has come in"),
        ],
    ),
)
