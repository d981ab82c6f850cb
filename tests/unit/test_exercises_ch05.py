"""The checks of chapter 5 know the right answer and name every misconception."""

from functools import partial

import numpy as np

import ngdlib
from ngdlib.exercises import ch05

from .verdicts import verdicts


def by_the_library(x, depth, w, b):
    net = ngdlib.MLP((x.shape[1], *[1] * (depth - 1), 1), "relu", w, b)
    return sum(k.ntk() for k in ngdlib.infinite_kernels(net, x))[:, 0, :, 0]


def relu_ntk(x, depth, w, b):
    """The solution of exercise 5.1: forward list, then backward."""
    K = [w * x @ x.T / x.shape[1] + b]
    slopes = []
    for _ in range(depth - 1):
        root = np.sqrt(np.diag(K[-1]))
        norm = np.outer(root, root)
        angle = np.arccos(np.clip(K[-1] / norm, -1, 1))
        slopes.append(w * (np.pi - angle) / (2 * np.pi))
        K.append(w * norm * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi) + b)
    B, theta = 1.0, K[-1]
    for slope, below in zip(slopes[::-1], K[-2::-1], strict=True):
        B = B * slope
        theta = theta + B * below
    return theta


def conv_ntk(images, w):
    """The solution of exercise 5.4."""
    patches = [np.roll(images, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    P = np.stack(patches).reshape(9, len(images), -1)
    K = w / 9 * np.einsum("tnp,tmp->nmp", P, P)
    root = np.sqrt(np.einsum("nnp->np", K))
    norm = root[:, None] * root[None]
    angle = np.arccos(np.clip(K / norm, -1, 1))
    slope = (np.pi - angle) / (2 * np.pi)
    phi = norm * np.sin(angle) / (2 * np.pi) + slope * K
    return (w * slope * K + w * phi).mean(-1)


PAIR = np.array([[2.0, 0, 0, 0], [1, 3**0.5, 0, 0]])
A = (3**0.5 / 2 + np.pi / 3) / np.pi

test_verdicts = verdicts(
    (
        ch05.check_ntk,
        [relu_ntk, by_the_library],
        [
            (partial(ch05._ntk, one_q=True), "one variance q"),
            (partial(ch05._ntk, nngp=True), "NNGP"),
            (partial(ch05._ntk, backward=False), "backward recursion"),
            (partial(ch05._ntk, bias=False), "biases are missing"),
            (partial(ch05._ntk, half=2.0), "full circle"),
            (partial(ch05._ntk, by_inputs=False), "first layer has a scale"),
            (lambda x, L, w, b: relu_ntk(x, L - 1, w, b), "too few"),
            (lambda x, L, w, b: relu_ntk(x, L + 1, w, b), "too many"),
        ],
    ),
    (
        ch05.check_pair,
        [by_the_library(PAIR, 2, 2.0, 0.0)[0, 1], 1.8846],
        [
            (2 * A, "Theta_2"),
            (2 / 3, "Theta_1 alone"),
            (1 / 3 + 2 * A, "B_1"),
            (2 / 3 + A, "K_2 = sigma_w^2"),
            (4 / 3 + 2 * A, "diagonal"),
            (2 / 3 + 4 * A, "twice"),
        ],
    ),
    (
        ch05.check_widths,
        [(16384, 64), [256 * 8**2, 8**2]],
        [
            ((2048, 8), "like a root"),
            ((2048, 64), "wider network"),
            ((16384, 8), "mean of n"),
            ((64, 64), "factor"),
            ((16384, 16384), "counts networks"),
            ((64, 16384), "swapped"),
        ],
    ),
    (
        ch05.check_convolution,
        [conv_ntk],
        [
            (partial(ch05._conv, taps=1.0), "9 inputs"),
            (partial(ch05._conv, total=True), "added up"),
            (partial(ch05._conv, pool=True), "angle of its own"),
            (partial(ch05._conv, edge="constant"), "zeros"),
            (partial(ch05._conv, nngp=True), "last layer's kernel only"),
            (partial(ch05._conv, taps=1.0, filters=False), "no filter"),
        ],
    ),
)


def test_convolution_is_that_of_a_wide_network():
    """Monte Carlo, with the Jacobian written out: 4 nets of 3000 channels, filters shared by all pixels."""
    rng = np.random.default_rng(0)
    images, w, M = rng.standard_normal((3, 4, 4)), 1.7, 3000
    P = np.stack([np.roll(images, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)], -1)
    P = P.reshape(3, 16, 9)
    kernels = []
    for _ in range(4):
        filters, v = rng.standard_normal((M, 9)), rng.standard_normal((16, M))
        u = (w / 9) ** 0.5 * P @ filters.T  # (n, pixels, M)
        last = (w / (16 * M)) ** 0.5 * np.maximum(u, 0)
        first = np.einsum("npm,npt->nmt", (w / (16 * M)) ** 0.5 * v * (u > 0), P) * (w / 9) ** 0.5
        J = np.concatenate([last.reshape(3, -1), first.reshape(3, -1)], 1)
        kernels.append(J @ J.T)
    exact = conv_ntk(images, w)
    np.testing.assert_allclose(np.mean(kernels, 0), exact, atol=0.03 * exact.max())
