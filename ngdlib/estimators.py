"""Two ways to estimate the Fisher matrix from sampled labels, and how far off each will be.

    score outer product    F_1 = sum_ns (J_n^T e_ns)(J_n^T e_ns)^T / N S
    negative Hessian       F_2 = sum_ns (J_n^T I_n J_n + sum_c e_nsc H_nc) / N S

e (n, s, c) is the gradient of the loss in the outputs at a label drawn from the model: f - y for squared
error, p - y for the two cross-entropies. I_n = E[e e^T], H_nc = d2 f_nc / d theta^2. Both are unbiased.
Their variances, given the inputs, are in closed form (Soen & Sun 2021).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arrays import einsum
from .likelihood import LOSSES, SCORES
from .models.mlp import ACTIVATIONS, MLP, Params

# phi'' from the pre-activation; that of relu is zero wherever it exists.
SECOND = {
    "relu": lambda u: 0 * u,
    "linear": lambda u: 0 * u,
    "tanh": lambda u: -2 * np.tanh(u) * (1 - np.tanh(u) ** 2),
    "erf": lambda u: -4 / np.pi**0.5 * u * np.exp(-(u**2)),
}


class Expansion(NamedTuple):
    """A network to second order around its parameters, all of them in one vector, layer by layer."""

    f: np.ndarray  # (n, c) outputs
    J: np.ndarray  # (n, c, p) their first derivatives
    H: np.ndarray  # (n, c, p, p) their second derivatives
    sizes: tuple[int, ...]  # parameters per layer, the weights (out, in [+ 1]) row by row


def expand(net: MLP, params: Params, x: np.ndarray) -> Expansion:
    """f, J and H of a small MLP at inputs x (n, M_0): n c P^2 numbers.

    With a, g the factors of a layer's Jacobian, for layers l <= m,

        d2 f / dW_l,ij dW_m,kq = a_lj (U_lm,ik a_mq + g_mk T_lm,iq),

    U the second derivative of f with respect to the pre-activations of both layers, T = d a_m / d u_l
    (0 if l = m), both found layer by layer.
    """
    f, layers = net.linearise(params, x)
    _, u = net._forward(params, x)
    derivative, bend = ACTIVATIONS[net.activation][1], SECOND[net.activation]
    (n, c), L = f.shape, net.depth
    # step[l] = d u_{l+1} / d u_l, (n, k, i)
    W = [(net.weight_variance / net.widths[l]) ** 0.5 * params[l][0] for l in range(L)]
    step = [W[l + 1] * derivative(u[l])[:, None, :] for l in range(L - 1)]
    U = [np.zeros((n, c, net.widths[-1], net.widths[-1]))]  # U_mm, the last layer first
    for l in range(L - 2, -1, -1):
        back = einsum("nck,ki->nci", layers[l + 1].g, W[l + 1])
        own = back * bend(u[l])[:, None, :]
        U.insert(
            0,
            einsum("nki,nckq,nqj->ncij", step[l], U[0], step[l])
            + own[..., None] * np.eye(own.shape[-1]),
        )
    sizes = tuple(b.a.shape[1] * b.g.shape[2] for b in layers)
    ends = np.cumsum((0, *sizes))
    H = np.zeros((n, c, ends[-1], ends[-1]))
    for l in range(L):
        through = None  # d u_{m-1} / d u_l
        for m in range(l, L):
            a, b, g = layers[l].a, layers[m].a, layers[m].g
            if m == l:
                block = einsum("nj,ncik,nq->ncijkq", a, U[l], b)
            else:
                through = np.eye(net.widths[l + 1])[None] if m == l + 1 else step[m - 2] @ through
                T = np.zeros((n, b.shape[1], net.widths[l + 1]))
                scale = (net.weight_variance / net.widths[m]) ** 0.5
                T[:, : net.widths[m]] = scale * derivative(u[m - 1])[:, :, None] * through
                across = einsum("nki,nckq->nciq", step[m - 1] @ through, U[m])
                block = einsum("nj,ncik,nq->ncijkq", a, across, b)
                block += einsum("nj,nck,nqi->ncijkq", a, g, T)
            block = block.reshape(n, c, sizes[l], sizes[m])
            H[:, :, ends[l] : ends[l + 1], ends[m] : ends[m + 1]] = block
            H[:, :, ends[m] : ends[m + 1], ends[l] : ends[l + 1]] = block.swapaxes(2, 3)
    J = np.concatenate([b.jacobian().reshape(n, c, -1) for b in layers], axis=2)
    return Expansion(f, J, H, sizes)


def information(loss: str, f: np.ndarray) -> np.ndarray:
    """I_n = E[e e^T] of every sample, (n, c, c): the Hessian of the loss in the outputs."""
    labels = f if loss == "squared_error" else np.zeros(len(f), dtype=int)
    R, _ = LOSSES[loss](f, labels)
    return einsum("nkc,nkd->ncd", R, R)


def draw(loss: str, f: np.ndarray, *, samples: int, seed: int) -> np.ndarray:
    """e (n, s, c): the gradient of the loss at `samples` labels per input, drawn from the model."""
    scores = SCORES[LOSSES[loss]]  # type: ignore[index]
    return scores(f, np.random.default_rng(seed), samples)


def fisher(net: Expansion, loss: str) -> np.ndarray:
    """F = sum_n J_n^T I_n J_n / N, (p, p)."""
    return einsum("nci,ncd,ndj->ij", net.J, information(loss, net.f), net.J) / len(net.f)


def score_estimate(net: Expansion, e: np.ndarray) -> np.ndarray:
    """F_1, (p, p): the outer products of the scores J^T e at labels drawn from the model."""
    scores = einsum("nsc,nci->nsi", e, net.J).reshape(-1, net.J.shape[2])
    return scores.T @ scores / len(scores)


def hessian_estimate(net: Expansion, loss: str, e: np.ndarray) -> np.ndarray:
    """F_2, (p, p): the second derivative of the loss at labels drawn from the model."""
    return fisher(net, loss) + einsum("nc,ncij->ij", e.mean(1), net.H) / len(net.f)


def score_variance(net: Expansion, loss: str, *, samples: int) -> np.ndarray:
    """Variance of every entry of F_1, (p, p), given the inputs.

    Per input and label  E[(s_i s_j)^2] - F_ij^2  with s = J^T e; for
    normal labels that is  F_ii F_jj + F_ij^2.
    """
    n, c, p = net.J.shape
    out = np.zeros((p, p))
    if loss == "squared_error":
        for J in net.J:
            F = J.T @ J
            out += np.outer(np.diag(F), np.diag(F)) + F**2
    else:
        e, weight = outcomes(loss, net.f)
        for J, errors, w in zip(net.J, e, weight, strict=True):
            scores = errors @ J
            F = (scores * w[:, None]).T @ scores
            out += (scores**2 * w[:, None]).T @ scores**2 - F**2
    # Rounding may leave -1e-17 where the variance is zero.
    return np.maximum(out, 0.0) / (n**2 * samples)


def hessian_variance(net: Expansion, loss: str, *, samples: int) -> np.ndarray:
    """Variance of every entry of F_2, (p, p), given the inputs.

    Per input and label  sum_cd H_c,ij H_d,ij I_cd.
    """
    I = information(loss, net.f)
    out = einsum("ncij,ncd,ndij->ij", net.H, I, net.H)
    return out / (len(net.f) ** 2 * samples)


def outcomes(loss: str, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every possible e (n, y, c) of a cross-entropy, with its probability (n, y)."""
    if loss == "softmax":
        p = np.exp(f - f.max(1, keepdims=True))
        p = p / p.sum(1, keepdims=True)
        return p[:, None, :] - np.eye(f.shape[1]), p
    p = 1 / (1 + np.exp(-f))
    return np.stack([p, p - 1], axis=1), np.concatenate([1 - p, p], axis=1)
