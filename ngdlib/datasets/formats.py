"""The two binary formats that the downloaded data sets come in. Nothing here is pickled."""

from __future__ import annotations

import gzip
import math
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_CIFAR_ROW = 1 + 3 * 32 * 32  # a label, then red, green and blue


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of bytes, gzipped: 0 0 8 d, then d sizes as big-endian 32-bit integers, then bytes."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from None
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(
            f"{path} is not an IDX file of bytes: it begins with {content[:4].hex(' ')}"
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"{path} ends within its header of {start} bytes")
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4"))
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path} should hold {math.prod(shape)} bytes of shape {shape} after its header, "
            f"and holds {len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_cifar(path: Path, members: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) and labels (n,), bytes, from members of the binary archive, in their order."""
    batches = []
    try:
        with tarfile.open(path, "r:gz") as archive:
            for name in members:
                member = archive.extractfile(name)
                content = member.read() if member else b""
                if not content or len(content) % _CIFAR_ROW:
                    raise ValueError(
                        f"{name} in {path} should hold rows of {_CIFAR_ROW} bytes, it holds {len(content)}"
                    )
                batches.append(np.frombuffer(content, np.uint8).reshape(-1, _CIFAR_ROW))
    except KeyError as error:
        raise ValueError(f"{path} is not the CIFAR-10 binary archive: {error.args[0]}") from None
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is not a whole tar.gz file: {error}") from None
    rows = np.concatenate(batches)
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0]
