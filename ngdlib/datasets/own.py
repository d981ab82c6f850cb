"""Data that need no network: the embedded digits, and npz files of one's own."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .prepare import Data, from_arrays, loader

_DAMAGED = (zipfile.BadZipFile, zlib.error)
_DIGITS = Path(__file__).parent.parent / "data" / "digits.npz"


@loader
def digits() -> tuple[np.ndarray, ...]:
    """The 1797 handwritten digits of 8 x 8 pixels that come with the package; M_0 = 64.

    Drawn, normalised and given targets as `from_arrays` says. The pixels are integers 0 .. 16,
    converted to floats. About 180 images of each of the classes 0 .. 9; None means all classes.
    Source: E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, CC BY 4.0.
    """
    arrays = read_npz(_DIGITS)
    return arrays["x"], arrays["y"]


def npz(
    path: str | os.PathLike,
    classes: Sequence | None = None,
    train: int | None = None,
    test: int | None = None,
    seed: int = 0,
    *,
    loss: str = "squared_error",
    dtype: Any = np.float64,
) -> Data:
    """Data of one's own: a file written by `numpy.savez(path, x=.., y=..)`.

    x: inputs (n, ...). y: the class of each (n,), integers or text. x_test and y_test may be there
    too. Drawn, normalised and given targets as `from_arrays` says; integers become floats.
    Errors: a file that is missing, damaged or pickled, or that lacks x or y.
    """
    arrays = read_npz(path)
    for key in ("x", "y"):
        if key not in arrays:
            raise ValueError(
                f"{path} has no array {key!r}; it has {', '.join(arrays) or 'none'}. Write it with "
                "numpy.savez(path, x=inputs, y=classes)"
            )
    return from_arrays(
        arrays["x"],
        arrays["y"],
        arrays.get("x_test"),
        arrays.get("y_test"),
        classes=classes,
        train=train,
        test=test,
        seed=seed,
        loss=loss,
        dtype=dtype,
        name=str(path),
    )


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """All arrays of an npz file, by name. No pickled object is ever unpacked."""
    try:
        with open(path, "rb") as opened:  # np.load would leave a damaged file open
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds one bare array")
            return {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{path} is a folder, not an npz file") from None
    except (ValueError, EOFError, KeyError, NotImplementedError, *_DAMAGED) as error:
        reason = "it holds Python objects, which are not read" if "pickle" in str(error) else error
        raise ValueError(f"{path} is not a whole npz file of plain arrays: {reason}") from None
