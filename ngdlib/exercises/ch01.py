"""Chapter 1: checks for the Hadamard identity, the largest stable step and the time training takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ngdlib.exercises import Verdict, call, judge

_N, _EIGENVALUES = 40, np.array([8.0, 2.0, 0.1])  # of Theta, no 1/N


def check_layer_kernel(answer: Any) -> Verdict:
    """Exercise 1.1: a function (a (n, j), g (n, c, i)) -> Theta_l (n c, n c)."""
    rng = np.random.default_rng(1)
    n, c, i, j = 4, 2, 3, 5
    a, g = rng.standard_normal((n, j)), rng.standard_normal((n, c, i))
    J = np.einsum("nci,nj->ncij", g, a).reshape(n * c, -1)
    right = J @ J.T
    flat = g.reshape(n * c, i)
    A, G = np.kron(a @ a.T, np.ones((c, c))), flat @ flat.T
    four = right.reshape(n, c, n, c)
    given = call(answer, a, g)
    if not isinstance(given, Verdict) and np.shape(given) == (n, c, n, c):
        given = np.reshape(given, (n * c, n * c))  # the four axes of ngdlib are as good
    return judge(
        given,
        right,
        "the sum over the weights splits, so the kernel is A o G, and the Jacobian was never "
        "formed.",
        mistakes=[
            (
                A @ G,
                "You multiplied the two as matrices. The sum over i and j leaves an entry-wise "
                "product.",
            ),
            (A + G, "You added A and G. Different layers add up; within a layer the two multiply."),
            (right / n, "You divided by N. Kernels carry no 1/N in this book; the loss and F do."),
            (
                four.transpose(1, 0, 3, 2).reshape(n * c, n * c),
                "Your rows are sorted by output first. Output c of sample n belongs in row n C + "
                "c.",
            ),
            (
                np.kron(np.ones((c, c)), a @ a.T) * G,
                "A is tiled instead of repeated: you took row k of A to be k mod N, but row n C + "
                "c belongs to "
                "sample n. Swap the two factors of the Kronecker product.",
            ),
            (
                np.kron(a @ a.T, np.eye(c)) * G,
                "You kept only pairs of the same output. One weight moves all outputs, so they "
                "share a kernel.",
            ),
            (
                np.einsum("ncnc->nc", four).sum() * np.ones(()),
                "That is the trace, one number. The kernel has a row for every sample and output.",
            ),
            (
                (a @ a.T) * np.einsum("nci,mci->nm", g, g),
                "You summed over the outputs: one row per sample. Keep them apart, (n c, n c).",
            ),
            (G, "That is G alone: you left out the input of the layer."),
            (A, "That is A alone: you left out the back-propagated derivatives g."),
        ],
        otherwise="It has the right shape and other numbers. Compare one entry with the sum over i and j by hand.",
    )


def check_largest_step(answer: Any) -> Verdict:
    """Exercise 1.2: the largest step size for which no mode grows."""
    low, high = _EIGENVALUES.min(), _EIGENVALUES.max()
    return judge(
        answer,
        2 * _N / high,
        "the factor of the largest eigenvalue is 1 - 10 x 8/40 = -1 there.",
        mistakes=[
            (
                2 / high,
                "You forgot the 1/N of the loss: eta meets lambda/N, and this kernel carries no "
                "1/N.",
            ),
            (
                _N / high,
                "At that step the largest mode is gone at once. It still shrinks when it "
                "overshoots by less than itself.",
            ),
            (
                1 / high,
                "That is 1/lambda_max: N is missing, and a mode may overshoot, down to a factor "
                "of -1.",
            ),
            (
                2 * _N / low,
                "That is the limit of the mode with the smallest eigenvalue. The largest one "
                "breaks first.",
            ),
            (
                2 * _N / (low + high),
                "That is the best step, where the slowest factor is smallest. The largest stable "
                "one is a little larger.",
            ),
            (
                2 / (_N * high),
                "N is on the wrong side: averaging over N samples makes the gradient smaller, so "
                "the step may be larger.",
            ),
            (
                2 * _N / _EIGENVALUES.sum(),
                "You divided by the sum of the eigenvalues. Each mode is on its own; only the "
                "largest counts.",
            ),
        ],
        otherwise="Write the factor of the largest eigenvalue, 1 - eta lambda/N, and ask when it reaches -1.",
    )


def check_steps(answer: Any) -> Verdict:
    """Exercise 1.3: steps until the slowest mode's share of the loss is at most a hundredth."""
    kappa = _EIGENVALUES.max() / _EIGENVALUES.min()
    factor = (kappa - 1) / (kappa + 1)
    exact = np.log(100) / (-2 * np.log(factor))
    stable = np.log(100) / (-2 * np.log(1 - 2 / kappa))
    half = np.log(100) / (-2 * np.log(1 - 1 / kappa))
    second = (kappa / 4 - 1) / (kappa / 4 + 1)
    message = "the coefficient must fall to a tenth, and each step leaves 79/81 of it."
    return judge(
        answer,
        np.ceil(exact),
        message,
        mistakes=[
            (
                np.floor(exact),
                "After 92 steps the share is still a little above a hundredth: round up.",
            ),
            (exact, "Steps come whole: how many of them are enough?"),
            (
                np.ceil(2 * exact),
                "That is when the coefficient itself is a hundredth. The loss is its square, so a "
                "tenth is enough.",
            ),
            (
                np.ceil(stable),
                "That is with the largest stable step, 2N/lambda_max. The best step is a little "
                "smaller.",
            ),
            (
                np.ceil(half),
                "That is with N/lambda_max, the step that removes the fastest mode at once; the "
                "best one is larger.",
            ),
            (
                np.ceil(exact / np.log(10)),
                "You mixed the logarithm to base 10 with the natural one.",
            ),
            (
                np.ceil(np.log(100) / (-2 * np.log(second))),
                "You used the eigenvalue 2 as the smallest. The slowest mode is that of 0.1.",
            ),
        ],
        otherwise="Solve factor^(2 t) <= 1/100 with factor = (kappa - 1)/(kappa + 1) and kappa = 80.",
    )
