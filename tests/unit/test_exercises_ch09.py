"""The checks of chapter 9 know the right answer and name every misconception."""

import numpy as np
import pytest

import ngdlib
from ngdlib.exercises import ch09


def solve(G, A, V):
    return np.linalg.solve(A, np.linalg.solve(G, V).T).T


def by_kron(G, A, V, order="C", swap=False, shape=None):
    K = np.kron(A, G) if swap else np.kron(G, A)
    X = np.linalg.solve(K, V.ravel(order))
    return X.reshape(shape or V.shape)


def test_solutions_of_the_vec_exercise_are_right():
    assert ch09.check_vec(solve)
    assert ch09.check_vec(lambda G, A, V: np.linalg.inv(G) @ V @ np.linalg.inv(A).T)
    assert ch09.check_vec(by_kron)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda G, A, V: np.linalg.inv(G) @ V @ np.linalg.inv(A), "not transposed"),
        (lambda G, A, V: by_kron(G, A, V, swap=True), "That solves with A x G"),
        (lambda G, A, V: by_kron(G, A, V, "F"), "V was flattened column by column"),
        (lambda G, A, V: by_kron(G, A, V, "F", shape=(3, 2)).T, "V and X were flattened"),
        (lambda G, A, V: by_kron(G, A, V, swap=True, shape=(3, 2)).T, "two conventions"),
        (lambda G, A, V: G @ V @ A.T, "multiplies"),
        (lambda G, A, V: np.linalg.solve(G, V), "Only G"),
        (lambda G, A, V: np.linalg.solve(A, V.T).T, "Only A"),
        (lambda G, A, V: solve(G, A, V).T, "transposed"),
        (lambda G, A, V: solve(G, A, V).ravel(), "flat"),
        (lambda G, A, V: -solve(G, A, V), "indices"),
    ],
)
def test_wrong_orders_are_recognised(wrong, words):
    verdict = ch09.check_vec(wrong)
    assert verdict.right is False
    assert words in verdict.message


def test_alpha():
    net = ngdlib.MLP((30, 100, 100, 100, 3), activation="tanh")
    x = np.random.default_rng(0).standard_normal((20, 30))
    layers = net.layers(net.init(), x)
    measured = [ngdlib.isotropy(ngdlib.fisher.kfac(n), layers).alpha for n in ("textbook", "equal")]
    assert ch09.check_alpha([*np.round(measured, 4), 51])
    assert ch09.check_alpha((61, 80, 51))
    wrong = {
        (80, 80, 70): "not N: its backward",
        (80, 80, 51): "You have it in the third",
        (61, 80, 61): "counts M_0",
        (61, 80, 31): "still count N",
        (181, 240, 131): "C does not enter",
        (63, 80, 53): "not C",
        (41, 60, 31): "L counts weight layers",
        (301, 400, 51): "you used the width",
        (1, 2, 3): "Add up",
    }
    for answer, words in wrong.items():
        verdict = ch09.check_alpha(answer)
        assert verdict.right is False
        assert words in verdict.message


def test_audit():
    assert ch09.check_audit((1e4 * 2 / 28 + 1e4 * 2 / 64 + 2 / 64) / 300)
    assert ch09.check_audit(3.42)
    wrong = {
        (200 / 28 + 200 / 64 + 2 / 64) / 300: "N^2",
        (2e4 / 28 + 2e4 / 64 + 200 / 64) / 300: "not N",
        (2e4 / 28 + 2e4 / 64 + 2 / 64) / 201: "The program uses",
        2e4 / 28 + 2e4 / 64 + 2 / 64: "Multiply it by eta",
        (2e4 / 784 + 2e4 / 4096 + 2 / 4096) / 300: "its root",
        (1e4 / 28 + 1e4 / 64 + 1 / 64) * 2**0.5 / 300: "not sigma_w",
        1.0: "should be",
        7.0: "sum over layers",
    }
    for answer, words in wrong.items():
        verdict = ch09.check_audit(answer)
        assert verdict.right is False
        assert words in verdict.message


@pytest.mark.parametrize("check", [ch09.check_vec, ch09.check_alpha, ch09.check_audit])
def test_no_answer_and_nonsense(check):
    assert check(None).right is None
    assert check("seven").right is False
    assert check(-1.0).right is False
