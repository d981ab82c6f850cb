"""Kernels of infinitely wide MLPs: NNGP and NTK for relu, erf and tanh, any depth, with biases.

With q, q' the variances of a pre-activation at two inputs and k their covariance,

    K_1 = sigma_w^2 x.x' / M_0 + sigma_b^2        K_{l+1} = sigma_w^2 E[phi phi'] + sigma_b^2
    B_L = 1                                       B_l     = sigma_w^2 B_{l+1} E[dphi dphi']
    Theta_l = B_l K_l,   NNGP = K_L,   NTK = sum_l Theta_l

in `Kernel(A, G)`: A = K_l, the input's Gram matrix with its bias column, and G = B_l. The diagonal has a
recursion of its own, so that inputs may have unequal norms. Sources: Cho & Saul 2009 (relu), Williams
1997 (erf), Mehler's formula (tanh), Jacot et al. 2018 (NTK).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..arrays import Array, as_floating, in_parallel, is_false, known_int, namespace
from ..layers import Kernel
from .mlp import MLP

TERMS = 600  # at most, of the series of tanh: for variances up to 20
JIT_TERMS = 80  # under jit, where the variances are not known: up to 3, and NaN beyond
TOLERANCE = 1e-8  # of what is left out of it
ROUNDING = 1e-10  # of what more is left out where s is small


class Moments(NamedTuple):
    """E[phi(u) phi(u')] and E[phi'(u) phi'(u')] for (u, u') normal with covariance (q, k; k, q')."""

    phi: Array
    derivative: Array


class Activation(NamedTuple):
    """The moments of one activation, in three steps, so that what depends on one input is done once."""

    equal: Callable[[Array], Moments]  # (q): u = u', exactly; arccos would lose half the digits
    each: Callable[[Array, Array], tuple]  # (q, the largest): arrays with a row for each input
    moments: Callable[[Array, tuple, tuple], Moments]  # (k, each(q), each(q'))

    def __call__(self, k: Array, q1: Array, q2: Array) -> Moments:
        """The moments at covariances k (n, m) and variances q1 (n,), q2 (m,)."""
        most = namespace(k).maximum(q1.max(), q2.max())
        return self.moments(k, *(self.each(q.reshape(-1), most) for q in (q1, q2)))


def _relu(k: Array, left: tuple, right: tuple) -> Moments:
    xp = namespace(k)
    (norm1, inverse1), (norm2, inverse2) = left, right
    cosine = xp.clip(k * inverse1[:, None] * inverse2, -1.0, 1.0)
    slope = xp.arccos(cosine)
    slope *= -1 / (2 * np.pi)
    slope += 0.5
    sine = 1 - cosine * cosine  # loses nothing that counts: it stands beside cosine / 2
    phi = xp.sqrt(sine)
    phi *= 1 / (2 * np.pi)
    cosine *= slope
    phi += cosine
    phi *= norm1[:, None] * norm2
    return Moments(phi, slope)


def _relu_each(q: Array, most: Array) -> tuple:
    norm = namespace(q).sqrt(q)
    return norm, _inverse(norm)


def _erf(k: Array, left: tuple, right: tuple) -> Moments:
    xp = namespace(k)
    scale = left[0][:, None] * right[0]
    sine = xp.clip(2 * k * scale, -1.0, 1.0)
    scale *= 4 / np.pi
    scale /= xp.sqrt((1 - sine) * (1 + sine))
    phi = xp.arcsin(sine)
    phi *= 2 / np.pi
    return Moments(phi, scale)


def _erf_each(q: Array, most: Array) -> tuple:
    return (1 / namespace(q).sqrt(1 + 2 * q),)


def _erf_equal(q: Array) -> Moments:
    xp = namespace(q)
    return Moments(2 / np.pi * xp.arcsin(2 * q / (1 + 2 * q)), 4 / np.pi / xp.sqrt(1 + 4 * q))


def _tanh(k: Array, left: tuple, right: tuple) -> Moments:
    """Mehler's series, and its derivative in k, which is the moment of phi' (Price's theorem):

    E[phi phi'] = k P(s),   d/dk = P + 2 s P'(s),   P = sum_m e_m(q) e_m(q') s^m,   s = k^2 / q q'
    """
    xp = namespace(k)
    (inverse1, e1), (inverse2, e2) = left, right
    s = xp.minimum((k * inverse1[:, None] * inverse2) ** 2, 1.0)
    terms = e1.shape[1]
    if xp is np:  # m terms leave out s^m at most; the 1 % above `usual` get all, one by one
        usual = np.sort(s[:, ::16], axis=None)[-s.size // 1600]
        terms = int((usual ** np.arange(terms) > ROUNDING).sum())
    columns = e2[:, :terms].T.copy()
    P = xp.zeros_like(s)
    slope = xp.zeros_like(s)
    for m in range(terms - 1, -1, -1):  # Horner, for P and P'
        slope *= s
        slope += P
        P *= s
        P += e1[:, m, None] * columns[m]
    slope *= 2 * s
    slope += P
    if terms < e1.shape[1]:
        i, j = np.nonzero(s > usual)
        parts = e1[i] * e2[j] * np.vander(s[i, j], e1.shape[1], increasing=True)
        P[i, j], slope[i, j] = parts.sum(1), parts @ (2 * np.arange(e1.shape[1]) + 1)
    P *= k
    return Moments(P, slope)


def _tanh_each(q: Array, most: Array) -> tuple:
    """1 / sqrt(q), and e_m(q) = E[tanh(sqrt(q) z) h_2m+1(z)] / sqrt(q), h the normalised Hermite
    polynomials, for as many m as the largest q asks for. NaN if `TERMS` are too few."""
    xp = namespace(q)
    z, _, H = (xp.asarray(t, dtype=q.dtype) for t in _hermite())
    root = xp.sqrt(q)

    def coefficients(root: Array, terms: int) -> Array:
        t = xp.tanh(root * z) @ H[:terms].T
        return xp.where(root > 0, t / xp.where(root > 0, root, 1.0), z @ H[:terms].T)

    squares = (2 * xp.arange(TERMS) + 1) * coefficients(xp.sqrt(most)[None, None], TERMS)[0] ** 2
    left_out = _tanh_equal(most[None]).derivative - xp.cumsum(squares)
    enough = left_out < TOLERANCE
    if is_false(enough[-1]):
        raise ValueError(
            f"a pre-activation has variance {float(most):.3g}, and the tanh kernels are accurate up "
            "to 20: scale the inputs down, or lower weight_variance or bias_variance"
        )
    terms = known_int((~enough).sum(), JIT_TERMS - 1) + 1
    inverse = xp.where(enough[terms - 1], _inverse(root), xp.nan)
    return inverse, coefficients(root[:, None], terms)


def _tanh_equal(q: Array) -> Moments:
    xp = namespace(q)
    z, weights, _ = (xp.asarray(t, dtype=q.dtype) for t in _hermite())
    square = xp.tanh(xp.sqrt(q)[:, None] * z) ** 2
    return Moments(square @ weights, (1 - square) ** 2 @ weights)


@functools.cache
def _hermite() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes z > 0 and weights of E over a normal z, for even functions: the trapezoidal rule, which
    converges faster than any power. And h_2m+1(z) times the weights, (TERMS, nodes)."""
    step = 0.04
    z = step * (np.arange(320) + 0.5)
    root = np.sqrt(2 * step) * np.exp(-(z**2) / 4) / (2 * np.pi) ** 0.25
    H = [root, z * root]  # times the root of the weights: h_k alone would overflow
    for k in range(1, 2 * TERMS - 1):
        H.append((z * H[k] - k**0.5 * H[k - 1]) / (k + 1) ** 0.5)
    return z, root**2, np.array(H[1::2]) * root


def _inverse(x: Array) -> Array:
    """1 / x, and 0 where x is 0."""
    xp = namespace(x)
    return xp.where(x > 0, 1 / xp.where(x > 0, x, 1.0), 0.0)


MOMENTS = {
    "relu": Activation(lambda q: Moments(q / 2, 0 * q + 0.5), _relu_each, _relu),
    "erf": Activation(_erf_equal, _erf_each, _erf),
    "tanh": Activation(_tanh_equal, _tanh_each, _tanh),
    "linear": Activation(
        lambda q: Moments(q, 0 * q + 1.0),
        lambda q, most: (),
        lambda k, *_: Moments(1.0 * k, 0 * k + 1.0),
    ),
}


def infinite_kernels(net: MLP, x1: Array, x2: Array | None = None) -> list[Kernel]:
    """The kernels of `net` with its hidden layers infinitely wide, layer by layer.

    Args:
        net: only its depth, activation and variances count. x1 (n, M_0), x2 (m, M_0): inputs, x2 = x1
            if not given; of any norms.
    Returns:
        L `Kernel`s with A (n, m) and G (n, 1, m, 1), which stands for I_C: no 1/N. `.ntk()` is Theta_l,
        and the last A is the NNGP kernel.
    Raises:
        ValueError: inputs of another shape, NaN, and for tanh a pre-activation of variance above 20,
            where the series is too short. Under `jax.jit` that gives NaN, and above 3 already.
    """
    x1 = as_floating(x1)
    x2 = x1 if x2 is None else as_floating(x2)
    for x in (x1, x2):
        if x.ndim != 2 or x.shape[1] != net.widths[0] or len(x) == 0:
            raise ValueError(f"inputs are (n, {net.widths[0]}) with n >= 1, got {x.shape}")
        if is_false(namespace(x).isfinite(x).all()):
            raise ValueError("the inputs hold NaN or infinity")
    xp, activation = namespace(x1), MOMENTS[net.activation]
    own1 = _diagonal(net, activation, x1)
    own2 = own1 if x2 is x1 else _diagonal(net, activation, x2)
    most = [xp.maximum(p.max(), q.max()) for p, q in zip(own1.variances, own2.variances)][:-1]
    each1, each2 = (
        [activation.each(q, m) for q, m in zip(own.variances, most)] for own in (own1, own2)
    )

    def recursion(rows: Array) -> list[Array]:
        """K_1 .. K_L and B_1 .. B_L between some of the first inputs and all second ones."""
        K = [net.weight_variance * (x1[rows] @ x2.T / net.widths[0]) + net.bias_variance]
        B = [xp.ones_like(K[0])]
        slopes = []
        for left, right in zip(each1, each2, strict=True):
            left = tuple(part[rows] for part in left)
            phi, slope = activation.moments(K[-1], left, right)
            phi *= net.weight_variance
            phi += net.bias_variance
            K.append(phi)
            slopes.append(slope)
        for slope in slopes[::-1]:
            slope *= net.weight_variance
            slope *= B[0]
            B.insert(0, slope)
        if x2 is not x1:
            return K + B
        same, own = rows[:, None] == xp.arange(len(x2)), [*own1.variances, *own1.slopes]
        return [xp.where(same, d, M) for d, M in zip(own, K + B, strict=True)]

    if xp is np:
        out = [np.empty((len(x1), len(x2)), np.result_type(x1, x2)) for _ in range(2 * net.depth)]

        def fill(rows: Array) -> None:
            for whole, part in zip(out, recursion(rows), strict=True):
                whole[rows[0] : rows[-1] + 1] = part

        size = max(1, 2**13 // len(x2))  # what stays in a core's cache
        in_parallel(fill, [np.arange(len(x1))[k : k + size] for k in range(0, len(x1), size)])
    else:
        out = recursion(xp.arange(len(x1)))
    return [Kernel(A, G[:, None, :, None]) for A, G in zip(out[: net.depth], out[net.depth :])]


class _Diagonal(NamedTuple):
    """K_l(x, x) and B_l(x, x), l = 1 .. L, of each input."""

    variances: list[Array]
    slopes: list[Array]


def _diagonal(net: MLP, activation: Activation, x: Array) -> _Diagonal:
    q = [net.weight_variance * ((x**2).sum(1) / net.widths[0]) + net.bias_variance]
    slopes = []
    for _ in range(net.depth - 1):
        phi, slope = activation.equal(q[-1])
        q.append(net.weight_variance * phi + net.bias_variance)
        slopes.append(net.weight_variance * slope)
    B = [0 * q[0] + 1.0]
    for slope in slopes[::-1]:
        B.insert(0, slope * B[0])
    return _Diagonal(q, B)
