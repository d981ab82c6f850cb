"""The function-space matrix of a method, and how far it is from a multiple of the identity.

G_bar = J (F_hat + rho I)^-1 J^T / N;    G_bar = alpha I  means  r_t = (1 - eta alpha)^t r_0
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .arrays import Array
from .checks import sizes_of_kernels
from .damping import Factored, Relative
from .fisher import Condition, Sizes, find
from .solve import Method, response


class Isotropy(NamedTuple):
    """What a method does to the residual in one step, to first order."""

    matrix: np.ndarray  # G_bar, (n c, n c), sample-major
    alpha: float  # trace / N C
    deviation: float  # |G_bar - alpha I|_2 / alpha


def isotropy(
    method: Method, layers: Sequence, *, damping: float | Factored | Relative = 0.0
) -> Isotropy:
    """G_bar of a method on the training inputs, its alpha and its deviation from alpha I.

    Args:
        layers: of the training inputs, or their kernels for the methods that need no more.
        damping: rho in units of F.
    Source: Karakida & Osawa 2020, equation 10 (the isotropic condition).
    """
    G = np.asarray(response(method, layers, damping=damping), dtype=np.float64)
    G = G.reshape(G.shape[0] * G.shape[1], -1)
    alpha = float(np.trace(G) / len(G))
    deviation = (
        float(np.linalg.norm(G - alpha * np.eye(len(G)), 2) / alpha) if alpha else float("inf")
    )
    return Isotropy(G, alpha, deviation)


def optimal_learning_rate(matrix: Array) -> float:
    """2 / (lambda_min + lambda_max) of G_bar: the step size whose slowest mode is fastest.

    1 / alpha where G_bar is isotropic; 1 / mean would diverge under damping.
    """
    eigenvalues = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    return float(2 / (eigenvalues[0] + eigenvalues[-1]))


def conditions(method: Method, layers: Sequence) -> list[Condition]:
    """Which of the conditions of a method's isotropy at zero damping hold for these layers or kernels."""
    finite = hasattr(layers[0], "pull")
    return find(method).conditions(Sizes.of(layers) if finite else sizes_of_kernels(layers))
