"""Checks for chapter 6, exact natural gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ngdlib.exercises import Verdict, call, judge


def check_steps(answer: Any) -> Verdict:
    """How many steps of size 0.3 bring the loss below a hundredth of what it was?"""
    return judge(
        answer,
        7,
        "the residual keeps 0.7 of itself per step, the loss 0.49, and 0.49^7 = 0.0068.",
        [
            (13, "That is when the residual is below a hundredth. The loss is its square."),
            (6, "0.49^6 = 0.0138 is still above a hundredth: round up, not down."),
            (6.456, "A number of steps is whole: which is the first one that is below?"),
            (
                2,
                "0.3 is the share of the residual that a step takes away; 1 - 0.3 is what it leaves.",
            ),
            (4, "0.3 is what a step takes away, not what it leaves; and the loss is a square."),
            (
                8,
                "exp(-2 eta t) is the limit of small steps. A step of 0.3 leaves 0.7, not exp(-0.3).",
            ),
        ],
        otherwise="By which factor does one step multiply r, and by which the loss |r|^2 / 2N?",
        rtol=1e-3,
    )


def check_step(answer: Any) -> Verdict:
    """step(J, residual, damping) -> (P,), solved in function space; J (N, C, P), residual (N, C)."""
    rng = np.random.default_rng(6)
    n, c, p, rho = 4, 3, 40, 0.5
    J, r = rng.standard_normal((n, c, p)), rng.standard_normal((n, c))
    flat, column = J.reshape(n * c, p), r.ravel()
    theta, eye = flat @ flat.T, np.eye(n * c)

    def step(matrix: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        return flat.T @ np.linalg.solve(matrix, rhs)

    right = step(theta / n + rho * eye, column / n)
    mixed = np.swapaxes(J, 0, 1).reshape(n * c, p)
    return judge(
        call(answer, J, r, rho),
        right,
        "and it solved a 12 x 12 system in place of a 40 x 40 one.",
        [
            (
                step(theta + rho * eye, column),
                "Right without damping only: you added rho to Theta. Damping is in units of F, which "
                "contains 1/N, so it belongs to Theta / N.",
            ),
            (
                step(theta / n + rho * eye, column),
                "The gradient is J^T r / N: the 1/N of the residual was dropped, and the step is N "
                "times too long.",
            ),
            (
                step(theta + rho * eye, column / n),
                "The Fisher matrix is J^T J / N, so the matrix to solve with is Theta / N + rho I: "
                "its 1/N was dropped.",
            ),
            (
                step(theta / (n * c) + rho * eye, column / (n * c)),
                "N is the number of samples, not the number N C of residuals: the loss is |r|^2 / 2N "
                "for any number of outputs.",
            ),
            (
                -right,
                "The sign: the natural gradient points uphill like the gradient. The minus is in the "
                "update, which subtracts eta times it.",
            ),
            (
                step(theta / n + rho * eye, r.T.ravel() / n),
                "The residual was flattened output by output, the rows of J sample by sample. Use one "
                "order for both: (n, c) -> n C + c is what reshape gives.",
            ),
            (
                mixed.T @ np.linalg.solve(mixed @ mixed.T / n + rho * eye, column / n),
                "J was flattened output by output, the residual sample by sample. Use one order for "
                "both: (n, c) -> n C + c is what reshape gives.",
            ),
            (
                step(theta / n + 2 * rho * eye, column / n),
                "The damping was added twice.",
            ),
            (
                flat.T @ column / n,
                "That is the gradient: nothing was divided by the Fisher matrix yet.",
            ),
            (
                np.linalg.solve(theta / n + rho * eye, column / n),
                "These are the weights of the samples, one per residual. The step is J^T times them, "
                "one number per parameter.",
            ),
        ],
        otherwise="The step is J^T (Theta / N + rho I)^-1 r / N, with J as a matrix of N C rows.",
    )


def check_sizes(answer: Any) -> Verdict:
    """(rows in parameter space, rows in function space) of widths (64, 16, 16, 3), biases, N = 20."""
    biased = 16 * 65 + 16 * 17 + 3 * 17
    return judge(
        answer,
        (biased, 60),
        "1363 parameters, but 60 numbers decide the step.",
        [
            (
                (16 * 64 + 16 * 16 + 3 * 16, 60),
                "Biases are parameters too: a layer has one column more than it has inputs.",
            ),
            (
                (biased, 20),
                "Every output of every sample is a residual: N C rows, not N.",
            ),
            (
                (16 * 64 + 16 * 16 + 3 * 16, 20),
                "Two things: biases are parameters, and every output of every sample is a residual.",
            ),
            (
                (60, biased),
                "The other way round: J^T J is the large one.",
            ),
            (
                (16 * 65, 60),
                "That is the first layer alone. The exact Fisher matrix couples all layers.",
            ),
            (
                (biased**2, 60**2),
                "Those are the entries of the two matrices; asked for are their rows.",
            ),
        ],
        otherwise="Count one row per parameter for J^T J, and one per residual for J J^T.",
    )
