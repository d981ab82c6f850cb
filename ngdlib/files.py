"""Save and load data, parameters, kernels and histories: one npz layout, nothing pickled.

A file holds plain arrays, named by their place ("x_train", "0.W", "params.2.b"), and one text array
"ngdlib" with a JSON header: the layout's version, the kind, what is not an array, and the settings
that made it. `load` refuses a file of another version, of another kind, or made by other settings.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .datasets import Data, read_npz
from .layers import Gram, Kernel
from .training import History

VERSION = 1
_HEADER = "ngdlib"
Arrays = dict[str, np.ndarray]


def save(path: str | os.PathLike, kind: str, value: Any, settings: Mapping | None = None) -> None:
    """Write `value` to `path`, whole or not at all: an older file stays until the new one is complete.

    Args:
        kind: "data" (a `Data`), "parameters" (from `net.init`), "kernels" (a list of `Kernel`) or
            "history" (a `History`).
        settings: what made the value, as JSON can hold it: names, numbers, text, lists. Put
            `fingerprint(data)` among them to tie kernels or parameters to their data.
    Errors: an unknown kind, a value of another kind, a folder that is missing or cannot be written.
    """
    form = _kind(kind)
    arrays, extra = form.pack(value)
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"{kind}: {name} holds Python objects; only plain arrays can be saved")
    header = {"version": VERSION, "kind": kind, "extra": extra, "settings": dict(settings or {})}
    try:
        text = json.dumps(header)
    except TypeError as error:
        raise TypeError(f"settings must be what JSON can hold: {error}") from None
    with atomic(path) as file:
        everything: dict[str, Any] = {_HEADER: np.array(text), **arrays}
        np.savez(file, **everything)


def load(path: str | os.PathLike, kind: str, settings: Mapping | None = None) -> Any:
    """Read what `save` wrote. Arrays come back as NumPy arrays in their precision.

    Args:
        kind: as for `save`; a file of another kind is refused.
        settings: settings that the file must have been made with; those not named may be anything.
    Errors: a missing or damaged file, another version, another kind, other settings or data.
    """
    form = _kind(kind)
    arrays = read_npz(path)
    header = _header(path, arrays)
    if header["kind"] != kind:
        raise ValueError(f"{path} holds {header['kind']}, and {kind} is wanted")
    for name, wanted in json.loads(json.dumps(dict(settings or {}))).items():
        if name not in header["settings"]:
            raise ValueError(
                f"{path} does not say with which {name!r} it was made; wanted {wanted!r}"
            )
        made = header["settings"][name]
        if made != wanted:
            raise ValueError(f"{path} was made with {name} = {made!r}, and {wanted!r} is wanted")
    try:
        return form.unpack(arrays, header["extra"])
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{path} is not complete: {error} is missing or wrong; save it anew"
        ) from None


def settings(path: str | os.PathLike) -> dict:
    """The settings that a file was made with, and its kind under "kind"."""
    header = _header(path, read_npz(path))
    return {**header["settings"], "kind": header["kind"]}


def fingerprint(*arrays: Any) -> str:
    """A short text that is the same for the same arrays only; `fingerprint(*data[:4])` for data."""
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


class _Kind(NamedTuple):
    pack: Callable[[Any], tuple[Arrays, Any]]
    unpack: Callable[[Arrays, Any], Any]


def _pack_data(data: Data) -> tuple[Arrays, Any]:
    _check(data, Data, "data")
    arrays = {name: np.asarray(getattr(data, name)) for name in Data._fields[:4]}
    return arrays, list(data.classes)


def _unpack_data(arrays: Arrays, classes: Any) -> Data:
    return Data._make([*(arrays[name] for name in Data._fields[:4]), tuple(classes)])


def _pack_parameters(params: Any) -> tuple[Arrays, Any]:
    layers = params if isinstance(params, list | tuple) else ()
    if not layers or not all(isinstance(p, list | tuple) and len(p) == 2 for p in layers):
        raise TypeError("parameters are a list of (W, b or None), as from net.init")
    named = {f"{l}.{key}": v for l, p in enumerate(layers) for key, v in zip("Wb", p)}
    return {name: np.asarray(v) for name, v in named.items() if v is not None}, len(layers)


def _unpack_parameters(arrays: Arrays, count: Any) -> list:
    return [(arrays[f"{l}.W"], arrays.get(f"{l}.b")) for l in range(count)]


def _pack_kernels(kernels: Any) -> tuple[Arrays, Any]:
    layers = kernels if isinstance(kernels, list | tuple) else ()
    if not layers or not all(isinstance(k, Kernel | Gram) for k in layers):
        raise TypeError("kernels are a list, one per layer, as from empirical_kernels")
    named = {f"{l}.{key}": v for l, k in enumerate(kernels) for key, v in k._asdict().items()}
    return {name: np.asarray(v) for name, v in named.items()}, [type(k).__name__ for k in kernels]


def _unpack_kernels(arrays: Arrays, names: Any) -> list:
    types: dict[str, Any] = {"Kernel": Kernel, "Gram": Gram}
    parts = [(l, types[name]) for l, name in enumerate(names)]
    return [kind(*(arrays[f"{l}.{key}"] for key in kind._fields)) for l, kind in parts]


def _pack_history(history: History) -> tuple[Arrays, Any]:
    _check(history, History, "history")
    params, count = _pack_parameters(history.params)
    arrays = {k: np.asarray(v) for k, v in history._asdict().items() if k != "params"}
    return arrays | {f"params.{name}": v for name, v in params.items()}, count


def _unpack_history(arrays: Arrays, count: Any) -> History:
    stored = {k: arrays[k] for k in History._fields if k != "params"}
    values: dict[str, Any] = {k: v if v.ndim else v.item() for k, v in stored.items()}
    params = {k.removeprefix("params."): v for k, v in arrays.items() if k.startswith("params.")}
    return History(**values, params=_unpack_parameters(params, count))


_KINDS = {
    "data": _Kind(_pack_data, _unpack_data),
    "parameters": _Kind(_pack_parameters, _unpack_parameters),
    "kernels": _Kind(_pack_kernels, _unpack_kernels),
    "history": _Kind(_pack_history, _unpack_history),
}


def _kind(kind: str) -> _Kind:
    if kind not in _KINDS:
        raise ValueError(f"unknown kind {kind!r}; there are {', '.join(_KINDS)}")
    return _KINDS[kind]


def _check(value: Any, expected: type, kind: str) -> None:
    if not isinstance(value, expected):
        raise TypeError(f"{kind} is a {expected.__name__}, got {type(value).__name__}")


def _header(path: str | os.PathLike, arrays: Arrays) -> dict:
    if _HEADER not in arrays:
        raise ValueError(
            f"{path} was not saved by ngdlib.files (an npz of your own is read by ngdlib.npz)"
        )
    try:
        header = json.loads(str(arrays.pop(_HEADER)))
        version = header["version"]
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{path} has a damaged header; save it anew") from None
    if version != VERSION:
        raise ValueError(
            f"{path} has version {version} of the layout, and this ngdlib reads version {VERSION}: "
            "save it anew, or use the ngdlib that wrote it"
        )
    return header


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Any:
    """A file to write in; it takes the place of `path` only once it is complete and on the disk."""
    path = Path(path).resolve()
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file")
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(draft, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        reason = error.strerror or error
        raise type(error)(f"{path} cannot be written: {reason}; nothing was changed") from None
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or never made
            draft.unlink()
