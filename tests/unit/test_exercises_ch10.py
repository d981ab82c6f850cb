"""The checks of chapter 10 know the right answer and name every misconception."""

import numpy as np

import ngdlib
from ngdlib.exercises import ch10

from .verdicts import verdicts

test_verdicts = verdicts(
    (
        ch10.check_flops,
        [(1e12 / 3, 1e9 / 3, 2e9 / 3), (3.3e11, 3.3e8, 6.7e8)],
        [
            ((1e9 / 3, 1e6 / 3, 2e9 / 3), "one block"),
            ((1e18 / 3, 1e9 / 3, 2e9 / 3), "whole layer"),
            ((1e12, 1e9, 2e9), "not n^3"),
            ((1e12 / 3, 1e6 / 3, 2e9 / 3), "for every unit"),
            ((1e9, 1e7, 2e6), "the memory"),
            ((1e9 / 3, 1e12 / 3, 2e9 / 3), "swapped"),
            ((1.0, 2.0, 3.0), "number of matrices"),
            # The three numbers lie three decades apart: each must be right to 2 % by itself.
            ((1e12 / 3, 1e9 / 3, 1e9 / 3), "two factors"),
            ((1e12 / 3, 7.0, 2e9 / 3), "number of matrices"),
        ],
    ),
    (
        ch10.check_alpha,
        [(25, 65, 97)],
        [
            ((24, 64, 96), "last layer is missing"),
            ((25, 67, 97), "not C: alpha"),
            ((25, 64 + 1 / 3, 97), "not 1 / C"),
            ((37, 97, 145), "two hidden ones"),
            ((25, 193, 97), "divide by C"),
            ((25, 65, 193), "half of them"),
            ((193, 65, 97), "count blocks"),
            ((17, 65, 97), "How many blocks"),
            ((1, 2, 3), "G_bar counts"),
        ],
    ),
    (
        ch10.check_cure,
        [0.01, 0.005, 0.03],
        [
            (0, "Without damping"),
            (1e-5, "Too little"),
            (1e-4, "Too little"),
            (0.1, "Too much"),
            (0.3, "Too much"),
            (10, "gradient descent"),
            (-0.1, "negative"),
            (float("nan"), "finite number"),
        ],
    ),
)


def test_the_alpha_of_networks_is_right():
    x = np.random.default_rng(0).standard_normal((12, 40))

    def measured(activation, outputs, size):
        net = ngdlib.MLP((40, 96, 96, outputs), activation)
        alphas = [
            ngdlib.isotropy(ngdlib.fisher.mini_block(size), net.layers(net.init(s), x)).alpha
            for s in range(4)
        ]
        return np.mean(alphas)

    smooth = measured("tanh", 1, 8), measured("tanh", 3, 1)
    assert ch10.check_alpha((*smooth, 97))
    assert abs(measured("relu", 1, 1) - 97) < 5
