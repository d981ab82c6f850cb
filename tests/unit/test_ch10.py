"""What chapter 10 says, computed by brute force: small networks, explicit blocks, float64."""

from __future__ import annotations

import numpy as np
import pytest

import ngdlib
from ngdlib.damping import relative
from ngdlib.figures import networks
from ngdlib.figures import unit_wise as figures
from ngdlib.fisher import mini_block


def network(activation="tanh", outputs=1, width=12, depth=3, samples=5, inputs=7, bias=0.0, seed=1):
    net = ngdlib.MLP((inputs, *[width] * (depth - 1), outputs), activation, 1.7, bias)
    x = np.random.default_rng(seed).standard_normal((samples, inputs))
    return net, net.init(seed), x


def blocks(layers, size=1):
    """The Jacobian (n c, .) of every block of `size` units, from the layers' whole Jacobians."""
    for layer in layers:
        J = layer.jacobian()  # (n, c, i, j)
        n, c, units, _ = J.shape
        for start in range(0, units, size):
            yield J[:, :, start : start + size].reshape(n * c, -1)


def projector(J):
    U, s, _ = np.linalg.svd(J, full_matrices=False)
    U = U[:, s > 1e-9 * s[0]] if s[0] > 0 else U[:, :0]
    return U @ U.T


def test_every_unit_fits_the_residual_by_itself():
    net, params, x = network("relu", inputs=9, width=14)
    layers = net.layers(params, x)
    r = np.random.default_rng(2).standard_normal((5, 1))
    step = ngdlib.natural_gradient("unit_wise", layers, r, damping=0.0)
    seen = 0
    for layer, dW in zip(layers, step, strict=True):
        rank = np.linalg.matrix_rank(layer.a)
        for i, delta in enumerate(layer.g[:, 0].T):
            on = delta != 0
            if not on.any() or rank < 5:
                continue
            moved = layer.a @ dW[i]
            assert np.allclose(moved[on], r[on, 0] / delta[on], rtol=1e-6)
            shortest = np.linalg.pinv(layer.a[on]) @ (r[on, 0] / delta[on])
            assert np.allclose(dW[i], shortest, rtol=0, atol=1e-6 * abs(shortest).max())
            seen += 1
    assert seen > 10


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_g_bar_counts_the_units_that_are_on(activation):
    net, params, x = network(activation, width=24)
    layers = net.layers(params, x)
    projectors = sum(projector(J) for J in blocks(layers))
    count = sum((layer.g[:, 0] != 0).sum(1) for layer in layers[:-1])
    assert np.allclose(projectors, np.diag(count) + np.eye(5), rtol=0, atol=1e-8)
    G = ngdlib.isotropy("unit_wise", layers).matrix
    assert np.allclose(G, projectors, rtol=0, atol=1e-7)


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("activation", ["tanh", "erf"])
def test_alpha_of_smooth_units(activation, depth):
    net, params, x = network(activation, depth=depth)
    iso = ngdlib.isotropy("unit_wise", net.layers(params, 0.3 * x))  # not saturated
    assert np.isclose(iso.alpha, 12 * (depth - 1) + 1)
    assert iso.deviation < 1e-7


def test_alpha_of_relu_units():
    """alpha -> M (L-1) / 2 + 1, and the spread of the counts falls like 1 / sqrt(M)."""
    spreads = []
    for width in (64, 1024):
        alphas, spread = [], []
        for seed in range(6):
            net = ngdlib.MLP((20, width, width, 1))
            x = np.random.default_rng(3).standard_normal((10, 20))
            layers = net.layers(net.init(seed), x)
            diagonal = sum((layer.g[:, 0] != 0).sum(1) for layer in layers[:-1]) + 1.0
            alphas.append(diagonal.mean())
            spread.append(diagonal.std() / diagonal.mean())
        assert abs(np.mean(alphas) / (width + 1) - 1) < 0.1
        spreads.append(np.mean(spread))
    assert 2.5 < spreads[0] / spreads[1] < 6.5  # 4 = sqrt(1024 / 64)


@pytest.mark.parametrize("outputs", [2, 3])
def test_alpha_of_several_outputs(outputs):
    net, params, x = network(outputs=outputs, width=30)
    layers = net.layers(params, x)
    iso = ngdlib.isotropy("unit_wise", layers)
    assert np.isclose(iso.alpha, 30 * 2 / outputs + 1)
    assert np.allclose(iso.matrix, sum(projector(J) for J in blocks(layers)), rtol=0, atol=1e-7)
    expected = np.zeros((5, outputs, 5, outputs))
    for layer in layers:  # delta delta^T / |delta|^2 per sample
        unit = layer.g / np.linalg.norm(layer.g, axis=1, keepdims=True)
        for n in range(5):
            expected[n, :, n] += unit[n] @ unit[n].T
    assert np.allclose(iso.matrix, expected.reshape(5 * outputs, -1), rtol=0, atol=1e-7)
    assert iso.deviation > 1e-3


def test_dual_of_a_unit_has_a_row_per_sample():
    net, params, x = network(outputs=3)
    layer = net.layers(params, x)[1]
    r, rho = np.random.default_rng(4).standard_normal((5, 3)), 1e-2
    for i in range(12):
        J = np.einsum("nc,nj->ncj", layer.g[:, :, i], layer.a).reshape(15, -1)
        expected = np.linalg.solve(J.T @ J / 5 + rho * np.eye(J.shape[1]), J.T @ r.ravel() / 5)
        s = np.linalg.norm(layer.g[:, :, i], axis=1)
        K = np.outer(s, s) * (layer.a @ layer.a.T)
        target = (r * layer.g[:, :, i]).sum(1) / s
        v = np.linalg.solve(K / 5 + rho * np.eye(5), target / 5)
        assert np.allclose((v * s) @ layer.a, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("size", "outputs"), [(1, 1), (3, 1), (4, 2), (12, 1), (6, 3), (12, 3)])
def test_alpha_of_blocks(size, outputs):
    net, params, x = network(outputs=outputs)
    layers = net.layers(params, x)
    iso = ngdlib.isotropy(mini_block(size), layers)
    assert np.isclose(iso.alpha, 12 / size * 2 + 1)
    assert iso.deviation < 1e-6
    assert np.allclose(
        iso.matrix, sum(projector(J) for J in blocks(layers, size)), rtol=0, atol=1e-6
    )


def test_relative_damping_is_a_share_of_the_mean_eigenvalue():
    net, params, x = network("relu", width=16)
    layers = net.layers(params, x)
    r = np.random.default_rng(5).standard_normal((5, 1))
    step = ngdlib.natural_gradient("unit_wise", layers, r, damping=relative(0.03))
    for layer, dW in zip(layers, step, strict=True):
        every = list(blocks([layer]))
        rho = 0.03 * np.mean([np.trace(J @ J.T) / 5 / 5 for J in every])
        for J, row in zip(every, dW, strict=True):
            expected = np.linalg.solve(J.T @ J / 5 + rho * np.eye(J.shape[1]), J.T @ r[:, 0] / 5)
            assert np.allclose(row, expected, rtol=0, atol=1e-8)


def test_damped_move_is_bounded():
    """One sample: du = r delta / (delta^2 + rho'), largest at delta = sqrt(rho')."""
    rng = np.random.default_rng(6)
    a, r, rho = rng.standard_normal((1, 7)), 0.8, 1e-3
    share = rho / (a @ a.T).item()
    delta = np.geomspace(1e-6, 10, 2001)
    moves = []
    for d in delta:
        J = d * a
        moves.append((a @ np.linalg.solve(J.T @ J + rho * np.eye(7), J.T @ [r])).item())
    assert np.allclose(moves, r * delta / (delta**2 + share), rtol=1e-8)
    assert max(moves) <= r / (2 * share**0.5) * (1 + 1e-9)
    assert np.isclose(delta[np.argmax(moves)], share**0.5, rtol=0.01)


def test_tail_of_a_block_of_units():
    """P(|delta_b| < eps) falls like eps^k for k Gaussian numbers; sqrt(2/pi) eps / s for one."""
    rng = np.random.default_rng(7)
    for k, eps in ((1, (0.01, 0.1)), (2, (0.05, 0.2)), (4, (0.25, 0.5))):
        norms = np.linalg.norm(rng.standard_normal((1_000_000, k)), axis=1)
        low, high = ((norms < e).mean() for e in eps)
        assert abs(np.log(high / low) / np.log(eps[1] / eps[0]) - k) < 0.1 * k
    one = abs(rng.standard_normal(400_000))
    assert np.isclose((one < 0.01).mean(), np.sqrt(2 / np.pi) * 0.01, rtol=0.06)


def test_only_the_first_of_two_layers_explodes():
    data = networks.problem((3, 5), train=64)
    x, y = data.x_train[:24], data.y_train[:24]
    net, shallow = ngdlib.MLP((64, 256, 256, 1)), ngdlib.MLP((64, 256, 1))
    ratios = {"first": [], "second": [], "shallow": []}
    for seed in range(7):
        params = net.init(seed)
        step, _, before, *_ = figures.one_step(net, params, x, y, 1, 0.0)
        for l, name in enumerate(("first", "second")):
            alone = [s if k == l else 0 * s for k, s in enumerate(step)]
            after = (net.apply(net.update(params, alone, 1.0), x) - y)[:, 0]
            ratios[name].append((after**2).sum() / (before**2).sum())
        _, _, before, after, _ = figures.one_step(shallow, shallow.init(seed), x, y, 1, 0.0)
        ratios["shallow"].append((after**2).sum() / (before**2).sum())
    assert np.median(ratios["first"]) > 1
    assert np.median(ratios["second"]) < 0.6
    assert np.median(ratios["shallow"]) < 0.1


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("size", "damping"), [(1, 0.0), (1, 0.01), (3, 0.0), (8, 0.01)])
def test_the_figure_shows_the_library_s_step(activation, size, damping):
    data = networks.problem((3, 5), train=64)
    x, y = data.x_train[:24], data.y_train[:24]
    net = ngdlib.MLP((64, 96, 96, 1), activation)
    params = net.init(3)
    step, G, before, after, eta = figures.one_step(net, params, x, y, size, damping)
    f, layers = net.linearise(params, x)
    rho = relative(damping) if damping else 0.0
    expected = ngdlib.natural_gradient(mini_block(size), layers, f - y, damping=rho)
    for mine, theirs in zip(step, expected, strict=True):
        assert abs(mine - eta * theirs).max() < 1e-8 * abs(mine).max()
    assert np.allclose(G, ngdlib.isotropy(mini_block(size), layers, damping=rho).matrix, atol=1e-8)
    measured = net.apply(net.update(params, expected, eta), x) - y
    assert np.allclose(after, measured[:, 0], rtol=0, atol=1e-6 * max(1, abs(measured).max()))
    assert np.allclose(before, (f - y)[:, 0])
