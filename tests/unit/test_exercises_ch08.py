"""The checks of chapter 8 know the right answer and name every misconception."""

import numpy as np
import pytest

from ngdlib.exercises import ch08


def sigma(L):
    return np.tri(L, k=1) - np.tri(L, k=-2)


def spectrum(L):
    """The solution of exercise 8.1."""
    return np.sort(1 + 2 * np.cos(np.arange(1, L + 1) * np.pi / (L + 1)))


def chain(diagonal, off, ends=0.0, ring=0.0):
    S = diagonal * np.eye(7) + off * (np.eye(7, k=1) + np.eye(7, k=-1))
    S[0, 0] += ends
    S[-1, -1] += ends
    S[0, -1] = S[-1, 0] = ring
    return np.linalg.eigvalsh(S)


def test_spectrum():
    assert ch08.check_spectrum(spectrum)
    assert ch08.check_spectrum(lambda L: np.linalg.eigvalsh(sigma(L)))
    k = np.arange(1, 8)
    wrong = {
        "descending": spectrum(7)[::-1],
        "two outer diagonals": chain(0, 1),
        "Each of the two": chain(1, 0.5),
        "not k pi / L": np.sort(1 + 2 * np.cos(k * np.pi / 7)),
        "free ends": chain(1, 1, ends=1),
        "a ring": chain(1, 1, ring=1),
        "second differences": chain(2, -1) + 1e-12,
        "k = 0": np.sort(1 + 2 * np.cos((k - 1) * np.pi / 8)),
    }
    for words, value in wrong.items():
        verdict = ch08.check_spectrum(lambda L, value=value: value)
        assert verdict.right is False
        assert words in verdict.message, words
    assert "shape (7,)" in ch08.check_spectrum(lambda L: np.zeros(3)).message


def metric(rho, kernels=(2.0, 3.0, 2.0)):
    return sigma(3) @ np.diag(kernels) + rho * np.eye(3)


def test_pole():
    poles = -np.linalg.eigvals(metric(0.0)).real
    (pole,) = poles[poles > 0]
    assert ch08.check_pole(pole)
    assert ch08.check_pole(1)
    assert abs(np.linalg.det(metric(1.0))) < 1e-12
    unscaled = -np.linalg.eigvals(metric(0.0, (8.0, 12.0, 8.0))).real
    own = -np.linalg.eigvalsh(sigma(3))[0]
    wrong = {
        "divide them by N": unscaled.max(),
        "other sign": -pole,
        "other root": poles.min(),
        "The sign": 6,
        "a root as well": -2,
        "no damping meets it": 2,
        "eigenvalue of Sigma. Those": own,
        "if the three kernels were": 2 * own,
        "They are 2, 3, 2": 3 * own,
        "mean kernel": 7 / 3 * own,
        "regular": 0,
    }
    for words, value in wrong.items():
        verdict = ch08.check_pole(value)
        assert verdict.right is False
        assert words in verdict.message, words


def layer_weights(L):
    """The solution of exercise 8.3."""
    first = {0: 0.0, 1: 1.0, 2: 0.5}[L % 3]
    return np.resize([first, 1 - first, 0.0], L)


def start(value):
    return lambda L: np.resize([value, 1 - value, 0.0], L)


def test_layer_weights():
    assert ch08.check_layer_weights(layer_weights)
    assert ch08.check_layer_weights(lambda L: np.linalg.pinv(sigma(L)) @ np.ones(L))
    assert ch08.check_layer_weights(lambda L: np.linalg.lstsq(sigma(L), np.ones(L))[0])
    assert ch08.check_layer_weights(lambda L: layer_weights(L).tolist())
    wrong = {
        "shorter than (1, 0, 0": lambda L: start(1.0)(L) if L == 8 else layer_weights(L),
        "shorter than (0, 1, 0": lambda L: start(0.0)(L) if L == 8 else layer_weights(L),
        "began with 1, 0, 0": start(1.0),
        "began with 0, 1, 0": start(0.0),
        "right at L = 8 only": start(0.5),
        "block-diagonal": np.ones,
        "equations in the middle": lambda L: np.full(L, 1 / 3),
        "share it equally": lambda L: np.full(L, -(-L // 3) / L),
        "divided by alpha": lambda L: layer_weights(L) / layer_weights(L).sum(),
    }
    for words, function in wrong.items():
        verdict = ch08.check_layer_weights(function)
        assert verdict.right is False
        assert words in verdict.message, words


def test_a_plain_solve_stops_at_a_singular_pattern():
    verdict = ch08.check_layer_weights(lambda L: np.linalg.solve(sigma(L), np.ones(L)))
    assert verdict.right is False
    assert "Singular matrix" in verdict.message


@pytest.mark.parametrize("check", [ch08.check_spectrum, ch08.check_pole, ch08.check_layer_weights])
def test_no_answer_and_nonsense(check):
    assert check(None).right is None
    assert "No answer yet" in repr(check(None))
    assert check("seven").right is False
    assert check(-3.0).right is False
