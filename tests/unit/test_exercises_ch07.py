"""The checks of chapter 7 know the right answer and name every misconception."""

import numpy as np
import pytest

from ngdlib.exercises import ch07


def moved(thetas, r, rho):
    """The solution of exercise 7.2."""
    N = len(r)
    return sum(t / N @ np.linalg.solve(t / N + rho * np.eye(N), r) for t in thetas)


def by_modes(thetas, r, rho):
    """Another correct form of it, one eigenvalue at a time."""
    value, vector = np.linalg.eigh(thetas / len(r))
    kept = value / (value + rho) * np.einsum("lnk,n->lk", vector, r)
    return np.einsum("lnk,lk->n", vector, kept)


WRONG = {
    "you added the kernels": lambda t, r, rho: moved(t.sum(0)[None], r, rho),
    "units of F": lambda t, r, rho: moved(t * len(r), r, rho),
    "mean over the layers": lambda t, r, rho: moved(t, r, rho) / len(t),
    "the mean of the kernels": lambda t, r, rho: len(t) * moved(t.mean(0)[None], r, rho),
    "not its share": lambda t, r, rho: moved(t, r, rho / len(t)),
    "undamped limit": lambda t, r, rho: moved(t, r, 1e-9),
    "left of the residual": lambda t, r, rho: r - moved(t, r, rho),
    "The sign": lambda t, r, rho: -moved(t, r, rho),
    "A 1/N too many": lambda t, r, rho: moved(t, r, rho) / len(r),
    "weights of the samples": lambda t, r, rho: sum(
        np.linalg.solve(k / len(r) + rho * np.eye(len(r)), r) for k in t
    ),
}


@pytest.mark.parametrize("function", [moved, by_modes])
def test_moved(function):
    assert ch07.check_outputs_moved(function)


@pytest.mark.parametrize("words", WRONG)
def test_wrong_moves_are_recognised(words):
    verdict = ch07.check_outputs_moved(WRONG[words])
    assert verdict.right is False
    assert words in verdict.message


def test_divergence():
    eta = 0.45
    factor = abs(1 - eta * np.arange(9))
    assert ch07.check_divergence((max(np.flatnonzero(factor[1:] < 1)) + 1, factor[5] ** 12))
    assert ch07.check_divergence([4, 14.55])  # as a reader may round it
    wrong = {
        (4, 1.25**6): "The second is the residual",
        (2, 1.25**12): "change its sign",
        (2, 1.25**6): "Two things",
        (5, 1.25**12): "that grows",
        (2 / eta, 1.25**12): "whole",
        (4, 0.55**60): "took turns",
        (4, 0.55**12): "the exact method",
        (4, 2.25**12): "takes away",
        (1.25**12, 4): "other way round",
    }
    for answer, words in wrong.items():
        verdict = ch07.check_divergence(answer)
        assert verdict.right is False
        assert words in verdict.message, answer


def test_narrow():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((20, 20)))[0][:, :12]
    spectrum = np.linalg.eigvalsh(3 * np.eye(20) + Q @ Q.T)
    eta = 2 / (spectrum[0] + spectrum[-1])
    assert ch07.check_narrow((eta, abs(1 - eta * spectrum).max()))
    assert ch07.check_narrow((0.2857, 0.1429))
    wrong = {
        (0.25, 0.25): "balance",
        (1 / 3, 1 / 3): "overshoots",
        (0.25, 0): "12 weights",
        (1 / spectrum.mean(), abs(1 - spectrum / spectrum.mean()).max()): "mean eigenvalue",
        (0.5, 1): "eigenvalue 3, not 0",
        (2 / 7, 1 / 49): "factor of the loss",
        (2 / 7, 6 / 7): "what does it leave",
        (1 / 7, 2 / 7): "not 1 /",
    }
    for answer, words in wrong.items():
        verdict = ch07.check_narrow(answer)
        assert verdict.right is False
        assert words in verdict.message, answer


@pytest.mark.parametrize(
    "check", [ch07.check_divergence, ch07.check_narrow, ch07.check_outputs_moved]
)
def test_no_answer_and_nonsense(check):
    assert check(None).right is None
    assert "No answer yet" in repr(check(None))
    assert check("seven").right is False
    assert check(-1.0).right is False
