"""From raw samples to training data: drawn by class, centred, scaled, with targets for the loss."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..arrays import Array, namespace

LOSSES = ("squared_error", "softmax", "logistic")


class Data(NamedTuple):
    """A data set ready for training; targets fit the loss that it was made for (see `targets`)."""

    x_train: Array  # (n, M_0), rows of unit norm
    y_train: Array  # (n, 1) or (n, c) for squared error, labels (n,) for the other losses
    x_test: Array
    y_test: Array
    classes: tuple  # the classes chosen; label k means classes[k]


def from_arrays(
    x: Array,
    y: Array,
    x_test: Array | None = None,
    y_test: Array | None = None,
    *,
    classes: Sequence | None = None,
    train: int | None = None,
    test: int | None = None,
    seed: int = 0,
    loss: str = "squared_error",
    dtype: Any = np.float64,
    name: str = "the data",
) -> Data:
    """Draw training and test samples of the chosen classes, normalise them, and give them targets.

        x  <-  (x - m) / |x - m|      m = mean of all entries of the training inputs drawn

    This is the paper's preprocessing: standardised with one mean and one standard deviation, taken
    from the training split alone, then every row scaled to unit norm (where the deviation cancels).

    The draw is balanced: the classes take turns, so their counts differ by at most one until the
    smallest class runs out. The test samples are drawn first. So the same seed gives the same test
    inputs before normalisation whatever `train` is, and a larger `train` holds the smaller one.

    Args:
        x: inputs (n, ...), flattened to (n, M_0). Integers and booleans are converted to floats.
        y: the class of each input (n,): integers or text. x_test, y_test: the same for the test
            samples; without them both splits are drawn from x and share no sample.
        classes: the classes to keep, in this order; None keeps all of them, sorted.
        train, test: how many samples. None takes all there are; a fifth of x is the test split
            where there is no x_test.
        seed: of the draw, a whole number >= 0.
        loss: "squared_error", "softmax" or "logistic".
        dtype: float64 or float32, of inputs and targets.
        name: what error messages call the data.
    Errors: empty or mismatched arrays, NaN or infinity, a class that does not occur, more samples
        than there are, an input equal to the mean everywhere (it has no direction).
    Source: Karakida & Osawa 2020, the experiments' set-up.
    """
    if (x_test is None) != (y_test is None):
        raise ValueError(f"{name}: x_test and y_test come together; one of them is missing")
    dtype = _float_dtype(dtype)
    x, y = _pair(x, y, name)
    pools = [(x, y)]
    if x_test is not None:
        pools.append(_pair(x_test, y_test, f"the test split of {name}"))
        if pools[1][0].shape[1] != x.shape[1]:
            raise ValueError(
                f"{name}: a training input has {x.shape[1]} entries, "
                f"a test input {pools[1][0].shape[1]}; they must agree"
            )
    kept = _choose(classes, y, name)
    if classes is None and (alien := set(pools[-1][1].tolist()) - set(y.tolist())):
        raise ValueError(f"{name}: the test split has class {min(alien)!r}, the training split not")
    turns = [_draw(labels, kept, seed, k) for k, (_, labels) in enumerate(pools)]
    n_train, n_test = _counts(train, test, [len(t) for t in turns], name)
    first = n_test if len(pools) == 1 else 0
    drawn = (*pools[0], turns[0][first : first + n_train]), (*pools[-1], turns[-1][:n_test])

    raw_train, raw_test = (inputs[chosen].astype(np.float64) for inputs, _, chosen in drawn)
    mean = raw_train.mean()
    y_train, y_test = (
        targets(_index(labels[chosen], kept), len(kept), loss, dtype=dtype)
        for _, labels, chosen in drawn
    )
    return Data(
        _unit(raw_train - mean, f"training inputs of {name}", dtype),
        y_train,
        _unit(raw_test - mean, f"test inputs of {name}", dtype),
        y_test,
        tuple(c.item() for c in kept),
    )


class Loader(Protocol):
    """What draws from one data set: every choice is that of `from_arrays`."""

    def __call__(
        self,
        classes: Sequence | None = ...,
        train: int | None = ...,
        test: int | None = ...,
        seed: int = ...,
        *,
        loss: str = ...,
        dtype: Any = ...,
    ) -> Data: ...


def loader(read: Callable[[], tuple[Array, ...]]) -> Loader:
    """The loader of a data set, from a function that reads its x, y and perhaps x_test, y_test.

    It has that function's name and description; unless told otherwise it draws 100 and 50 samples of 0 and 1.
    """

    def load(
        classes: Sequence | None = (0, 1),
        train: int | None = 100,
        test: int | None = 50,
        seed: int = 0,
        *,
        loss: str = "squared_error",
        dtype: Any = np.float64,
    ) -> Data:
        return from_arrays(
            *read(),
            classes=classes,
            train=train,
            test=test,
            seed=seed,
            loss=loss,
            dtype=dtype,
            name=read.__name__,
        )

    for what in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(load, what, getattr(read, what))
    return load


def targets(
    labels: Array, classes: int, loss: str = "squared_error", *, dtype: Any = np.float64
) -> Array:
    """What the outputs are compared with, from labels (n,) = 0 .. classes - 1.

    squared_error: -1/2 and +1/2, shape (n, 1), for two classes; one-hot (n, classes) for more.
    softmax: the labels themselves. logistic: the labels 0 and 1; two classes only.
    """
    if loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}; there are {', '.join(LOSSES)}")
    if classes < 2:
        raise ValueError(f"there must be at least two classes, got {classes}")
    if loss == "logistic" and classes != 2:
        raise ValueError(f"logistic is for two classes, got {classes}: use softmax")
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.isdtype(labels.dtype, ("integral", "bool")):
        raise ValueError(f"labels are integers (n,), got {labels.dtype} of shape {labels.shape}")
    labels = labels.astype(np.int64)
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels are 0 .. {classes - 1}, got {labels.min()} .. {labels.max()}")
    if loss != "squared_error":
        return labels
    if classes == 2:
        return (labels[:, None] - 0.5).astype(dtype)
    return np.eye(classes, dtype=dtype)[labels]


def labels(y: Array) -> Array:
    """The labels (n,) = 0, 1, .. behind the targets of any loss; they index `Data.classes`."""
    if y.ndim == 1:
        return y
    if y.ndim != 2:
        raise ValueError(f"targets are (n,) or (n, c), got shape {y.shape}")
    return (y[:, 0] > 0).astype(int) if y.shape[1] == 1 else namespace(y).argmax(y, axis=1)


def with_targets(data: Data, loss: str) -> Data:
    """The same samples with the targets of another loss."""
    k, dtype = len(data.classes), data.x_train.dtype
    y_train, y_test = (
        targets(labels(y), k, loss, dtype=dtype) for y in (data.y_train, data.y_test)
    )
    return data._replace(y_train=y_train, y_test=y_test)


def _pair(x: Any, y: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim == 0 or x.size == 0 or y.size == 0:
        raise ValueError(f"{name} is empty: x has shape {x.shape}, y {y.shape}")
    if not np.isdtype(x.dtype, ("real floating", "integral", "bool")):
        raise TypeError(f"{name}: x holds real numbers, got an array of {x.dtype}")
    if not (np.isdtype(y.dtype, ("integral", "bool")) or y.dtype.kind == "U"):
        raise TypeError(f"{name}: y holds classes, as integers or text; got an array of {y.dtype}")
    if y.shape != x.shape[:1]:
        raise ValueError(f"{name}: x has shape {x.shape}, y {y.shape}; y must be ({len(x)},)")
    if np.isdtype(x.dtype, "real floating") and not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(1))
        raise ValueError(
            f"{name}: x holds NaN or infinity in {len(bad)} rows; the first is {bad[0]}"
        )
    return x.reshape(len(x), -1), y.astype(np.int64) if y.dtype == bool else y


def _choose(classes: Sequence | None, y: np.ndarray, name: str) -> np.ndarray:
    there = np.unique(y)
    listed = ", ".join(map(str, there[:20])) + (" .." if len(there) > 20 else "")
    if classes is None:
        kept = there
    else:
        if isinstance(classes, str) or not np.iterable(classes):
            raise TypeError(f"classes is a sequence such as (0, 1), got {classes!r}")
        unknown = [c for c in classes if c not in there.tolist()]
        if unknown:
            raise ValueError(f"{name} has no class {unknown[0]!r}; there are {listed}")
        kept = np.asarray(classes, dtype=y.dtype)
        if len(np.unique(kept)) < len(kept):
            raise ValueError(f"a class is named twice in classes = {classes!r}")
    if len(kept) < 2:
        raise ValueError(f"at least two classes are needed, got {len(kept)}; {name} has {listed}")
    return kept


def _draw(y: np.ndarray, kept: np.ndarray, seed: int, pool: int) -> np.ndarray:
    """Indices of all samples of the classes kept, shuffled, the classes taking turns."""
    rng = np.random.default_rng([_whole(seed, "seed", 0), pool])
    members = [rng.permutation(np.flatnonzero(y == c)) for c in kept]
    turn = np.concatenate([np.arange(len(m)) for m in members])
    return np.concatenate(members)[np.argsort(turn, kind="stable")]


def _counts(train: int | None, test: int | None, there: list[int], name: str) -> tuple[int, int]:
    together = len(there) == 1
    train, test = (
        c if c is None else _whole(c, w, 1) for c, w in ((train, "train"), (test, "test"))
    )
    n_test = test if test is not None else max(there[0] // 5, 1) if together else there[1]
    n_train = train if train is not None else there[0] - (n_test if together else 0)
    if together and (n_train < 1 or n_train + n_test > there[0]):
        raise ValueError(
            f"{name} has {there[0]} samples of these classes; "
            f"train + test asks for {max(n_train, 1)} + {n_test}"
        )
    for what, count, limit in zip(("train", "test"), (n_train, n_test), there):
        if count > limit or limit == 0:
            raise ValueError(
                f"{name} has {limit} samples of these classes to {what} on, not {count}"
            )
    return n_train, n_test


def _whole(number: Any, name: str, least: int) -> int:
    try:
        number = operator.index(number)
    except TypeError:
        raise TypeError(f"{name} is a whole number >= {least}, got {number!r}") from None
    if number < least:
        raise ValueError(f"{name} is a whole number >= {least}, got {number}")
    return number


def _unit(rows: np.ndarray, which: str, dtype: np.dtype) -> np.ndarray:
    size = np.abs(rows).max(1, keepdims=True)  # first, so that no square overflows
    if (size == 0).any():
        raise ValueError(
            f"{(size == 0).sum()} of the {which} equal the mean of the training inputs everywhere "
            "and have no direction; leave them out"
        )
    rows = rows / size
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype)


def _index(y: np.ndarray, kept: np.ndarray) -> np.ndarray:
    return (y[:, None] == kept).argmax(1)


def _float_dtype(dtype: Any) -> np.dtype:
    dtype = np.dtype(dtype)
    if not np.isdtype(dtype, "real floating"):
        raise TypeError(f"dtype is float64 or float32, got {dtype}")
    return dtype
