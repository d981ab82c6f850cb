"""Checks for chapter 9, K-FAC."""

from __future__ import annotations

from typing import Any

import numpy as np

from ngdlib.exercises import Verdict, call, judge


def check_vec(answer: Any) -> Verdict:
    """solve(G, A, V) -> X with (G (x) A) ravel(X) = ravel(V); G (2, 2), A (3, 3), V (2, 3)."""
    rng = np.random.default_rng(9)
    G = rng.standard_normal((2, 2)) + 2 * np.eye(2)
    A = rng.standard_normal((3, 3)) + 2 * np.eye(3)
    V = rng.standard_normal((2, 3))
    inverse_G, inverse_A = np.linalg.inv(G), np.linalg.inv(A)
    right = inverse_G @ V @ inverse_A.T
    swapped = np.linalg.solve(np.kron(A, G), V.ravel())
    return judge(
        call(answer, G, A, V),
        right,
        "row-major, the factor of the rows (the units) comes first: (G x A) ravel(X) = ravel(G X A^T).",
        [
            (
                inverse_G @ V @ inverse_A,
                "A is not transposed: that is right for symmetric factors only. With indices, "
                "sum_j' A_jj' X_ij' is X A^T.",
            ),
            (
                swapped.reshape(2, 3),
                "That solves with A x G. The order of the factors belongs to stacking columns; ravel "
                "stacks rows.",
            ),
            (
                np.linalg.solve(np.kron(G, A), V.T.ravel()).reshape(2, 3),
                "V was flattened column by column. ravel goes row by row.",
            ),
            (
                np.linalg.solve(np.kron(G, A), V.T.ravel()).reshape(3, 2).T,
                "V and X were flattened column by column. ravel goes row by row.",
            ),
            (
                np.linalg.solve(np.kron(A, G), V.ravel()).reshape(3, 2).T,
                "The factors are swapped and the result is transposed: two conventions are mixed.",
            ),
            (
                G @ V @ A.T,
                "That multiplies by G x A. Asked for is the solution of the system: the inverses.",
            ),
            (inverse_G @ V, "Only G was divided out. A acts too, from the right."),
            (V @ inverse_A.T, "Only A was divided out. G acts too, from the left."),
            (
                right.T,
                "The right numbers, transposed: X has the shape of V.",
            ),
            (
                right.ravel(),
                "The right numbers, flat: X has the shape of V.",
            ),
        ],
        otherwise="Write (G x A) ravel(X) with indices: sum over i', j' of G_ii' A_jj' X_i'j'.",
    )


def check_alpha(answer: Any) -> Verdict:
    """alpha for L = 4, N = 20, C = 3, M = 100: textbook, equal, textbook after Forster to M_0 = 10."""
    n, depth, outputs, reduced = 20, 4, 3, 10
    rows, width = n * outputs, 100
    textbook, equal, forster = n * (depth - 1) + 1, n * depth, reduced + n * (depth - 2) + 1
    return judge(
        answer,
        (textbook, equal, forster),
        "three hidden layers of N and one last layer of 1; Forster replaces one N by M_0.",
        [
            (
                (equal, equal, reduced + n * (depth - 1)),
                "The last layer counts 1 with textbook factors, not N: its backward vectors are the "
                "same for all samples, so P_B = 1 1^T / N.",
            ),
            (
                (equal, equal, forster),
                "The last layer counts 1 with textbook factors, not N. You have it in the third number.",
            ),
            (
                (textbook, equal, textbook),
                "After the Forster transform the first layer counts M_0: its leverages are M_0 / N.",
            ),
            (
                (textbook, equal, reduced * (depth - 1) + 1),
                "The Forster transform changes the inputs of the first layer. The other hidden layers "
                "have width 100, and still count N.",
            ),
            (
                (rows * (depth - 1) + 1, rows * depth, reduced + rows * (depth - 2) + 1),
                "C does not enter alpha: a hidden layer counts N, the samples, not N C.",
            ),
            (
                (n * (depth - 1) + outputs, equal, reduced + n * (depth - 2) + outputs),
                "The last layer counts 1 for every output, not C: G_bar_L is the identity, and alpha "
                "its mean eigenvalue.",
            ),
            (
                (n * (depth - 2) + 1, n * (depth - 1), reduced + n * (depth - 3) + 1),
                "L counts weight layers. Three of the four are hidden, and the last one is the output.",
            ),
            (
                (width * (depth - 1) + 1, width * depth, forster),
                "N is the number of samples; you used the width.",
            ),
        ],
        otherwise="Add up the layers: what does a hidden one count, the last one, the first one after "
        "Forster?",
    )


def check_audit(answer: Any) -> Verdict:
    """alpha eta of the published update, N = 100, M_0 = 784, M = 4096, L = 3, sigma_w^2 = 2."""
    n, depth, variance, sides = 100, 3, 2.0, np.sqrt([784.0, 4096.0, 4096.0])
    eta = 1 / (n * depth)
    share = variance / sides
    hidden = n * n * share[:2].sum()
    return judge(
        answer,
        (hidden + share[2]) * eta,
        "above 2, so that the linearised network diverges; only the second-order term holds it.",
        [
            (
                (n * share[:2].sum() + share[2]) * eta,
                "The factor stands in place of 1/N, so a hidden layer is too large by N times it; and "
                "its right share is N already: N^2 sigma^2 / sqrt(M).",
            ),
            (
                (hidden + n * share[2]) * eta,
                "The last layer's right share is 1, not N.",
            ),
            (
                (hidden + share[2]) / (n * (depth - 1) + 1),
                "That is for eta = 1 / (N (L-1) + 1). The program uses 1 / NL.",
            ),
            (
                hidden + share[2],
                "That is alpha. Multiply it by eta = 1 / NL.",
            ),
            (
                (n * n * variance * (1 / sides[:2] ** 2).sum() + variance / sides[2] ** 2) * eta,
                "You divided by M. The program divides by its root; 1/M is what the plain gradient has.",
            ),
            (
                (hidden / variance**0.5 + share[2] / variance**0.5) * eta,
                "The factor has sigma_w^2 = 2, not sigma_w.",
            ),
            (
                1.0,
                "That is what it should be. By which factor is each layer's step too large?",
            ),
        ],
        otherwise="alpha = sum over layers of (right share) x (factor too large); then times 1 / NL.",
        rtol=2e-3,
    )
