"""What chapter 9 says, computed by brute force: small networks, whole blocks, float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import ngdlib
from ngdlib import forster
from ngdlib.figures import kfac as figures
from ngdlib.figures import networks
from ngdlib.fisher import kfac

RHO = 3e-3


def network(inputs=8, width=14, outputs=2, samples=5, bias=0.3, depth=3, seed=1, activation="tanh"):
    net = ngdlib.MLP((inputs, *[width] * (depth - 1), outputs), activation, 1.7, bias)
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((samples, inputs)), rng.standard_normal((samples, outputs))
    params = net.init(seed)
    return net, params, x, y


def factors(layer):
    """B and A as the chapter defines them, sums of outer products."""
    n = len(layer.a)
    B = sum(np.outer(g, g) for g in layer.g.reshape(-1, layer.g.shape[2])) / n
    A = sum(np.outer(a, a) for a in layer.a) / n
    return B, A


def jacobian(layer):
    n, c = layer.g.shape[:2]
    return layer.jacobian().reshape(n * c, -1)


def pinv(matrix):
    return np.linalg.pinv(matrix, rcond=1e-10, hermitian=True)


def share(layer):
    """G_bar of one layer in parameter space, with an explicit pseudo-inverse of B (x) A."""
    B, A = factors(layer)
    J = jacobian(layer)
    return J @ pinv(np.kron(B, A)) @ J.T / len(layer.a)


def projector(X):
    U, s, _ = np.linalg.svd(X, full_matrices=False)
    U = U[:, s > 1e-9 * s[0]]
    return U @ U.T


def test_block_is_an_average_of_kronecker_products():
    net, params, x, _ = network()
    for layer in net.layers(params, x):
        J, n = jacobian(layer), len(x)
        c = layer.g.shape[1]
        average = sum(
            np.kron(np.outer(layer.g[k, d], layer.g[k, d]), np.outer(layer.a[k], layer.a[k]))
            for k, d in itertools.product(range(n), range(c))
        )
        assert np.allclose(J.T @ J / n, average / n, rtol=0, atol=1e-12)


def test_row_major_ravel_puts_the_backward_factor_first():
    rng = np.random.default_rng(0)
    B, A, V = rng.random((3, 3)), rng.random((4, 4)), rng.random((3, 4))
    B, A = B @ B.T, A @ A.T
    assert np.allclose(np.kron(B, A) @ V.ravel(), (B @ V @ A).ravel())
    assert np.allclose(np.kron(A, B) @ V.ravel("F"), (B @ V @ A).ravel("F"))


def test_kfac_is_exact_for_one_sample_and_in_the_last_layer():
    net, params, x, _ = network(outputs=1)
    one = net.layers(params, x[:1])
    many = network(outputs=3)
    last = many[0].layers(many[1], many[2])[-1]
    for layer in (*one, last):
        J = jacobian(layer)
        assert np.allclose(np.kron(*factors(layer)), J.T @ J / len(layer.a), rtol=0, atol=1e-12)
    hidden = many[0].layers(many[1], many[2])[1]
    J = jacobian(hidden)
    assert not np.allclose(np.kron(*factors(hidden)), J.T @ J / 5, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"outputs": 1, "bias": 0.0},
        {"inputs": 3, "samples": 6, "bias": 0.0},  # N > M_0
        {"width": 7},  # N C > M
        {"activation": "relu", "outputs": 1, "bias": 0.0},
    ],
    ids=str,
)
def test_projector_formula(sizes):
    net, params, x, _ = network(**sizes)
    for layer in net.layers(params, x):
        n, c, units = layer.g.shape
        P_B = projector(layer.g.reshape(n * c, units))
        P_A = np.kron(projector(layer.a), np.ones((c, c)))
        assert np.allclose(share(layer), n * P_B * P_A, rtol=0, atol=1e-7)


@pytest.mark.parametrize("bias", [0.0, 0.3])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_alpha_of_every_layer(depth, outputs, bias):
    net, params, x, _ = network(depth=depth, outputs=outputs, bias=bias)
    layers, n = net.layers(params, x), len(x)
    each = [n] * (depth - 1) + [1]
    for layer, alpha in zip(layers, each, strict=True):
        assert np.allclose(share(layer), alpha * np.eye(n * outputs), rtol=0, atol=1e-6)
    for normalisation, alpha in (("textbook", n * (depth - 1) + 1), ("equal", n * depth)):
        iso = ngdlib.isotropy(kfac(normalisation), layers)
        assert np.isclose(iso.alpha, alpha)
        assert iso.deviation < 1e-7


def test_outputs_on_other_inputs():
    """The first-order change of the test outputs: products of two kernel regressions."""
    net, params, x, y = network()
    other = np.random.default_rng(7).standard_normal((3, 8))
    layers, others = net.layers(params, x), net.layers(params, other)
    r, n, c = net.apply(params, x) - y, 5, 2
    for normalisation in ("textbook", "equal"):
        step = ngdlib.natural_gradient(kfac(normalisation), layers, r, damping=0.0)
        moved = sum(b.push(s) for b, s in zip(others, step, strict=True)).ravel()
        expected = 0
        for l, (layer, test) in enumerate(zip(layers, others, strict=True)):
            A = (test.a @ layer.a.T) @ np.linalg.inv(layer.a @ layer.a.T)
            alpha = 1 if normalisation == "textbook" and l == 2 else n
            if l < 2:
                g, h = layer.g.reshape(n * c, -1), test.g.reshape(3 * c, -1)
                M = alpha * (h @ g.T @ np.linalg.inv(g @ g.T)) * np.kron(A, np.ones((c, c)))
            else:
                M = alpha * np.kron(A, np.eye(c))
            expected = expected + M @ r.ravel()
        assert np.allclose(moved, expected, rtol=0, atol=1e-6 * abs(expected).max())


def test_published_scale():
    """The published update, written in the weights W~ = sigma W / sqrt(M), moves the outputs by
    N^2 sigma^2 / sqrt(M_0), N^2 sigma^2 / sqrt(M_1), sigma^2 / sqrt(M_2) times the residual."""
    net, params, x, y = network(40, 60, 1, 7, 0.0, activation="relu")
    layers, n, variance = net.layers(params, x), 7, 1.7
    r = net.apply(params, x) - y
    textbook = ngdlib.natural_gradient("kfac", layers, r, damping=0.0)
    for l, (layer, right) in enumerate(zip(layers, textbook, strict=True)):
        M = net.widths[l]
        h, g = layer.a / np.sqrt(variance / M), layer.g[:, 0]
        from_inputs = np.linalg.solve(h @ h.T / n, h)  # rows N (h h^T)^-1 h
        if l < 2:
            backward = np.linalg.solve(g @ g.T / n, g)
            dW = variance / np.sqrt(M) * (r * backward).T @ from_inputs
            share, plain = n**2 * variance / np.sqrt(M), (r * backward).T @ from_inputs / n
        else:
            dW = variance / np.sqrt(M) * r.T @ from_inputs / n
            share, plain = variance / np.sqrt(M), r.T @ from_inputs / n
        moved = np.einsum("ni,ij,nj->n", g, dW, h)
        assert np.allclose(moved, share * r[:, 0], rtol=1e-8)
        # The right step in these weights has 1/N in front, and no sigma^2 / sqrt(M).
        assert np.allclose(
            plain, right * np.sqrt(variance / M), rtol=0, atol=1e-8 * abs(plain).max()
        )


def test_audited_sizes():
    """N = 40, M_0 = 100, width 512: alpha eta = 3.85 with eta = 1 / NL."""
    shares = 40**2 * 2 / 10, 40**2 * 2 / 512**0.5, 2 / 512**0.5
    assert np.allclose(shares, (320, 141.4, 0.088), rtol=1e-2)
    assert round(sum(shares) / 120, 2) == 3.85


def test_first_layer_with_more_samples_than_inputs():
    net, params, x, _ = network(4, 40, 1, 9, 0.0)
    G = share(net.layers(params, x)[0])
    leverage = np.diag(x @ np.linalg.inv(x.T @ x) @ x.T)
    assert np.allclose(G, 9 * np.diag(leverage), rtol=0, atol=1e-6)
    assert np.isclose(leverage.sum(), 4)
    z = forster.fit(x)(x)
    assert np.allclose(z.T @ z, 9 / 4 * np.eye(4), rtol=0, atol=1e-10)
    layers = net.layers(params, z)
    assert np.allclose(share(layers[0]), 4 * np.eye(9), rtol=0, atol=1e-6)
    iso = ngdlib.isotropy("kfac", layers)
    assert np.isclose(iso.alpha, 4 + 9 + 1)
    assert iso.deviation < 1e-7


def test_crowded_layers_count_their_units():
    """N C > M: P_B has rank M, and alpha_l = N M / N C."""
    net, params, x, _ = network(8, 7, 2, 5)
    assert np.isclose(np.trace(share(net.layers(params, x)[1])) / 10, 5 * 7 / 10)


@pytest.mark.parametrize("width", [14, 60])
def test_one_label_per_sample_is_not_isotropic(width):
    """B of one random backward vector per sample has rank N, and G_bar_2 is N I at no width."""
    net, params, x, _ = network(width=width)
    layer, n, c = net.layers(params, x)[1], 5, 2
    J, g = jacobian(layer), layer.g.reshape(n * c, -1)
    A = factors(layer)[1]
    for seed in range(4):
        xi = np.random.default_rng(seed).standard_normal((n, c))
        one = np.einsum("nc,nci->ni", xi, layer.g)
        B = one.T @ one / n
        assert np.linalg.matrix_rank(g @ pinv(B) @ g.T, tol=1e-7) == n
        G = J @ np.kron(pinv(B), pinv(A)) @ J.T / n
        half = g @ np.linalg.pinv(one)
        P_A = np.kron(projector(layer.a), np.ones((c, c)))
        assert np.allclose(G, n * (half @ half.T) * P_A, rtol=0, atol=1e-6)
        low, *_, high = np.linalg.eigvalsh(G)
        assert high > 1.5 * low


def test_split_damping_adds_cross_terms():
    net, params, x, y = network()
    layers = net.layers(params, x)
    step = ngdlib.natural_gradient(
        "kfac", layers, net.apply(params, x) - y, damping=ngdlib.damping.factored(RHO)
    )
    gradient = ngdlib.layers.gradient(layers, net.apply(params, x) - y)
    for layer, dW, slope in zip(layers, step, gradient, strict=True):
        B, A = factors(layer)
        pi = np.sqrt(np.trace(A) / len(A) / (np.trace(B) / len(B)))
        eye_B, eye_A = np.eye(len(B)), np.eye(len(A))
        product = np.kron(B + RHO**0.5 / pi * eye_B, A + pi * RHO**0.5 * eye_A)
        cross = RHO**0.5 * (pi * np.kron(B, eye_A) + np.kron(eye_B, A) / pi)
        assert np.allclose(product, np.kron(B, A) + RHO * np.eye(len(product)) + cross)
        expected = np.linalg.solve(product, slope.ravel()).reshape(slope.shape)
        assert np.allclose(dW, expected, rtol=0, atol=1e-8 * abs(expected).max())


@pytest.mark.parametrize(("damping", "split"), [(0.0, "whole"), (RHO, "whole"), (RHO, "factored")])
@pytest.mark.parametrize(("outputs", "width"), [(1, 40), (3, 64)])
def test_the_figure_shows_the_library_s_matrix(damping, split, outputs, width):
    shown = figures.compute_conditions(12, 20, width, outputs, damping, split, "raw")
    x = figures._inputs(outputs, 12, 20, False)
    layers = networks.run(ngdlib.MLP.layers, width, x, inputs=20, outputs=outputs, seed=2)
    how = ngdlib.damping.factored(damping) if split == "factored" else damping
    iso = ngdlib.isotropy("kfac", layers, damping=how)
    assert np.allclose(shown.matrix * shown.alpha, iso.matrix, rtol=0, atol=1e-8 * iso.alpha)
    assert np.isclose(shown.deviation, iso.deviation, rtol=1e-6, atol=1e-9)
