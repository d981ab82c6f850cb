"""`python -m ngdlib train`: train one network, and print the run beside what the theory predicts."""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import damping as dampings
from . import datasets, files, fisher, forster, likelihood
from .arrays import namespace
from .fisher import FISHERS, Fisher
from .models.infinite import infinite_kernels
from .models.mlp import ACTIVATIONS, MLP, Params
from .training import History, train

COLUMNS = ("train_accuracy", "train_loss", "test_accuracy", "test_loss")
DATASETS = datasets.DATASETS
NETWORK = ("depth", "activation", "weight_variance", "bias_variance")
# What belongs to one method alone: option -> the method, and the keyword there.
OWN = {
    "normalisation": ("kfac", "normalisation"),
    "block_size": ("mini_block", "size"),
    "pseudo_inverse": ("block_tridiagonal", "pseudo_inverse"),
}


def _damping(text: str) -> Any:
    kinds: dict[str, Callable[[float], Any]] = {
        "": dampings.check,
        "factored": dampings.factored,
        "relative": dampings.relative,
    }
    kind, _, number = text.rpartition(":")
    try:
        return kinds[kind](float(number))
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of: a number >= 0, factored:NUMBER, relative:NUMBER"
        ) from None


def _rate(text: str) -> float | str:
    if text == "optimal":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is neither a number nor "optimal"') from None


def _count(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= {least}")
        return number

    return parse


def _classes(text: str) -> tuple:
    return tuple(int(c) if c.strip().lstrip("-").isdigit() else c.strip() for c in text.split(","))


class _Parser(argparse.ArgumentParser):
    """One line on stderr and exit status 2 for a bad option."""

    def error(self, message: str) -> Any:
        self.exit(2, f"{self.prog}: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m ngdlib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "train",
        help="train, and print the table of the run",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )

    data = run.add_argument_group("data")
    data.add_argument(
        "--dataset", default="digits", help=f"{', '.join(DATASETS)}, or an .npz file of your own"
    )
    data.add_argument("--classes", type=_classes, default=(0, 1), help="separated by commas")
    data.add_argument("--train-size", type=_count(1), default=100)
    data.add_argument("--test-size", type=_count(1), default=50)
    data.add_argument(
        "--forster", action="store_true", help="put the inputs in radial isotropic position"
    )
    data.add_argument(
        "--forster-components", type=_count(1), help="principal components to keep before"
    )
    data.add_argument(
        "--forster-steps", type=_count(1), default=10_000, help="at most that many iterations"
    )
    data.add_argument("--forster-tolerance", type=float, default=1e-12)
    data.add_argument(
        "--load-data", metavar="FILE", help="data that --save-data wrote, instead of --dataset"
    )
    data.add_argument("--save-data", metavar="FILE")

    net = run.add_argument_group("network")
    net.add_argument("--depth", type=_count(1), default=3, help="weight layers L")
    net.add_argument("--width", type=_count(1), default=512, help="units of each hidden layer")
    net.add_argument("--activation", choices=list(ACTIVATIONS), default="relu")
    net.add_argument("--weight-variance", type=float, default=2.0)
    net.add_argument("--bias-variance", type=float, default=0.0)
    net.add_argument(
        "--load-params", metavar="FILE", help="initial weights that --save-params wrote"
    )
    net.add_argument("--save-params", metavar="FILE", help="write the initial weights")

    method = run.add_argument_group("method")
    method.add_argument("--method", choices=list(FISHERS), default="exact")
    method.add_argument("--normalisation", choices=("textbook", "equal"), help="of kfac")
    method.add_argument("--block-size", type=_count(1), help="units in a block of mini_block")
    method.add_argument("--pseudo-inverse", action="store_true", help="of block_tridiagonal")
    method.add_argument(
        "--damping", type=_damping, default=0.0, help="NUMBER, factored:NUMBER or relative:NUMBER"
    )
    method.add_argument("--learning-rate", type=_rate, default="optimal")
    method.add_argument("--lr-factor", type=float, default=1.0, help="multiplies the learning rate")
    method.add_argument("--steps", type=_count(0), default=2)
    method.add_argument("--loss", choices=list(likelihood.LOSSES), default="squared_error")
    method.add_argument("--fisher", choices=("exact", "monte_carlo", "empirical"), default="exact")
    method.add_argument(
        "--epsilon",
        type=float,
        help="Hessian H + epsilon I (exact + MSE), for softmax and logistic",
    )

    theory = run.add_argument_group("prediction")
    theory.add_argument("--kernels", choices=("empirical", "infinite"), default="empirical")
    theory.add_argument(
        "--kernel-memory",
        type=_count(1),
        metavar="BYTES",
        help="make the empirical kernels in batches of inputs that stay within that much",
    )
    theory.add_argument("--load-kernels", metavar="FILE")
    theory.add_argument("--save-kernels", metavar="FILE")

    run.add_argument("--seed", type=_count(0), default=0)
    run.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    run.add_argument("--backend", choices=("numpy", "jax"), default="numpy")
    run.add_argument(
        "--devices", type=_count(1), help="spread the training samples over so many, with jax"
    )
    run.add_argument("--json", metavar="FILE", help="write settings and table for machines")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(
                f"warning: {message}", file=sys.stderr
            )
            _run(options)
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"{parser.prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _run(o: argparse.Namespace) -> None:
    for path in (o.json, o.save_data, o.save_params, o.save_kernels):
        _check_writable(path)
    if o.devices and o.backend != "jax":
        raise ValueError("--devices is for --backend jax: NumPy computes on one")
    if o.epsilon is not None and o.loss == "squared_error":
        raise ValueError(
            "--epsilon belongs to softmax and logistic: with squared error the Hessian is I"
        )
    method = _method(o)
    xp = _backend(o)
    data = _data(o)
    classes = len(data.classes)
    outputs = 1 if o.loss == "logistic" or (o.loss == "squared_error" and classes == 2) else classes
    net = MLP(
        (data.x_train.shape[1], *[o.width] * (o.depth - 1), outputs),
        o.activation,
        o.weight_variance,
        o.bias_variance,
    )
    params = _params(o, net, xp)
    kernels = _kernels(o, net, params, data)
    if o.devices:
        params, data, kernels = _spread(o.devices, params, data, kernels)
    run = functools.partial(
        train,
        net,
        params,
        data,
        method=method,
        damping=o.damping,
        loss=o.loss,
        fisher=o.fisher
        if o.epsilon is None
        else lambda loss, t: likelihood.plus_identity(loss, o.epsilon),
        kernels=kernels,
    )
    rate = o.learning_rate
    if o.lr_factor != 1.0:
        rate = o.lr_factor * (run(steps=0).learning_rate if rate == "optimal" else rate)
    bar = _Bar(o.steps) if sys.stderr.isatty() else None
    history = run(learning_rate=rate, steps=o.steps, progress=bar)
    settings = _settings(o, net, data, history)
    for name, value in settings.items():
        print(f"{name}: {value}")
    print(table(history))
    if o.json:
        _write_json(o.json, settings, history)


def table(history: History) -> str:
    """The run, one line per step: each measured column with its prediction, if there is one."""
    predicted = bool(np.isfinite(history.predicted_train_loss).any())
    columns = [p + c for c in COLUMNS for p in (("", "predicted_") if predicted else ("",))]
    rows = [["step", *(c if c in COLUMNS else "predicted" for c in columns)]]
    for t in range(len(history.train_loss)):
        rows.append([str(t), *(f"{getattr(history, c)[t]:.6g}" for c in columns)])
    return "\n".join("  ".join(f"{cell:<14}" for cell in row).rstrip() for row in rows)


def _method(o: argparse.Namespace) -> Fisher:
    given = {}
    for option, (name, keyword) in OWN.items():
        if value := getattr(o, option):
            if o.method != name:
                flag = option.replace("_", "-")
                raise ValueError(f"--{flag} is an option of {name}, not of {o.method}")
            given[keyword] = value
    return getattr(fisher, o.method)(**given) if given else FISHERS[o.method]


def _backend(o: argparse.Namespace) -> Any:
    if o.backend == "numpy":
        return np
    try:
        import jax
    except ImportError:
        raise ImportError("--backend jax needs JAX: pip install jax") from None
    if o.dtype == "float64":
        # A program of its own may choose its precision; the library never does.
        jax.config.update("jax_enable_x64", True)
    return jax.numpy


def _data(o: argparse.Namespace) -> datasets.Data:
    draw: dict[str, Any] = {
        "classes": o.classes,
        "train": o.train_size,
        "test": o.test_size,
        "seed": o.seed,
        "loss": o.loss,
    }
    if o.load_data:
        data = datasets.with_targets(files.load(o.load_data, "data"), o.loss)
    elif o.dataset in DATASETS:
        data = DATASETS[o.dataset](**draw)
    elif o.dataset.endswith(".npz"):
        data = datasets.npz(o.dataset, **draw)
    else:
        raise ValueError(
            f"unknown data set {o.dataset!r}; there are {', '.join(DATASETS)}, or an .npz file"
        )
    if o.forster:
        transform = forster.fit(
            data.x_train,
            components=o.forster_components,
            tolerance=o.forster_tolerance,
            max_steps=o.forster_steps,
        )
        data = data._replace(x_train=transform(data.x_train), x_test=transform(data.x_test))
    if o.save_data:
        made = {name: getattr(o, name) for name in ("dataset", "seed", "forster")}
        files.save(o.save_data, "data", data, made)
    return data


def _params(o: argparse.Namespace, net: MLP, xp: Any) -> Params:
    made = {"widths": list(net.widths), "bias_variance": net.bias_variance}
    params: Params
    if o.load_params:
        params = [
            (xp.asarray(W, dtype=o.dtype), None if b is None else xp.asarray(b, dtype=o.dtype))
            for W, b in files.load(o.load_params, "parameters", made)
        ]
    else:
        params = net.init(o.seed, xp=xp, dtype=o.dtype)
    if o.save_params:
        files.save(o.save_params, "parameters", params, made | {"seed": o.seed})
    return params


def _kernels(o: argparse.Namespace, net: MLP, params: Params, data: datasets.Data) -> Any:
    made = {"data": files.fingerprint(data.x_train, data.x_test), "kernels": o.kernels}
    made |= {name: getattr(net, name) for name in NETWORK}
    if o.kernels == "empirical":
        made["parameters"] = files.fingerprint(*(a for p in params for a in p if a is not None))
    if o.load_kernels:
        loaded = files.load(o.load_kernels, "kernels", made)
        return loaded[: net.depth], loaded[net.depth :]
    if o.kernels == "infinite":
        make: Callable[..., Sequence] = functools.partial(infinite_kernels, net)
        x, x_test = data.x_train, data.x_test
    elif o.save_kernels or o.kernel_memory:
        make = functools.partial(net.kernels, params, memory=o.kernel_memory or 2**28)
        xp = namespace(params[0][0])
        x, x_test = xp.asarray(data.x_train), xp.asarray(data.x_test)
    else:
        return None
    kernels = make(x), make(x_test, x)
    if o.save_kernels:
        files.save(o.save_kernels, "kernels", [*kernels[0], *kernels[1]], made)
    return kernels


def _spread(count: int, params: Params, data: datasets.Data, kernels: Any) -> tuple:
    """The training samples split over `count` devices, everything else whole on each of them."""
    from .interop import devices

    mesh = devices.mesh(count)
    x, y = devices.spread(mesh, data.x_train, data.y_train)
    params, kernels, rest = devices.copy(mesh, (params, kernels, (data.x_test, data.y_test)))
    return params, data._replace(x_train=x, y_train=y, x_test=rest[0], y_test=rest[1]), kernels


def _settings(o: argparse.Namespace, net: MLP, data: datasets.Data, history: History) -> dict:
    after = ("steps", "loss", "fisher", "kernels", "forster", "seed", "dtype", "backend", "devices")
    plain = isinstance(o.damping, float)
    return {
        "dataset": o.load_data or o.dataset,
        "classes": list(data.classes),
        "train_size": len(data.x_train),
        "test_size": len(data.x_test),
        "widths": list(net.widths),
        **{name: getattr(net, name) for name in NETWORK},
        "method": o.method,
        "damping": o.damping if plain else f"{type(o.damping).__name__.lower()}:{o.damping[0]}",
        **{name: getattr(o, name) for name in after if getattr(o, name) is not None},
        "learning_rate": history.learning_rate,
        "alpha": history.alpha,
    }


def _check_writable(path: str | None) -> None:
    """Before the run, so that no result is lost after it."""
    if path is None:
        return
    folder = Path(path).resolve().parent
    if Path(path).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OSError(
            f"{path} cannot be written: its folder is missing or closed, or it is a folder itself"
        )


def _write_json(path: str, settings: dict, history: History) -> None:
    columns = {
        name: [x if math.isfinite(x) else None for x in getattr(history, name).tolist()]
        for name in (*COLUMNS, *("predicted_" + c for c in COLUMNS))
    }
    with files.atomic(path) as file:
        file.write((json.dumps({"settings": settings, **columns}, indent=1) + "\n").encode())


class _Bar:
    """A progress bar on stderr, for runs of more than two seconds that somebody watches."""

    def __init__(self, steps: int) -> None:
        self.steps, self.start = steps, time.monotonic()

    def __call__(self, done: int) -> None:
        if time.monotonic() - self.start < 2:
            return
        filled = 30 * done // self.steps
        bar = "#" * filled + "." * (30 - filled)
        print(
            f"\r{bar} {done}/{self.steps}",
            end="\n" if done == self.steps else "",
            file=sys.stderr,
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
