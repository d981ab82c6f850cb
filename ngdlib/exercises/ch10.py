"""Checks for chapter 10, unit-wise and mini-block."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ngdlib.exercises import Verdict, judge


def check_flops(answer: Any) -> Verdict:
    """Cholesky of unit-wise in parameter space, in function space, K-FAC; M = 1000, N = 100."""
    m, n = 1000, 100
    right = (m * m**3 / 3, m * n**3 / 3, 2 * m**3 / 3)
    mistakes = _flop_mistakes(m, n, right)
    return judge(  # decades, so that each number counts by itself
        _decades(answer),
        np.log10(right),
        "for these sizes K-FAC costs twice what unit-wise blocks cost in function space.",
        [(np.log10(numbers), message) for numbers, message in mistakes],
        otherwise="(number of matrices) x (rows)^3 / 3, three times.",
        rtol=1e-3,
    )


def _decades(answer: Any) -> Any:
    """log10 of positive numbers; anything else as it is."""
    try:
        given = np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        return answer
    return np.log10(given) if given.size and (given > 0).all() else answer


def _flop_mistakes(
    m: int, n: int, right: tuple[float, float, float]
) -> list[tuple[tuple[float, float, float], str]]:
    return [
        (
            (m**3 / 3, n**3 / 3, 2 * m**3 / 3),
            "That is one block. Every one of the 1000 units has a block of its own.",
        ),
        (
            (m**6 / 3, m * n**3 / 3, 2 * m**3 / 3),
            "The first number is the whole layer as one block of 10^6 weights. A unit has 1000.",
        ),
        (
            (3 * right[0], 3 * right[1], 3 * right[2]),
            "A Cholesky factorisation takes n^3 / 3 operations, not n^3.",
        ),
        (
            (right[0], n**3 / 3, right[2]),
            "In function space too there is a system for every unit: g differs, so the kernels do.",
        ),
        (
            (right[0], right[1], m**3 / 3),
            "K-FAC has two factors to invert, one for the inputs and one for the units.",
        ),
        (
            (m * m**2, m * n**2, 2 * m**2),
            "Those are the entries of the matrices, the memory. Operations grow with the cube.",
        ),
        (
            (right[1], right[0], right[2]),
            "The first two are swapped: parameter space has a row per weight, function space one "
            "per sample.",
        ),
    ]


def check_alpha(answer: Any) -> Verdict:
    """alpha for M = 96, L = 3: (tanh, C = 1, k = 8), (tanh, C = 3, k = 1), (relu, C = 1, k = 1)."""
    m, hidden = 96, 2
    return judge(
        answer,
        (m / 8 * hidden + 1, m / 3 * hidden + 1, m / 2 * hidden + 1),
        "blocks, units over outputs, and units that are on; each time the last layer adds 1.",
        [
            (
                (m / 8 * hidden, m / 3 * hidden, m / 2 * hidden),
                "The last layer is missing: its units are the outputs, and it adds 1.",
            ),
            (
                (m / 8 * hidden + 1, m / 3 * hidden + 3, m / 2 * hidden + 1),
                "The last layer adds 1 for every output, not C: alpha is the mean eigenvalue.",
            ),
            (
                (m / 8 * hidden + 1, m / 3 * hidden + 1 / 3, m / 2 * hidden + 1),
                "Only hidden units are shared by the outputs. In the last layer each output has a unit "
                "of its own, and it adds 1, not 1 / C.",
            ),
            (
                (m / 8 * 3 + 1, m / 3 * 3 + 1, m / 2 * 3 + 1),
                "L = 3 weight layers are two hidden ones and the last.",
            ),
            (
                (m / 8 * hidden + 1, m * hidden + 1, m / 2 * hidden + 1),
                "A unit moves the outputs of a sample along one direction of C: divide by C.",
            ),
            (
                (m / 8 * hidden + 1, m / 3 * hidden + 1, m * hidden + 1),
                "A ReLU unit that is off for a sample cannot move it: half of them are.",
            ),
            (
                (m * hidden + 1, m / 3 * hidden + 1, m / 2 * hidden + 1),
                "A block of 8 units fits the residual once, not 8 times: count blocks.",
            ),
            (
                (8 * hidden + 1, m / 3 * hidden + 1, m / 2 * hidden + 1),
                "8 is the number of units in a block. How many blocks has a layer?",
            ),
        ],
        otherwise="G_bar counts, for each sample, the blocks that can move it; per output if C > 1.",
    )


def check_cure(answer: Any) -> Verdict:
    """A relative damping that leaves less than 2 % of the loss: ReLU, single units, width 256."""
    if answer is None:
        return judge(None, 0, "")
    if isinstance(answer, bool) or not isinstance(answer, int | float) or not math.isfinite(answer):
        return Verdict(False, "The answer should be one finite number, c.")
    c = float(answer)
    if c < 0:
        return Verdict(False, "A negative damping takes away from the blocks: c is at least 0.")
    from ngdlib.figures import unit_wise  # figures are slower to import than the checks

    left = unit_wise.compute_blocks(1, c, 256, "relu", 1.0).chosen
    if left < 0.02:
        return Verdict(True, f"one step leaves {100 * left:.1f} % of the loss.")
    if c == 0:
        return Verdict(
            False,
            f"Without damping the loss is multiplied by {left:.1f}: 1 / g has no bound.",
        )
    if c < 0.01:
        return Verdict(
            False,
            f"Too little: {100 * left:.1f} % is left. A unit's move is bounded by r / (2 sqrt(rho)), and "
            "that bound is still too high.",
        )
    if c >= 1:
        return Verdict(
            False,
            f"{100 * left:.1f} % is left. c = 1 damps by as much as the metric's mean eigenvalue: beyond "
            "it the step is that of gradient descent.",
        )
    return Verdict(
        False,
        f"Too much: {100 * left:.1f} % is left. The tail is cut long before; now the damping holds back "
        "the small modes of the residual.",
    )
