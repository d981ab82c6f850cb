"""What is refused at the door of `solve`, and why a solution may not exist: errors that name causes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import Array, as_floating, cholesky, is_false, namespace
from .damping import is_zero
from .fisher import Fisher
from .layers import Block, Gram, Kernel, Layer, Sizes


def checked_residual(residual: Array, sizes: Sizes) -> Array:
    """The residual as floats, if it fits the layers."""
    residual = as_floating(residual)
    if residual.shape != (sizes.samples, sizes.outputs):
        raise ValueError(
            f"the residual has shape {residual.shape}, the layers have {sizes.samples} samples and "
            f"{sizes.outputs} outputs; pass f - y, ({sizes.samples}, {sizes.outputs})"
        )
    if is_false(namespace(residual).isfinite(residual).all()):
        raise ValueError("the residual holds NaN or infinity: check x, y and the parameters")
    return residual


def sizes_of_kernels(kernels: Sequence[Kernel | Gram]) -> Sizes:
    """The sizes of a problem of which only kernels are known; checks that they can be Gram matrices."""
    check_finite(kernels)
    shape = kernels[0].ntk().shape
    n, c, m, d = shape
    if (n, c) != (m, d):
        raise ValueError(f"training kernels are square, (n, c, n, c); got {shape}")
    for l, K in enumerate(kernels, 1):
        if K.ntk().shape != shape:
            raise ValueError(f"the kernel of layer {l} is {K.ntk().shape}, of layer 1 {shape}")
        for part in K:
            check_gram(part.reshape(len(part) * (c if part.ndim == 4 else 1), -1), l)
    return Sizes(n, c, None, len(kernels))


def check_gram(matrix: Array, layer: int) -> None:
    """That a matrix is symmetric and positive semi-definite, up to rounding."""
    xp = namespace(matrix)
    scale, eps = abs(matrix).max(), float(xp.finfo(matrix.dtype).eps)
    if is_false(abs(matrix - matrix.T).max() <= 1e3 * eps * scale):
        raise ValueError(
            f"the kernel of layer {layer} is not symmetric: pass those of the training inputs among "
            "themselves"
        )
    shift = 1e3 * eps * len(matrix) * scale * xp.eye(len(matrix), dtype=matrix.dtype)
    if is_false(xp.isfinite(cholesky(matrix + shift)).all() | (scale == 0)):
        raise ValueError(
            f"the kernel of layer {layer} is not positive semi-definite: it is no Gram matrix"
        )


def check_finite(layers: Sequence) -> None:
    """That no layer or kernel holds NaN or infinity."""
    xp = namespace(layers[0][0])
    for l, layer in enumerate(layers, 1):
        if any(is_false(xp.isfinite(part).all()) for part in layer):
            raise ValueError(f"layer {l} holds NaN or infinity: check x and the parameters")


def check_pair(train: Sequence, test: Sequence, finite: bool, sizes: Sizes) -> None:
    """That the second inputs come in the form of the first, and fit them."""
    kind = "layers" if finite else "kernels"
    if len(test) != len(train) or any(isinstance(b, Kernel | Gram) == finite for b in test):
        raise ValueError(
            f"the training inputs come as {len(train)} {kind}, so the test inputs must too: pass "
            + ("net.layers(params, x_test)" if finite else "their kernels with the training inputs")
        )
    check_finite(test)
    if not finite:
        shape = test[0].ntk().shape
        if shape[2:] != (sizes.samples, sizes.outputs):
            raise ValueError(
                f"the test kernels have shape {shape}; their last two axes are the training inputs and "
                f"their outputs, ({sizes.samples}, {sizes.outputs}): empirical_kernels(test, train)"
            )


def why_singular(fisher: Fisher, layers: Sequence[Block] | None, sizes: Sizes, damping: Any) -> str:
    """The causes of a singular matrix that can be told apart, and what to do."""
    if not is_zero(damping):
        return (
            f"{fisher.name} at damping {damping}: the damped matrix is singular or not finite. "
            "Block-tri-diagonal matrices are indefinite and have poles; otherwise the layers overflow."
        )
    causes = [c.text for c in fisher.conditions(sizes) if not c.holds]
    if layers is not None and isinstance(layers[0], Layer):
        rows, first = np.unique(np.asarray(layers[0].a), axis=0, return_index=True)
        if len(rows) < sizes.samples:
            again = sorted(set(range(sizes.samples)) - set(first.tolist()))[0]
            causes.insert(0, f"sample {again} has the same inputs as an earlier one")
    return (
        f"{fisher.name} at zero damping: the kernel of the training samples is singular, "
        f"because {' and '.join(causes) if causes else 'some samples are nearly dependent'}. "
        "Use damping > 0, remove duplicate samples, or use fewer samples or a wider network."
    )
