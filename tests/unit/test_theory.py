"""The acceptance tests of the theory: alpha of every method, T1 to T7, appendix D.

Karakida & Osawa 2020; where the book's value differs from the paper's, the tests hold the book's.
"""

import math
import warnings

import numpy as np
import pytest

import ngdlib
from ngdlib import likelihood
from ngdlib.fisher import block_tridiagonal, kfac
from ngdlib.training import optimal_learning_rate

LAYERWISE = ("exact", "block_diagonal", "block_tridiagonal")


def inputs(n, m, seed=0):
    return np.random.default_rng(seed).standard_normal((n, m))


def layers_of(net, x, seed=1):
    return net.layers(net.init(seed), x)


def distance(a, b):
    return np.linalg.norm(np.asarray(a) - b) / np.linalg.norm(b)


def brute_G(inverses, layers):
    """sum_l J_l F_l^+ J_l^T / N for blocks given as their pseudo-inverses."""
    n, c = layers[0].g.shape[:2]
    J = [b.jacobian().reshape(n * c, -1) for b in layers]
    return sum(j @ inverse @ j.T for j, inverse in zip(J, inverses, strict=True)) / n


# ------------------------------------------------------------------ alpha, 1.1 to 1.4


@pytest.mark.parametrize("depth", range(2, 10))
@pytest.mark.parametrize("outputs", [1, 2])
def test_alpha_of_the_layerwise_methods(depth, outputs):
    """exact 1, block-diagonal L, block-tri-diagonal ceil(L / 3), exactly and at finite width."""
    net = ngdlib.MLP((10, *[24] * (depth - 1), outputs), activation="tanh", bias_variance=0.3)
    layers = layers_of(net, inputs(4, 10))
    pseudo = depth % 3 == 2 and depth > 2
    methods = {
        "exact": 1,
        "block_diagonal": depth,
        block_tridiagonal(pseudo_inverse=pseudo): math.ceil(depth / 3),
    }
    for method, alpha in methods.items():
        iso = ngdlib.isotropy(method, layers)
        assert iso.alpha == pytest.approx(alpha, rel=1e-8)
        assert iso.deviation < 1e-8


def test_undamped_block_tridiagonal_moves_a_third_of_the_layers():
    """Sigma x = 1 is sparse: of three layers only the middle one moves."""
    net = ngdlib.MLP((10, 24, 24, 1), activation="tanh")
    layers = layers_of(net, inputs(4, 10))
    step = ngdlib.natural_gradient("block_tridiagonal", layers, np.ones((4, 1)), damping=0.0)
    sizes = [abs(s).max() for s in step]
    assert sizes[0] < 1e-10 * sizes[1]
    assert sizes[2] < 1e-10 * sizes[1]


@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_alpha_of_kfac_with_textbook_factors(depth, outputs):
    n = 4
    net = ngdlib.MLP((10, *[24] * (depth - 1), outputs), activation="tanh")
    layers = layers_of(net, inputs(n, 10))
    iso = ngdlib.isotropy("kfac", layers)
    assert iso.alpha == pytest.approx(n * (depth - 1) + 1, rel=1e-8)
    assert iso.deviation < 1e-8
    equal = ngdlib.isotropy(kfac("equal"), layers)
    assert equal.alpha == pytest.approx(n * depth, rel=1e-8)
    assert equal.deviation < 1e-8


def test_kfac_layer_by_layer_is_n_for_hidden_layers_and_1_for_the_last():
    n, c = 4, 2
    net = ngdlib.MLP((10, 24, 24, c), activation="tanh")
    layers = layers_of(net, inputs(n, 10))
    for layer, alpha in zip(layers, (n, n, 1), strict=True):
        A = layer.a.T @ layer.a / n
        G = np.einsum("nci,nck->ik", layer.g, layer.g) / n
        inverse = np.kron(np.linalg.pinv(G, rcond=1e-10), np.linalg.pinv(A, rcond=1e-10))
        assert np.allclose(brute_G([inverse], [layer]), alpha * np.eye(n * c), atol=1e-8)


def forster(x):
    """Rows of unit norm with X^T X = (N / M_0) I, by alternating the two."""
    for _ in range(2000):
        s, U = np.linalg.eigh(x.T @ x)
        x = x @ (U / s**0.5) @ U.T
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return x


@pytest.mark.filterwarnings("ignore:kfac at zero damping")
def test_kfac_with_fewer_inputs_than_samples_before_and_after_the_forster_transform():
    n, m, depth = 8, 5, 3
    net = ngdlib.MLP((m, 32, 32, 1), activation="tanh")
    raw = ngdlib.isotropy("kfac", layers_of(net, inputs(n, m)))
    after = ngdlib.isotropy("kfac", layers_of(net, forster(inputs(n, m))))
    assert raw.deviation > 0.05
    assert after.alpha == pytest.approx(m + n * (depth - 2) + 1, rel=1e-8)
    assert after.deviation < 1e-8


@pytest.mark.filterwarnings("ignore:kfac at zero damping")
def test_kfac_needs_as_many_units_as_residuals():
    narrow, wide = (
        ngdlib.isotropy(
            "kfac", layers_of(ngdlib.MLP((40, w, w, 3), activation="tanh"), inputs(10, 40))
        )
        for w in (20, 60)
    )
    assert narrow.deviation > 0.1
    assert wide.deviation < 1e-8


def test_kfac_with_sampled_labels_is_not_isotropic_for_several_outputs():
    """One label per sample leaves g^T g with rank N, not N C."""
    net = ngdlib.MLP((10, 64, 64, 3), activation="tanh")
    x = inputs(6, 10)
    params = net.init(1)
    layers = net.layers(params, x)
    R, _ = likelihood.monte_carlo(likelihood.squared_error, samples=1, seed=0)(
        net.apply(params, x), None
    )
    inverses = []
    for layer in likelihood.fold(layers, R):
        A = layer.a.T @ layer.a / 6
        G = np.einsum("nci,nck->ik", layer.g, layer.g) / 6
        inverses.append(np.kron(np.linalg.pinv(G, rcond=1e-9), np.linalg.pinv(A, rcond=1e-9)))
    s = np.linalg.eigvalsh(brute_G(inverses, layers))
    assert s[-1] / s[0] > 10
    exact = ngdlib.isotropy("kfac", layers)
    assert exact.deviation < 1e-8


# ------------------------------------------------------------------ unit-wise and diagonal, 1.5, 1.6


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_alpha_of_unit_wise_is_exact_for_smooth_activations(depth):
    width = 16
    layers = layers_of(
        ngdlib.MLP((10, *[width] * (depth - 1), 1), activation="tanh"), inputs(5, 10)
    )
    iso = ngdlib.isotropy("unit_wise", layers)
    assert iso.alpha == pytest.approx(width * (depth - 1) + 1, rel=1e-8)
    assert iso.deviation < 1e-6


def test_alpha_of_unit_wise_relu_counts_the_units_that_are_on():
    net, x = ngdlib.MLP((40, 400, 400, 1)), inputs(30, 40)
    layers = layers_of(net, x)
    iso = ngdlib.isotropy("unit_wise", layers)
    on = sum((layer.g[:, 0] != 0).sum(1) for layer in layers[:-1]) + 1
    assert np.allclose(np.diag(iso.matrix), on, rtol=1e-7)
    assert abs(iso.matrix - np.diag(np.diag(iso.matrix))).max() < 1e-4
    assert iso.alpha == pytest.approx(0.5 * 400 * 2, rel=0.1)
    spread = np.diag(iso.matrix).std() / iso.alpha
    assert 0.35 < spread * 400**0.5 < 1.4  # about 0.7 / sqrt(M)


@pytest.mark.parametrize(("outputs", "alpha"), [(1, 401), (2, 201), (4, 101)])
def test_alpha_of_unit_wise_with_several_outputs(outputs, alpha):
    """gamma M (L-1) / C + 1, M = 200, L = 3."""
    layers = layers_of(ngdlib.MLP((20, 200, 200, outputs), activation="tanh"), inputs(6, 20))
    iso = ngdlib.isotropy("unit_wise", layers)
    assert iso.alpha == pytest.approx(alpha, rel=1e-6)
    assert (iso.deviation < 1e-5) == (outputs == 1)


def test_unit_wise_with_fewer_inputs_than_samples_is_not_isotropic():
    layers = layers_of(ngdlib.MLP((3, 32, 32, 1), activation="tanh"), inputs(6, 3))
    assert ngdlib.isotropy("unit_wise", layers).deviation > 0.05


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_the_trace_of_the_diagonal_method_counts_active_parameters(activation, outputs):
    """T7. No width makes it isotropic."""
    deviations = []
    for width in (50, 200):
        net = ngdlib.MLP((10, width, width, outputs), activation=activation, bias_variance=0.2)
        layers = layers_of(net, inputs(8, 10))
        iso = ngdlib.isotropy("diagonal", layers)
        active = sum((layer.squares() > 0).sum() for layer in layers)
        assert np.trace(iso.matrix) == pytest.approx(active, rel=1e-10)
        deviations.append(iso.deviation)
    assert min(deviations) > 0.2


# ------------------------------------------------------------------ T1 .. T6


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_t1_the_directional_derivative_along_the_update(depth, outputs):
    """Finite differences 1e-4; with the Jacobian itself 1e-8."""
    n, width = 8, 32
    net = ngdlib.MLP((12, *[width] * (depth - 1), outputs), activation="tanh", bias_variance=0.1)
    x, params = inputs(n, 12), net.init(2)
    f, layers = net.linearise(params, x)
    r = f - inputs(n, outputs, 3)
    alphas = {
        "exact": 1,
        "block_diagonal": depth,
        "block_tridiagonal": math.ceil(depth / 3),
        "kfac": n * (depth - 1) + 1,
    }
    for method, alpha in alphas.items():
        step = ngdlib.natural_gradient(method, layers, r, damping=0.0)
        pushed = sum(layer.push(s) for layer, s in zip(layers, step, strict=True))
        assert distance(-pushed, -alpha * r) < 1e-8
        h = 1e-6 / max(1.0, max(abs(s).max() for s in step))
        ahead, behind = (net.apply(net.update(params, step, eta), x) for eta in (h, -h))
        assert distance((ahead - behind) / (2 * h), -alpha * r) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "alpha", "bound"),
    [
        ("exact", 1, 0.02),
        ("block_diagonal", 3, 0.02),
        ("block_tridiagonal", 1, 0.02),
        ("kfac", 61, 0.03),
        (kfac("equal"), 90, 0.03),
    ],
)
def test_t2_wide_networks_follow_the_closed_form(method, alpha, bound):
    """Width 2048, N = 30, alpha eta = 0.3: f_t = y + (1 - 0.3)^t (f_0 - y) for t <= 5."""
    n, c = 30, 0.3
    net = ngdlib.MLP((64, 2048, 2048, 1))
    x = inputs(n, 64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.where(np.arange(n) % 2, 0.5, -0.5)[:, None]
    params = net.init(0)
    f = start = net.apply(params, x)
    for t in range(6):
        want = y + (1 - c) ** t * (start - y)
        assert np.linalg.norm(f - want) < bound * np.linalg.norm(start - y)
        f, layers = net.linearise(params, x)
        step = ngdlib.natural_gradient(method, layers, f - y, damping=0.0)
        params = net.update(params, step, c / alpha)
        f = net.apply(params, x)


@pytest.mark.parametrize("method", ngdlib.FISHERS)
def test_t3_a_step_of_size_zero_changes_no_bit(method):
    net = ngdlib.MLP((6, 16, 16, 2), bias_variance=0.2)
    x, params = inputs(4, 6), net.init(0)
    step = ngdlib.natural_gradient(method, net.layers(params, x), net.apply(params, x), damping=0.1)
    after = net.update(params, step, 0.0)
    for before, now in zip(params, after, strict=True):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(before, now, strict=True))


@pytest.mark.parametrize("method", ngdlib.FISHERS)
@pytest.mark.parametrize("damping", [0.0, 1e-4])
def test_t5_permuting_the_samples_changes_nothing(method, damping):
    net = ngdlib.MLP((8, 24, 24, 2), activation="tanh")
    x, params, order = inputs(6, 8), net.init(0), np.array([3, 5, 0, 1, 4, 2])
    r = inputs(6, 2, 5)
    one = ngdlib.natural_gradient(method, net.layers(params, x), r, damping=damping)
    two = ngdlib.natural_gradient(method, net.layers(params, x[order]), r[order], damping=damping)
    for a, b in zip(one, two, strict=True):
        assert distance(a, b) < 1e-6
    G = [
        ngdlib.isotropy(method, net.layers(params, z), damping=damping).matrix
        for z in (x, x[order])
    ]
    rows = (2 * order[:, None] + np.arange(2)).reshape(-1)
    assert distance(G[0][np.ix_(rows, rows)], G[1]) < 1e-6


@pytest.mark.parametrize("method", ["exact", "block_diagonal", "unit_wise", "mini_block"])
def test_t6_little_damping_with_a_duplicate_is_the_step_without_it(method):
    """At zero damping duplicates raise (`test_errors.py`); the limit is the pseudo-inverse, in which
    multiplicity drops out."""
    net = ngdlib.MLP((8, 24, 24, 1), activation="tanh")
    x, params, r = inputs(5, 8), net.init(0), inputs(5, 1, 7)
    twice = np.array([0, 1, 2, 3, 4, 2])
    without = ngdlib.natural_gradient(method, net.layers(params, x), r, damping=0.0)
    damped = ngdlib.natural_gradient(method, net.layers(params, x[twice]), r[twice], damping=1e-12)
    layers = net.layers(params, x)
    one, two = (
        sum(layer.push(s) for layer, s in zip(layers, step, strict=True))
        for step in (without, damped)
    )
    assert distance(two, one) < 1e-4


def test_damping_is_in_units_of_the_fisher_matrix():
    """1.2, fact 6: the residual operator is I - eta (Theta / N)(Theta / N + rho)^-1."""
    net, n, rho = ngdlib.MLP((8, 24, 24, 2), activation="tanh"), 6, 0.05
    layers = layers_of(net, inputs(n, 8))
    theta = sum(k.ntk() for k in ngdlib.empirical_kernels(layers)).reshape(2 * n, 2 * n) / n
    want = theta @ np.linalg.inv(theta + rho * np.eye(2 * n))
    assert distance(ngdlib.isotropy("exact", layers, damping=rho).matrix, want) < 1e-10


# ------------------------------------------------------------------ step size, predictions


def test_one_over_the_mean_diverges_under_damping_and_the_optimal_step_does_not():
    """Section 14.7."""
    net = ngdlib.MLP((8, 64, 64, 1))
    G = ngdlib.isotropy("exact", layers_of(net, inputs(12, 8)), damping=3.0).matrix
    s = np.linalg.eigvalsh(G)
    assert abs(1 - s[-1] / s.mean()) > 1.05
    eta = optimal_learning_rate(G)
    assert eta == pytest.approx(2 / (s[0] + s[-1]))
    assert abs(1 - eta * s).max() < 1


def test_methods_agree_on_training_outputs_and_not_on_test_outputs():
    """1.1: all reach the targets at eta = 1 / alpha; what they predict elsewhere differs."""
    net = ngdlib.MLP((10, 64, 64, 1), activation="tanh")
    params, x, x_test = net.init(0), inputs(5, 10), inputs(4, 10, 9)
    f, f_test, y = net.apply(params, x), net.apply(params, x_test), inputs(5, 1, 4)
    layers, test = net.layers(params, x), net.layers(params, x_test)
    out = {}
    for method, alpha in {"exact": 1, "block_diagonal": 3, "kfac": 11}.items():
        train, out[method] = ngdlib.predict(
            method, layers, test, f, f_test, y, learning_rate=1 / alpha, steps=1, damping=0.0
        )
        assert abs(train[1] - y).max() < 1e-9
    assert distance(out["block_diagonal"][1], out["exact"][1]) > 0.01
    assert distance(out["kfac"][1], out["exact"][1]) > 0.05


def test_infinite_width_kernels_predict_for_any_number_of_outputs():
    """One output of the kernel stands for I_C."""
    net = ngdlib.MLP((10, 64, 64, 3))
    x, x_test, y = inputs(5, 10), inputs(4, 10, 9), inputs(5, 3, 4)
    kernels, cross = ngdlib.infinite_kernels(net, x), ngdlib.infinite_kernels(net, x_test, x)
    zero, zero_test = np.zeros((5, 3)), np.zeros((4, 3))
    alphas = {"exact": 1.0, "block_diagonal": 3.0, "block_tridiagonal": 1.0, "kfac": 11.0}
    for method, alpha in alphas.items():
        train, _ = ngdlib.predict(
            method,
            kernels,
            cross,
            zero,
            zero_test,
            y,
            learning_rate=0.3 / alpha,
            steps=3,
            damping=0.0,
        )
        assert abs(train[3] - y * (1 - 0.7**3)).max() < 1e-8
    _, test = ngdlib.predict(
        "exact", kernels, cross, zero, zero_test, y, learning_rate=1.0, steps=1
    )
    theta, theta_test = (sum(k.ntk()[:, 0, :, 0] for k in K) for K in (kernels, cross))
    assert distance(test[1], theta_test @ np.linalg.solve(theta, y)) < 1e-9


# ------------------------------------------------------------------ appendix D


def cross_entropy(outputs=3, n=4):
    net = ngdlib.MLP((8, 48, 48, outputs), activation="tanh")
    params, x = net.init(0), inputs(n, 8)
    f, layers = net.linearise(params, x)
    labels = np.arange(n) % outputs
    p = np.exp(f - f.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    H = np.zeros((n * outputs, n * outputs))
    for k in range(n):
        rows = slice(k * outputs, (k + 1) * outputs)
        H[rows, rows] = np.diag(p[k]) - np.outer(p[k], p[k])
    J = np.concatenate([b.jacobian().reshape(n * outputs, -1) for b in layers], axis=1)
    df = (p - np.eye(outputs)[labels]).reshape(-1)
    return f, layers, labels, p, H, J, df


def flat(step):
    return np.concatenate([s.reshape(-1) for s in step])


@pytest.mark.parametrize("rho", [1e-3, 0.1])
def test_appendix_d_exact(rho):
    """J^T (Lambda Theta / N + rho)^-1 (p - y) / N."""
    f, layers, labels, _, H, J, df = cross_entropy()
    R, u = likelihood.softmax(f, labels)
    step = ngdlib.natural_gradient("exact", likelihood.fold(layers, R), u, damping=rho)
    n = len(f)
    want = J.T @ np.linalg.solve(H @ J @ J.T / n + rho * np.eye(len(H)), df) / n
    assert distance(flat(step), want) < 1e-9


@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
def test_appendix_d_exact_plus_squared_error(epsilon):
    """J^T Theta^-1 (Lambda + epsilon)^-1 (p - y): epsilon is part of the loss, not damping."""
    f, layers, labels, _, H, J, df = cross_entropy()
    R, u = likelihood.plus_identity(likelihood.softmax, epsilon)(f, labels)
    step = ngdlib.natural_gradient("exact", likelihood.fold(layers, R), u, damping=0.0)
    want = J.T @ np.linalg.solve(J @ J.T, np.linalg.solve(H + epsilon * np.eye(len(H)), df))
    assert distance(flat(step), want) < 1e-7


def test_appendix_d_at_zero_damping_moves_the_logits_by_one_over_p():
    """Up to the mean of a sample's logits:  df = (e_y - 1 / C) / p_y."""
    f, layers, labels, p, _, _, _ = cross_entropy()
    R, u = likelihood.softmax(f, labels)
    step = ngdlib.natural_gradient("exact", likelihood.fold(layers, R), u, damping=0.0)
    moved = -sum(layer.push(s) for layer, s in zip(layers, step, strict=True))
    n, c = f.shape
    want = (np.eye(c)[labels] - 1 / c) / p[np.arange(n), labels, None]
    assert distance(moved - moved.mean(1, keepdims=True), want) < 1e-8


@pytest.mark.parametrize("gap", [30.0, 60.0, 1000.0])
def test_softmax_is_safe_where_p_underflows(gap):
    """R^T u is p - y and R^T R is H, with no NaN and no overflow, whatever the label."""
    f = np.array([[gap, 0.0, -gap], [0.0, gap, 1.0], [0.0, 0.0, 0.0]])
    for labels in (np.array([0, 1, 2]), np.array([2, 0, 1])):
        R, u = likelihood.softmax(f, labels)
        assert np.isfinite(R).all()
        assert np.isfinite(u).all()
        p = np.exp(f - f.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        assert np.allclose(np.einsum("nkc,nk->nc", R, u), p - np.eye(3)[labels], atol=1e-12)
        H = np.stack([np.diag(q) - np.outer(q, q) for q in p])
        assert np.allclose(np.einsum("nkc,nkd->ncd", R, R), H, atol=1e-14)
        shifted, v = likelihood.plus_identity(likelihood.softmax, 1e-6)(f, labels)
        assert np.isfinite(v).all()
        assert np.allclose(np.einsum("nkc,nk->nc", shifted, v), p - np.eye(3)[labels], atol=1e-9)


def test_logistic_is_softmax_of_two_outputs():
    """f of one output against (0, f) of two: same Hessian along f, same gradient."""
    f = np.array([[-3.0], [0.0], [2.0], [55.0]])
    y = np.array([0, 1, 1, 0])
    R, u = likelihood.logistic(f, y)
    S, v = likelihood.softmax(np.concatenate([0 * f, f], axis=1), y)
    one, two = R[:, 0, 0] ** 2, np.einsum("nkc,nkd->ncd", S, S)[:, 1, 1]
    assert np.allclose(one, two, rtol=1e-10, atol=1e-17)
    df = np.einsum("nkc,nk->nc", S, v)[:, 1]
    assert np.allclose((R[:, 0, 0] * u[:, 0]), df, atol=1e-12)


# ------------------------------------------------------------------ conditions


def test_conditions_say_which_hold():
    net = ngdlib.MLP((8, 20, 5, 2), activation="tanh")
    layers = layers_of(net, inputs(6, 8))
    held = {c.text: c.holds for c in ngdlib.conditions("kfac", layers)}
    assert [*held.values()] == [True, True, False]
    assert "N C <= M_2" in [*held][2]
    assert not any(c.holds for c in ngdlib.conditions("diagonal", layers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ngdlib.isotropy("kfac", layers).deviation > 0.05
