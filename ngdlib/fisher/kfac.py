"""K-FAC: each layer's block as a Kronecker product of two averages.

    F_l  ~  (g^T g / N) (x) (a^T a / N)            dual:  (g g^T / N) (x) (a a^T / N)

S has a row for every pair of a sample and output (n, c) and a sample m; the residual stands on the
pairs with n = m. Undamped, layer l contributes alpha_l = N (hidden, N C <= M_l and N <= M_{l-1}), and
the last one 1, because its g is the same for every sample (Karakida & Osawa 2020, section 3.3, where
all layers count N; Martens & Grosse 2015 for the textbook factors).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..arrays import Array, einsum, namespace
from ..layers import Kernel, Layers, Sizes
from ..structure import Blocks, Kron, Parts, Structure, on_range
from .base import Condition, Fisher


@dataclass(frozen=True)
class KFAC(Fisher):
    """Kronecker factors; "equal" normalisation scales each block so that every layer contributes N."""

    normalisation: str = "textbook"

    def parameter_space(self, layers: Layers) -> Structure:
        weights = self._weights(self.kernels(layers))
        n = len(layers[0].a)
        G = [einsum("nci,nck->ik", b.g, b.g) * w / n for b, w in zip(layers, weights, strict=True)]
        A = [b.a.T @ b.a / n for b in layers]
        return Blocks([Kron(*x) for x in zip(G, A, self._ranks(Sizes.of(layers)), strict=True)])

    def function_space(self, kernels: Sequence[Kernel], sizes: Sizes) -> Structure:
        n, square, weights = sizes.samples, (sizes.rows, sizes.rows), self._weights(kernels)
        G = [K.G.reshape(square) * w / n for K, w in zip(kernels, weights, strict=True)]
        A = [K.A / n for K in kernels]
        return Blocks([Kron(*x) for x in zip(G, A, self._ranks(sizes), strict=True)])

    def lift(self, residual: Array, kernels: Sequence) -> Parts:
        eye = namespace(residual).eye(residual.shape[1], dtype=residual.dtype)
        return [einsum("knc,nm->kncm", residual, eye)] * len(kernels)

    def pull(self, layers: Layers, kernels: Sequence, v: Parts) -> list[Array]:
        pairs = zip(layers, v, strict=True)
        return [einsum("kncm,nci,mj->kij", x / len(b.a), b.g, b.a) for b, x in pairs]

    def project(self, layers: Layers, kernels: Sequence, step: Sequence[Array]) -> Parts:
        triples = zip(layers, step, self._weights(kernels), strict=True)
        return [w * einsum("nci,kij,mj->kncm", b.g, s, b.a) / len(b.a) for b, s, w in triples]

    def push(self, kernels: Sequence, v: Parts) -> Array:
        pairs = zip(kernels, v, strict=True)
        return sum(einsum("nb,ncmd,kmdb->knc", K.A, K.G, x) / x.shape[1] for K, x in pairs)

    def kernels(self, layers: Layers, others: Layers | None = None) -> Sequence:
        kernels = super().kernels(layers, others)
        for l, K in enumerate(kernels, 1):
            if not isinstance(K, Kernel):
                name = getattr(
                    layers[l - 1], "name", "of shape {} x {}".format(*layers[l - 1].shape[2:])
                )
                raise TypeError(
                    f"kfac needs dense layers: block {l} ({name}) is none, and does not factor"
                )
        return kernels

    def counts(self, sizes: Sizes) -> list[int]:
        return [sizes.rows * sizes.samples] * sizes.depth

    def dual_is_smaller(self, sizes: Sizes) -> bool:
        dual = sizes.depth * (sizes.rows**3 + sizes.samples**3)
        return sizes.layers is None or dual <= sum(i**3 + j**3 for i, j in sizes.layers)

    def _weights(self, kernels: Sequence[Kernel]) -> list[Array | float]:
        """1, or alpha_l / N = tr(P_G o (P_A (x) 1 1^T)) / N C, with the projectors on the ranges."""
        if self.normalisation == "textbook":
            return [1.0] * len(kernels)
        pairs = [
            (on_range(K.A), on_range(K.G.reshape(K.G.shape[0] * K.G.shape[1], -1))) for K in kernels
        ]
        return [(namespace(G).repeat(A, len(G) // len(A)) * G).mean() for A, G in pairs]

    def _ranks(self, sizes: Sizes) -> list[int]:
        """The rank that a^T a must have: N, where the layer has that many inputs. Of kernels it is
        known for the hidden layers only, which are infinitely wide."""
        n = sizes.samples
        inputs = [j for _, j in sizes.layers] if sizes.layers else [0] + [n] * (sizes.depth - 1)
        return [n if j >= n else 0 for j in inputs]

    def conditions(self, sizes: Sizes) -> list[Condition]:
        n, layers = sizes.samples, sizes.layers or ((0, sizes.samples),)
        lost = "The step is defined, the predicted rate does not hold."
        return [Condition(f"N <= M_0 = {layers[0][1]}", n <= layers[0][1])] + [
            Condition(f"N C <= M_{l} = {i}", sizes.rows <= i, lost, warns=True)
            for l, (i, _) in enumerate(layers[:-1], 1)
        ]


def kfac(normalisation: str = "textbook") -> Fisher:
    """K-FAC, "textbook" (alpha = N (L-1) + 1) or "equal" (alpha = N L, as in the paper)."""
    if normalisation not in ("textbook", "equal"):
        raise ValueError(f'normalisation is "textbook" or "equal", not {normalisation!r}')
    return KFAC("kfac", normalisation)
