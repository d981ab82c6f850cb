"""One description, two array libraries: NumPy and JAX through the same lines."""

from __future__ import annotations

import contextlib
import contextvars
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

Array = Any  # a NumPy or a JAX array, tracers included


def namespace(x: Array) -> Any:
    """The module (`numpy` or `jax.numpy`) that `x` belongs to; works on JAX tracers too."""
    return x.__array_namespace__()


def einsum(subscripts: str, *operands: Array) -> Array:
    """`xp.einsum` with the order of contraction chosen: NumPy alone would loop, 5 times slower."""
    return namespace(operands[0]).einsum(subscripts, *operands, optimize=True)


@contextlib.contextmanager
def float64(xp: Any) -> Iterator[None]:
    """Inside, float64 means float64. JAX would silently keep float32; nothing global is flipped."""
    if xp is np:
        yield
    else:
        import jax

        with jax.enable_x64(True):
            yield


def is_false(flag: Array) -> bool:
    """True where `flag` is known to be false; a tracer under jit is not known yet, and gives False."""
    try:
        return not bool(flag)
    except TypeError:  # jax.errors.TracerBoolConversionError
        return False


def known_int(number: Array, otherwise: int) -> int:
    """`number` where it is known; under jit shapes cannot depend on it, and `otherwise` serves."""
    try:
        return int(number)
    except TypeError:  # jax.errors.ConcretizationTypeError
        return otherwise


def in_parallel(function: Callable[[Array], Array], chunks: Sequence[Array]) -> list[Array]:
    """`[function(chunk) for chunk in chunks]`, on two threads where there are threads: LAPACK on
    small matrices uses one, and NumPy lets go of the interpreter meanwhile."""
    if len(chunks) < 2 or sys.platform == "emscripten" or namespace(chunks[0]) is not np:
        return [function(chunk) for chunk in chunks]
    contexts = [contextvars.copy_context() for _ in chunks]  # np.errstate, for one
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda context, chunk: context.run(function, chunk), contexts, chunks))


def as_floating(x: Any) -> Array:
    """`x` as an array of floats: JAX arrays stay JAX, lists and integers become float64."""
    if not hasattr(x, "__array_namespace__"):
        x = np.asarray(x)
    xp = namespace(x)
    if xp.isdtype(x.dtype, "real floating"):
        return x
    if not xp.isdtype(x.dtype, ("integral", "bool")):
        raise TypeError(
            f"expected real numbers, got an array of {x.dtype}; convert it to floats first"
        )
    return x.astype(xp.float64 if xp is np else float)


def cholesky(matrix: Array) -> Array:
    """Lower Cholesky factor; NaN, in NumPy as in JAX, where `matrix` is not positive definite."""
    xp = namespace(matrix)
    try:
        return xp.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return xp.full_like(matrix, xp.nan)


def solve(matrix: Array, rhs: Array) -> Array:
    """`matrix^-1 rhs` (matrix (..., k, k), rhs (..., k, m)); NaN where `matrix` is exactly singular."""
    xp = namespace(matrix)
    try:
        return xp.linalg.solve(matrix, rhs)
    except np.linalg.LinAlgError:
        return xp.full_like(rhs, xp.nan)


def solve_positive(matrix: Array, rhs: Array, tolerance: float) -> Array:
    """`matrix^-1 rhs` for a positive definite matrix; NaN if its rank is numerically short.

    The pivots of the Cholesky factor of the matrix, scaled to a unit diagonal, tell: a pivot is the
    squared distance of a row from the span of those before it, and a duplicate's is rounding noise.
    """
    xp = namespace(matrix)
    diagonal = xp.diagonal(matrix, axis1=-2, axis2=-1)
    scale = xp.sqrt(xp.where(diagonal > 0, diagonal, 1.0))
    factor = cholesky(matrix / (scale[..., :, None] * scale[..., None, :]))
    pivots = xp.diagonal(factor, axis1=-2, axis2=-1) ** 2
    full_rank = (diagonal > 0).all() & (pivots.min() > tolerance)  # False for NaN pivots too
    return xp.where(full_rank, solve(matrix, rhs), xp.nan)
