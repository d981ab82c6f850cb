"""What a model hands to every approximation: the Jacobian of each layer, kept factored.

Axis letters, used in every einsum of the package:

    n, m  samples (of the first and of the second inputs)     c, d  outputs
    i     units of a layer                                    j     inputs of a layer, the bias last

Flattening is sample-major, (n, c) -> n C + c, everywhere. Nothing in this file contains 1/N but
`gradient`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple, TypeAlias

from .arrays import Array, einsum, namespace


class Layer(NamedTuple):
    """Jacobian of one dense layer u = W a, kept factored:  df_nc / dW_ij = g_nci a_nj.

    `a` contains the 1/sqrt(width) of the parameterisation, and sigma_b as last column if there is
    a bias. The full Jacobian has N C M^2 entries, the two factors N M (C + 1).
    """

    a: Array  # (n, j)     the layer's input
    g: Array  # (n, c, i)  df/du, the back-propagated Jacobian

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, c, i, j), of the Jacobian that is not formed."""
        n, c, i = self.g.shape
        return n, c, i, self.a.shape[1]

    def fold(self, R: Array) -> Layer:
        """The Jacobian of R f:  g <- R g, for R (n, k, c)."""
        return Layer(self.a, einsum("nkc,nci->nki", R, self.g))

    def gram(self, other: Layer) -> Array:
        """J J'^T, (n, c, m, d):  Theta_ncmd = (sum_i g_nci g_mdi) (sum_j a_nj a_mj)."""
        return kernel(self, other).ntk()

    def pull(self, v: Array) -> Array:
        """J^T v, (..., i, j), for v (..., n, c)."""
        weights = einsum("...nc,nci->...ni", v, self.g)
        return weights.swapaxes(-1, -2) @ self.a

    def push(self, step: Array) -> Array:
        """J step, (..., n, c): the first-order change of the outputs under a change (..., i, j) of W."""
        return einsum("nci,...ni->...nc", self.g, self.a @ step.swapaxes(-1, -2))

    def squares(self) -> Array:
        """sum_nc J_ncij^2, (i, j)."""
        return einsum("nci,nj->ij", self.g**2, self.a**2)

    def jacobian(self) -> Array:
        """J itself, (n, c, i, j). Large: for small networks and for tests."""
        return einsum("nci,nj->ncij", self.g, self.a)


class Jacobian(NamedTuple):
    """Any other block of parameters (a convolution, an unknown leaf), with its Jacobian in full.

    The first axis of the parameters is that of their units.
    """

    J: Array  # (n, c, *shape of the parameters)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, c, units, parameters of a unit)."""
        n, c, *shape = self.J.shape
        return n, c, shape[0] if shape else 1, prod(shape[1:])

    @property
    def a(self) -> Array:
        """Ones (n, 1): the block seen as a dense layer with a unit per parameter."""
        return namespace(self.J).ones((len(self.J), 1), dtype=self.J.dtype)

    @property
    def g(self) -> Array:
        """(n, c, parameters): that layer's g, unit after unit."""
        return self.J.reshape(*self.J.shape[:2], -1)

    def fold(self, R: Array) -> Jacobian:
        """The Jacobian of R f."""
        return Jacobian(einsum("nkc,nc...->nk...", R, self.J))

    def gram(self, other: Jacobian) -> Array:
        """J J'^T, (n, c, m, d)."""
        (n, c), (m, d) = self.J.shape[:2], other.J.shape[:2]
        return (self.J.reshape(n * c, -1) @ other.J.reshape(m * d, -1).T).reshape(n, c, m, d)

    def pull(self, v: Array) -> Array:
        """J^T v, (..., *shape), for v (..., n, c)."""
        return einsum("...nc,ncp->...p", v, self.J.reshape(*self.J.shape[:2], -1)).reshape(
            *v.shape[:-2], *self.J.shape[2:]
        )

    def push(self, step: Array) -> Array:
        """J step, (..., n, c)."""
        shape = step.shape[: step.ndim - (self.J.ndim - 2)]
        J = self.J.reshape(*self.J.shape[:2], -1)
        return einsum("ncp,...p->...nc", J, step.reshape(*shape, -1))

    def squares(self) -> Array:
        """sum_nc J_nc^2, in the shape of the parameters."""
        return (self.J**2).sum((0, 1))

    def jacobian(self) -> Array:
        """J itself, (n, c, *shape)."""
        return self.J


Block: TypeAlias = Layer | Jacobian
Layers: TypeAlias = Sequence[Any]  # of `Block`s; the Kronecker family takes `Layer`s only


class Kernel(NamedTuple):
    """A dense layer seen in function space: the Gram matrices of its `a` and of its `g`."""

    A: Array  # (n, m)
    G: Array  # (n, c, m, d)

    def ntk(self) -> Array:
        """The layer's neural tangent kernel Theta_l = J_l J_l'^T, (n, c, m, d), no 1/N."""
        return self.A[:, None, :, None] * self.G


class Gram(NamedTuple):
    """The kernel of a block that does not factor: only its neural tangent kernel is known."""

    theta: Array  # (n, c, m, d)

    def ntk(self) -> Array:
        """Theta_l = J_l J_l'^T, (n, c, m, d), no 1/N."""
        return self.theta


def kernel(first: Layer, second: Layer) -> Kernel:
    """The Gram matrices of one layer at two sets of inputs (matrix products, so that BLAS may use
    the symmetry where both are the same)."""
    n, c, i = first.g.shape
    m, d, _ = second.g.shape
    G = first.g.reshape(n * c, i) @ second.g.reshape(m * d, i).T
    return Kernel(first.a @ second.a.T, G.reshape(n, c, m, d))


def empirical_kernels(layers: Layers, others: Layers | None = None) -> list[Kernel | Gram]:
    """The kernels of finite-width layers, layer by layer, without forming a weight Jacobian.

    Args:
        layers: of the first inputs. others: of the second inputs; the same ones if not given.
    Returns:
        one `Kernel` (A (n, m), G (n, c, m, d)) per dense layer, whose `.ntk()` is
        Theta_l = J_l J_l'^T, (n, c, m, d), no 1/N. For any other block a `Gram`.
    """
    pairs = zip(layers, layers if others is None else others, strict=True)
    return [kernel(p, q) if isinstance(p, Layer) else Gram(p.gram(q)) for p, q in pairs]


def gradient(layers: Sequence[Block], residual: Array) -> list[Array]:
    """Gradient of the loss |r|^2 / 2N:  J^T r / N, one array per layer; contains 1/N."""
    n = residual.shape[-2]
    return [layer.pull(residual) / n for layer in layers]


class Sizes(NamedTuple):
    """The sizes of a problem: N samples, C outputs, and (units, inputs) of each layer, the bias
    counted among the inputs; None where the layers are infinitely wide."""

    samples: int
    outputs: int
    layers: tuple[tuple[int, int], ...] | None
    depth: int

    @classmethod
    def of(cls, layers: Layers) -> Sizes:
        """The sizes of finite layers."""
        if not layers or not all(hasattr(b, "pull") for b in layers):
            raise TypeError(
                "layers is a list of Layer or Jacobian, as net.layers(params, x) gives; got "
                f"{[type(b).__name__ for b in layers]}"
            )
        first = layers[0].shape[:2]
        for l, b in enumerate(layers, 1):
            each = [b.a.shape[:1], b.g.shape[:2]] if isinstance(b, Layer) else [b.shape[:2]]
            if any(shape != first[: len(shape)] for shape in each):
                raise ValueError(
                    f"layer {l} has samples (and outputs) {each}, layer 1 {first}: all layers "
                    "are those of one network at the same inputs"
                )
        return cls(first[0], first[1], tuple(b.shape[2:] for b in layers), len(layers))

    @property
    def rows(self) -> int:
        """N C, the number of residuals."""
        return self.samples * self.outputs
