"""The equations of chapter 4, each against brute force."""

import numpy as np
import pytest

import ngdlib
from ngdlib.figures import function_space as fs
from ngdlib.layers import gradient
from ngdlib.models.infinite import MOMENTS

VARIANCE, BIAS = 1.7, 0.3


def network(width, activation="tanh", depth=3):
    return ngdlib.MLP((4, *[width] * (depth - 1), 1), activation, VARIANCE, BIAS)


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((3, 4))


def test_units_of_a_layer_are_normal_with_the_gram_matrix_of_its_input(x):
    """Given everything below, at any width: here 5 units below and very many draws of one above."""
    net = ngdlib.MLP((4, 5, 60_000, 1), "tanh", VARIANCE, BIAS)
    params = net.init(3)
    a = net.layers(params, x)[1].a
    (W, b) = params[1]
    u = a[:, :-1] @ W.T + a[:, -1:] * b
    np.testing.assert_allclose(u @ u.T / u.shape[1], a @ a.T, atol=0.03)
    z = u / np.sqrt((a**2).sum(1))[:, None]
    np.testing.assert_allclose((z**4).mean(1), 3, atol=0.12)  # a normal's fourth moment


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_gram_matrices_follow_the_recursion_up_to_one_over_root_m(x, activation):
    def gaps(width):
        net = network(width, activation)
        out = []
        for seed in range(24):
            A, G = zip(*ngdlib.empirical_kernels(net.layers(net.init(seed), x)), strict=True)
            q = np.diag(A[1])
            pair = MOMENTS[activation](A[1], q[:, None], q[None, :])
            out.append([
                np.linalg.norm(A[2] - VARIANCE * np.asarray(pair.phi) - BIAS),
                np.linalg.norm(G[1][:, 0, :, 0] - VARIANCE * G[2][:, 0, :, 0] * pair.derivative),
            ])  # fmt: skip
        return np.sqrt((np.array(out) ** 2).mean(0))

    wide, narrow = gaps(1024), gaps(64)
    np.testing.assert_allclose(np.log(wide / narrow) / np.log(16), -0.5, atol=0.12)


def test_the_linearised_network_obeys_the_law_of_modes_exactly(x):
    net = network(6)
    params = net.init(0)
    f, layers = net.linearise(params, x)
    J = np.concatenate([np.einsum("nci,nj->ncij", k.g, k.a).reshape(3, -1) for k in layers], 1)
    y, theta, eta = np.array([1.0, -1, 0.5]), J @ J.T, 0.1
    move = np.zeros(J.shape[1])
    for _ in range(7):
        move = move - eta / 3 * J.T @ (f[:, 0] + J @ move - y)
    closed = np.linalg.matrix_power(np.eye(3) - eta / 3 * theta, 7) @ (f[:, 0] - y)
    np.testing.assert_allclose(f[:, 0] + J @ move - y, closed, rtol=1e-12)


def test_length_of_the_way_to_the_fit(x):
    net = network(6)
    f, layers = net.linearise(net.init(0), x)
    J = np.concatenate([np.einsum("nci,nj->ncij", k.g, k.a).reshape(3, -1) for k in layers], 1)
    r, theta = f[:, 0] - 1.0, J @ J.T
    way, eta = np.zeros(J.shape[1]), 1 / np.linalg.eigvalsh(theta / 3)[-1]
    for _ in range(20_000):
        way = way - eta / 3 * J.T @ (r + J @ way)
    assert way @ way == pytest.approx(r @ np.linalg.solve(theta, r), rel=1e-6)


@pytest.fixture(scope="module")
def drifts():
    widths, draws = np.array([64.0, 128.0, 256.0, 512.0]), 8
    out = {}
    for activation in ("tanh", "relu"):
        runs = [
            [fs.descend(int(w), 0.5, activation, int(1000 * w) + d) for d in range(draws)]
            for w in widths
        ]
        for name in ("kernel", "outputs", "entries"):
            value = [[getattr(r, name) for r in row] for row in runs]
            out[activation, name] = np.array(value)
    out["widths"] = widths
    return out


def slope(drifts, activation, name, layer=None):
    values = drifts[activation, name][..., -1 if layer is None else layer]
    return fs.fit(drifts["widths"], values).slope


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize(("layer", "expected"), [(0, -0.5), (1, -1.0), (2, -0.5)])
def test_entries_of_the_weights_move_less_in_wider_networks(drifts, activation, layer, expected):
    assert slope(drifts, activation, "entries", layer) == pytest.approx(expected, abs=0.12)


def test_kernel_and_outputs_leave_the_line_as_one_over_the_width_for_tanh(drifts):
    assert slope(drifts, "tanh", "kernel") == pytest.approx(-1, abs=0.2)
    assert slope(drifts, "tanh", "outputs") == pytest.approx(-1, abs=0.2)


def test_the_outputs_of_relu_return_to_the_line_more_slowly(drifts):
    assert -0.9 < slope(drifts, "relu", "outputs") < -0.5
    assert slope(drifts, "relu", "kernel") < -0.7


def test_power_law_is_that_of_polyfit():
    rng = np.random.default_rng(0)
    width = np.repeat([8.0, 16.0, 64.0], 4)
    value = 5 * width**-0.7 * np.exp(0.1 * rng.standard_normal(12))
    line, covariance = np.polyfit(np.log(width), np.log(value), 1, cov=True)
    law = fs.power_law(width, value)
    assert law == pytest.approx((line[0], covariance[0, 0] ** 0.5, np.exp(line[1])))


def test_scaling_the_output_is_scaling_the_targets(x):
    """A step of size eta / s^2 on s f against y moves the weights as one of eta on f against y / s."""
    net, s, eta = network(8), 0.2, 0.3
    params = net.init(0)
    y = np.array([[1.0], [-1], [0.5]])
    f, layers = net.linearise(params, x)
    scaled = [s * g for g in gradient(layers, s * f - y)]  # the chain rule's factor s
    plain = gradient(layers, f - y / s)
    for a, b in zip(scaled, plain, strict=True):
        np.testing.assert_allclose(eta / s**2 * a, eta * b, rtol=1e-12)


def test_at_scale_one_over_root_m_no_width_is_lazy():
    mean_field = [fs.compute_features(w, w**-0.5, "tanh").drift for w in (64, 256)]
    usual = [fs.compute_features(w, 1.0, "tanh").drift for w in (64, 256)]
    assert usual[1] < usual[0] / 2.5
    assert 0.6 < mean_field[1] / mean_field[0] < 1.6
    assert min(mean_field) > 1
    run = fs.compute_features(256, 1 / 16, "relu")
    assert run.alignment_after > run.alignment_before + 0.15
    assert run.left < run.left_linear
