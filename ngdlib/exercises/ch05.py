"""Checks for chapter 5, analytical and empirical kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ngdlib.exercises import Verdict, call, judge


def _relu(k: np.ndarray, q1: Any, q2: Any) -> tuple[np.ndarray, np.ndarray]:
    norm = np.sqrt(q1 * q2)
    c = np.clip(k / norm, -1, 1)
    angle = np.arccos(c)
    phi = norm * (np.sqrt(1 - c**2) + (np.pi - angle) * c) / (2 * np.pi)
    return phi, (np.pi - angle) / (2 * np.pi)


def _ntk(
    x: np.ndarray, depth: int, w: float, b: float, *, backward: bool = True, one_q: bool = False,
    nngp: bool = False, half: float = 1.0, by_inputs: bool = True, bias: bool = True,
) -> np.ndarray:  # fmt: skip
    """Theta by the recursion, with switches for what can go wrong."""
    affine_b = b if bias else 0.0
    K = w * x @ x.T / (x.shape[1] if by_inputs else 1) + affine_b
    q = np.diag(K)
    theta = K
    for _ in range(depth - 1):
        q = np.full(len(x), q.mean()) if one_q else q
        phi, slope = _relu(K, q[:, None], q[None, :])
        K = w * half * phi + affine_b
        q = w * half * q / 2 + affine_b
        theta = (w if backward else 1.0) * half * slope * theta + K
    return K if nngp else theta


def check_ntk(answer: Any) -> Verdict:
    """relu_ntk(x, depth, weight_variance, bias_variance) -> (n, n)."""
    x = np.random.default_rng(5).standard_normal((5, 4)) * np.array([[0.5], [1], [2], [1], [0.7]])
    at = (x, 4, 1.6, 0.3)
    return judge(
        call(answer, *at),
        _ntk(*at),
        "and it holds for inputs of any norms.",
        [
            (
                _ntk(*at, one_q=True),
                "You used one variance q for all inputs. These inputs have unequal norms: each needs "
                "its own q, and the product in front is sqrt(q q').",
            ),
            (
                _ntk(*at, nngp=True),
                "That is K_L, the covariance of the outputs (NNGP). The NTK adds up Theta_l = B_l K_l.",
            ),
            (
                _ntk(*at, backward=False),
                "The backward recursion has a factor sigma_w^2 too: B_l = sigma_w^2 B_(l+1) E[phi' phi'].",
            ),
            (_ntk(*at, bias=False), "The biases are missing: they add sigma_b^2 to every K_l."),
            (
                _ntk(*at, half=2.0),
                "A factor 2 too much in the moments: an angle is a share of the full circle, 2 pi.",
            ),
            (
                _ntk(*at, by_inputs=False),
                "The first layer has a scale as well: K_1 = sigma_w^2 x.x' / M_0 + sigma_b^2.",
            ),
            (
                _ntk(x, 3, 1.6, 0.3),
                "One layer too few: depth L counts weight layers, so there are L - 1 activations.",
            ),
            (
                _ntk(x, 5, 1.6, 0.3),
                "One layer too many: depth L counts weight layers, and the last has no activation.",
            ),
        ],
        otherwise="Test depth 1 first: there Theta = K_1. Then depth 2, then unequal norms.",
        rtol=1e-5,
    )


def check_pair(answer: Any) -> Verdict:
    """Theta(x, x') for ReLU, L = 2, sigma_w^2 = 2, no bias, |x|^2 = |x'|^2 = M_0, angle 60 degrees."""
    A, slope = (np.sqrt(3) / 2 + np.pi / 3) / np.pi, 1 / 3
    return judge(
        answer,
        2 * slope + 2 * A,
        "Theta_1 = 2/3 and Theta_2 = 1.218 add up.",
        [
            (2 * A, "That is Theta_2 = K_2 alone; the first layer has a kernel too."),
            (2 * slope, "That is Theta_1 alone; the last layer's kernel is K_2."),
            (slope + 2 * A, "B_1 = sigma_w^2 E[phi' phi'] = 2/3: its sigma_w^2 is missing."),
            (2 * slope + A, "K_2 = sigma_w^2 E[phi phi]: its sigma_w^2 is missing."),
            (
                2 * slope * 2 + 2 * A,
                "K_1 off the diagonal is 2 cos 60° = 1, not 2: that is the diagonal.",
            ),
            (
                2 * slope + 4 * A,
                "q = K_1(x, x) = 2 already holds sigma_w^2; it came in twice.",
            ),
        ],
        otherwise="First K_1 on and off the diagonal, then the angle, then the two moments.",
        rtol=1e-3,
    )


def check_widths(answer: Any) -> Verdict:
    """(width for 1 %, number of networks of width 256 whose mean is 1 % off) if one is 8 % off."""
    return judge(
        answer,
        (16384, 64),
        "eight times closer costs a factor 64, in units or in networks.",
        [
            ((2048, 8), "The error falls like a root: eight times closer costs 64 times more."),
            ((2048, 64), "A wider network is closer by the root of its width, too: 64 times 256."),
            ((16384, 8), "The mean of n networks is closer by the root of n, too."),
            ((64, 64), "The first number is a factor: multiply it by the width of 256."),
            ((16384, 16384), "The second number counts networks: 64 of them, of 256 units each."),
            ((64, 16384), "The two are swapped, and the width lacks its 256."),
        ],
        otherwise="Error = constant / sqrt(width), and the mean of n draws divides it by sqrt(n).",
    )


def _conv(
    images: np.ndarray, w: float, *, taps: float = 9.0, pool: bool = False, edge: str = "wrap",
    total: bool = False, nngp: bool = False, filters: bool = True,
) -> np.ndarray:  # fmt: skip
    n, height, width = images.shape
    if filters:
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode=edge)  # type: ignore[call-overload]
        views = [
            padded[:, i : i + height, j : j + width].reshape(n, -1)
            for i in range(3)
            for j in range(3)
        ]
    else:
        views = [images.reshape(n, -1)]
    K = w / taps * sum(v[:, None] * v[None] for v in views)  # (n, n, pixels)
    if pool:
        K = K.mean(-1, keepdims=True)
    q = np.diagonal(K, axis1=0, axis2=1).T  # (n, pixels)
    phi, slope = _relu(K, q[:, None], q[None])
    out = w * phi if nngp else w * phi + w * slope * K
    return out.sum(-1) if total else out.mean(-1)


def check_convolution(answer: Any) -> Verdict:
    """conv_ntk(images (n, h, w), weight_variance) -> (n, n): 3 x 3 convolution, ReLU, dense."""
    images = np.random.default_rng(8).standard_normal((4, 5, 6))
    return judge(
        call(answer, images, 1.7),
        _conv(images, 1.7),
        "one pixel is one small dense network, and the last layer averages over them.",
        [
            (
                _conv(images, 1.7, taps=1.0),
                "The filter has 9 inputs, so its scale is sigma_w^2 / 9.",
            ),
            (
                _conv(images, 1.7, total=True),
                "You added up the pixels. The last layer has M x pixels inputs and divides by both.",
            ),
            (
                _conv(images, 1.7, pool=True),
                "You averaged over pixels before the activation; each pixel has an angle of its own.",
            ),
            (
                _conv(images, 1.7, edge="constant"),
                "You padded with zeros. The exercise wraps the image around its edges.",
            ),
            (
                _conv(images, 1.7, nngp=True),
                "That is the last layer's kernel only (NNGP); add the one of the filters.",
            ),
            (
                _conv(images, 1.7, taps=1.0, filters=False),
                "There is no filter yet: a pixel sees its 3 x 3 neighbourhood, not itself alone.",
            ),
        ],
        otherwise="Per pixel: K_1 from the 3 x 3 patches, then Theta_1 + Theta_2, then their mean.",
        rtol=1e-5,
    )
