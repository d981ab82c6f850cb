"""The checks of chapter 7 know the right answer and name every misconception."""

import numpy as np

from ngdlib.exercises import ch07

from .verdicts import verdicts


def moved(thetas, r, rho):
    """The solution of exercise 7.2."""
    N = len(r)
    return sum(t / N @ np.linalg.solve(t / N + rho * np.eye(N), r) for t in thetas)


def by_modes(thetas, r, rho):
    """Another correct form of it, one eigenvalue at a time."""
    value, vector = np.linalg.eigh(thetas / len(r))
    kept = value / (value + rho) * np.einsum("lnk,n->lk", vector, r)
    return np.einsum("lnk,lk->n", vector, kept)


def weights_of_samples(thetas, r, rho):
    N = len(r)
    return sum(np.linalg.solve(t / N + rho * np.eye(N), r) for t in thetas)


# Exercise 7.3: a curvature with twelve eigenvalues 4 and eight eigenvalues 3.
Q = np.linalg.qr(np.random.default_rng(0).standard_normal((20, 20)))[0][:, :12]
SPECTRUM = np.linalg.eigvalsh(3 * np.eye(20) + Q @ Q.T)
BEST = 2 / (SPECTRUM[0] + SPECTRUM[-1])
MEAN = SPECTRUM.mean()
FACTOR = abs(1 - 0.45 * np.arange(9))

test_verdicts = verdicts(
    (
        ch07.check_outputs_moved,
        [moved, by_modes],
        [
            (lambda t, r, rho: moved(t.sum(0)[None], r, rho), "you added the kernels"),
            (lambda t, r, rho: moved(t * len(r), r, rho), "units of F"),
            (lambda t, r, rho: moved(t, r, rho) / len(t), "mean over the layers"),
            (
                lambda t, r, rho: len(t) * moved(t.mean(0)[None], r, rho),
                "the mean of the kernels",
            ),
            (lambda t, r, rho: moved(t, r, rho / len(t)), "not its share"),
            (lambda t, r, rho: moved(t, r, 1e-9), "undamped limit"),
            (lambda t, r, rho: r - moved(t, r, rho), "left of the residual"),
            (lambda t, r, rho: -moved(t, r, rho), "The sign"),
            (lambda t, r, rho: moved(t, r, rho) / len(r), "A 1/N too many"),
            (weights_of_samples, "weights of the samples"),
        ],
    ),
    (
        ch07.check_divergence,
        # The second as a reader may round it.
        [(max(np.flatnonzero(FACTOR[1:] < 1)) + 1, FACTOR[5] ** 12), [4, 14.55]],
        [
            ((4, 1.25**6), "The second is the residual"),
            ((2, 1.25**12), "change its sign"),
            ((2, 1.25**6), "Two things"),
            ((5, 1.25**12), "that grows"),
            ((2 / 0.45, 1.25**12), "whole"),
            ((4, 0.55**60), "took turns"),
            ((4, 0.55**12), "the exact method"),
            ((4, 2.25**12), "takes away"),
            ((1.25**12, 4), "other way round"),
        ],
    ),
    (
        ch07.check_narrow,
        [(BEST, abs(1 - BEST * SPECTRUM).max()), (0.2857, 0.1429)],
        [
            ((0.25, 0.25), "balance"),
            ((1 / 3, 1 / 3), "overshoots"),
            ((0.25, 0), "12 weights"),
            ((1 / MEAN, abs(1 - SPECTRUM / MEAN).max()), "mean eigenvalue"),
            ((0.5, 1), "eigenvalue 3, not 0"),
            ((2 / 7, 1 / 49), "factor of the loss"),
            ((2 / 7, 6 / 7), "what does it leave"),
            ((1 / 7, 2 / 7), "not 1 /"),
        ],
    ),
)
