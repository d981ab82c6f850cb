"""What an approximation of the Fisher matrix is, seen from both spaces."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from ..arrays import Array, einsum
from ..layers import Layers, Sizes, empirical_kernels
from ..structure import Parts, Structure


class Condition(NamedTuple):
    """One condition under which a method is isotropic at zero damping, and whether it holds.

    With a `remedy` the step itself needs it; if `warns`, the step is defined but the rate is lost.
    """

    text: str
    holds: bool
    remedy: str = ""
    warns: bool = False


REMEDY = "Use damping > 0, fewer samples or a wider network."


@dataclass(frozen=True)
class Fisher:
    """One approximation  F_hat = S^T M S / N  of the Fisher matrix  F = J^T J / N.

    It is written down twice, and the push-through identity says that both give one step:

        (F_hat + rho I)^-1 J^T r / N   =   S^T (M S S^T / N + rho I)^-1 v / N,    S^T v = J^T r
            `parameter_space`                  `function_space`          `pull`      `lift`

    The defaults here are those of a method with S = J: v is the residual itself.
    """

    name: str  # as it stands in the table of methods
    has_dual: ClassVar[bool] = True

    def parameter_space(self, layers: Layers) -> Structure:
        """F_hat, acting on one array per layer. Contains 1/N."""
        raise NotImplementedError

    def function_space(self, kernels: Sequence, sizes: Sizes) -> Structure:
        """M S S^T / N, acting on what `lift` gives. Not there if `has_dual` is False."""
        raise NotImplementedError

    def counts(self, sizes: Sizes) -> list[int]:
        """Dual coordinates of each block that `damping.relative` damps on its own: over them a trace
        becomes a mean eigenvalue."""
        return [sizes.rows]

    def dual_is_smaller(self, sizes: Sizes) -> bool:
        """Whether "auto" should solve in function space."""
        return sizes.layers is None or sizes.rows <= sum(i * j for i, j in sizes.layers)

    def kernels(self, layers: Layers, others: Layers | None = None) -> Sequence:
        """What the other methods take as `kernels`: of the layers among themselves, or with others."""
        return empirical_kernels(layers, others)

    def lift(self, residual: Array, kernels: Sequence) -> Parts:
        """v with S^T v = J^T r, for residuals (k, n, c)."""
        return [residual]

    def pull(self, layers: Layers, kernels: Sequence, v: Parts) -> list[Array]:
        """S^T v / N, one array (k, ..) per layer."""
        each = v if len(v) > 1 else v * len(layers)
        return [layer.pull(x / x.shape[1]) for layer, x in zip(layers, each, strict=True)]

    def project(self, layers: Layers, kernels: Sequence, step: Sequence[Array]) -> Parts:
        """M S step, the dual of any step (k, ..) per layer: what Woodbury's formula needs."""
        return [sum(layer.push(s) for layer, s in zip(layers, step, strict=True))]

    def push(self, kernels: Sequence, v: Parts) -> Array:
        """J' S^T v / N, (k, n', c): from kernels between the inputs of J' and those of S."""
        each = v if len(v) > 1 else v * len(kernels)
        pairs = zip(kernels, each, strict=True)
        return sum(einsum("ncmd,kmd->knc", K.ntk(), x) / x.shape[1] for K, x in pairs)

    def conditions(self, sizes: Sizes) -> list[Condition]:
        """What must hold for G_bar = alpha I on the training set at zero damping."""
        return []

    def check(self, sizes: Sizes) -> None:
        """At zero damping: raises where the sizes alone leave the step undefined, warns where they
        leave it without a rate."""
        given = f"with {sizes.samples} samples and {sizes.outputs} outputs"
        for text, holds, remedy, warns in self.conditions(sizes):
            if remedy and not holds:
                message = f"{self.name} at zero damping: {text} does not hold {given}. {remedy}"
                if not warns:
                    raise ValueError(message)
                warnings.warn(message, stacklevel=4)
