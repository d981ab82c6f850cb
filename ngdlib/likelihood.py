"""What the loss adds: a square root R of its Hessian, folded into the Jacobian once and for all.

Each likelihood gives, per sample,  R (n, k, c) with R^T R = H, the Hessian in the outputs, and
u (n, k) with R^T u = df, the gradient. With g <- R g and u in the residual's place every approximation
works unchanged, in both spaces. Losses are means over samples: nothing here contains 1/N.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .arrays import Array, einsum, is_false, namespace

Likelihood = Callable[[Array, Array], tuple[Array, Array | None]]


def squared_error(f: Array, y: Array) -> tuple[Array, Array]:
    """|f - y|^2 / 2:  H = I, df = f - y.  f, y (n, c)."""
    xp = namespace(f)
    n, c = f.shape
    if y.shape != f.shape:
        raise ValueError(
            f"f has shape {f.shape}, y {y.shape}: squared error needs one target per output"
        )
    return xp.broadcast_to(xp.eye(c, dtype=f.dtype), (n, c, c)), f - y


def softmax(f: Array, y: Array) -> tuple[Array, Array]:
    """Cross-entropy:  H = diag(p) - p p^T, df = p - y, with k = C - 1: the rank of H.

    H = s (I - s s^T) s with s = sqrt(p) on the diagonals, and I - s s^T = Q Q^T for an orthonormal
    basis Q of the complement of s, so R = Q^T diag(s) has full row rank and no null space is left to
    remember. Q comes from the Householder reflection that takes s to its largest entry, which loses
    no digits where the other p underflow. u = Q^T (s - y / s) = -Q^T (y / s); p is kept above 1e-30.
    y: labels (n,), or probabilities (n, c).
    """
    xp = namespace(f)
    n, c = f.shape
    if c < 2:
        raise ValueError("softmax is for two outputs and more, and f has 1: use logistic")
    p = xp.exp(f - f.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    eye = xp.eye(c, dtype=f.dtype)
    targets = one_hot(f, y)
    order = xp.argsort(p, axis=1)  # the largest last: the pivot of the reflection
    s = xp.sqrt(xp.maximum(xp.take_along_axis(p, order, 1), 1e-30))
    v = s + eye[-1]
    Q = (eye - v[:, :, None] * v[:, None, :] / v[:, -1, None, None])[:, :, :-1]  # |v|^2 = 2 v_last
    u = -einsum("nck,nc->nk", Q, xp.take_along_axis(targets, order, 1) / s)
    R = (s[:, :, None] * Q).swapaxes(1, 2)
    return xp.take_along_axis(R, xp.argsort(order, axis=1)[:, None, :], 2), u


def one_hot(f: Array, y: Array) -> Array:
    """Labels (n,) as rows of the identity; probabilities (n, c) as they are."""
    xp = namespace(f)
    n, c = f.shape
    if y.ndim == 1:
        if len(y) != n or not xp.isdtype(y.dtype, "integral"):
            raise ValueError(
                f"labels are {n} whole numbers, one per sample; got {len(y)} of {y.dtype}"
            )
        if is_false((y >= 0).all() & (y < c).all()):
            raise ValueError(f"labels are 0 .. {c - 1} for {c} outputs; got {y.min()} .. {y.max()}")
        return xp.eye(c, dtype=f.dtype)[y]
    if y.shape != f.shape:
        raise ValueError(
            f"f has shape {f.shape}, y {y.shape}: pass labels (n,) or probabilities (n, c)"
        )
    if is_false((y >= 0).all() & (abs(y.sum(1) - 1) < 1e-3).all()):
        raise ValueError(
            "the rows of y are no probabilities: softmax takes labels, or rows that sum to 1"
        )
    return y


def binary(f: Array, y: Array) -> Array:
    """Labels 0 or 1 (or probabilities) in the shape of f, (n, 1)."""
    if y.size != f.size:
        raise ValueError(f"logistic needs one label per sample: f has shape {f.shape}, y {y.shape}")
    if is_false((y >= 0).all() & (y <= 1).all()):
        raise ValueError(f"logistic takes labels 0 and 1; got {y.min()} .. {y.max()}")
    return y.reshape(f.shape)


def logistic(f: Array, y: Array) -> tuple[Array, Array]:
    """Cross-entropy of one output, labels 0 or 1:  H = p (1 - p), df = p - y.  f (n, 1), y (n,) or (n, 1)."""
    xp = namespace(f)
    if f.shape[1] != 1:
        raise ValueError(f"logistic is for one output, and f has {f.shape[1]}: use softmax")
    p, q = (1 / (1 + xp.exp(xp.clip(x, -60.0, 60.0))) for x in (-f, f))
    root = xp.sqrt(p * q)
    y = binary(f, y)
    return root[:, :, None], ((1 - y) * p - y * q) / root  # p - y without cancellation


def plus_identity(loss: Likelihood, epsilon: float) -> Likelihood:
    """The loss with the Hessian H + epsilon I (appendix D of Karakida & Osawa 2020: "exact + MSE").

    epsilon belongs to the loss and is no damping: the gradient stays df, the Fisher gets epsilon
    times that of squared error. At zero damping R drops out of  J^T R^T (R Theta R^T)^-1 u  where it
    is invertible: the step is J^T Theta^-1 (H + epsilon I)^-1 df, and epsilon = 0 gives its limit,
    J^T Theta^-1 H^+ df, as R = I and u = H^+ df (for softmax -(e_y - 1/C) / p_y, with p_y kept
    above 1e-30). That is for zero damping and one of the losses here only.
    """
    if not (np.isfinite(epsilon) and epsilon >= 0):
        raise ValueError(f"epsilon is a finite number >= 0, got {epsilon!r}")
    if epsilon == 0:
        if loss not in NEWTON:
            raise ValueError("epsilon = 0 is for squared_error, softmax and logistic")
        return lambda f, y: squared_error(newton := NEWTON[loss](f, y), 0 * newton)

    def shifted(f: Array, y: Array) -> tuple[Array, Array]:
        R, u = loss(f, y)
        s, U = namespace(f).linalg.eigh(einsum("nkc,nkd->ncd", R, R))
        root = namespace(f).sqrt(namespace(f).maximum(s, 0.0) + epsilon)
        df = einsum("nkc,nk->nc", R, u)
        return einsum("nck,nk,ndk->ncd", U, root, U), einsum(
            "nck,nk,ndk,nd->nc", U, 1 / root, U, df
        )

    return shifted


def _softmax_newton(f: Array, y: Array) -> Array:
    """H^+ (p - y) = -(y / p - its mean over outputs)."""
    xp = namespace(f)
    p = xp.exp(f - f.max(1, keepdims=True))
    ratio = one_hot(f, y) / xp.maximum(p / p.sum(1, keepdims=True), 1e-30)
    return ratio.mean(1, keepdims=True) - ratio


def _logistic_newton(f: Array, y: Array) -> Array:
    """(p - y) / p q = (1 - y) / q - y / p."""
    xp, y = namespace(f), binary(f, y)
    return (1 - y) * (1 + xp.exp(xp.minimum(f, 69.0))) - y * (1 + xp.exp(xp.minimum(-f, 69.0)))


NEWTON = {
    squared_error: lambda f, y: squared_error(f, y)[1],
    softmax: _softmax_newton,
    logistic: _logistic_newton,
}


def monte_carlo(loss: Likelihood, *, samples: int, seed: int) -> Likelihood:
    """The Fisher matrix of `samples` labels per input, drawn from the model:  R_s = (df at y_s) / sqrt(S).

    Unbiased; of rank N S C' at most. There is no u, so u is None: `solve.precondition` takes the gradient.
    """
    if samples < 1:
        raise ValueError(f"samples is a whole number >= 1, got {samples!r}")
    if loss not in SCORES:
        raise ValueError("monte_carlo samples squared_error, softmax or logistic")

    def sampled(f: Array, y: Array) -> tuple[Array, None]:
        rng = np.random.default_rng(seed)
        return SCORES[loss](f, rng, samples) / samples**0.5, None

    return sampled


def empirical(loss: Likelihood) -> Likelihood:
    """The outer product of the loss's own gradients in place of the Fisher: R = df^T, and no u.

    It vanishes where the data are fitted, and is not the Fisher matrix: for comparison.
    """

    def outer(f: Array, y: Array) -> tuple[Array, None]:
        R, u = loss(f, y)
        return einsum("nkc,nk->nc", R, u)[:, None, :], None

    return outer


def _normal_scores(f: Array, rng: np.random.Generator, samples: int) -> Array:
    xp = namespace(f)
    return xp.asarray(rng.standard_normal((f.shape[0], samples, f.shape[1])), dtype=f.dtype)


def _softmax_scores(f: Array, rng: np.random.Generator, samples: int) -> Array:
    xp = namespace(f)
    p = xp.exp(f - f.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    draws = xp.asarray(rng.random((f.shape[0], samples, 1)), dtype=f.dtype)
    label = xp.minimum((xp.cumsum(p, axis=1)[:, None, :] < draws).sum(2), f.shape[1] - 1)
    return p[:, None, :] - xp.eye(f.shape[1], dtype=f.dtype)[label]


def _logistic_scores(f: Array, rng: np.random.Generator, samples: int) -> Array:
    xp = namespace(f)
    p = 1 / (1 + xp.exp(-f))
    draws = xp.asarray(rng.random((f.shape[0], samples)), dtype=f.dtype)
    return (p - (draws < p))[:, :, None]


SCORES = {squared_error: _normal_scores, softmax: _softmax_scores, logistic: _logistic_scores}


def fold(layers: Sequence, R: Array) -> list:
    """The layers with  g <- R g : the Jacobian of R f. R (n, k, c) gives layers with k outputs."""
    for layer in layers:
        n, c = layer.shape[:2]
        if R.ndim != 3 or (R.shape[0], R.shape[2]) != (n, c):
            raise ValueError(
                f"R has shape {R.shape}; layers of {n} samples and {c} outputs take ({n}, k, {c}), as a "
                "likelihood gives it"
            )
    return [layer.fold(R) for layer in layers]


LOSSES: dict[str, Likelihood] = {
    "squared_error": squared_error,
    "softmax": softmax,
    "logistic": logistic,
}


def value(loss: str, f: Array, y: Array) -> Array:
    """The loss itself, a mean over samples: |f - y|^2 / 2N or the cross-entropy in nats."""
    xp = namespace(f)
    if loss == "squared_error":
        return ((f - y) ** 2).sum() / (2 * len(f))
    if loss == "logistic":
        y = binary(f, y)
        return (xp.logaddexp(0.0, f) - y * f).mean()
    targets = one_hot(f, y)
    top = f.max(1, keepdims=True)
    log_p = f - top - xp.log(xp.exp(f - top).sum(1, keepdims=True))
    return -(targets * log_p).sum() / len(f)


def accuracy(loss: str, f: Array, y: Array) -> Array:
    """The share of samples whose class f names: by sign for one output, by the largest otherwise."""
    if f.shape[1] == 1:
        threshold = 0.5 if loss == "logistic" else 0.0
        return ((f > 0) == (y.reshape(f.shape) > threshold)).mean()
    labels = y if y.ndim == 1 else y.argmax(1)
    return (f.argmax(1) == labels).mean()
