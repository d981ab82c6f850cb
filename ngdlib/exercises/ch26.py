"""Checks for chapter 26, running on GPUs and on several devices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ngdlib.exercises import Verdict, call, judge
from ngdlib.figures.hardware import crossover, operations

WIDTHS = (784, 500, 500, 10)  # exercise 26.1


def check_crossover(answer: Any) -> Verdict:
    """From how many samples on does the solve outweigh the rest, widths (784, 500, 500, 10)?"""
    C, rows = WIDTHS[-1], crossover(WIDTHS)
    P = sum(i * o for i, o in zip(WIDTHS, WIDTHS[1:]))
    one = operations(WIDTHS, 1)
    passes = ((one["passes"] + one["step"]) / C) ** 0.5
    return judge(
        answer,
        rows / C,
        f"that is {rows:.0f} residuals, and from there on more devices help less and less.",
        [
            (rows, "That is N C, the rows of the system. A sample has ten of them."),
            (
                crossover((*WIDTHS[:-1], 1)),
                "That is for one output: a sample gives C rows to the system and C rows of g.",
            ),
            (
                passes / C,
                "You left out the kernel. Its cost grows with N^2, and here it is most of the rest.",
            ),
            (
                crossover(WIDTHS, price=1 / 3) / C,
                "The Cholesky factor alone costs n^3 / 3. The library's solve makes an LU factor too: "
                "n^3 in all.",
            ),
            (P / C, "That is where N C = P, and both systems have the same size."),
            (
                crossover(WIDTHS, devices=8) / C,
                "That is for eight devices, which share the rest and not the solve.",
            ),
        ],
        otherwise="Set (N C)^3 equal to the sum of the other rows of the table and solve for N.",
        rtol=0.01,
    )


def check_rows(answer: Any) -> Verdict:
    """kernel_rows(own, everyone): one layer's kernel between a device's samples and all samples."""
    rng = np.random.default_rng(26)
    sizes, c, i, j = (3, 3, 3), 2, 5, 4
    everyone = [(rng.standard_normal((n, j)), rng.standard_normal((n, c, i))) for n in sizes]
    own = everyone[1]
    a, g = (np.concatenate(parts) for parts in zip(*everyone, strict=True))
    A, G = own[0] @ a.T, np.einsum("nci,mdi->ncmd", own[1], g)
    right = A[:, None, :, None] * G
    mine = np.einsum("nj,mj->nm", own[0], own[0])[:, None, :, None] * np.einsum(
        "nci,mdi->ncmd", own[1], own[1]
    )
    given = call(answer, own, everyone)
    flat = (right.shape[0] * c, right.shape[2] * c)
    if getattr(given, "shape", None) == flat:
        given = given.reshape(right.shape)  # one matrix, sample-major
    return judge(
        given,
        right,
        "3 of 9 rows, from the a and g of all. The rest of the matrix is other devices' work.",
        [
            (
                mine,
                "That is your block of the diagonal. A row reaches over the samples of everyone.",
            ),
            (G, "Those are the products of g. An entry of the kernel is G times A."),
            (
                np.broadcast_to(A[:, None, :, None], right.shape),
                "Those are the products of a. An entry of the kernel is A times G.",
            ),
            (
                A[:, None, :, None] + G,
                "A and G are multiplied, not added: the Jacobian is the product of g and a.",
            ),
            (
                np.moveaxis(right, (0, 1), (2, 3)),
                "Those are your columns: the first index belongs to your samples, the third to all.",
            ),
            (
                np.swapaxes(right, 1, 2),
                "The order is (n, c, m, d): sample and output of yours, then of the others.",
            ),
        ],
        otherwise="Put the others' a and g one below the other, then A = a a'^T, G = g g'^T, and A G.",
    )


def check_compiles(answer: Any) -> Verdict:
    """Which of five changes make a compiled step compile again? Five times True or False."""
    return judge(
        answer,
        (False, True, False, True, True),
        "a program is made for shapes, types and what is written in it; numbers pass through.",
        [
            (
                (True, True, True, True, True),
                "Then nothing would ever be reused: values that are arguments pass through.",
            ),
            (
                (True, True, False, True, True),
                "The damping is an argument here: a number that passes through, like the weights.",
            ),
            (
                (False, False, False, True, True),
                "The number of samples is a shape: of x, of the kernel, of the solve.",
            ),
            (
                (False, True, False, True, False),
                "The precision is part of an array's type, and a program is made for types.",
            ),
            (
                (False, True, True, True, True),
                "New weights have the shapes of the old ones. Training would compile at every step.",
            ),
            (
                (True, False, True, False, False),
                "The other way round: True is for what compiles again.",
            ),
        ],
        otherwise="Ask of each change: does it change a shape, a type, or only a number?",
    )
