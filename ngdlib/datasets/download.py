"""Fetch the files of a data set: from an offline folder, from the cache, or from one of the mirrors.

Every byte is checked against a sha256 sum before it is used, wherever it came from.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

OFFLINE = "NGDLIB_DATA"  # environment variable: a folder with one folder per data set


class Source(NamedTuple):
    """Where a data set's files come from: addresses of folders, and the sum of each file."""

    mirrors: tuple[str, ...]
    files: dict[str, str]  # name -> sha256


SOURCES = {
    "mnist": Source(
        (
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        {
            "train-images-idx3-ubyte.gz": (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
            ),
            "train-labels-idx1-ubyte.gz": (
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
            ),
        },
    ),
    "fashion_mnist": Source(
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        {
            "train-images-idx3-ubyte.gz": (
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
            ),
            "train-labels-idx1-ubyte.gz": (
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
            ),
        },
    ),
    "cifar10": Source(
        (
            "https://www.cs.toronto.edu/~kriz/",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
        ),
        {
            "cifar-10-binary.tar.gz": (
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
            ),
        },
    ),
}


def fetch(dataset: str) -> dict[str, Path]:
    """The files of a data set on this machine, name -> path, whole and checked.

    Looks in the folder `$NGDLIB_DATA/<dataset>` if that variable is set, and nowhere else then;
    otherwise in the user's cache, and downloads what is missing there. The mirrors are tried in
    order. A file whose sum is wrong is removed from the cache, and never used.
    Errors: FileNotFoundError (offline folder), ValueError (offline file with another sum), ImportError
        (pooch is missing), ConnectionError (no mirror gave the right file; says why for each).
    """
    return {name: _fetch(dataset, name) for name in SOURCES[dataset].files}


def _fetch(dataset: str, name: str) -> Path:
    source = SOURCES[dataset]
    sha256 = source.files[name]
    if offline := os.environ.get(OFFLINE):
        path = Path(offline).expanduser() / dataset / name
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing. {OFFLINE} is set, so nothing is downloaded: put the file there "
                f"(from {source.mirrors[0]}{name}), or unset {OFFLINE}"
            )
        if _sum(path) != sha256:
            raise ValueError(
                f"{path} is damaged or another file: its sha256 is {_sum(path)}, expected {sha256}"
            )
        return path
    pooch = _pooch()
    path = Path(pooch.os_cache("ngdlib")) / dataset / name
    if path.is_file():
        if _sum(path) == sha256:
            return path
        path.unlink()  # cut short or changed: never used, never kept
    failures = []
    for mirror in source.mirrors:
        try:
            downloader = pooch.HTTPDownloader(progressbar=_Bar(name), timeout=30)
            pooch.retrieve(
                mirror + name, f"sha256:{sha256}", name, path.parent, downloader=downloader
            )
            return path
        except (
            OSError,
            ValueError,
        ) as error:  # requests' errors are OSErrors; a wrong sum a ValueError
            if isinstance(error, PermissionError):
                raise PermissionError(
                    f"the cache {path.parent} cannot be written: {error}"
                ) from None
            failures.append(f"{mirror}{name}: {str(error).splitlines()[0]}")
    raise ConnectionError(
        f"{name} of {dataset} could not be downloaded, and nothing was kept.\n  "
        + "\n  ".join(failures)
        + f"\nTry again, or put the file into a folder {dataset} and set {OFFLINE} to the folder above it"
    )


def _pooch() -> Any:
    try:
        import pooch
    except ImportError:
        raise ImportError(
            'downloading data needs pooch: pip install "ngdlib[data]" (or set '
            f"{OFFLINE} to a folder that has the files)"
        ) from None
    pooch.get_logger().setLevel("WARNING")  # the bar says it already
    return pooch


def _sum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Bar:
    """A progress bar on stderr, for people only: nothing is drawn into a file or a pipe."""

    def __init__(self, name: str) -> None:
        self.name, self.total, self.done, self.shown = name, 0, 0, -1

    def update(self, size: int) -> None:
        self.done = self.done + size
        percent = min(100 * self.done // self.total, 100) if self.total else 0
        if percent != self.shown and sys.stderr.isatty():
            bar = "#" * (percent // 4)
            print(f"\r{self.name} [{bar:<25}] {percent:3d} %", end="", file=sys.stderr, flush=True)
        self.shown = percent

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        if sys.stderr.isatty():
            print(file=sys.stderr)
