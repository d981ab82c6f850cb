"""The protocol of a structure, and its plain shapes: dense, in blocks, diagonal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..arrays import Array, namespace, solve, solve_positive

Parts = list[Array]
Damping = Any  # rho; a pair (for G, for A) of a Kronecker product; a list, one per block


class Structure(Protocol):
    """A symmetric matrix in one of the shapes below."""

    def shift(self, rho: Damping) -> Structure: ...
    def solve(self, parts: Parts, tol: float) -> Parts: ...
    def traces(self) -> list[Array]: ...
    def dense(self) -> Array: ...


def flatten(parts: Parts) -> Array:
    """(k, size) from parts (k, *shape)."""
    xp = namespace(parts[0])
    return xp.concatenate([p.reshape(len(p), -1) for p in parts], axis=1)


def unflatten(flat: Array, like: Parts) -> Parts:
    """The parts of `flat` (k, size), in the shapes of `like`."""
    ends = np.cumsum([p[0].size for p in like])
    return [
        flat[:, end - p[0].size : end].reshape(p.shape) for p, end in zip(like, ends, strict=True)
    ]


def pseudo_inverse_of(eigenvalues: Array, tol: float) -> Array:
    """1/s where |s| is above `tol` times the largest, 0 elsewhere."""
    xp = namespace(eigenvalues)
    kept = abs(eigenvalues) > tol * abs(eigenvalues).max()
    return xp.where(kept, 1 / xp.where(kept, eigenvalues, 1.0), 0.0)


class Dense(NamedTuple):
    """One matrix over the concatenation of all parts.

    With `rank` the matrix is a Gram matrix known to have that rank: undamped, its pseudo-inverse is
    meant, and the solution is NaN if fewer eigenvalues are there. Without, it is positive definite.
    """

    matrix: Array
    rank: int | None = None

    def dense(self) -> Array:
        return self.matrix

    def traces(self) -> list[Array]:
        return [namespace(self.matrix).trace(self.matrix)]

    def shift(self, rho: Damping) -> Dense:
        (rho,) = rho if isinstance(rho, list) else [rho]
        xp = namespace(self.matrix)
        eye = xp.eye(len(self.matrix), dtype=self.matrix.dtype)
        return self._replace(matrix=self.matrix + rho * eye)

    def solve(self, parts: Parts, tol: float) -> Parts:
        rhs = flatten(parts).T
        if self.rank is None:
            return unflatten(solve_positive(self.matrix, rhs, tol).T, parts)
        if not tol:  # damped; perhaps indefinite
            return unflatten(solve(self.matrix, rhs).T, parts)
        xp = namespace(rhs)
        s, U = xp.linalg.eigh(self.matrix)
        inverse = pseudo_inverse_of(s, tol)
        flat = U @ (inverse[:, None] * (U.T @ rhs))
        return unflatten(xp.where((inverse != 0).sum() >= self.rank, flat, xp.nan).T, parts)


class Blocks(NamedTuple):
    """Block diagonal: one structure per part."""

    blocks: Sequence[Structure]

    def dense(self) -> Array:
        mats = [b.dense() for b in self.blocks]
        xp = namespace(mats[0])
        return xp.block(
            [
                [
                    m if r == c else xp.zeros((len(m), len(k)), dtype=m.dtype)
                    for c, k in enumerate(mats)
                ]
                for r, m in enumerate(mats)
            ]
        )

    def traces(self) -> list[Array]:
        return [b.traces()[0] for b in self.blocks]

    def shift(self, rho: Damping) -> Blocks:
        each = rho if isinstance(rho, list) else [rho] * len(self.blocks)
        return Blocks([b.shift(r) for b, r in zip(self.blocks, each, strict=True)])

    def solve(self, parts: Parts, tol: float) -> Parts:
        return [b.solve([p], tol)[0] for b, p in zip(self.blocks, parts, strict=True)]


class Diagonal(NamedTuple):
    """A diagonal matrix; `d` has the shape of its part. Undamped: zeros stay zero."""

    d: Array

    def dense(self) -> Array:
        return namespace(self.d).diag(self.d.reshape(-1))

    def traces(self) -> list[Array]:
        return [self.d.sum()]

    def shift(self, rho: Damping) -> Diagonal:
        (rho,) = rho if isinstance(rho, list) else [rho]
        return Diagonal(self.d + rho)

    def solve(self, parts: Parts, tol: float) -> Parts:
        return [parts[0] * pseudo_inverse_of(self.d, tol**2)]  # entries are squares
