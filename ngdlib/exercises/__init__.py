"""The book's check functions, one module per chapter: `from ngdlib.exercises import ch06`.

A check takes a reader's answer and says what it makes of it. A wrong answer that others gave before
is recognised, and the message names the thought behind it:

    def check_rate(answer):
        eta = 0.3
        return judge(
            answer,
            (1 - eta) ** 2,
            "the loss is a square, so it shrinks by the square of the factor.",
            mistakes=[(1 - eta, "That is the factor of the residual, and the loss is its square.")],
        )
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Verdict(NamedTuple):
    """What a check says: `right` is None while there is no answer. Shown as its message."""

    right: bool | None
    message: str

    def __bool__(self) -> bool:
        return self.right is True

    def __repr__(self) -> str:
        opening = {None: "No answer yet.", True: "Right:", False: "Not yet."}[self.right]
        return f"{opening} {self.message}".strip()


def judge(
    answer: Any,
    right: Any,
    because: str,
    mistakes: Sequence[tuple[Any, str]] = (),
    *,
    otherwise: str = "",
    rtol: float = 1e-6,
) -> Verdict:
    """Compare an answer with the right one, then with the known mistakes, in their order.

    Args:
        answer: a number, an array or nested lists of numbers; None if there is none yet.
        right: the number or array it should be. because: said when it is; starts in lower case.
        mistakes: pairs of what a misconception leads to (of any shape) and a message that names it.
        otherwise: said of an answer of the right shape that is none of these.
        rtol: how far an answer may be off, relative to the largest entry of `right`.
    """
    if answer is None:
        return Verdict(None, "Put yours in place of None and run the cell again.")
    if isinstance(answer, Verdict):
        return answer
    try:
        given = np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        return Verdict(False, f"The answer should be made of numbers, not {type(answer).__name__}.")
    if given.size and not np.isfinite(given).all():
        return Verdict(False, "The answer holds NaN or infinity: something was divided by zero.")
    right = np.asarray(right, dtype=float)
    if _same(given, right, rtol):
        return Verdict(True, because)
    for value, message in mistakes:
        if _same(given, np.asarray(value, dtype=float), rtol):
            return Verdict(False, message)
    if given.shape != right.shape:
        return Verdict(False, f"The answer should have shape {right.shape}, not {given.shape}.")
    return Verdict(False, otherwise or "The number is off, and not in a way that is known here.")


def call(function: Any, *arguments: Any) -> Any:
    """What a reader's function gives; a `Verdict`, which `judge` passes on, if it cannot be called."""
    if function is None:
        return None
    if not isinstance(function, Callable):  # type: ignore[arg-type]
        return Verdict(False, f"Pass the function itself, not {type(function).__name__}.")
    copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    try:
        return function(*copies)
    except Exception as error:
        words = " ".join(str(error).split())
        return Verdict(False, f"Your function stopped with {type(error).__name__}: {words}")


def _same(given: np.ndarray, value: np.ndarray, rtol: float) -> bool:
    scale = np.abs(value).max(initial=0.0) or 1.0
    return given.shape == value.shape and bool(np.abs(given - value).max(initial=0) <= rtol * scale)
