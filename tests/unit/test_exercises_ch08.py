"""The checks of chapter 8 know the right answer and name every misconception."""

import numpy as np

from ngdlib.exercises import ch08

from .verdicts import verdicts


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


def metric(rho, kernels=(2.0, 3.0, 2.0)):
    return sigma(3) @ np.diag(kernels) + rho * np.eye(3)


def layer_weights(L):
    """The solution of exercise 8.3."""
    first = {0: 0.0, 1: 1.0, 2: 0.5}[L % 3]
    return np.resize([first, 1 - first, 0.0], L)


def start(value):
    return lambda L: np.resize([value, 1 - value, 0.0], L)


def always(value):
    return lambda L: value


K = np.arange(1, 8)
POLES = -np.linalg.eigvals(metric(0.0)).real
UNSCALED = -np.linalg.eigvals(metric(0.0, (8.0, 12.0, 8.0))).real
OWN = -np.linalg.eigvalsh(sigma(3))[0]

test_verdicts = verdicts(
    (
        ch08.check_spectrum,
        [spectrum, lambda L: np.linalg.eigvalsh(sigma(L))],
        [
            (always(spectrum(7)[::-1]), "descending"),
            (always(chain(0, 1)), "two outer diagonals"),
            (always(chain(1, 0.5)), "Each of the two"),
            (always(np.sort(1 + 2 * np.cos(K * np.pi / 7))), "not k pi / L"),
            (always(chain(1, 1, ends=1)), "free ends"),
            (always(chain(1, 1, ring=1)), "a ring"),
            (always(chain(2, -1) + 1e-12), "second differences"),
            (always(np.sort(1 + 2 * np.cos((K - 1) * np.pi / 8))), "k = 0"),
            (always(np.zeros(3)), "shape (7,)"),
        ],
    ),
    (
        ch08.check_pole,
        [1, POLES.max()],
        [
            (UNSCALED.max(), "divide them by N"),
            (-POLES.max(), "other sign"),
            (POLES.min(), "other root"),
            (6, "The sign"),
            (-2, "a root as well"),
            (2, "no damping meets it"),
            (OWN, "eigenvalue of Sigma. Those"),
            (2 * OWN, "if the three kernels were"),
            (3 * OWN, "They are 2, 3, 2"),
            (7 / 3 * OWN, "mean kernel"),
            (0, "regular"),
            (-3, "set its determinant to 0"),
        ],
    ),
    (
        ch08.check_layer_weights,
        [
            layer_weights,
            lambda L: np.linalg.pinv(sigma(L)) @ np.ones(L),
            lambda L: np.linalg.lstsq(sigma(L), np.ones(L))[0],
            lambda L: layer_weights(L).tolist(),
        ],
        [
            (lambda L: (start(1.0) if L == 8 else layer_weights)(L), "shorter than (1, 0, 0"),
            (lambda L: (start(0.0) if L == 8 else layer_weights)(L), "shorter than (0, 1, 0"),
            (start(1.0), "began with 1, 0, 0"),
            (start(0.0), "began with 0, 1, 0"),
            (start(0.5), "right at L = 8 only"),
            (np.ones, "block-diagonal"),
            (lambda L: np.full(L, 1 / 3), "equations in the middle"),
            (lambda L: np.full(L, -(-L // 3) / L), "share it equally"),
            (lambda L: layer_weights(L) / layer_weights(L).sum(), "divided by alpha"),
            # A plain solve stops at a singular pattern.
            (lambda L: np.linalg.solve(sigma(L), np.ones(L)), "Singular matrix"),
        ],
    ),
)


def test_the_pole_is_the_only_damping_that_makes_the_metric_singular():
    assert (POLES > 0).sum() == 1
    assert abs(np.linalg.det(metric(1.0))) < 1e-12
