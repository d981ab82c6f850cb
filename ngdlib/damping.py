"""Damping: what is added to an approximation before it is inverted, in units of F (which contains 1/N).

A number rho adds rho I. `factored` splits it between the factors of a Kronecker product; `relative`
measures it by the metric's own size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from .arrays import Array, namespace
from .layers import Block, Layer


class Factored(NamedTuple):
    """(G + pi^-1 sqrt(rho) I) (x) (A + pi sqrt(rho) I), pi^2 = (tr A / dim A) / (tr G / dim G).

    The cross terms mean that this is not G (x) A + rho I (Martens & Grosse 2015, section 6.3).
    """

    rho: float

    def of(self, layers: Sequence[Block]) -> list[tuple[Array, Array]]:
        """The pair (for G, for A) of each layer; A and G contain 1/N."""
        pairs = []
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(
                    "factored damping needs dense layers, whose blocks are Kronecker products"
                )
            xp = namespace(layer.a)
            n = len(layer.a)
            G = (layer.g**2).sum() / n / layer.g.shape[2]
            A = (layer.a**2).sum() / n / layer.a.shape[1]
            pi = xp.where(G > 0, xp.sqrt(A / xp.where(G > 0, G, 1.0)), 1.0)
            pi = xp.where(pi > 0, pi, 1.0)
            pairs.append((self.rho**0.5 / pi, self.rho**0.5 * pi))
        return pairs


class Relative(NamedTuple):
    """rho_l = c times the mean eigenvalue of each layer's block: trace over dual coordinates.

    All units of a layer share one rho: a unit that is nearly off for a sample would otherwise be
    damped as little as it moves the output, and its step, 1/|g|, would be as large as before.
    """

    c: float


def factored(rho: float) -> Factored:
    """Damping `rho` split between the two factors of each Kronecker product; for kfac and its kin."""
    return Factored(check(rho))


def relative(c: float) -> Relative:
    """Damping of `c` times the mean eigenvalue of each block: has no units."""
    return Relative(check(c))


def check(rho: Any) -> Any:
    """The damping, if it can be one: numbers of any library as a float, traced ones as they are."""
    if isinstance(rho, Factored | Relative):
        return rho
    try:
        number = math.nan if isinstance(rho, bool | str) else float(rho)
    except (TypeError, ValueError):
        if hasattr(rho, "aval"):  # a number that JAX is tracing
            return rho
        number = math.nan
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(
            f"damping is a finite number >= 0, in units of F, or factored(rho) or relative(c); got {rho!r}"
        )
    return number


def is_zero(damping: Any) -> bool:
    """Whether the undamped limit is meant; known before anything is traced."""
    value = damping[0] if isinstance(damping, Factored | Relative) else damping
    return isinstance(value, float | int) and value == 0
