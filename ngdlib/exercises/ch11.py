"""Chapter 11: design an isotropic metric, count ranks, read a spectrum."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ngdlib.exercises import Verdict, judge
from ngdlib.fisher import FISHERS, Fisher, mini_block
from ngdlib.isotropy import isotropy
from ngdlib.layers import Layer
from ngdlib.models.mlp import MLP

_SAMPLES = 6


@functools.lru_cache(maxsize=1)
def _network() -> tuple[list[Layer], np.ndarray]:
    x = np.random.default_rng(11).standard_normal((_SAMPLES, 8)) / np.sqrt(8)
    net = MLP((8, 9, 9, 1), activation="tanh")
    layers = net.layers(net.init(seed=11), x)
    return layers, np.concatenate([b.jacobian().reshape(_SAMPLES, -1) for b in layers], axis=1)


def problem() -> tuple[np.ndarray, int, list[int]]:
    """The Jacobian J (N, P) of a small network with one output, N, and the parameters of each layer."""
    layers, J = _network()
    return J.copy(), _SAMPLES, [b.a.shape[1] * b.g.shape[2] for b in layers]


def _response(metric: np.ndarray) -> np.ndarray:
    J = _network()[1]
    return J @ np.linalg.pinv(metric, rcond=1e-10, hermitian=True) @ J.T / _SAMPLES


@functools.lru_cache(maxsize=1)
def _known() -> dict[str, np.ndarray]:
    return {
        name: fisher.parameter_space(_network()[0]).dense()
        for name, fisher in (FISHERS | {"mini_block": mini_block(3)}).items()
        if name not in ("diagonal", "gradient")
    }


def check_own_metric(answer: Any) -> Verdict:
    """Exercise 11.1: a matrix F_hat (P, P) or a `Fisher`, isotropic on `problem()`, and not in the book."""
    if answer is None:
        return Verdict(None, "Put yours in place of None and run the cell again.")
    layers, J = _network()
    P = J.shape[1]
    if isinstance(answer, Fisher):
        try:
            G = isotropy(answer, layers, damping=0.0).matrix
            metric = np.asarray(answer.parameter_space(layers).dense(), dtype=float)
        except Exception as error:
            words = " ".join(str(error).split())
            return Verdict(False, f"Your Fisher stopped with {type(error).__name__}: {words}")
    else:
        try:
            metric = np.asarray(answer, dtype=float)
        except (TypeError, ValueError):
            return Verdict(
                False, f"Give a matrix or a Fisher of ngdlib, not {type(answer).__name__}."
            )
        if metric.shape == (_SAMPLES, _SAMPLES):
            return Verdict(
                False,
                "That is a matrix of function space, N x N. The metric lives on the parameters: P x P.",
            )
        if metric.shape != (P, P):
            return Verdict(False, f"The metric should have shape {(P, P)}, not {metric.shape}.")
        if not np.isfinite(metric).all():
            return Verdict(False, "The metric holds NaN or infinity.")
        if abs(metric - metric.T).max() > 1e-9 * abs(metric).max(initial=0):
            return Verdict(False, "A metric is symmetric, and this matrix is not.")
        if not metric.any():
            return Verdict(
                False, "The zero matrix measures nothing: its pseudo-inverse gives no step."
            )
        G = _response(metric)
    alpha = float(np.trace(G)) / _SAMPLES
    size = abs(G).max()
    if size < 1e-9 or abs(alpha) < 1e-9 * size:
        return Verdict(
            False, "This metric moves no training output: it lives where J sees nothing."
        )
    deviation = float(np.linalg.norm(G / alpha - np.eye(_SAMPLES), 2))
    if deviation > 1e-6:
        if _same_up_to_scale(metric, np.eye(P)):
            words = (
                "That is gradient descent: G_bar is Theta / N, and the eigenvalues of Theta differ."
            )
        elif np.count_nonzero(metric - np.diag(np.diag(metric))) == 0:
            words = "A diagonal metric gives a sum of one projector on a line per parameter, and the lines agree."
        elif deviation < 1e-2:
            words = "It is close. A damping inside the metric, F + rho I, gives lambda / (lambda + rho)."
        elif _same_up_to_scale(metric, np.linalg.pinv(_known()["exact"], rcond=1e-10)):
            words = (
                "You inverted it: give the metric F_hat itself, its pseudo-inverse is taken here."
            )
        else:
            words = "Its eigenvalues on the training set differ."
        return Verdict(False, f"{words} The deviation is {deviation:.2g}, it should be 0.")
    if alpha < 0:
        return Verdict(False, f"Isotropic, but alpha = {alpha:.3g} is negative: the step ascends.")
    for name, known in _known().items():
        if _same_up_to_scale(metric, known):
            return Verdict(
                False,
                f"Isotropic with alpha = {alpha:.4g}, but it is {name} or a multiple of it. Find one of your own.",
            )
    return Verdict(
        True,
        f"it is isotropic with alpha = {alpha:.4g}, so one step of size {1 / alpha:.3g} fits the linearised network.",
    )


def _same_up_to_scale(first: np.ndarray, second: np.ndarray) -> bool:
    if first.shape != second.shape:
        return False
    first, second = first / np.linalg.norm(first), second / np.linalg.norm(second)
    return bool(min(np.linalg.norm(first - second), np.linalg.norm(first + second)) < 1e-8)


def check_cut(answer: Any) -> Verdict:
    """Exercise 11.2: alpha of a metric that cuts layer 2 of (64, 100, 100, 1) in blocks of 10 weights."""
    return judge(
        answer,
        (30 + 1000 * 10 + 30) / 30,
        "the trace counts ranks: 30 + 1000 * 10 + 30, over 30 samples.",
        mistakes=[
            (10060, "That is the trace. alpha is the mean eigenvalue: divide by N."),
            (
                1002,
                "You gave every block full rank. A block of 10 weights can make 10 of 30 changes.",
            ),
            (3, "You counted layers. Layer 2 is a thousand blocks, and each acts on its own."),
            (201, "That is unit-wise, one block per unit. Here the blocks have 10 weights."),
            (102, "You counted 100 blocks in layer 2, one per unit; there are 1000."),
            (
                (6400 + 10000 + 100) / 30,
                "You counted parameters. A block has rank 30 at most, with 30 samples.",
            ),
            (
                10000 / 30,
                "Layers 1 and 3 are missing: each can make any change, and counts 1.",
            ),
            (
                1000 * 10 / 30 + 1,
                "One of the layers 1 and 3 is missing: each counts 1.",
            ),
        ],
        otherwise="Add the ranks of all blocks and divide by the number of samples.",
        rtol=1e-3,
    )


def check_spectrum(answer: Any) -> Verdict:
    """Exercise 11.3: (alpha, deviation, best step size, factor) for eigenvalues 2, 3, 7."""
    right = (4, 0.75, 2 / 9, 5 / 9)
    return judge(
        answer,
        right,
        "mean, largest distance from the mean over the mean, and the two extremes balanced.",
        mistakes=[
            (
                (4, 0.75, 0.25, 0.75),
                "1/alpha is the best step size of an isotropic metric. Here the extremes are not equally bad.",
            ),
            (
                (4, 3, 2 / 9, 5 / 9),
                "The deviation is relative: divide by alpha.",
            ),
            (
                (4, 0.5, 2 / 9, 5 / 9),
                "That deviation is of the smallest eigenvalue. The largest is further from the mean.",
            ),
            (
                (4, 0.75, 2 / 9, 25 / 81),
                "That factor is of the loss. The residual shrinks by its square root.",
            ),
            (
                (3, 4 / 3, 2 / 9, 5 / 9),
                "alpha is the mean of the eigenvalues, not the median.",
            ),
            (
                (4, 0.75, 1 / 7, 5 / 7),
                "1/lambda_max is safe but not best: the mode of 2 can be helped.",
            ),
            (
                (4, 0.75, 2 / 7, 3 / 7),
                "2/lambda_max is the edge of stability: the mode of 7 does not shrink at all.",
            ),
            (
                (12, 0.75, 2 / 9, 5 / 9),
                "That is the trace; alpha is the mean eigenvalue.",
            ),
            (
                (4, 0.75, 2 / 9, -5 / 9),
                "Give the factor's size: one extreme mode keeps its sign, the other changes it.",
            ),
        ],
        otherwise="A mode is multiplied by 1 - eta lambda; treat the four numbers one by one.",
        rtol=1e-3,
    )
