"""MNIST, Fashion-MNIST and CIFAR-10: downloaded once, checked, cached (see `download.fetch`)."""

from __future__ import annotations

import numpy as np

from .download import fetch
from .formats import read_cifar, read_idx
from .prepare import loader


@loader
def mnist() -> tuple[np.ndarray, ...]:
    """Handwritten digits 0 .. 9 of 28 x 28 pixels; 60,000 and 10,000 images, M_0 = 784.

    Drawn from the official splits, normalised and given targets as `from_arrays` says. The bytes are
    converted to floats. Errors: those of `fetch` and `from_arrays`.
    Source: Y. LeCun, C. Cortes, C. Burges.
    """
    return _idx("mnist")


@loader
def fashion_mnist() -> tuple[np.ndarray, ...]:
    """Articles of clothing, 0 T-shirt, 1 trousers, .. 9 boot; sizes and format of `mnist`.

    Source: H. Xiao, K. Rasul, R. Vollgraf, 2017. MIT licence.
    """
    return _idx("fashion_mnist")


@loader
def cifar10() -> tuple[np.ndarray, ...]:
    """Colour photographs of 32 x 32 pixels, 0 aeroplane, 1 car, .. 9 lorry; M_0 = 3072.

    50,000 and 10,000 images; red, green and blue planes one after the other. A download of 162 MB.
    Drawn, normalised and given targets as `from_arrays` says.
    Source: A. Krizhevsky, 2009.
    """
    (archive,) = fetch("cifar10").values()
    folder = "cifar-10-batches-bin"
    training = read_cifar(archive, [f"{folder}/data_batch_{k}.bin" for k in range(1, 6)])
    return *training, *read_cifar(archive, [f"{folder}/test_batch.bin"])


def _idx(name: str) -> tuple[np.ndarray, ...]:
    files = fetch(name)
    parts = [
        f"{part}-{what}" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
    ]
    return tuple(read_idx(files[f"{part}-ubyte.gz"]) for part in parts)
