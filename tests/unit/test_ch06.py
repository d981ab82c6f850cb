"""What chapter 6 says, computed by brute force: small networks, whole Jacobians, float64."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import ngdlib
from ngdlib.figures import exact, networks

RHO = 3e-3


@pytest.fixture(params=[(1, 0.0), (2, 0.5)], ids=["one output", "two outputs and biases"])
def problem(request):
    """A small network with its whole Jacobian by finite differences of all its parameters."""
    outputs, bias_variance = request.param
    net = ngdlib.MLP((5, 9, 8, outputs), activation="tanh", bias_variance=bias_variance)
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((6, 5)), rng.standard_normal((6, outputs))
    params = net.init(seed=2)
    flat = np.concatenate([np.concatenate([W, *extra(b)], axis=1).ravel() for W, b in params])

    def at(theta):
        return net.apply(unflatten(theta, params), x)

    def moved(k, h):
        theta = flat.copy()
        theta[k] += h
        return at(theta)

    J = np.stack([(moved(k, 1e-5) - moved(k, -1e-5)) / 2e-5 for k in range(len(flat))], axis=-1)
    return net, params, x, y, J.reshape(6 * outputs, -1), flat, at


def extra(b):
    return [] if b is None else [b[:, None]]


def unflatten(theta, params):
    out, start = [], 0
    for W, b in params:
        columns = W.shape[1] + (b is not None)
        block = theta[start : start + W.shape[0] * columns].reshape(W.shape[0], columns)
        out.append((block[:, : W.shape[1]], None if b is None else block[:, -1]))
        start += block.size
    return out


def flatten(step):
    return np.concatenate([s.ravel() for s in step])


def test_step_minimises_the_damped_linearised_loss(problem):
    net, params, x, y, J, *_ = problem
    r, n = (net.apply(params, x) - y).ravel(), len(x)
    best = np.linalg.lstsq(  # the same problem as one tall least-squares system
        np.concatenate([J / n**0.5, RHO**0.5 * np.eye(J.shape[1])]),
        np.concatenate([r / n**0.5, np.zeros(J.shape[1])]),
    )[0]
    step = ngdlib.natural_gradient(
        "exact", net.layers(params, x), net.apply(params, x) - y, damping=RHO
    )
    assert abs(flatten(step) - best).max() < 1e-6 * abs(best).max()


def test_push_through(problem):
    J, n = problem[4], len(problem[2])
    parameter = np.linalg.solve(J.T @ J / n + RHO * np.eye(J.shape[1]), J.T)
    function = J.T @ np.linalg.inv(J @ J.T / n + RHO * np.eye(len(J)))
    assert abs(parameter - function).max() < 1e-9 * abs(parameter).max()


@pytest.mark.parametrize("damping", [0.0, RHO])
def test_both_spaces_give_the_library_s_step(problem, damping):
    net, params, x, y, *_ = problem
    residual = net.apply(params, x) - y
    layers = net.layers(params, x)
    steps = [
        flatten(ngdlib.natural_gradient("exact", layers, residual, damping=damping, space=space))
        for space in ("parameter", "function")
    ]
    assert abs(steps[0] - steps[1]).max() < 1e-8 * abs(steps[0]).max()


def test_residual_loses_eta_of_itself(problem):
    """G_bar = I: along the step, the outputs move straight to their targets (finite difference)."""
    net, params, x, y, _, flat, at = problem
    residual = net.apply(params, x) - y
    step = flatten(ngdlib.natural_gradient("exact", net.layers(params, x), residual, damping=0.0))
    h = 1e-5
    slope = (at(flat - h * step) - at(flat + h * step)) / (2 * h)
    assert abs(slope + residual).max() < 1e-6 * abs(residual).max()


def test_undamped_step_is_the_shortest_that_fits(problem):
    net, params, x, y, J, *_ = problem
    residual = net.apply(params, x) - y
    step = ngdlib.natural_gradient("exact", net.layers(params, x), residual, damping=0.0)
    shortest = np.linalg.lstsq(J, residual.ravel())[0]
    assert abs(flatten(step) - shortest).max() < 1e-6 * abs(shortest).max()


def test_damping_filters_the_modes(problem):
    """A mode of Theta / N with eigenvalue lambda keeps rho / (lambda + rho) of itself at eta = 1."""
    net, params, x, _, J, *_ = problem
    value, vector = np.linalg.eigh(J @ J.T / len(x))
    G = ngdlib.isotropy("exact", net.layers(params, x), damping=RHO).matrix
    keeps = vector.T @ (np.eye(len(G)) - G) @ vector
    assert abs(keeps - np.diag(RHO / (value + RHO))).max() < 1e-7


def test_closed_form_on_the_training_and_the_test_set(problem):
    """r_t = (1 - eta)^t r_0 and f'_t = f'_0 - (1 - (1 - eta)^t) Theta' Theta^-1 r_0."""
    net, params, x, y, J, flat, _ = problem
    other = np.random.default_rng(5).standard_normal((3, 5))
    f, f_other = net.apply(params, x), net.apply(params, other)
    cross = np.stack(
        [net.apply(unflatten(flat + 1e-5 * e, params), other).ravel() for e in np.eye(len(flat))]
    ) - np.stack(
        [net.apply(unflatten(flat - 1e-5 * e, params), other).ravel() for e in np.eye(len(flat))]
    )
    gain = (cross / 2e-5).T @ J.T @ np.linalg.inv(J @ J.T)
    runs = ngdlib.predict(
        "exact", net.layers(params, x), net.layers(params, other), f, f_other, y,
        learning_rate=0.3, steps=4,
    )  # fmt: skip
    for t in range(5):
        left = 0.7**t
        assert abs(runs[0][t] - y - left * (f - y)).max() < 1e-7
        expected = f_other.ravel() - (1 - left) * gain @ (f - y).ravel()
        assert abs(runs[1][t].ravel() - expected).max() < 1e-5


def test_gradient_descent_moves_outputs_by_the_kernel(problem):
    net, params, x, y, J, flat, at = problem
    r = (net.apply(params, x) - y).ravel()
    h = 1e-5
    step = J.T @ r / len(x)
    slope = (at(flat - h * step) - at(flat + h * step)).ravel() / (2 * h)
    assert abs(slope + J @ J.T @ r / len(x)).max() < 1e-6 * abs(slope).max()


def test_kernel_from_its_factors(problem):
    net, params, x, _, J, *_ = problem
    theta = sum(k.ntk() for k in ngdlib.empirical_kernels(net.layers(params, x)))
    assert abs(theta.reshape(len(J), -1) - J @ J.T).max() < 1e-7 * abs(theta).max()


@pytest.mark.parametrize(("bias_variance", "outputs"), [(0.0, 1), (0.3, 2)])
def test_outputs_after_a_step_without_making_it(bias_variance, outputs):
    net = ngdlib.MLP((7, 20, 24, outputs), bias_variance=bias_variance)
    params, rng = net.init(seed=1), np.random.default_rng(3)
    x, other = rng.standard_normal((5, 7)), rng.standard_normal((4, 7))
    layers = net.layers(params, x)
    weights = [rng.standard_normal((5, outputs)) for _ in layers]
    step = [layer.pull(w) for layer, w in zip(layers, weights, strict=True)]
    expected = net.apply(net.update(params, step, 1.0), other)
    assert abs(networks.outputs_after(net, params, layers, other, weights) - expected).max() < 1e-12


def plain_step(net, params, x, y, eta, damping):
    """One step with the library's own functions, and no short cut."""
    f, layers = net.linearise(params, x)
    step = ngdlib.natural_gradient("exact", layers, f - y, damping=damping)
    return f - y, net.apply(net.update(params, step, eta), x) - y


@pytest.mark.parametrize(("eta", "damping"), [(1.0, 0.0), (0.4, 1e-3)])
def test_the_figure_shows_the_library_s_step(eta, damping):
    data = networks.problem(exact.CLASSES, train=64)
    shown = exact.compute_one_step(48, 20, eta, damping)
    before, after = networks.run(
        plain_step, 48, data.x_train[:20], data.y_train[:20], eta, damping, seed=exact.DRAW
    )
    assert np.allclose(shown.residual_before, before[:, 0], rtol=0, atol=1e-12)
    assert np.allclose(shown.residual_after, after[:, 0], rtol=0, atol=1e-10)
    assert np.isclose(shown.loss_after, (after**2).sum() / 40)
    G = ngdlib.isotropy(
        "exact",
        networks.run(
            lambda net, params, x: net.layers(params, x), 48, data.x_train[:20], seed=exact.DRAW
        ),
        damping=damping,
    ).matrix
    expected = before[:, 0] - eta * G @ before[:, 0]
    assert np.allclose(shown.predicted_residual, expected, rtol=0, atol=1e-9)


def test_networks_are_nested():
    def weights(net, params, x):
        return params

    x = np.zeros((1, 64))
    small, large = (networks.run(weights, width, x, bias_variance=1.0) for width in (300, 700))
    for (V, c), (W, b) in zip(small, large, strict=True):
        assert (W[: V.shape[0], : V.shape[1]] == V).all()
        assert (b[: len(c)] == c).all()
    assert abs(np.std(large[1][0]) - 1) < 0.01


@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="JAX is not installed")
def test_padded_on_jax_gives_the_same():
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        networks._draw.cache_clear()
        for width, samples, eta, damping in ((48, 20, 1.0, 0.0), (64, 6, 0.4, 1e-3)):
            narrow = exact.compute_one_step(width, samples, eta, damping)
            padded = exact.compute_one_step(width, samples, eta, damping, xp=jnp, max_width=64)
            assert np.allclose(narrow.residual_after, padded.residual_after, rtol=0, atol=1e-9)
            assert np.isclose(narrow.gradient_after, padded.gradient_after)
        networks._draw.cache_clear()


@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="JAX is not installed")
def test_moving_a_slider_compiles_nothing():
    import jax.monitoring
    import jax.numpy as jnp

    compilations: list[str] = []

    def listen(event, *_, **__):
        if "backend_compile" in event:
            compilations.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    exact.compute_one_step(48, 20, 1.0, 0.0, xp=jnp, max_width=66)
    assert compilations, "the listener hears nothing"
    compilations.clear()
    for width, samples, eta, damping in ((16, 8, 0.5, 1e-3), (63, 64, 2.2, 0.0)):
        exact.compute_one_step(width, samples, eta, damping, xp=jnp, max_width=66)
    assert not compilations


@pytest.mark.parametrize("width", [256, 512])
def test_twins_break_the_step_where_no_unit_tells_them_apart(width):
    steps = [exact.compute_twins(width, d, 1.0, 0.0) for d in (0.1, 0.03, 0.02, 0.01, 0.002)]
    assert all(s.predicted_after < 1e-12 for s in steps)
    assert [s.switched for s in steps] == sorted([s.switched for s in steps], reverse=True)
    assert all((s.loss_after < s.loss_before) == (s.switched > 0) for s in steps)
    assert steps[-1].loss_after > 100 * steps[-1].loss_before
    damped = exact.compute_twins(width, 0.002, 1.0, 1e-4)
    assert damped.loss_after < 0.2 * damped.loss_before


def test_duplicates_at_zero_damping_are_refused_by_name():
    data = networks.problem(exact.CLASSES, train=64)
    x = data.x_train.copy()
    x[1] = x[0]
    net = ngdlib.MLP((64, 32, 32, 1))
    params = net.init()
    residual = net.apply(params, x) - data.y_train
    with pytest.raises(ValueError, match="sample 1 has the same inputs"):
        ngdlib.natural_gradient("exact", net.layers(params, x), residual, damping=0.0)
    ngdlib.natural_gradient("exact", net.layers(params, x), residual, damping=1e-4)


def test_wider_networks_come_closer_to_the_prediction():
    """The loss that one step leaves falls about like 1 / width (median over seeds)."""
    data = networks.problem(exact.CLASSES, train=32)
    left = []
    for width in (128, 512):
        ratios = []
        for seed in range(7):
            before, after = networks.run(
                plain_step, width, data.x_train, data.y_train, 1.0, 0.0, seed=seed
            )
            ratios.append((after**2).sum() / (before**2).sum())
        left.append(np.median(ratios))
    assert 2 < left[0] / left[1] < 12
