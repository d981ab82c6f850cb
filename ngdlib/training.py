"""Training with a natural gradient, and beside it what the theory predicts.

    measured     theta <- theta - eta (F_hat + rho)^-1 J^T r / N
    predicted    r_{t+1} = (I - eta G_bar) r_t,    f'_{t+1} = f'_t - eta K' r_t

with G_bar and K' = J' (F_hat + rho)^-1 J^T / N frozen at their values at the start: the lazy regime.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from . import likelihood
from .arrays import Array, as_floating, is_false, namespace
from .damping import Factored, Relative, check, is_zero
from .fisher import Fisher, find
from .isotropy import optimal_learning_rate
from .layers import gradient
from .solve import Method, natural_gradient, precondition, response


class Network(Hashable, Protocol):
    """What a network is to the loop: an `MLP`, or any of `models.autodiff`."""

    def apply(self, params: Any, x: Array) -> Array: ...
    def linearise(self, params: Any, x: Array) -> tuple[Array, Sequence]: ...
    def update(self, params: Any, step: Sequence[Array], learning_rate: Any) -> Any: ...
    def named(self, params: Any) -> dict[str, Array]: ...


class History(NamedTuple):
    """A run, step by step: index 0 is the start. Predictions are NaN where there is no closed form."""

    train_loss: np.ndarray  # (steps + 1,)
    test_loss: np.ndarray
    train_accuracy: np.ndarray
    test_accuracy: np.ndarray
    predicted_train_loss: np.ndarray
    predicted_test_loss: np.ndarray
    predicted_train_accuracy: np.ndarray
    predicted_test_accuracy: np.ndarray
    f_train: np.ndarray  # (steps + 1, n, c)
    f_test: np.ndarray
    learning_rate: float
    alpha: float  # trace of G_bar / N C at the start
    params: Any  # at the end, or the last that could be computed


def predict(
    method: Method,
    train: Sequence,
    test: Sequence,
    f_train: Array,
    f_test: Array,
    y_train: Array,
    *,
    learning_rate: float,
    steps: int,
    damping: float | Factored | Relative = 0.0,
) -> tuple[Array, Array]:
    """Outputs after 0 .. `steps` steps by the linearised dynamics, squared error.

    Args:
        train: layers of the training inputs, or their kernels (n, c, n, c).
        test: layers of the test inputs, or the kernels of the test (first) with the training inputs.
            Infinite-width kernels have c = d = 1 and stand for any number of outputs.
        f_train (n, c), f_test (n', c): outputs at the start. y_train (n, c). No array contains 1/N.
        damping: rho in units of F: the same number as for `natural_gradient`.
    Returns:
        outputs on the training and on the test inputs, (steps + 1, n, c) and (steps + 1, n', c).
    Source: Karakida & Osawa 2020, equation 12, extended to damping: r_t = (I - eta G_bar)^t r_0.
    """
    _check_steps(steps)
    f_train, f_test, y_train = (as_floating(array) for array in (f_train, f_test, y_train))
    for array in (f_train, f_test, y_train):
        if is_false(namespace(array).isfinite(array).all()):
            raise ValueError("f_train, f_test or y_train holds NaN or infinity")
    if isinstance(learning_rate, float | int | str):
        _learning_rate(learning_rate, None)
    if f_train.shape != y_train.shape:
        raise ValueError(
            f"f_train has shape {f_train.shape}, y_train {y_train.shape}: they must agree"
        )
    G, K = (response(method, train, other, damping=damping) for other in (None, test))
    for name, f, M in (("f_train", f_train, G), ("f_test", f_test, K)):
        if f.shape != (len(M), f_train.shape[1]) or M.shape[3] not in (1, f.shape[1]):
            raise ValueError(
                f"{name} has shape {f.shape}, its layers or kernels {len(M)} samples and {M.shape[3]} outputs"
            )
    return _linearised(G, K, f_train, f_test, y_train, learning_rate, steps)


def _linearised(
    G: Array, K: Array, f_train: Array, f_test: Array, y: Array, learning_rate: float, steps: int
) -> tuple[Array, Array]:
    xp, c = namespace(f_train), G.shape[1]

    def act(M: Array, r: Array) -> Array:  # one output of the kernel stands for any number
        columns = r if c == r.shape[1] else r[:, None, :]
        flat = M.reshape(M.shape[0] * c, -1) @ columns.reshape(len(r) * c, -1)
        return flat.reshape(M.shape[0], r.shape[1])

    outputs = [(f_train, f_test)]
    with np.errstate(over="ignore", invalid="ignore"):  # where it diverges
        for _ in range(steps):
            f, f_new = outputs[-1]
            r = f - y
            outputs.append((f - learning_rate * act(G, r), f_new - learning_rate * act(K, r)))
    return xp.stack([f for f, _ in outputs]), xp.stack([f for _, f in outputs])


def train(
    net: Network,
    params: Any,
    data: Any,
    *,
    method: Method,
    damping: float | Factored | Relative,
    learning_rate: float | str = "optimal",
    steps: int,
    loss: str = "squared_error",
    fisher: str | Callable = "exact",
    kernels: tuple[Sequence, Sequence] | None = None,
    progress: Callable[[int], Any] | None = None,
) -> History:
    """Train on all of `data` at once, and predict the same run in closed form.

    Args:
        net, params: an `MLP` and what its `init` gives, or any network of `models.autodiff` with its
            parameters, which stay as they are. Their array library, precision and devices are those
            of the run.
        data: a `Data`: x_train, y_train, x_test, y_test. Targets fit the loss. JAX arrays whose
            samples are spread over devices stay spread.
        learning_rate: eta, or "optimal": 2 / (lambda_min + lambda_max) of G_bar at the start.
        loss: "squared_error", "softmax" or "logistic".
        fisher: "exact"; or a modifier of the loss, such as
            `lambda loss, seed: likelihood.monte_carlo(loss, samples=1, seed=seed)` or
            "empirical" or "monte_carlo" (one label per input, drawn anew at every step).
        kernels: to predict from, of the training inputs and of the test with the training inputs: for
            instance `infinite_kernels`. The finite network's own at the start if not given.
        progress: called with the number of steps done.
    Returns:
        a `History`. The prediction is there for squared error with the exact Fisher. A run that
        diverges goes on as infinity and NaN, to the last step.
    """
    method = find(method)
    if loss not in likelihood.LOSSES:
        raise ValueError(f"unknown loss {loss!r}; there are {', '.join(likelihood.LOSSES)}")
    _check_steps(steps)
    damping = check(damping)
    for name, array in net.named(params).items():
        if is_false(namespace(array).isfinite(array).all()):
            raise ValueError(f"{name} hold NaN or infinity")
    xp, dtype = namespace(array), array.dtype
    x, y, x_test, y_test = (_like(array, xp, dtype) for array in data[:4])
    root = _root(loss, fisher)

    start, layers = net.linearise(params, x)
    f_test, test_layers = net.linearise(params, x_test)
    y, y_test = _targets(loss, start, y), _targets(loss, f_test, y_test)
    plain = loss == "squared_error" and root is None
    R, _ = (root(0) if root else likelihood.LOSSES[loss])(start, y)
    G = response(method, layers if plain else likelihood.fold(layers, R), damping=damping)
    matrix = np.asarray(G, dtype=np.float64).reshape(G.shape[0] * G.shape[1], -1)
    eta = _learning_rate(learning_rate, matrix)
    predicted = None
    if plain:
        start_from = (layers, test_layers) if kernels is None else kernels
        K = response(method, *start_from, damping=damping)
        G = G if kernels is None else response(method, kernels[0], damping=damping)
        predicted = _linearised(G, K, start, f_test, y, eta, steps)

    step: Callable = functools.partial(_step, net, method, loss)
    if xp is not np:
        step, params = _program(net, method, loss, is_zero(damping)), _copy(params)
    outputs = [(start, f_test)]
    for t in range(steps):
        f = outputs[-1][0]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            drawn = root(t)(f, y) if root else None
            try:
                params, *after = step(params, x, y, x_test, eta, damping, drawn)
            except ValueError:
                if abs(f).max() < 1e6 * (1 + abs(start).max()):
                    raise
                after = [start * np.nan, f_test * np.nan]
            outputs.append((after[0], after[1]))
        if progress:
            np.asarray(after[0])  # JAX runs ahead: wait for it only where somebody watches
            progress(t + 1)
    return _history(loss, outputs, predicted, y, y_test, eta, matrix, params)


def _root(loss: str, fisher: str | Callable) -> Callable[[int], likelihood.Likelihood] | None:
    """The square root of the Hessian to use at a step, a new sample of labels at each; None: the loss's own."""
    base = likelihood.LOSSES[loss]
    if fisher == "exact":
        return None
    if fisher == "empirical":
        return lambda t: likelihood.empirical(base)
    if fisher == "monte_carlo":
        return lambda t: likelihood.monte_carlo(base, samples=1, seed=t)
    if callable(fisher):
        return lambda t: fisher(base, t)
    raise ValueError(f'fisher is "exact", "monte_carlo", "empirical" or a function; got {fisher!r}')


def _step(
    net: Network,
    method: Fisher,
    loss: str,
    params: Any,
    x: Array,
    y: Array,
    x_test: Array,
    eta: Any,
    damping: Any,
    drawn: Any,
) -> tuple[Any, Array, Array]:
    """The parameters after one step, and the outputs there; `drawn`: R and u if not the loss's own."""
    f, layers = net.linearise(params, x)
    if drawn is None and loss == "squared_error":
        step = natural_gradient(method, layers, f - y, damping=damping)
    else:
        R, u = drawn or likelihood.LOSSES[loss](f, y)
        if u is not None:
            step = natural_gradient(method, likelihood.fold(layers, R), u, damping=damping)
        else:
            S, v = likelihood.LOSSES[loss](f, y)
            df = gradient(likelihood.fold(layers, S), v)
            step = precondition(method, likelihood.fold(layers, R), df, damping=damping)
    params = net.update(params, step, eta)
    return params, net.apply(params, x), net.apply(params, x_test)


@functools.lru_cache(maxsize=16)
def _program(net: Network, method: Fisher, loss: str, undamped: bool) -> Callable:
    """`_step` as one compiled program, whatever the step size and the damping. It takes the
    parameters' memory for the new ones; labels are drawn outside of it."""
    import jax

    def step(params: Any, x: Array, y: Array, x_test: Array, eta: Any, rho: Any, drawn: Any) -> Any:
        return _step(net, method, loss, params, x, y, x_test, eta, 0.0 if undamped else rho, drawn)

    return jax.jit(step, donate_argnums=0)


def _copy(params: Any) -> Any:
    """The caller's parameters again, in memory that the loop may take."""
    import jax

    return jax.tree.map(lambda p: p.copy(), params)


def _check_steps(steps: Any) -> None:
    if not isinstance(steps, int | np.integer) or steps < 0:
        raise ValueError(f"steps is a whole number >= 0, got {steps!r}")


def _like(array: Any, xp: Any, dtype: Any) -> Array:
    if not hasattr(array, "__array_namespace__"):
        array = np.asarray(array)
    if array.size == 0:
        raise ValueError("the data are empty: there is no sample to train or to test on")
    if array.ndim == 1 and np.isdtype(array.dtype, "integral"):
        return xp.asarray(array)  # labels
    array = as_floating(array)
    if not namespace(array).isfinite(array).all():
        raise ValueError("the data hold NaN or infinity")
    return xp.asarray(array, dtype=dtype)


def _targets(loss: str, f: Array, y: Array) -> Array:
    """The targets in the shape of their loss, or an error where they do not fit it."""
    if loss == "softmax":
        likelihood.one_hot(f, y)
        return y
    if y.ndim == 1 and f.shape[1] == 1:
        y = y.reshape(-1, 1)
    if f.shape != y.shape:
        raise ValueError(f"the network has outputs of shape {f.shape}, the targets {y.shape}")
    return y.astype(f.dtype) if loss == "squared_error" else likelihood.binary(f, y)


def _learning_rate(learning_rate: float | str, G: np.ndarray | None) -> float:
    if learning_rate == "optimal" and G is not None:
        return optimal_learning_rate(G)
    if isinstance(learning_rate, str) or not np.isfinite(learning_rate):
        raise ValueError(f'learning_rate is a finite number or "optimal", got {learning_rate!r}')
    return float(learning_rate)


def _history(
    loss: str,
    outputs: list,
    predicted: Any,
    y: Array,
    y_test: Array,
    eta: float,
    G: np.ndarray,
    params: Any,
) -> History:
    targets = [np.asarray(t, dtype=None if t.ndim == 1 else np.float64) for t in (y, y_test)]
    runs = [np.stack([np.asarray(f[k], dtype=np.float64) for f in outputs]) for k in (0, 1)]
    theory = [np.full_like(f, np.nan) for f in runs]
    if predicted is not None:
        theory = [np.asarray(f, dtype=np.float64) for f in predicted]
    with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges ends in infinity
        losses = [
            np.array([likelihood.value(loss, f, t) for f in run])
            for run, t in zip([*runs, *theory], targets * 2, strict=True)
        ]
        accuracies = [
            np.array([likelihood.accuracy(loss, f, t) for f in run])
            for run, t in zip([*runs, *theory], targets * 2, strict=True)
        ]
    if predicted is None:
        accuracies[2:] = losses[2:]  # NaN
    return History(
        train_loss=losses[0],
        test_loss=losses[1],
        train_accuracy=accuracies[0],
        test_accuracy=accuracies[1],
        predicted_train_loss=losses[2],
        predicted_test_loss=losses[3],
        predicted_train_accuracy=accuracies[2],
        predicted_test_accuracy=accuracies[3],
        f_train=runs[0],
        f_test=runs[1],
        learning_rate=eta,
        alpha=float(np.trace(G) / len(G)),
        params=params,
    )
