"""The check for chapter 0, how to use this book: run it once to see how it answers."""

from __future__ import annotations

from typing import Any

from ngdlib.exercises import Verdict, judge


def check_valley(answer: Any) -> Verdict:
    """(step size, factor) of the best gradient descent on a valley with the curvatures 1 and 1/20."""
    flat = 1 / 20
    return judge(
        answer,
        (2 / (1 + flat), (1 - flat) / (1 + flat)),
        "both directions shrink by 19/21, one from one side, the other from side to side.",
        [
            (
                (1.0, 1 - flat),
                "At 1 the steep direction is done in one step, but the slower one is the flat one, and it "
                "keeps 0.95. A longer step serves it better, until the steep one becomes the slower.",
            ),
            (
                (2.0, 1 - 2 * flat),
                "0.9 is the flat direction alone. At 2 the steep one jumps between 1 and -1 for ever, "
                "with a factor of absolute value 1.",
            ),
            (
                (2.0, 1.0),
                "At 2 the steep direction jumps for ever. Look for the step just before that.",
            ),
            (
                (1 / flat, 0.0),
                "20 is right for the flat direction alone. The steep one is multiplied by 1 - 20 = -19.",
            ),
            (
                (2 / (1 + flat), -(1 - flat) / (1 + flat)),
                "The step size is right. A direction that jumps from side to side has a negative factor; by "
                "how much it shrinks is its absolute value.",
            ),
            (
                (2 / (1 + flat), 1 - (1 - flat) / (1 + flat)),
                "The step size is right. You gave the share that a step takes away; the factor is what it "
                "leaves.",
            ),
            (
                (2 / (1 + flat), ((1 - flat) / (1 + flat)) ** 2),
                "The step size is right. That is the factor of the loss, which is a square; the directions "
                "themselves shrink by its root.",
            ),
            (
                2 / (1 + flat),
                "The step size is right. Give two numbers: the step size and the factor.",
            ),
        ],
        otherwise="Draw |1 - eta| and |1 - eta / 20| against eta. Where is the larger of the two smallest?",
        rtol=2e-3,
    )
