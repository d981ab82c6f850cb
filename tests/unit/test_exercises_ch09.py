"""The checks of chapter 9 know the right answer and name every misconception."""

from functools import partial

import numpy as np

import ngdlib
from ngdlib.exercises import ch09

from .verdicts import verdicts


def solve(G, A, V):
    return np.linalg.solve(A, np.linalg.solve(G, V).T).T


def by_kron(G, A, V, order="C", swap=False, shape=None):
    K = np.kron(A, G) if swap else np.kron(G, A)
    X = np.linalg.solve(K, V.ravel(order))
    return X.reshape(shape or V.shape)


test_verdicts = verdicts(
    (
        ch09.check_vec,
        [solve, lambda G, A, V: np.linalg.inv(G) @ V @ np.linalg.inv(A).T, by_kron],
        [
            (lambda G, A, V: np.linalg.inv(G) @ V @ np.linalg.inv(A), "not transposed"),
            (partial(by_kron, swap=True), "That solves with A x G"),
            (partial(by_kron, order="F"), "V was flattened column by column"),
            (
                lambda G, A, V: by_kron(G, A, V, "F", shape=(3, 2)).T,
                "V and X were flattened",
            ),
            (lambda G, A, V: by_kron(G, A, V, swap=True, shape=(3, 2)).T, "two conventions"),
            (lambda G, A, V: G @ V @ A.T, "multiplies"),
            (lambda G, A, V: np.linalg.solve(G, V), "Only G"),
            (lambda G, A, V: np.linalg.solve(A, V.T).T, "Only A"),
            (lambda G, A, V: solve(G, A, V).T, "transposed"),
            (lambda G, A, V: solve(G, A, V).ravel(), "flat"),
            (lambda G, A, V: -solve(G, A, V), "indices"),
        ],
    ),
    (
        ch09.check_alpha,
        [(61, 80, 51)],
        [
            ((80, 80, 70), "not N: its backward"),
            ((80, 80, 51), "You have it in the third"),
            ((61, 80, 61), "counts M_0"),
            ((61, 80, 31), "still count N"),
            ((181, 240, 131), "C does not enter"),
            ((63, 80, 53), "not C"),
            ((41, 60, 31), "L counts weight layers"),
            ((301, 400, 51), "you used the width"),
            ((1, 2, 3), "Add up"),
        ],
    ),
    (
        ch09.check_audit,
        [(1e4 * 2 / 28 + 1e4 * 2 / 64 + 2 / 64) / 300, 3.42],
        [
            ((200 / 28 + 200 / 64 + 2 / 64) / 300, "N^2"),
            ((2e4 / 28 + 2e4 / 64 + 200 / 64) / 300, "not N"),
            ((2e4 / 28 + 2e4 / 64 + 2 / 64) / 201, "The program uses"),
            (2e4 / 28 + 2e4 / 64 + 2 / 64, "Multiply it by eta"),
            ((2e4 / 784 + 2e4 / 4096 + 2 / 4096) / 300, "its root"),
            ((1e4 / 28 + 1e4 / 64 + 1 / 64) * 2**0.5 / 300, "not sigma_w"),
            (1.0, "should be"),
            (7.0, "sum over layers"),
        ],
    ),
)


def test_the_alpha_of_networks_is_right():
    net = ngdlib.MLP((30, 100, 100, 100, 3), activation="tanh")
    x = np.random.default_rng(0).standard_normal((20, 30))
    layers = net.layers(net.init(), x)
    measured = [ngdlib.isotropy(ngdlib.fisher.kfac(n), layers).alpha for n in ("textbook", "equal")]
    assert ch09.check_alpha([*np.round(measured, 4), 51])
