"""Which parameters of a traced function are weights of dense layers or convolutions.

A weight is one only if the trace proves it: the leaf reaches a single product with an activation through
transposes, conversions and constant factors, and goes nowhere else. Everything else is left unfactored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core as core
import jax.numpy as jnp
import numpy as np

from ..arrays import Array

INLINED = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")
SAME = (
    "convert_element_type",
    "copy",
    "transpose",
    "neg",
    "reshape",
    "broadcast_in_dim",
    "squeeze",
)


class Dense(NamedTuple):
    """u = W a: the product is one equation of the trace, and its result is the tap."""

    equation: int
    side: int  # which operand is the activation
    contracted: int  # its axis that is summed over
    scale: float  # of the weight before the product
    axis: int  # of the weight's units
    bias: int | None = None
    column: float = 0.0  # du/db

    @property
    def samples_first(self) -> bool:
        """Whether the tap is (n, i), and not (i, n)."""
        return self.side == 0


class Filter(NamedTuple):
    """u = W * h: the convolution is one equation of the trace, and its result is the tap."""

    equation: int
    scale: float  # of the weight before the convolution
    axes: tuple[int, ...]  # of the leaf: its units, its channels, then space
    bias: int | None = None
    column: float = 0.0  # du/db

    def jacobian(self, jaxpr: Any, h: Array, g: Array) -> Array:
        """df/dW (n, c, i, j) and last the bias, from the input h and g = df/du with c first:

            J_nc,i(k, o) = sum_p g_ncip h_nk(stride p + dilation o),

        one matrix product per sample. Autodiff would write it as a convolution with a group per
        sample, for which XLA gives wrong numbers where the groups are split over devices.
        """
        params = jaxpr.eqns[self.equation].params
        inputs, weight, outputs = params["dimension_numbers"]
        size = [jaxpr.eqns[self.equation].invars[1].aval.shape[a] for a in weight]
        g = jnp.transpose(g, [outputs[0] + 1, 0, *(a + 1 for a in outputs[1:])])
        places, g = g.shape[3:], g.reshape(*g.shape[:3], -1)
        dilated = zip(params["padding"], params["lhs_dilation"], strict=True)
        edges = [(0, 0, 0)] * 2 + [(*pair, d - 1) for pair, d in dilated]
        h = jax.lax.pad(jnp.transpose(h, inputs), jnp.zeros((), h.dtype), edges)
        met = []
        for offset in np.ndindex(*size[2:]):
            start = [o * d for o, d in zip(offset, params["rhs_dilation"], strict=True)]
            steps = zip(start, places, params["window_strides"], strict=True)
            met.append(h[:, :, *(slice(o, o + (p - 1) * s + 1, s) for o, p, s in steps)])
        patches = jnp.stack(met, axis=2).reshape(*h.shape[:2], *size[2:], -1)
        kept = sorted(range(1, len(size)), key=lambda k: self.axes[k])
        patches = jnp.transpose(patches, (0, *kept, len(size))).reshape(len(h), -1, g.shape[3])
        J = self.scale * jnp.einsum("ncip,njp->ncij", g, patches)
        if self.bias is None:
            return J
        return jnp.concatenate([J, self.column * g.sum(3, keepdims=True)], axis=3)


class Trace(NamedTuple):
    """What is known of every leaf."""

    order: list[int | None]  # the equation that uses it first; None if none does
    dense: dict[int, Dense]
    filters: dict[int, Filter]
    units: dict[int, int]  # axis of the units, of dense and convolutional weights
    bias: dict[int, int]  # the bias of such a weight
    reasons: dict[int, str]  # why a leaf is no dense weight


class _View(NamedTuple):
    """A variable that is a leaf (or a product with leaf `leaf`), but for a constant factor."""

    leaf: int
    product: bool
    scale: float
    axes: tuple[int, ...] | None  # of the leaf, in the variable's order; None after a reshape


def flat(function: Callable, leaves: Sequence[Array], x: Array) -> Any:
    """The trace of function(leaves, x) with its nested calls written out."""
    nested = jax.make_jaxpr(lambda *v: function(v[:-1], v[-1]))(*leaves, x)
    return jax.make_jaxpr(lambda *v: evaluate(nested, v)[0])(*leaves, x)


def evaluate(
    closed: Any, arguments: Sequence[Array], shift: dict[int, Array] | None = None
) -> tuple[list[Array], dict[int, list[Array]]]:
    """The results of a trace, nested calls written out. To the result of equation k `shift[k]` is
    added, and its operands are returned too."""
    jaxpr, seen = closed.jaxpr, {}
    env: dict[Any, Any] = {}

    def read(v: Any) -> Any:
        return v.val if isinstance(v, core.Literal) else env[v]

    env.update(zip(jaxpr.constvars, closed.consts, strict=True))
    env.update(zip(jaxpr.invars, arguments, strict=True))
    for k, eqn in enumerate(jaxpr.eqns):
        values = [read(v) for v in eqn.invars]
        inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if eqn.primitive.name in INLINED and inner is not None:
            inner = inner if hasattr(inner, "consts") else core.ClosedJaxpr(inner, ())
            out = evaluate(inner, values)[0]
        else:
            bound = eqn.primitive.get_bind_params(eqn.params)  # before JAX 0.10: a pair
            functions, params = bound if isinstance(bound, tuple) else ((), bound)
            with eqn.ctx.manager:
                out = eqn.primitive.bind(*functions, *values, **params)
            out = list(out) if eqn.primitive.multiple_results else [out]
        if shift and k in shift:
            seen[k] = values
            out = [out[0] + shift[k]]
        env.update(zip(eqn.outvars, out, strict=True))
    return [read(v) for v in jaxpr.outvars], seen


def study(closed: Any, count: int) -> Trace:
    """Follow the first `count` arguments, the leaves, through a flat trace; the last one is x."""
    jaxpr = closed.jaxpr
    views: dict[Any, _View | None] = {
        v: _View(k, False, 1.0, tuple(range(v.aval.ndim)))
        for k, v in enumerate(jaxpr.invars[:count])
    }
    known = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    samples = {jaxpr.invars[-1]}  # what depends on x
    order: list[int | None] = [None] * count
    uses = [0] * count
    weights: dict[int, tuple[int, Dense | Filter | str]] = {}
    biases: dict[int, tuple[int, float]] = {}
    reasons: dict[int, str] = {}

    def use(leaf: int, equation: int) -> None:
        uses[leaf] += 1
        order[leaf] = equation if order[leaf] is None else order[leaf]

    for k, eqn in enumerate(jaxpr.eqns):
        name, out = eqn.primitive.name, eqn.outvars[0]
        seen = [None if isinstance(v, core.Literal) else views.get(v) for v in eqn.invars]
        if any(not isinstance(v, core.Literal) and v in samples for v in eqn.invars):
            samples.update(eqn.outvars)
        followed = _follow(eqn, seen, known)
        if followed:
            views[out] = followed
            continue
        _fold_constant(eqn, known)
        leaves = [v for v in seen if v and not v.product]
        for view in leaves:
            use(view.leaf, k)
        if name in ("dot_general", "conv_general_dilated") and len(leaves) == 1:
            side = 1 - seen.index(leaves[0])
            other = eqn.invars[side]
            weight = _weight(eqn, k, side, leaves[0], jaxpr.invars[-1].aval.shape[0])
            if isinstance(weight, str):
                reasons[leaves[0].leaf] = weight
            elif not isinstance(other, core.Literal) and other in samples:
                weights[leaves[0].leaf] = weight
                views[out] = _View(leaves[0].leaf, True, 1.0, None)
        elif name in ("add", "add_any") and len(leaves) == 1 and all(seen):
            (product,) = [v for v in seen if v and v.product]
            biases[product.leaf] = (leaves[0].leaf, leaves[0].scale / product.scale)
    last = len(jaxpr.eqns)
    for v in jaxpr.outvars:
        at_end = None if isinstance(v, core.Literal) else views.get(v)
        if at_end and not at_end.product:
            use(at_end.leaf, last)

    dense: dict[int, Dense] = {}
    filters: dict[int, Filter] = {}
    units, bias = {}, {}
    for leaf, (axis, tap) in weights.items():
        if uses[leaf] > 1:
            reasons[leaf] = f"it is used {uses[leaf]} times"
            continue
        units[leaf] = axis
        size = jaxpr.invars[leaf].aval.shape[axis]
        b, column = biases.get(leaf, (None, 0.0))
        if b is not None and uses[b] == 1 and math.prod(jaxpr.invars[b].aval.shape) == size:
            bias[leaf] = b
        if not isinstance(tap, str) and leaf in bias:
            tap = tap._replace(bias=b, column=column)
        if isinstance(tap, Dense):
            dense[leaf] = tap
            continue
        if isinstance(tap, Filter):
            filters[leaf] = tap
        reasons[leaf] = tap if isinstance(tap, str) else "it is the filter of a convolution"
    return Trace(order, dense, filters, units, bias, reasons)


def _follow(eqn: Any, seen: list[_View | None], known: dict) -> _View | None:
    """The view that the equation passes on, if it passes one on."""
    name = eqn.primitive.name
    if name in SAME and len(seen) >= 1 and seen[0]:
        view = seen[0]
        if name == "neg":
            return view._replace(scale=-view.scale)
        if name == "transpose" and view.axes is not None:
            return view._replace(axes=tuple(view.axes[a] for a in eqn.params["permutation"]))
        if name in ("reshape", "broadcast_in_dim", "squeeze"):
            return view._replace(axes=None)
        floating = jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating)
        return view if floating else None
    if name in ("mul", "div") and sum(v is not None for v in seen) == 1:
        side = 0 if seen[0] else 1
        scaled, factor = seen[side], _constant(eqn.invars[1 - side], known)
        if scaled is None or factor is None or (name == "div" and side == 1) or not factor:
            return None
        if eqn.outvars[0].aval.shape != eqn.invars[side].aval.shape:
            return None
        return scaled._replace(
            scale=scaled.scale * factor if name == "mul" else scaled.scale / factor
        )
    return None


def _constant(v: Any, known: dict) -> float | None:
    """The number that a variable holds, if it is one and known now."""
    value = v.val if isinstance(v, core.Literal) else known.get(v)
    if value is None or isinstance(value, jax.core.Tracer) or np.size(value) != 1:
        return None
    return float(np.asarray(value).reshape(()))


def _fold_constant(eqn: Any, known: dict) -> None:
    """sqrt(2 / 3) and the like: numbers that the trace computes from numbers."""
    values = [_constant(v, known) for v in eqn.invars]
    small = all(math.prod(getattr(v.aval, "shape", (2,))) == 1 for v in eqn.outvars)
    if not values or None in values or not small or eqn.primitive.multiple_results:
        return
    with jax.ensure_compile_time_eval():
        arguments = [jnp.asarray(x, v.aval.dtype) for x, v in zip(values, eqn.invars, strict=True)]
        known[eqn.outvars[0]] = eqn.primitive.bind(*arguments, **eqn.params)


def _weight(
    eqn: Any, k: int, side: int, view: _View, n: int
) -> tuple[int, Dense | Filter | str] | str:
    """The units' axis of a weight and its tap, or the reason why there is none; n samples."""
    if view.axes is None:
        return "it is reshaped before its product"
    shape = eqn.invars[side].aval.shape
    if eqn.primitive.name == "conv_general_dilated":
        if side != 0 or eqn.params["batch_group_count"] != 1:
            return "it is no filter"
        numbers = eqn.params["dimension_numbers"]
        axes = tuple(view.axes[a] for a in numbers.rhs_spec)
        if eqn.params["feature_group_count"] != 1:
            return axes[0], "it is the filter of a grouped convolution"
        if eqn.invars[0].aval.shape[numbers.lhs_spec[0]] != n:
            return axes[0], "it is the filter of a convolution over more than the samples"
        return axes[0], Filter(k, view.scale, axes)
    contract, batch = eqn.params["dimension_numbers"]
    weight, other = contract[1 - side], contract[side]
    if len(view.axes) != 2 or len(weight) != 1 or batch[0]:
        return f"its product sums over {len(weight)} of {len(view.axes)} axes, not one of two"
    axis = view.axes[1 - weight[0]]
    if len(shape) != 2:
        return axis, f"its input has shape {shape}: the weight is shared by several positions"
    return axis, Dense(k, side, other[0], view.scale, axis)
