"""Two routes to the same natural gradient, and the step in function space.

    parameter space    (F_hat + rho)^-1 J^T r / N               F_hat is P x P, or structured
    function space     S^T (M S S^T / N + rho)^-1 v / N         the dual is N C x N C, or structured

Matrices are built in the precision of the layers and solved in float64 (DESIGN: a float32 Gram matrix
with a float64 solve loses 1e-6 on MNIST).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import Array, float64, is_false, namespace
from .checks import check_finite, check_pair, checked_residual, sizes_of_kernels, why_singular
from .damping import Factored, Relative, check, is_zero
from .fisher import Fisher, find
from .layers import Block, Gram, Kernel, Sizes, gradient
from .structure import Blocks, Kron, Parts, Structure

Method = str | Fisher


def natural_gradient(
    method: Method,
    layers: Sequence[Block],
    residual: Array,
    *,
    damping: float | Factored | Relative,
    space: str = "auto",
) -> list[Array]:
    """The natural gradient  (F_hat + rho I)^-1 J^T r / N,  one array per layer.

    The caller subtracts the step size times it: `net.update(params, step, learning_rate)`.

    Args:
        method: a name in `FISHERS`, or a `Fisher` with options of your own.
        layers: from `net.layers(params, x)`.
        residual: r = f - y, (n, c); no 1/N. Under another loss: u of `likelihood`, with `fold`.
        damping: rho, in units of F (which contains 1/N); `damping.factored` or `damping.relative`.
            0 means the pseudo-inverse, on the range known from the method's structure.
        space: "parameter", "function", or "auto": the one with the smaller systems.
    Returns:
        dW (out, in [+ 1, the bias last]) per layer; contains no N where F_hat is isotropic.
    Raises:
        ValueError: shapes that do not match, NaN, a negative damping; at zero damping a singular
            dual, with its cause. Under `jax.jit` that one gives NaN instead.
    Source: Karakida & Osawa 2020, equations 3 and 8 (the push-through identity).
    """
    fisher, sizes, damping = find(method), Sizes.of(layers), check(damping)
    residual = checked_residual(residual, sizes)
    check_finite(layers)
    if _route(fisher, sizes, damping, space) == "function":
        kernels = fisher.kernels(layers)
        v = _dual(fisher, kernels, sizes, fisher.lift(residual[None], kernels), damping, layers)
        step = fisher.pull(layers, kernels, v)
    else:
        step = _in_parameter_space(fisher, layers, sizes, gradient(layers, residual[None]), damping)
    return _finite([s[0] for s in step], fisher, layers, sizes, damping)


def precondition(
    method: Method,
    layers: Sequence[Block],
    gradient: Sequence[Array],
    *,
    damping: float | Factored | Relative,
    space: str = "auto",
) -> list[Array]:
    """(F_hat + rho I)^-1 times any gradient: the step where the gradient is no J^T r of these layers.

    That is so for a sampled or an empirical Fisher, whose layers are folded with another root of the
    Hessian than the loss's. Function space is Woodbury's formula, and needs rho > 0:

        (S^T M S / N + rho)^-1 g  =  (g - S^T (M S S^T / N + rho)^-1 M S g / N) / rho

    Args, returns and errors as `natural_gradient`; `gradient` has one array per layer, with its 1/N.
    """
    fisher, sizes, damping = find(method), Sizes.of(layers), check(damping)
    check_finite(layers)
    batch = [g[None] for g in gradient]
    undamped = is_zero(damping) or not isinstance(damping, float | int)
    if fisher.name == "gradient" or (undamped and space == "auto"):
        space = "parameter"
    if undamped and space == "function":
        raise ValueError(
            "function space needs a damping that is a number > 0 here; use space='parameter'"
        )
    if _route(fisher, sizes, damping, space) == "function":
        kernels = fisher.kernels(layers)
        projected = fisher.project(layers, kernels, batch)
        v = _dual(fisher, kernels, sizes, projected, damping, layers)
        back = fisher.pull(layers, kernels, v)
        step = [(g - p) / damping for g, p in zip(batch, back, strict=True)]
    else:
        step = _in_parameter_space(fisher, layers, sizes, batch, damping)
    return _finite([s[0] for s in step], fisher, layers, sizes, damping)


def response(
    method: Method,
    train: Sequence,
    test: Sequence | None = None,
    *,
    damping: float | Factored | Relative = 0.0,
) -> Array:
    """The function-space matrix  J' (F_hat + rho I)^-1 J^T / N,  (n', c, m, d).

    A step of size eta changes f' at the second inputs by -eta times it times the residual. With the
    training inputs on both sides it is G_bar.

    Args:
        train: layers, or kernels of the training inputs among themselves.
        test: layers of the second inputs, or the kernels between them (first axis) and the training
            inputs; the training inputs if not given.
    """
    fisher, damping = find(method), check(damping)
    finite = not train or not isinstance(train[0], Kernel | Gram)
    sizes = Sizes.of(train) if finite else sizes_of_kernels(train)
    check_finite(train)
    if test is not None:
        check_pair(train, test, finite, sizes)
    route = _route(fisher, sizes, damping, "auto")
    # Undamped, a dual larger than the matrix itself is singular.
    primal = not fisher.has_dual or (finite and is_zero(damping) and route == "parameter")
    xp = namespace(train[0][0])
    eye = xp.eye(sizes.rows, dtype=train[0][0].dtype).reshape(-1, sizes.samples, sizes.outputs)
    if not primal:
        kernels = fisher.kernels(train) if finite else train
        cross = kernels if test is None else fisher.kernels(test, train) if finite else test
        fisher.push(cross, fisher.lift(eye[:0], kernels))  # says so if these kernels do not serve

        def columns(eye: Array) -> Array:
            v = fisher.lift(eye, kernels)
            layers = train if finite else None
            return fisher.push(cross, _dual(fisher, kernels, sizes, v, damping, layers))

    elif finite:

        def columns(eye: Array) -> Array:
            step = _in_parameter_space(fisher, train, sizes, gradient(train, eye), damping)
            return sum(b.push(s) for b, s in zip(test or train, step, strict=True))

    else:
        return fisher.push(train, [])  # raises: this method needs layers
    numbers = sum(i * j for i, j in sizes.layers or []) if primal else sum(fisher.counts(sizes))
    size = max(1, 2**26 // (8 * max(numbers, 1)))
    out = xp.concatenate([columns(eye[k : k + size]) for k in range(0, sizes.rows, size)])
    out = xp.moveaxis(out, 0, -1)
    if is_false(xp.isfinite(out).all()):
        raise ValueError(why_singular(fisher, train if finite else None, sizes, damping))
    return out.reshape(*out.shape[:2], sizes.samples, sizes.outputs)


def _route(fisher: Fisher, sizes: Sizes, damping: Any, space: str) -> str:
    if is_zero(damping):
        fisher.check(sizes)
    if space not in ("auto", "parameter", "function"):
        raise ValueError(f'space is "auto", "parameter" or "function", not {space!r}')
    if space == "function" and not fisher.has_dual:
        raise ValueError(
            f"{fisher.name} has no dual that is smaller than itself: use space='parameter'"
        )
    if space == "auto":
        return "function" if fisher.has_dual and fisher.dual_is_smaller(sizes) else "parameter"
    return space


def _dual(
    fisher: Fisher,
    kernels: Sequence,
    sizes: Sizes,
    parts: Parts,
    damping: Any,
    layers: Sequence[Block] | None,
) -> Parts:
    xp, dtype = namespace(parts[0]), parts[0].dtype
    with float64(xp):
        structure = _double(fisher.function_space(kernels, sizes))
        structure = _damped(structure, fisher, sizes, damping, layers)
        v = structure.solve(
            [x.astype(xp.float64) for x in parts], _tolerance(sizes, damping, dtype)
        )
        return [x.astype(dtype) for x in v]


def _in_parameter_space(
    fisher: Fisher, layers: Sequence[Block], sizes: Sizes, parts: Parts, damping: Any
) -> Parts:
    xp, dtype = namespace(parts[0]), parts[0].dtype
    with float64(xp):
        structure = _double(fisher.parameter_space(layers))
        structure = _damped(structure, fisher, sizes, damping, layers)
        step = structure.solve(
            [x.astype(xp.float64) for x in parts], _tolerance(sizes, damping, dtype)
        )
        return [x.astype(dtype) for x in step]


def _damped(
    structure: Structure, fisher: Fisher, sizes: Sizes, damping: Any, layers: Sequence[Block] | None
) -> Structure:
    if is_zero(damping):
        return structure
    if isinstance(damping, Relative):
        traces, counts = structure.traces(), fisher.counts(sizes)
        means = (
            [t / k for t, k in zip(traces, counts, strict=True)] if counts else [1.0] * len(traces)
        )
        return structure.shift([damping.c * mean for mean in means])
    if isinstance(damping, Factored):
        if not isinstance(structure, Blocks) or not all(
            isinstance(b, Kron) for b in structure.blocks
        ):
            raise ValueError(
                f"factored damping splits Kronecker products, and {fisher.name} has none"
            )
        if layers is None:
            raise ValueError(
                "factored damping needs the sizes of the layers: pass layers, not kernels"
            )
        return structure.shift(damping.of(layers))
    return structure.shift(damping)


def _double(structure: Any) -> Any:
    """The structure with its arrays in float64."""
    if isinstance(structure, tuple):
        parts = [_double(x) for x in structure]
        return type(structure)(*parts) if hasattr(structure, "_fields") else tuple(parts)
    if isinstance(structure, list):
        return [_double(x) for x in structure]
    if hasattr(structure, "dtype") and not isinstance(structure, np.generic):
        return structure.astype(namespace(structure).float64)
    return structure


def _tolerance(sizes: Sizes, damping: Any, dtype: Any) -> float:
    """Below it, relative to the largest, a pivot or an eigenvalue is rounding noise of the layers."""
    return 8 * float(np.finfo(dtype).eps) * sizes.rows**0.5 if is_zero(damping) else 0.0


def _finite(
    step: list[Array], fisher: Fisher, layers: Sequence[Block], sizes: Sizes, damping: Any
) -> list[Array]:
    xp = namespace(step[0])
    if any(is_false(xp.isfinite(s.sum())) for s in step):
        raise ValueError(why_singular(fisher, layers, sizes, damping))
    return step
