"""Data sets: embedded, downloaded, or of one's own; all drawn and normalised in the same way."""

from .images import cifar10, fashion_mnist, mnist
from .own import digits, npz, read_npz
from .prepare import Data, from_arrays, labels, targets, with_targets

DATASETS = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
}

__all__ = [
    "DATASETS",
    "Data",
    "cifar10",
    "digits",
    "fashion_mnist",
    "from_arrays",
    "labels",
    "mnist",
    "npz",
    "read_npz",
    "targets",
    "with_targets",
]
