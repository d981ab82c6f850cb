"""Exact, block-diagonal and block-tri-diagonal: one formula, three patterns Sigma.

    F_hat = S^T (Sigma (x) I) S / N,     S = diag(J_1, .., J_L)
    dual:   sum_m Sigma_lm Theta_m v_m / N + rho v_l = r      for every layer l

Undamped, each layer moves by x_l Theta_l^-1 r with Sigma x = 1, and alpha = 1^T Sigma^+ 1
(Karakida & Osawa 2020, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import Array, namespace
from ..layers import Gram, Kernel, Layers, Sizes
from ..structure import Blocks, Chain, Dense, Parts, Structure
from .base import REMEDY, Condition, Fisher

SINGULAR = (  # the pattern's eigenvalues are 1 + 2 cos(k pi / (L + 1))
    "Its pattern has the eigenvalue 1 + 2 cos(2 pi / 3) = 0 there: it is singular at depth {}. Use "
    "damping > 0, another depth, or block_tridiagonal(pseudo_inverse=True), where alpha = {}."
)


@dataclass(frozen=True)
class Layerwise(Fisher):
    """The blocks (l, m) of F with |l - m| <= reach, the others replaced by zero."""

    reach: float
    pseudo_inverse: bool = False

    def sigma(self, depth: int) -> np.ndarray:
        """The pattern Sigma, (L, L)."""
        layer = np.arange(depth)
        return 1.0 * (abs(layer[:, None] - layer) <= self.reach)

    def parameter_space(self, layers: Layers) -> Structure:
        sizes, sigma = Sizes.of(layers), self.sigma(len(layers))
        J = [b.jacobian().reshape(sizes.rows, -1) / sizes.samples**0.5 for b in layers]
        if self.reach == 0:
            return Blocks([Dense(j.T @ j, rank=sizes.rows) for j in J])
        F = [[sigma[l, m].item() * (j.T @ k) for m, k in enumerate(J)] for l, j in enumerate(J)]
        return Dense(namespace(J[0]).block(F), rank=sizes.rows * int(np.linalg.matrix_rank(sigma)))

    def function_space(self, kernels: Sequence[Kernel | Gram], sizes: Sizes) -> Structure:
        T = [K.ntk().reshape(sizes.rows, -1) / sizes.samples for K in kernels]
        if self._all_coupled(len(T)):
            return Dense(sum(T[1:], T[0]))
        return Chain(T, self.sigma(len(T))) if self.reach else Blocks([Dense(t) for t in T])

    def lift(self, residual: Array, kernels: Sequence) -> Parts:
        return [residual] if self._all_coupled(len(kernels)) else [residual] * len(kernels)

    def project(self, layers: Layers, kernels: Sequence, step: Sequence[Array]) -> Parts:
        if self._all_coupled(len(layers)):
            return super().project(layers, kernels, step)
        parts = [layer.push(s) for layer, s in zip(layers, step, strict=True)]
        sigma = self.sigma(len(layers)).tolist()
        return [sum(w * p for w, p in zip(row, parts, strict=True)) for row in sigma]

    def counts(self, sizes: Sizes) -> list[int]:
        if self._all_coupled(sizes.depth):
            return [sizes.rows]
        return [sizes.rows * sizes.depth] if self.reach else [sizes.rows] * sizes.depth

    def conditions(self, sizes: Sizes) -> list[Condition]:
        each, L = [i * j for i, j in sizes.layers or []], sizes.depth
        if self._all_coupled(L):
            each = [sum(each)] if each else []
        names = ["the network"] if len(each) == 1 else [f"layer {l}" for l in range(1, L + 1)]
        out = [
            Condition(f"N C <= the {p} parameters of {name}", sizes.rows <= p, REMEDY)
            for name, p in zip(names, each)
        ]
        if self.reach and not self._all_coupled(L):
            regular = self.pseudo_inverse or L % 3 != 2
            out.append(Condition("depth != 3s + 2", regular, SINGULAR.format(L, -(-L // 3))))
        return out

    def _all_coupled(self, depth: int) -> bool:
        return depth <= self.reach + 1


def exact() -> Fisher:
    """The Fisher matrix itself, F = J^T J / N: Sigma of ones, alpha = 1."""
    return Layerwise("exact", reach=float("inf"))


def block_diagonal() -> Fisher:
    """One block per layer: Sigma = I, alpha = L."""
    return Layerwise("block_diagonal", reach=0)


def block_tridiagonal(pseudo_inverse: bool = False) -> Fisher:
    """Neighbouring layers coupled: Sigma tri-diagonal, alpha = ceil(L / 3).

    Singular at depth 3s + 2 beyond L = 2 (where it equals exact): an error at zero damping unless
    `pseudo_inverse`, which gives alpha = s + 1.
    """
    return Layerwise("block_tridiagonal", reach=1, pseudo_inverse=pseudo_inverse)
