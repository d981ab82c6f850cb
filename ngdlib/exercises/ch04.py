"""Checks for chapter 4, function space and infinite width."""

from __future__ import annotations

from typing import Any

import numpy as np

from ngdlib.exercises import Verdict, call, judge


def check_fit(answer: Any) -> Verdict:
    """fit(width, value) -> (slope, standard error of the slope) of a power law."""
    rng = np.random.default_rng(4)
    width = np.repeat([64.0, 128.0, 256.0, 512.0], 3)
    value = 3 * width**-0.8 * np.exp(0.2 * rng.standard_normal(12))
    x, y = np.log(width), np.log(value)

    def line(x: np.ndarray, y: np.ndarray, dof: int = 2) -> tuple[float, float]:
        spread = ((x - x.mean()) ** 2).sum()
        slope = ((x - x.mean()) * (y - y.mean())).sum() / spread
        rest = y - y.mean() - slope * (x - x.mean())
        return slope, (rest @ rest / (len(x) - dof) / spread) ** 0.5

    slope, error = line(x, y)
    rest = y - y.mean() - slope * (x - x.mean())
    through = x @ y / (x @ x)
    return judge(
        call(answer, width, value),
        (slope, error),
        f"the slope is {slope:.2f}, and its standard error {error:.2f}.",
        [
            (line(width, value), "A power law is a straight line in the logarithms of both."),
            (line(width, y), "The logarithm of the width is missing: that fits an exponential."),
            (line(y, x), "The two are swapped: the width is what you choose, the value answers."),
            ((-slope, error), "The sign: the value falls with the width."),
            (line(x, y, dof=0), "Two numbers were fitted, so divide by n - 2 and not by n."),
            (line(x, y, dof=1), "Two numbers were fitted, slope and constant: n - 2, not n - 1."),
            (
                (slope, (rest @ rest / (len(x) - 2)) ** 0.5),
                "That is the scatter of the points. The slope is surer than one point: divide by "
                "the root of sum (x - mean x)^2.",
            ),
            (
                (through, (((y - through * x) ** 2).sum() / (len(x) - 1) / (x @ x)) ** 0.5),
                "That line goes through the origin; a power law has a constant in front.",
            ),
        ],
        otherwise="Return (slope, error): least squares of log value on log width, with a constant.",
    )


def check_weights(answer: Any) -> Verdict:
    """Exponents of M for one entry of W_1, W_2 and W_3 in a network with two hidden layers."""
    return judge(
        answer,
        (-0.5, -1.0, -0.5),
        "an entry moves like g times a; each carries 1 / root M if it is a hidden layer's.",
        [
            (
                (-1.0, -1.0, -1.0),
                "That is the middle layer only. The first layer's input is the image, and the last "
                "layer's g is 1: neither shrinks with the width.",
            ),
            (
                (-0.5, -0.5, -0.5),
                "The middle layer has a hidden layer on both sides: its a and its g both shrink.",
            ),
            (
                (0.5, 1.0, 0.5),
                "The sign: in a wider network each weight has to move less.",
            ),
            (
                (0.0, 0.0, 0.0),
                "In this parameterisation no weight moves as much as its own size, 1.",
            ),
            (
                (-0.5, -1.0, -1.0),
                "The last layer's g is the derivative of f by itself, that is 1 at every width.",
            ),
            (
                (-1.0, -1.0, -0.5),
                "The first layer's input is x / root M_0, and M_0 is the image's size, not M.",
            ),
            (
                (0.0, -0.5, 0.0),
                "One factor 1 / root M was forgotten in each: a has it from the network's scale, "
                "g from the backward pass.",
            ),
        ],
        otherwise="An entry of the step is g_i a_j. Which of the two has a 1 / root M, layer by layer?",
    )


def check_linearised(answer: Any) -> Verdict:
    """linearised(f, layers, step): outputs (n, c) of the linearised network after theta - step."""
    from ngdlib.models.mlp import MLP

    rng = np.random.default_rng(3)
    net = MLP((3, 5, 4, 2), activation="tanh", bias_variance=0.5)
    f, layers = net.linearise(net.init(1), rng.standard_normal((6, 3)))
    step = [rng.standard_normal((k.g.shape[2], k.a.shape[1])) for k in layers]

    def moves(a_cut: bool = False) -> list[np.ndarray]:
        out = []
        for k, dW in zip(layers, step, strict=True):
            a, d = (k.a[:, :-1], dW[:, :-1]) if a_cut else (k.a, dW)
            out.append(np.einsum("nci,ij,nj->nc", k.g, d, a))
        return out

    each = moves()
    total = np.sum(each, axis=0)
    return judge(
        call(answer, f, layers, step),
        f - total,
        "each layer moves the outputs by g dW a, and the layers add up.",
        [
            (f + total, "The sign: the step is subtracted from the parameters."),
            (total, "That is how far the outputs move down; the outputs themselves are asked for."),
            (-total, "That is the change of the outputs; add it to f."),
            (f - each[-1], "Only the last layer was moved. All layers' moves add up."),
            (
                f - np.sum(moves(True), axis=0),
                "The biases did not move: the last column of a step belongs to the bias, and the "
                "last column of a is its constant input.",
            ),
            (
                f - total / len(f),
                "A 1/N has come in. It belongs to the gradient of the loss, not to J.",
            ),
        ],
        otherwise="For each layer sum g[n, c, i] dW[i, j] a[n, j] over i and j, then subtract from f.",
    )
