"""MNIST, Fashion-MNIST and CIFAR-10: downloaded once, checked, cached (see `download.fetch`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .download import fetch
from .formats import read_cifar, read_idx
from .prepare import Data, from_arrays


def mnist(
    classes: Sequence[int] | None = (0, 1),
    train: int | None = 100,
    test: int | None = 50,
    seed: int = 0,
    *,
    loss: str = "squared_error",
    dtype: Any = np.float64,
) -> Data:
    """Handwritten digits 0 .. 9 of 28 x 28 pixels; 60,000 and 10,000 images, M_0 = 784.

    Drawn from the official splits, normalised and given targets as `from_arrays` says. The bytes are
    converted to floats. Errors: those of `fetch` and `from_arrays`.
    Source: Y. LeCun, C. Cortes, C. Burges.
    """
    arrays = _idx("mnist")
    return _data("mnist", arrays, classes, train, test, seed, loss, dtype)


def fashion_mnist(
    classes: Sequence[int] | None = (0, 1),
    train: int | None = 100,
    test: int | None = 50,
    seed: int = 0,
    *,
    loss: str = "squared_error",
    dtype: Any = np.float64,
) -> Data:
    """Articles of clothing, 0 T-shirt, 1 trousers, .. 9 boot; sizes and format of `mnist`.

    Source: H. Xiao, K. Rasul, R. Vollgraf, 2017. MIT licence.
    """
    arrays = _idx("fashion_mnist")
    return _data("fashion_mnist", arrays, classes, train, test, seed, loss, dtype)


def cifar10(
    classes: Sequence[int] | None = (0, 1),
    train: int | None = 100,
    test: int | None = 50,
    seed: int = 0,
    *,
    loss: str = "squared_error",
    dtype: Any = np.float64,
) -> Data:
    """Colour photographs of 32 x 32 pixels, 0 aeroplane, 1 car, .. 9 lorry; M_0 = 3072.

    50,000 and 10,000 images; red, green and blue planes one after the other. A download of 162 MB.
    Drawn, normalised and given targets as `from_arrays` says.
    Source: A. Krizhevsky, 2009.
    """
    (archive,) = fetch("cifar10").values()
    folder = "cifar-10-batches-bin"
    training = read_cifar(archive, [f"{folder}/data_batch_{k}.bin" for k in range(1, 6)])
    arrays = (*training, *read_cifar(archive, [f"{folder}/test_batch.bin"]))
    return _data("cifar10", arrays, classes, train, test, seed, loss, dtype)


def _idx(name: str) -> tuple[np.ndarray, ...]:
    files = fetch(name)
    parts = [
        f"{part}-{what}" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
    ]
    return tuple(read_idx(files[f"{part}-ubyte.gz"]) for part in parts)


def _data(name: str, arrays: tuple[np.ndarray, ...], *choices: Any) -> Data:
    classes, train, test, seed, loss, dtype = choices
    return from_arrays(
        *arrays,
        classes=classes,
        train=train,
        test=test,
        seed=seed,
        loss=loss,
        dtype=dtype,
        name=name,
    )
