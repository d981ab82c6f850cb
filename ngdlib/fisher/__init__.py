"""Every approximation, by name. A new one is a file here and a line in the table below."""

from ..layers import Sizes, empirical_kernels
from .base import Condition, Fisher
from .entrywise import diagonal, gradient
from .kfac import kfac
from .layerwise import block_diagonal, block_tridiagonal, exact
from .unit_wise import mini_block, unit_wise

FISHERS: dict[str, Fisher] = {
    "exact": exact(),
    "block_diagonal": block_diagonal(),
    "block_tridiagonal": block_tridiagonal(),
    "kfac": kfac(),
    "unit_wise": unit_wise(),
    "mini_block": mini_block(),
    "diagonal": diagonal(),
    "gradient": gradient(),
}


def find(method: str | Fisher) -> Fisher:
    """The method of that name with its default options, or the `Fisher` itself."""
    if isinstance(method, Fisher):
        return method
    if method not in FISHERS:
        raise ValueError(f"unknown method {method!r}; the methods are {', '.join(FISHERS)}")
    return FISHERS[method]


__all__ = [
    "FISHERS",
    "Condition",
    "Fisher",
    "Sizes",
    "block_diagonal",
    "block_tridiagonal",
    "diagonal",
    "empirical_kernels",
    "exact",
    "find",
    "gradient",
    "kfac",
    "mini_block",
    "unit_wise",
]
