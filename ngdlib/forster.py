"""Radial isotropic position (the Forster transform): unit inputs whose second moment is round.

    z = x T / |x T|     with     Z^T Z = (N / M_0) I     on the training inputs

K-FAC's first layer is isotropic only where every input has the same leverage; in this position each
leverage score is M_0 / N. T is learned on the training inputs and applied to any others, so that
training and test inputs live in the same coordinates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arrays import Array, as_floating, namespace


class Forster(NamedTuple):
    """A linear map, followed by scaling each row to unit norm."""

    matrix: Array  # T (M_0, k), float64
    steps: int  # how many iterations it took
    deviation: float  # |Z^T Z - (N/k) I|_F / |(N/k) I|_F on the training inputs

    def __call__(self, x: Array) -> Array:
        """z = x T / |x T| for inputs x (n, M_0): (n, k), in the precision and library of x."""
        x = as_floating(x)
        if x.ndim != 2 or x.shape[1] != self.matrix.shape[0]:
            raise ValueError(
                f"inputs are (n, {self.matrix.shape[0]}) as in training, got {x.shape}"
            )
        xp = namespace(x)
        z = x @ xp.asarray(self.matrix, dtype=x.dtype)
        norm = xp.linalg.vector_norm(z, axis=1, keepdims=True)
        return z / xp.where(norm > 0, norm, 1.0)  # a zero row stays zero


def fit(
    x: Array, *, components: int | None = None, tolerance: float = 1e-13, max_steps: int = 10_000
) -> Forster:
    """Learn the map from training inputs x (N, M_0), N > M_0, in float64.

    Repeats  C = (k/N) Z^T Z,  T <- T C^(-1/2)  until C = I. The solution is unique up to a rotation
    where it exists: no subspace of dimension d may hold d N / M_0 of the inputs or more. Inputs in
    general position, any M_0 of them linearly independent, have that property.

    Args:
        components: project on that many leading right singular vectors of x first: the way out
            where N <= M_0, or where pixels are dead or copies of each other. It is part of the map.
            None keeps all M_0 dimensions.
        tolerance: stop once |Z^T Z - (N/k) I|_F < tolerance |(N/k) I|_F.
    Errors: too few inputs, a rank below M_0, NaN, a zero row, no convergence.
    Source: J. Forster, J. Comput. Syst. Sci. 65, 2002; used for K-FAC in Karakida & Osawa 2020.
    """
    x = np.asarray(as_floating(x), dtype=np.float64)
    basis = _basis(x, components)
    n, k = len(x), basis.shape[1]
    start = x @ basis
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    whitened, z, earlier = np.eye(k), start, np.inf
    for step in range(max_steps + 1):
        second_moment = z.T @ z * (k / n)
        deviation = float(np.linalg.norm(second_moment - np.eye(k)) / k**0.5)
        if deviation < tolerance:
            return Forster(basis @ whitened, step, deviation)
        s, U = np.linalg.eigh(second_moment)
        if step % 200 == 199:  # where no solution exists the deviation tends to a constant
            if deviation > 0.99 * earlier:
                break
            earlier = deviation
        if s[0] < 1e-14:
            break
        whitened = whitened @ (U / s**0.5) @ U.T
        whitened /= np.linalg.norm(whitened, 2)  # its scale is free; keep it from drifting away
        z = start @ whitened
        z /= np.linalg.norm(z, axis=1, keepdims=True)
    raise ValueError(
        f"no radial isotropic position found: after {step} steps the deviation is still "
        f"{deviation:.1e}. Too many inputs lie in one subspace (one of dimension d may hold at most "
        f"d N / M_0 = {n / k:.3g} d of them; repeated inputs count each time). Add inputs, drop "
        "repeated ones, or use fewer components"
    )


def _basis(x: np.ndarray, components: int | None) -> np.ndarray:
    """Orthonormal columns (M_0, k) that the inputs are projected on, after checking the inputs."""
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"inputs are (N, M_0) and not empty, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("the inputs hold NaN or infinity")
    if not np.abs(x).max(1).all():
        raise ValueError("an input is zero everywhere: it has no direction; leave it out")
    n, m = x.shape
    k = m if components is None else components
    if not 1 <= k <= m:
        raise ValueError(f"components is 1 .. M_0 = {m}, got {components}")
    if n <= k:
        remedy = "give more inputs, or set components to a number below N"
        raise ValueError(f"the transform needs N > M_0; there are N = {n} inputs for {k}: {remedy}")
    rows = x / np.linalg.norm(x, axis=1, keepdims=True)
    _, s, Vt = np.linalg.svd(rows, full_matrices=False)
    rank = int((s > s[0] * max(n, m) * np.finfo(np.float64).eps * 8).sum())
    if rank < k:
        raise ValueError(
            f"the inputs span {rank} of {k} dimensions (dead or copied pixels, repeated inputs): "
            f"set components to {rank} or less"
        )
    basis = np.eye(m) if components is None else Vt[:k].T
    if (np.linalg.norm(rows @ basis, axis=1) < 1e-12).any():
        raise ValueError(f"an input is zero in the first {k} components: leave it out, or use more")
    return basis
