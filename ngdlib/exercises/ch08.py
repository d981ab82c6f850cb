"""Checks for chapter 8, block-tri-diagonal."""

from __future__ import annotations

from typing import Any

import numpy as np

from ngdlib.exercises import Verdict, call, judge


def check_spectrum(answer: Any) -> Verdict:
    """spectrum(L) -> the eigenvalues of Sigma, (L,), in ascending order; without an eigensolver."""
    L = 7
    k = np.arange(1, L + 1)

    def up(values: Any) -> np.ndarray:
        return np.sort(values)

    right = up(1 + 2 * np.cos(k * np.pi / (L + 1)))
    return judge(
        call(answer, L),
        right,
        "and it is zero for one k exactly where three divides L + 1.",
        [
            (right[::-1], "The right numbers in descending order: sort them, the smallest first."),
            (right - 1, "That is the spectrum of the two outer diagonals. Sigma has ones on the main "
             "diagonal as well."),
            (up(1 + np.cos(k * np.pi / (L + 1))), "Each of the two outer diagonals contributes: "
             "sin(a - b) + sin(a + b) is 2 sin(a) cos(b)."),
            (up(1 + 2 * np.cos(k * np.pi / L)), "The sine must vanish at l = 0 and at l = L + 1, one "
             "place beyond the last layer: k pi / (L + 1), not k pi / L."),
            (up(1 + 2 * np.cos((k - 1) * np.pi / L)), "That is a chain with free ends, where the end "
             "layers would couple to themselves once more. Here the neighbour beyond the end is 0."),
            (up(1 + 2 * np.cos(2 * k * np.pi / L)), "That is a ring: it couples the last layer to the "
             "first."),
            (up(2 - 2 * np.cos(k * np.pi / (L + 1))), "That is the matrix of second differences, with 2 "
             "on the diagonal and -1 beside it. Sigma has ones everywhere."),
            (up(2 + 2 * np.cos(k * np.pi / (L + 1))), "The diagonal of Sigma is 1, not 2."),
            (up(1 + 2 * np.cos(np.r_[0:L] * np.pi / (L + 1))), "k runs from 1 to L: at k = 0 the sine "
             "is zero everywhere, and no eigenvector."),
        ],
        otherwise="Try v_l = sin(l phi) in Sigma v = lambda v, and see which phi satisfy the ends.",
        rtol=1e-6,
    )  # fmt: skip


def check_pole(answer: Any) -> Verdict:
    """The damping at which F_hat + rho I is singular: kernels 8 I, 12 I, 8 I, N = 4 samples."""
    return judge(
        answer,
        1.0,
        "the determinant per sample is (2 + rho)(rho^2 + 5 rho - 6), and 1 is its positive root.",
        [
            (4.0, "Kernels carry no 1/N, damping is in units of F, which does: divide them by N = 4."),
            (-1.0, "-1 is the eigenvalue of F_hat. The damping that cancels it has the other sign."),
            (-6.0, "That is the other root of rho^2 + 5 rho - 6, and a damping is positive."),
            (6.0, "The sign: the roots of rho^2 + 5 rho - 6 are 1 and -6."),
            (-2.0, "That is a root as well, and a damping is positive."),
            (2.0, "2 + rho is zero at rho = -2: that eigenvalue of F_hat is positive, and no damping "
             "meets it."),
            (2**0.5 - 1, "That is the negative eigenvalue of Sigma. Those of F_hat contain the "
             "kernels too."),
            (2 * (2**0.5 - 1), "Eigenvalue of Sigma times kernel would do if the three kernels were "
             "equal. They are 2, 3, 2 (over N)."),
            (3 * (2**0.5 - 1), "Eigenvalue of Sigma times kernel would do if the three kernels were "
             "equal. They are 2, 3, 2 (over N)."),
            (7 / 3 * (2**0.5 - 1), "The mean kernel is not enough: put 2, 3, 2 into the determinant."),
            (0.0, "At rho = 0 the metric of three layers is regular: Sigma has no zero eigenvalue."),
        ],
        otherwise="Write down the 3 x 3 matrix Sigma diag(2, 3, 2) + rho I and set its determinant to 0.",
        rtol=1e-3,
    )  # fmt: skip


def check_layer_weights(answer: Any) -> Verdict:
    """layer_weights(L) -> x (L,) with Sigma x = 1, the shortest where there are several."""
    depths = (6, 7, 8)

    def weights(L: int, first: float) -> np.ndarray:
        return np.resize([first, 1 - first, 0.0], L)

    def both(*parts: np.ndarray) -> np.ndarray:
        return np.concatenate(parts)

    def all_three(L: Any) -> np.ndarray:
        return np.concatenate([np.asarray(answer(int(m)), dtype=float) for m in L])

    right = both(weights(6, 0.0), weights(7, 1.0), weights(8, 0.5))
    return judge(
        None if answer is None else call(all_three if callable(answer) else answer, np.array(depths)),
        right,
        "its sums are 2, 3 and 3: one for every three layers, rounded up.",
        [
            (both(weights(6, 0.0), weights(7, 1.0), weights(8, 1.0)), "All equations hold. At L = 8 "
             "there are many solutions, and (1/2, 1/2, 0, ..) is shorter than (1, 0, 0, ..)."),
            (both(weights(6, 0.0), weights(7, 1.0), weights(8, 0.0)), "All equations hold. At L = 8 "
             "there are many solutions, and (1/2, 1/2, 0, ..) is shorter than (0, 1, 0, ..)."),
            (both(*(weights(m, 1.0) for m in depths)), "You always began with 1, 0, 0. Look at the last "
             "equation, x_{L-1} + x_L = 1: at L = 6 it fails."),
            (both(*(weights(m, 0.0) for m in depths)), "You always began with 0, 1, 0. Look at the last "
             "equation, x_{L-1} + x_L = 1: at L = 7 it fails."),
            (both(*(weights(m, 0.5) for m in depths)), "1/2, 1/2, 0 is right at L = 8 only. Look at the "
             "last equation, x_{L-1} + x_L = 1."),
            (np.ones(21), "Weight 1 for all is block-diagonal, where Sigma = I."),
            (np.full(21, 1 / 3), "1/3 everywhere solves the equations in the middle. The first and the "
             "last have only two terms."),
            (both(*(np.full(m, np.ceil(m / 3) / m) for m in depths)), "The sum is alpha, but the layers "
             "do not share it equally: put these x into the first equation."),
            (both(*(weights(m, f) / np.ceil(m / 3) for m, f in zip(depths, (0.0, 1.0, 0.5), strict=True))),
             "You divided by alpha. That is the step size's business; Sigma x = 1 comes before it."),
        ],
        otherwise="Subtract neighbouring equations: x_3 = 0, and x_{l+3} = x_l.",
        rtol=1e-6,
    )  # fmt: skip
