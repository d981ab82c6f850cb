"""MLP of any depth in NTK parameterisation, with its backward pass written out.

    u_l = sigma_w / sqrt(M_{l-1}) W_l h_{l-1} + sigma_b b_l,    h_l = phi(u_l),    h_0 = x,    f = u_L

W and b have entries of unit variance, and they are the parameters.
"""

from __future__ import annotations

import importlib
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, as_floating, namespace
from ..layers import Kernel, Layer, empirical_kernels

Params = list[tuple[Array, Array | None]]


def _erf(u: Array) -> Array:
    home = "scipy" if namespace(u) is np else "jax.scipy"
    try:
        return importlib.import_module(home + ".special").erf(u)
    except ImportError:  # the browser has no SciPy
        return np.vectorize(math.erf, otypes=[u.dtype])(u)


# phi and its derivative, both from the pre-activation u. Every phi(0) = 0: zero weights keep a unit out.
ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "relu": (lambda u: namespace(u).maximum(u, 0), lambda u: (u > 0).astype(u.dtype)),
    "erf": (_erf, lambda u: 2 / math.pi**0.5 * namespace(u).exp(-(u**2))),
    "tanh": (lambda u: namespace(u).tanh(u), lambda u: 1 - namespace(u).tanh(u) ** 2),
    "linear": (lambda u: u, lambda u: namespace(u).ones_like(u)),
}


@dataclass(frozen=True)
class MLP:
    """A multi-layer perceptron: its sizes and its prior, without parameters.

    Args:
        widths: (M_0, .., M_L): inputs, hidden layers, outputs. L = len(widths) - 1 weight layers.
        activation: "relu", "erf", "tanh" or "linear"; the last layer has none.
        weight_variance, bias_variance: sigma_w^2 and sigma_b^2; no biases where the latter is 0.

    Arrays may be larger than `widths`, if zero beyond: the network is the one of `widths`. That is
    how a width can change under `jax.jit` without a new compilation (see `narrow`); the widths may
    then be traced numbers.
    """

    widths: tuple[int, ...]
    activation: str = "relu"
    weight_variance: float = 2.0
    bias_variance: float = 0.0

    def __post_init__(self) -> None:
        if len(self.widths) < 2:
            raise ValueError(
                f"widths has the inputs and at least one layer, (M_0, .., M_L); got {self.widths!r}"
            )
        object.__setattr__(self, "widths", tuple(_width(w) for w in self.widths))
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"unknown activation {self.activation!r}; there are {', '.join(ACTIVATIONS)}"
            )
        for name in ("weight_variance", "bias_variance"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0) or (
                name == "weight_variance" and value == 0
            ):
                raise ValueError(
                    f"{name} is a finite number {'> 0' if name[0] == 'w' else '>= 0'}; got {value!r}"
                )

    @property
    def depth(self) -> int:
        """L, the number of weight layers."""
        return len(self.widths) - 1

    def init(self, seed: int = 0, *, xp: Any = np, dtype: Any = None) -> Params:
        """Parameters drawn from N(0, 1): [(W (out, in), b (out,) or None)].

        The same seed gives the same network in every precision and array library.
        xp: `numpy` or `jax.numpy`; dtype: float64 by default, or what JAX makes of it.
        """
        rng = np.random.default_rng(seed)

        def draw(*shape: int) -> Array:
            return xp.asarray(
                rng.standard_normal(shape), dtype=dtype or (float if xp is not np else np.float64)
            )

        sizes = zip(self.widths[1:], self.widths[:-1], strict=True)
        return [(draw(o, i), draw(o) if self.bias_variance else None) for o, i in sizes]

    def apply(self, params: Params, x: Array) -> Array:
        """f, (n, c), for inputs x (n, M_0). Integers are converted to floats."""
        h, _ = self._forward(params, x)
        return self._affine(params[-1], h[-1], self.depth - 1)

    def layers(self, params: Params, x: Array) -> list[Layer]:
        """The Jacobian of every layer at x, factored: a (n, j) with the 1/sqrt(width) and the bias
        column sigma_b inside, g (n, c, i)."""
        return self.linearise(params, x)[1]

    def linearise(self, params: Params, x: Array) -> tuple[Array, list[Layer]]:
        """f and the layers, from one forward and one backward pass.

        g_L = I and  g_l = sigma_w / sqrt(M_l) (g_{l+1} W_{l+1}) o phi'(u_l).
        """
        h, u = self._forward(params, x)
        xp = namespace(h[0])
        f = self._affine(params[-1], h[-1], self.depth - 1)
        derivative = ACTIVATIONS[self.activation][1]
        g = [xp.broadcast_to(xp.eye(f.shape[1], dtype=f.dtype), (len(f), f.shape[1], f.shape[1]))]
        for l in range(self.depth - 1, 0, -1):
            back = _times(g[0], params[l][0]) * self._scale(l)
            g.insert(0, back * derivative(u[l - 1])[:, None, :])
        return f, [Layer(self._input(l, h[l]), g[l]) for l in range(self.depth)]

    def kernels(
        self, params: Params, x1: Array, x2: Array | None = None, *, memory: int = 2**28
    ) -> list[Kernel]:
        """`empirical_kernels` of the layers at x1 and x2 (x1 if not given), batch by batch.

        Args:
            memory: bytes that the layers in flight, with the passes that make them, may take; the
                kernels themselves, A (n, m) and G (n, c, m, d) per layer, come on top.
        Raises:
            ValueError: the budget does not hold one input of each set.
        """
        x2 = x1 if x2 is None else x2
        (c, _), size = params[-1][0].shape, params[0][0].dtype.itemsize
        row = size * sum(3 * (i + 1) + (2 + 2 * c) * o for o, i in (W.shape for W, _ in params))
        batch = int(memory // (2 * row))
        if batch < 1:
            raise ValueError(
                f"memory is {memory} bytes, and the layers of one input of each set take {2 * row}: "
                "give at least that"
            )

        def batches(x: Array) -> list[Array]:
            return [x[k : k + batch] for k in range(0, len(x), batch)] or [x]

        rows = []
        for first in batches(x1):
            layers = self.layers(params, first)
            each = (empirical_kernels(layers, self.layers(params, x)) for x in batches(x2))
            rows.append([_join(parts, 1) for parts in zip(*each, strict=True)])
        return [_join(parts, 0) for parts in zip(*rows, strict=True)]

    def update(self, params: Params, step: Sequence[Array], learning_rate: float) -> Params:
        """params - learning_rate * step; step: dW (out, in [+ 1, the bias last]) per layer."""
        if len(step) != len(params):
            raise ValueError(
                f"a step for {len(step)} layers does not fit {len(params)} of parameters"
            )
        out: Params = []
        for (W, b), dW in zip(params, step, strict=True):
            if dW.shape != (W.shape[0], W.shape[1] + (b is not None)):
                raise ValueError(
                    f"a step of shape {dW.shape} does not fit a weight of shape {W.shape}"
                )
            new = dW[:, : W.shape[1]] * -learning_rate
            new += W  # in place in NumPy: one temporary less at width 4096
            out.append((new, None if b is None else b - learning_rate * dW[:, -1]))
        return out

    def named(self, params: Params) -> dict[str, Array]:
        """The parameters by name, as errors call them."""
        names = {}
        for l, (W, b) in enumerate(params, 1):
            names[f"the weights of layer {l}"] = W
            if b is not None:
                names[f"the biases of layer {l}"] = b
        return names

    def _scale(self, layer: int) -> Any:
        return (self.weight_variance / self.widths[layer]) ** 0.5

    def _affine(self, params: tuple[Array, Array | None], h: Array, layer: int) -> Array:
        W, b = params
        u = h @ W.T * self._scale(layer)
        return u if b is None else u + self.bias_variance**0.5 * b

    def _forward(self, params: Params, x: Array) -> tuple[list[Array], list[Array]]:
        x = as_floating(x)
        if len(params) != self.depth:
            raise ValueError(f"the network has {self.depth} layers, the parameters {len(params)}")
        for l, (W, b) in enumerate(params, 1):
            if (b is None) == bool(self.bias_variance):
                raise ValueError(
                    f"bias_variance is {self.bias_variance}, and layer {l} of the parameters has "
                    f"{'no' if b is None else 'a'} bias: they belong to another network"
                )
            if l > 1 and W.shape[1] != params[l - 2][0].shape[0]:
                raise ValueError(
                    f"layer {l} takes {W.shape[1]} inputs, layer {l - 1} gives {params[l - 2][0].shape[0]}"
                )
        if x.ndim != 2 or x.shape[1] != params[0][0].shape[1]:
            raise ValueError(f"x has shape {x.shape}; the network takes (n, {self.widths[0]})")
        if len(x) == 0:
            raise ValueError("x is empty: there is no sample to compute")
        h, u = [x.astype(params[0][0].dtype)], []
        phi = ACTIVATIONS[self.activation][0]
        for l in range(self.depth - 1):
            u.append(self._affine(params[l], h[-1], l))
            h.append(phi(u[-1]))
        return h, u

    def _input(self, layer: int, h: Array) -> Array:
        a = h * self._scale(layer)
        if not self.bias_variance:
            return a
        xp = namespace(a)
        column = xp.full((len(a), 1), self.bias_variance**0.5, dtype=a.dtype)
        return xp.concatenate([a, column], axis=1)


def _join(kernels: Sequence[Kernel], axis: int) -> Kernel:
    """Side by side: along the first inputs (0) or the second ones (1)."""
    xp = namespace(kernels[0].A)
    A, G = zip(*kernels, strict=True)
    return Kernel(xp.concatenate(A, axis=axis), xp.concatenate(G, axis=2 * axis))


def narrow(params: Params, widths: Sequence[Any]) -> Params:
    """The sub-network of these widths, in arrays of the same shape: zero beyond.

    `dataclasses.replace(net, widths=widths)` with these parameters is the narrower network. The
    widths may be traced, so that moving one compiles nothing.
    """
    xp = namespace(params[0][0])
    out: Params = []
    for (W, b), i, o in zip(params, widths[:-1], widths[1:], strict=True):
        rows, columns = xp.arange(W.shape[0]) < o, xp.arange(W.shape[1]) < i
        out.append((W * (rows[:, None] & columns), None if b is None else b * rows))
    return out


def _times(g: Array, W: Array) -> Array:
    n, c, o = g.shape
    return (g.reshape(n * c, o) @ W).reshape(n, c, -1)


def _width(width: Any) -> Any:
    if (
        hasattr(width, "__array_namespace__")
        and getattr(width, "ndim", 1) == 0
        and not isinstance(width, np.generic)
    ):
        return width  # perhaps traced
    try:
        number = operator.index(width)
    except TypeError:
        raise TypeError(f"a width is a whole number, got {width!r}") from None
    if number < 1:
        raise ValueError(f"a width is at least 1, got {number}")
    return number
