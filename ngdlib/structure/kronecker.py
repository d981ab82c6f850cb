"""Kronecker products of two factors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..arrays import Array, float64, namespace, solve_positive
from .dense import Damping, Parts, Structure, pseudo_inverse_of


class Kron(NamedTuple):
    """G (x) A, acting on a part of shape (*rows of G, *rows of A). Undamped: its pseudo-inverse.

    `rank` is what A must have for the step to be defined by the structure; NaN if it has less.
    """

    G: Array
    A: Array
    rank: int = 0

    def dense(self) -> Array:
        return namespace(self.A).kron(self.G, self.A)

    def traces(self) -> list[Array]:
        xp = namespace(self.A)
        return [xp.trace(self.G) * xp.trace(self.A)]

    def eigen(self) -> KronEigen:
        xp = namespace(self.A)
        sG, UG = xp.linalg.eigh(self.G)
        sA, UA = xp.linalg.eigh(self.A)
        return KronEigen(UG, UA, xp.maximum(sG, 0)[:, None] * xp.maximum(sA, 0))

    def shift(self, rho: Damping) -> Structure:
        if not isinstance(rho, tuple):
            return self.eigen().shift(rho)
        xp = namespace(self.A)
        G = self.G + rho[0] * xp.eye(len(self.G), dtype=self.G.dtype)
        return Kron(G, self.A + rho[1] * xp.eye(len(self.A), dtype=self.A.dtype))

    def solve(self, parts: Parts, tol: float) -> Parts:
        xp = namespace(self.A)
        X = parts[0].reshape(-1, len(self.G), len(self.A))
        if not tol:  # both factors damped
            G = solve_positive(self.G, xp.eye(len(self.G), dtype=X.dtype), 0.0)
            A = solve_positive(self.A, xp.eye(len(self.A), dtype=X.dtype), 0.0)
        else:
            (sG, UG), (sA, UA) = xp.linalg.eigh(self.G), xp.linalg.eigh(self.A)
            short = (sA > tol * sA.max()).sum() < self.rank
            G = (UG * pseudo_inverse_of(sG, tol)) @ UG.T
            A = xp.where(short, xp.nan, (UA * pseudo_inverse_of(sA, tol)) @ UA.T)
        return [(G @ X @ A).reshape(parts[0].shape)]


class KronEigen(NamedTuple):
    """(UG (x) UA) diag(s) (UG (x) UA)^T, on the same parts as `Kron`."""

    UG: Array
    UA: Array
    s: Array  # (rows of G, rows of A)

    def dense(self) -> Array:
        U = namespace(self.s).kron(self.UG, self.UA)
        return (U * self.s.reshape(-1)) @ U.T

    def traces(self) -> list[Array]:
        return [self.s.sum()]

    def shift(self, rho: Damping) -> KronEigen:
        return self._replace(s=self.s + rho)

    def solve(self, parts: Parts, tol: float) -> Parts:
        X = parts[0].reshape(-1, len(self.UG), len(self.UA))
        Y = (self.UG.T @ X @ self.UA) * pseudo_inverse_of(self.s, tol)
        return [(self.UG @ Y @ self.UA.T).reshape(parts[0].shape)]


def on_range(gram: Array) -> Array:
    """The diagonal of the projector on the range of a Gram matrix: the leverage of each row."""
    xp, eps = namespace(gram), float(np.finfo(gram.dtype).eps)
    with float64(xp):
        s, U = xp.linalg.eigh(gram.astype(xp.float64))
        kept = s * pseudo_inverse_of(s, 32 * eps * len(gram) ** 0.5)  # noise of the layers
        return (U**2 * kept).sum(1).astype(gram.dtype)
