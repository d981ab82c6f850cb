"""The two diagonal metrics: the diagonal of the Fisher matrix, and the identity.

Neither is isotropic, at any width: the book's counterexamples.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..arrays import Array, namespace
from ..layers import Layers, Sizes
from ..structure import Blocks, Diagonal, Parts, Structure
from .base import Condition, Fisher

NEVER = [Condition("none known: not isotropic at any width", False)]


class DiagonalFisher(Fisher):
    """diag F, with  F_ij,ij = sum_nc J_ncij^2 / N.  It has no dual smaller than itself."""

    has_dual = False

    def parameter_space(self, layers: Layers) -> Structure:
        return Blocks([Diagonal(b.squares() / Sizes.of(layers).samples) for b in layers])

    def push(self, kernels: Sequence, v: Parts) -> Array:
        raise TypeError(
            "diagonal predicts from layers, not from kernels: the same Gram matrices can belong to "
            "different weights and give a different G_bar. Pass net.layers(params, x)."
        )

    def counts(self, sizes: Sizes) -> list[int]:
        return [i * j for i, j in sizes.layers or []]

    def conditions(self, sizes: Sizes) -> list[Condition]:
        return NEVER


class Gradient(Fisher):
    """The identity in place of F: gradient descent, J^T r / N / (1 + rho); G_bar = Theta / N."""

    def parameter_space(self, layers: Layers) -> Structure:
        ones = namespace(layers[0][0]).ones_like
        return Blocks([Diagonal(ones(b.squares())) for b in layers])

    def function_space(self, kernels: Sequence, sizes: Sizes) -> Structure:
        theta = kernels[0].ntk()
        return Diagonal(namespace(theta).ones(theta.shape[:2], dtype=theta.dtype))

    def counts(self, sizes: Sizes) -> list[int]:
        return []  # the mean eigenvalue is 1, in both spaces

    def dual_is_smaller(self, sizes: Sizes) -> bool:
        return True  # nothing is solved, and the identity over P parameters need not be stored

    def conditions(self, sizes: Sizes) -> list[Condition]:
        return NEVER


def diagonal() -> Fisher:
    """The entry-wise Fisher: tr G_bar counts the active parameters, and no width makes it isotropic."""
    return DiagonalFisher("diagonal")


def gradient() -> Fisher:
    """Gradient descent, as one more metric to compare with."""
    return Gradient("gradient")
