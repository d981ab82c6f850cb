"""Many small blocks, one per unit or per group of units: in parameter space and as duals."""

from __future__ import annotations

from typing import NamedTuple

from ..arrays import (
    Array,
    einsum,
    float64,
    in_parallel,
    known_int,
    namespace,
    solve,
    solve_positive,
)
from ..layers import Block, Jacobian
from .dense import Blocks, Damping, Dense, Parts


class Stack(NamedTuple):
    """A batch of small Gram matrices (b, k, k) on one part, block after block; the last block may
    reach beyond the part. All share one damping. Undamped: the pseudo-inverse of each, NaN if a
    block has less than its `rank`.
    """

    matrices: Array
    rank: Array  # (b,)

    def dense(self) -> Array:
        return Blocks([Dense(m) for m in self.matrices]).dense()

    def traces(self) -> list[Array]:
        return [einsum("bkk->", self.matrices)]

    def shift(self, rho: Damping) -> Stack:
        xp = namespace(self.matrices)
        eye = xp.eye(self.matrices.shape[-1], dtype=self.matrices.dtype)
        return self._replace(matrices=self.matrices + rho * eye)

    def solve(self, parts: Parts, tol: float) -> Parts:
        xp = namespace(self.matrices)
        b, k, _ = self.matrices.shape
        flat = parts[0].reshape(len(parts[0]), -1)
        size = flat.shape[1]
        rhs = xp.pad(flat, ((0, 0), (0, b * k - size))).reshape(-1, b, k)
        s, U = xp.linalg.eigh(self.matrices)
        kept = s > tol * s[:, -1:]
        inverse = xp.where(kept, 1 / xp.where(kept, s, 1.0), 0.0)
        out = einsum("bkp,bp,blp,rbl->rbk", U, inverse, U, rhs)
        full = tol == 0 or (kept.sum(1) >= self.rank).all()
        out = xp.where(full, out, xp.nan).reshape(len(flat), -1)[:, :size]
        return [out.reshape(parts[0].shape)]


class UnitKernels(NamedTuple):
    """The dual of `Stack`: block b has the kernel  K_np,mq = sum_k h_bnpk h_bmqk A_nm + rho.

    All blocks together would hold b (n p)^2 numbers; they are made and solved in chunks of `memory`
    bytes. Rows with h = 0, a unit that is off for a sample, move nothing: they are left out, which
    is the pseudo-inverse where there is no damping, and makes a relu layer four times faster. With
    more samples than inputs the rank is not known from the structure, and the eigenvalues tell it.
    """

    h: Array  # (b, n, p, k)
    A: Array  # (n, n)
    inputs: int  # of a unit
    rho: Array | float = 0.0
    memory: int = 2**22

    def matrices(self, h: Array, rows: Array) -> Array:
        """The kernels of some blocks (b, n p, k), at some of their rows (b, m)."""
        xp, p = namespace(h), self.h.shape[2]
        h = xp.take_along_axis(h, rows[:, :, None], axis=1)
        K = self.A[rows[:, :, None] // p, rows[:, None, :] // p]
        K *= h * h.swapaxes(1, 2) if h.shape[2] == 1 else h @ h.swapaxes(1, 2)
        K += self.rho * xp.eye(rows.shape[1], dtype=h.dtype)
        return K

    def dense(self) -> Array:
        b, n, p, k = self.h.shape
        rows = namespace(self.h).broadcast_to(namespace(self.h).arange(n * p), (b, n * p))
        return Blocks([Dense(m) for m in self.matrices(self.h.reshape(b, n * p, k), rows)]).dense()

    def traces(self) -> list[Array]:
        return [einsum("bnpk,n->", self.h**2, namespace(self.A).diagonal(self.A))]

    def shift(self, rho: Damping) -> UnitKernels:
        return self._replace(rho=self.rho + rho)

    def solve(self, parts: Parts, tol: float) -> Parts:
        xp = namespace(self.h)
        b, n, p, k = self.h.shape
        rhs = xp.moveaxis(parts[0].reshape(len(parts[0]), b, n * p), 0, 2)
        on = (self.h.reshape(b, n * p, k) != 0).any(2)
        rows = xp.argsort(~on, axis=1, stable=True)  # the rows that are on come first
        number = on.sum(1)
        blocks = xp.argsort(number)  # blocks with as many rows on are solved together
        size = max(1, self.memory // (8 * (n * p) ** 2))
        chunks = [blocks[start : start + size] for start in range(0, b, size)]

        def solve_chunk(chunk: Array) -> Array:
            if (
                tol
                and self.h.shape[2:] == (1, 1)
                and known_int(number[chunk].min(), 0) == n <= self.inputs
            ):
                s = self.h[chunk, :, 0]  # no unit is off: K = s A s, and A is the same for all
                flat = xp.moveaxis(rhs[chunk] / s, 0, 1)
                v = solve_positive(self.A, flat.reshape(n, -1), tol).reshape(flat.shape)
                return xp.moveaxis(v, 1, 0) / s
            most = known_int(number[chunk].max(), n * p)
            v = self._solve(self.h[chunk], rows[chunk, :most], rhs[chunk], tol)
            place = xp.maximum(xp.cumsum(on[chunk], axis=1) - 1, 0)  # of a row among those on
            v = xp.take_along_axis(v, place[:, :, None], axis=1)
            return xp.where(on[chunk, :, None], v, 0.0)

        v = xp.concatenate(in_parallel(solve_chunk, chunks))[xp.argsort(blocks)]
        return [xp.moveaxis(v, 2, 0).reshape(parts[0].shape)]

    def _solve(self, h: Array, rows: Array, rhs: Array, tol: float) -> Array:
        """The solutions for some blocks h (b, n, p, k), at some of their rows (b, m): (b, m, r)."""
        xp = namespace(rhs)
        b, n, p, k = h.shape
        K = self.matrices(h.reshape(b, n * p, k), rows)
        v = xp.take_along_axis(rhs, rows[:, :, None], axis=1)
        if tol and n > self.inputs:
            s, U = xp.linalg.eigh(K)
            kept = s > tol * s[:, -1:]
            inverse = xp.where(kept, 1 / xp.where(kept, s, 1.0), 0.0)
            return U @ (inverse[:, :, None] * (U.swapaxes(1, 2) @ v))
        if tol:
            idle = null_space(h, rows)
            return solve_positive(K + idle, v - idle @ v, tol)
        return solve(K, v)


def null_space(h: Array, rows: Array | None = None) -> Array:
    """For h (b, n, p, k): the projector on what no unit of the block can move, (b, n p, n p), or at
    some of the rows (b, m) only."""
    xp = namespace(h)
    b, n, p, _ = h.shape
    rows = xp.broadcast_to(xp.arange(n * p), (b, n * p)) if rows is None else rows
    squares = h @ h.swapaxes(-1, -2)  # (b, n, p, p)
    s, U = (squares[..., 0], xp.ones_like(squares)) if p == 1 else xp.linalg.eigh(squares)
    # What rounding leaves of a zero is 1e-12 of the sample's largest at most: the root was rounded.
    idle = xp.where((s > 1e-24 * s.max()) & (s > 1e-12 * s.max(-1, keepdims=True)), 0.0, 1.0)
    Z = ((U * idle[..., None, :]) @ U.swapaxes(-1, -2)).reshape(b, n * p, p)
    Z = xp.take_along_axis(Z, rows[:, :, None], axis=1)  # (b, m, p)
    at = xp.take_along_axis(
        Z, xp.broadcast_to(rows[:, None, :] % p, (*rows.shape, rows.shape[1])), axis=2
    )
    return xp.where(rows[:, :, None] // p == rows[:, None, :] // p, at, 0.0)


def square_root(g: Array) -> tuple[Array, Array]:
    """For g (b, n, c, k): h (b, n, p, k) and t (b, n, p, c) with t^T h = g and h^T h = g^T g per
    sample, in as few rows p as can be: g itself, or the symmetric root of g^T g if k < c."""
    xp = namespace(g)
    c, k = g.shape[2:]
    if k >= c:
        return g, xp.broadcast_to(xp.eye(c, dtype=g.dtype), (*g.shape[:2], c, c))
    if k == 1:
        norm = xp.sqrt((g**2).sum(2, keepdims=True))  # (b, n, 1, 1)
        return norm, g.swapaxes(-1, -2) / xp.where(norm > 0, norm, 1.0)
    with float64(xp):  # zero eigenvalues must be told from rounding
        wide = g.astype(xp.float64)
        s, U = xp.linalg.eigh(wide.swapaxes(-1, -2) @ wide)  # (b, n, k)
        on = (s > 1e-24 * s.max()) & (s > 1e-13 * s[..., -1:])
        root = xp.where(on, xp.sqrt(xp.where(on, s, 1.0)), 0.0)
        inverse = xp.where(on, 1 / xp.where(on, root, 1.0), 0.0)
        h, inverse_h = (U * x[..., None, :] @ U.swapaxes(-1, -2) for x in (root, inverse))
        return h.astype(g.dtype), (inverse_h @ wide.swapaxes(-1, -2)).astype(g.dtype)


class UnitGram(NamedTuple):
    """What a layer's blocks need in function space: g of the first inputs, h and target of the second."""

    g: Array  # (b, n, c, k)
    h: Array  # (b, m, p, k)       p = min(k, c)
    target: Array  # (b, m, p, c)  maps the residual to the dual: target^T h = g
    A: Array  # (n, m)
    inputs: int  # of a unit

    @classmethod
    def of(cls, first: Block, second: Block, size: int) -> UnitGram:
        """Blocks of `size` units of a layer at two sets of inputs. In a block that is not dense a
        unit has parameters instead, each with a g of its own and the input 1."""
        size *= first.shape[3] if isinstance(first, Jacobian) else 1
        g, h = (_split(layer.g, size) for layer in (first, second))
        return cls(g, *square_root(h), first.a @ second.a.T, first.a.shape[1])

    def push(self, v: Array) -> Array:
        """sum over blocks of g (h^T v A^T), (k, n, c): the units contracted first, in one product."""
        b, n, c, u = self.g.shape
        weights = einsum("bmpu,kbmp->bukm", self.h, v)
        units = self.g.transpose(1, 2, 0, 3).reshape(n * c, b * u) @ weights.reshape(b * u, -1)
        return einsum("nckm,nm->knc", units.reshape(n, c, *weights.shape[2:]), self.A)


def _split(g: Array, size: int) -> Array:
    """(b, n, c, k) from (n, c, i), the last block filled up with units that do nothing."""
    n, c, i = g.shape
    k = min(size, i)
    padded = namespace(g).pad(g, ((0, 0), (0, 0), (0, -i % k)))
    return padded.reshape(n, c, -1, k).transpose(2, 0, 1, 3)
