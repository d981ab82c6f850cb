"""Layers coupled to their neighbours: the dual of a block-tri-diagonal metric."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..arrays import Array, einsum, namespace, solve, solve_positive
from .dense import Damping, Parts, flatten


class Chain(NamedTuple):
    """The dual of a layer-wise metric,  (Sigma (x) I) diag(T_1 .. T_L) + rho I,  Sigma tri-diagonal.

    `T` are the layers' kernels over N. The matrix is indefinite, and elimination layer by layer meets
    the minor [[1, 1], [1, 1]] of Sigma, which is singular; in groups of 1, 2, 1, 2 .. layers it does
    not. Undamped, Sigma is inverted by itself and each T by itself.
    """

    T: Sequence[Array]  # L of (k, k)
    sigma: np.ndarray  # (L, L)
    rho: Array | float = 0.0

    def block(self, rows: Sequence[int], columns: Sequence[int]) -> Array:
        """The rows and columns of some of the layers, in full."""
        xp = namespace(self.T[0])
        eye = xp.eye(len(self.T[0]), dtype=self.T[0].dtype)
        return xp.block(
            [
                [
                    float(self.sigma[r, c]) * self.T[c] + (self.rho * eye if r == c else 0)
                    for c in columns
                ]
                for r in rows
            ]
        )

    def dense(self) -> Array:
        return self.block(range(len(self.T)), range(len(self.T)))

    def traces(self) -> list[Array]:
        return [sum(namespace(T).trace(T) for T in self.T)]

    def shift(self, rho: Damping) -> Chain:
        (rho,) = rho if isinstance(rho, list) else [rho]
        return self._replace(rho=self.rho + rho)

    def solve(self, parts: Parts, tol: float) -> Parts:
        flat = namespace(parts[0]).stack(
            [flatten([p]).T for p in parts]
        )  # (L, k, right-hand sides)
        out = self._undamped(flat, tol) if tol else self._eliminate(flat)
        return [x.T.reshape(p.shape) for x, p in zip(out, parts, strict=True)]

    def _undamped(self, rhs: Array, tol: float) -> list[Array]:
        """v_l = T_l^-1 w_l with Sigma w = rhs; where Sigma has a null vector z, w + z q is as good,
        and the pseudo-inverse of the whole takes the q for which the step is shortest."""
        w = einsum("lm,mkr->lkr", namespace(rhs).asarray(np.linalg.pinv(self.sigma)), rhs)
        v = [solve_positive(T, wl, tol) for T, wl in zip(self.T, w, strict=True)]
        eigenvalues, vectors = np.linalg.eigh(self.sigma)
        for z in vectors[:, abs(eigenvalues) < 1e-12].T.tolist():
            eye = namespace(rhs).eye(rhs.shape[1], dtype=rhs.dtype)
            inverses = [zl * solve_positive(T, eye, tol) for zl, T in zip(z, self.T, strict=True)]
            normal = sum(zl * inverse for zl, inverse in zip(z, inverses, strict=True))
            q = solve_positive(normal, sum(zl * vl for zl, vl in zip(z, v, strict=True)), tol)
            v = [vl - inverse @ q for vl, inverse in zip(v, inverses, strict=True)]
        return v

    def _eliminate(self, rhs: Array) -> list[Array]:
        L, k = rhs.shape[:2]
        starts = [l for l in range(L) if l % 3 < 2]  # groups of layers: 0 | 1 2 | 3 | 4 5 | ..
        groups = [range(*ends) for ends in zip(starts, [*starts[1:], L], strict=True)]
        b = [rhs[g.start : g.stop].reshape(len(g) * k, -1) for g in groups]
        pivots = [self.block(groups[0], groups[0])]
        above = [self.block(*pair) for pair in itertools.pairwise(groups)]
        for p, pair in enumerate(itertools.pairwise(groups)):
            below = self.block(*pair[::-1])
            X = solve(pivots[p], namespace(rhs).concatenate([above[p], b[p]], axis=1))
            pivots.append(self.block(pair[1], pair[1]) - below @ X[:, : above[p].shape[1]])
            b[p + 1] = b[p + 1] - below @ X[:, above[p].shape[1] :]
        x = [solve(pivots[-1], b[-1])]
        for p in reversed(range(len(above))):
            x.insert(0, solve(pivots[p], b[p] - above[p] @ x[0]))
        return list(namespace(rhs).concatenate(x).reshape(rhs.shape))
