"""The shapes of matrix that the approximations are made of, all in one protocol.

    .shift(rho)          the matrix + rho I (a Kronecker product also takes a pair, one per factor)
    .solve(parts, tol)   its inverse times `parts`; NaN where the rank is short by the tolerance
    .traces()            one trace per block that may be damped on its own
    .dense()             the matrix in full: for tests and pictures

A structure acts on a list of arrays ("parts": one per layer, or one for all), each (k, *shape): k
right-hand sides at once, flattened in row-major order. `tol` is relative; 0 switches the rank check off.
"""

from .chain import Chain
from .dense import (
    Blocks,
    Damping,
    Dense,
    Diagonal,
    Parts,
    Structure,
    flatten,
    pseudo_inverse_of,
    unflatten,
)
from .kronecker import Kron, KronEigen, on_range
from .units import Stack, UnitGram, UnitKernels, null_space, square_root

__all__ = [
    "Blocks",
    "Chain",
    "Damping",
    "Dense",
    "Diagonal",
    "Kron",
    "KronEigen",
    "Parts",
    "Stack",
    "Structure",
    "UnitGram",
    "UnitKernels",
    "flatten",
    "null_space",
    "on_range",
    "pseudo_inverse_of",
    "square_root",
    "unflatten",
]
