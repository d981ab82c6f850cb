"""The networks behind the figures: any width at once, on NumPy and, without compiling again, on JAX.

A figure says what it wants to know of a network as a function of the network, its parameters and
some arrays, and asks `run` for it at a width:

    def losses(net, params, x, y, step_size, *, method):          # module level, NumPy or JAX arrays
        f, layers = net.linearise(params, x)
        step = ngdlib.natural_gradient(method, layers, f - y, damping=0.0)
        after = net.apply(net.update(params, step, step_size), x)
        return {"before": ((f - y) ** 2).sum() / (2 * len(x)),
                "after": ((after - y) ** 2).sum() / (2 * len(x))}

    def compute(width, step_size, method="exact", xp=np, max_width=512):
        data = networks.problem(train=64)
        return networks.run(losses, width, data.x_train, data.y_train, step_size,
                            xp=xp, max_width=max_width, method=method)

On NumPy that is a plain call with the network of that width. On JAX the parameters are those of
`max_width` with zeros beyond `width`, and the function is compiled once: width, arrays and numbers
may move freely, only a keyword (hashable: a name, a depth) or an array's shape makes a new program.
Anything that is a decision in Python (`damping=0.0` means another algorithm than `damping=rho`)
therefore belongs into a keyword.

Networks are nested: that of width 300 is the first 300 units of the one of width 512, whatever the
home and its `max_width`. A moved slider adds or takes away units and changes nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from ngdlib.datasets import Data, digits
from ngdlib.layers import Layer
from ngdlib.models.mlp import ACTIVATIONS, MLP, Params, narrow

_TILE = 256


@functools.lru_cache(maxsize=8)
def problem(
    classes: tuple[int, ...] = (0, 1), train: int = 64, test: int = 64, seed: int = 0
) -> Data:
    """The digits of some classes, kept: `ngdlib.datasets.digits` with its standardised unit rows."""
    return digits(classes=classes, train=train, test=test, seed=seed)


def run(
    function: Callable[..., Any],
    width: int,
    *arrays: Any,
    xp: Any = np,
    max_width: int | None = None,
    inputs: int = 64,
    outputs: int = 1,
    depth: int = 3,
    activation: str = "relu",
    weight_variance: float = 2.0,
    bias_variance: float = 0.0,
    seed: int = 0,
    **static: Hashable,
) -> Any:
    """function(net, params, *arrays, **static) for a network whose hidden layers have `width` units.

    Args:
        function: at module level; gives arrays, or a dict, tuple or NamedTuple of arrays.
        arrays: NumPy arrays or numbers; on JAX they may change without a compilation.
        xp, max_width: as explore passes them to `compute`.
        inputs, outputs, depth, ..: of the network; depth is L, the number of weight layers.
        static: hashable keywords for `function`; each new combination compiles once on JAX.
    """
    prior = (activation, weight_variance, bias_variance)
    if xp is np:
        net = MLP((inputs, *[width] * (depth - 1), outputs), *prior)
        capacity = max(32, 1 << (width - 1).bit_length())
        params = _draw((inputs, *[capacity] * (depth - 1), outputs), bias_variance > 0, seed, xp)
        cut = [
            (W[:o, :i], None if b is None else b[:o])
            for (W, b), o, i in zip(params, net.widths[1:], net.widths[:-1], strict=True)
        ]
        return function(net, cut, *arrays, **static)
    sizes = (inputs, *[max(width, max_width or width)] * (depth - 1), outputs)
    params = _draw(sizes, bias_variance > 0, seed, xp)
    compiled = _compiled(function, MLP(sizes, *prior), tuple(sorted(static.items())))
    return compiled(params, width, *arrays)


def outputs_after(
    net: MLP, params: Params, layers: Sequence[Layer], x: Any, weights: Sequence[Any]
) -> Any:
    """The outputs (n, c) at x, (n, j), once every W_l has moved by -sum_nc weights_l,nc g_nc a_n^T.

    Every layer-wise natural gradient is such a step: weights_l = eta x_l v / N. It has rank N C, so
    W' a = W a - (weights o g)^T (a_n . a)  needs neither the step nor W', and no second pull:
    2 N^2 C M operations more than a forward pass.

    Args:
        layers: of the training inputs at `params`, bias columns included. weights: (n, c) per layer.
    """
    phi = ACTIVATIONS[net.activation][0]
    u = x
    for k, ((W, b), layer, w) in enumerate(zip(params, layers, weights, strict=True)):
        a = (phi(u) if k else u) * (net.weight_variance / net.widths[k]) ** 0.5
        back = (w[:, :, None] * layer.g).sum(1)
        inner = a @ layer.a[:, : a.shape[1]].T
        u = a @ W.T - (inner + net.bias_variance if b is not None else inner) @ back
        u = u if b is None else u + net.bias_variance**0.5 * b
    return u


@functools.lru_cache(maxsize=64)
def _compiled(function: Callable[..., Any], net: MLP, static: tuple) -> Callable[..., Any]:
    import jax

    @jax.jit
    def padded(params: Params, width: Any, *arrays: Any) -> Any:
        widths = (net.widths[0], *[width] * (net.depth - 1), net.widths[-1])
        narrowed = dataclasses.replace(net, widths=widths)
        return function(narrowed, narrow(params, widths), *arrays, **dict(static))

    return padded


@functools.lru_cache(maxsize=4)
def _draw(widths: tuple[int, ...], biases: bool, seed: int, xp: Any) -> Params:
    """Parameters from N(0, 1), tile by tile, so that a wider network contains the narrower one."""
    params: Params = []
    for layer, (i, o) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        W = xp.asarray(_tiles((o, i), (seed, layer, 0)), dtype=float)
        b = xp.asarray(_tiles((o,), (seed, layer, 1)), dtype=float) if biases else None
        params.append((W, b))
    return params


def _tiles(shape: tuple[int, ...], key: tuple[int, ...]) -> np.ndarray:
    out = np.empty(shape)
    for tile in np.ndindex(*(-(-size // _TILE) for size in shape)):
        here = tuple(
            slice(k * _TILE, min((k + 1) * _TILE, size))
            for k, size in zip(tile, shape, strict=True)
        )
        entries = np.random.default_rng((*key, *tile)).standard_normal((_TILE,) * len(shape))
        out[here] = entries[tuple(slice(s.stop - s.start) for s in here)]
    return out
