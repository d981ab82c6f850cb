"""Unit-wise and mini-block: one block of F per unit, or per group of `size` units of a layer.

    F_b = sum_n (g_n^T g_n) (x) (a_n a_n^T) / N      over the units of block b,  g_n (c, size)

A block of k units has rank N min(k, C) at most, so its dual needs no more rows: with h_n the square
root of g_n^T g_n if k < C, and g_n itself otherwise, the dual is  (h_n h_m^T)_pq A_nm / N  with the
target  (h_n^T)^+ g_n^T r_n.  For one unit this is s_n s_m A_nm with s_n = |g_n|, whatever C
(Karakida & Osawa 2020, section 3.4, for one output; several outputs: alpha = gamma M (L-1) / C + 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..arrays import Array, einsum, namespace
from ..layers import Layers, Sizes
from ..structure import Blocks, Parts, Stack, Structure, UnitGram, UnitKernels, null_space
from .base import REMEDY, Condition, Fisher


@dataclass(frozen=True)
class UnitWise(Fisher):
    """Blocks of `size` consecutive units; the last block of a layer takes what is left."""

    size: int = 1

    def parameter_space(self, layers: Layers) -> Structure:
        stacks = []
        for layer, K in zip(layers, self.kernels(layers), strict=True):
            b, n, p, k = K.h.shape
            (units, j), xp = (layer.g.shape[2], K.inputs), namespace(layer.a)
            J = einsum("bnpk,nj->bnpkj", K.h, layer.a).reshape(b, n * p, k * j)
            known = n * p - einsum("brr->b", null_space(K.h))
            each = xp.asarray([min(k, units - k * i) * j for i in range(b)])
            stacks.append(Stack(J.swapaxes(1, 2) @ J / n, xp.minimum(xp.round(known), each)))
        return Blocks(stacks)

    def function_space(self, kernels: Sequence[UnitGram], sizes: Sizes) -> Structure:
        return Blocks([UnitKernels(K.h, K.A / sizes.samples, K.inputs) for K in kernels])

    def kernels(self, layers: Layers, others: Layers | None = None) -> list[UnitGram]:
        pairs = zip(layers, layers if others is None else others, strict=True)
        return [UnitGram.of(p, q, self.size) for p, q in pairs]

    def lift(self, residual: Array, kernels: Sequence[UnitGram]) -> Parts:
        if not all(isinstance(K, UnitGram) for K in kernels):
            raise TypeError(NEEDS_LAYERS.format(self.name))
        return [einsum("bnpc,knc->kbnp", K.target, residual) for K in kernels]

    def pull(self, layers: Layers, kernels: Sequence[UnitGram], v: Parts) -> list[Array]:
        steps = []
        for layer, K, x in zip(layers, kernels, v, strict=True):
            n = len(layer.a)
            weights = einsum("bnpu,kbnp->kbun", K.h, x / n).reshape(len(x), -1, n)
            step = weights[:, : layer.g.shape[2]] @ layer.a
            steps.append(step.reshape(len(x), *layer.shape[2:]))
        return steps

    def project(self, layers: Layers, kernels: Sequence[UnitGram], step: Sequence[Array]) -> Parts:
        parts = []
        for layer, K, s in zip(layers, kernels, step, strict=True):
            b, n, _, k = K.h.shape
            u = s.reshape(len(s), -1, K.inputs) @ layer.a.T
            u = namespace(s).pad(u, ((0, 0), (0, b * k - u.shape[1]), (0, 0)))
            parts.append(einsum("bnpu,rbun->rbnp", K.h, u.reshape(-1, b, k, n)))
        return parts

    def push(self, kernels: Sequence[UnitGram], v: Parts) -> Array:
        return sum(K.push(x) / x.shape[2] for K, x in zip(kernels, v, strict=True))

    def counts(self, sizes: Sizes) -> list[int]:
        return [blocks * rows for blocks, rows, _ in self._blocks(sizes)]

    def dual_is_smaller(self, sizes: Sizes) -> bool:
        each = self._blocks(sizes)
        return sum(b * rows**3 for b, rows, _ in each) <= sum(b * p**3 for b, _, p in each)

    def _blocks(self, sizes: Sizes) -> list[tuple[int, int, int]]:
        """(blocks, dual rows of a block, parameters of a block) of each layer."""
        each = [(i, min(self.size, i), j) for i, j in sizes.layers or []]
        return [(-(-i // k), sizes.samples * min(k, sizes.outputs), k * j) for i, k, j in each]

    def conditions(self, sizes: Sizes) -> list[Condition]:
        shapes, n = sizes.layers or (), sizes.samples
        total = sum(i * j for i, j in shapes)
        return [
            Condition(f"N C <= the {total} parameters", not shapes or sizes.rows <= total, REMEDY),
            *(
                Condition(f"N <= {j}, the inputs of layer {l}", n <= j)
                for l, (_, j) in enumerate(shapes, 1)
            ),
            self._reaches_every_output(sizes),
        ]

    def _reaches_every_output(self, sizes: Sizes) -> Condition:
        """A block moves min(its units, C) of the outputs of a sample at which it is on."""
        if self.size == 1:
            return Condition("no unit is off, and there is one output", sizes.outputs == 1)
        smallest = min(
            (i % min(self.size, i) or min(self.size, i) for i, _ in sizes.layers or ()), default=0
        )
        text = f"no block is off, and C <= {smallest}, the units of the smallest block"
        return Condition(text, sizes.outputs <= smallest)


NEEDS_LAYERS = (
    "{} predicts from layers, not from kernels: the same Gram matrices of a layer can belong to "
    "different units and give a different G_bar. Pass net.layers(params, x)."
)


def unit_wise() -> Fisher:
    """One block per unit: alpha = gamma M (L-1) / C + 1, gamma the share of units that are on."""
    return UnitWise("unit_wise", 1)


def mini_block(size: int = 8) -> Fisher:
    """One block per `size` consecutive units, from unit-wise (1) to block-diagonal (the layer's width)."""
    if int(size) != size or size < 1:
        raise ValueError(f"size is a whole number of units, at least 1, not {size!r}")
    return UnitWise("unit_wise" if size == 1 else "mini_block", int(size))
