"""The equations of chapter 5, each against brute force."""

import importlib.util

import numpy as np
import pytest

import ngdlib
from ngdlib.figures import infinite_kernels as ik
from ngdlib.figures.function_space import digits, fit
from ngdlib.models.infinite import MOMENTS

Q1, Q2, K = 1.3, 2.1, 0.9


def double_integral(function, derivative=False, nodes=160):
    """E[phi(u) phi(u')] on a grid in polar coordinates, where a kink at 0 is a kink in the angle."""
    radius, weight = np.polynomial.legendre.leggauss(nodes)
    radius, weight = 5 * (radius + 1), 5 * weight  # 0 .. 10
    angle = (np.arange(20_000) + 0.5) * 2 * np.pi / 20_000
    z1, z2 = radius[:, None] * np.cos(angle), radius[:, None] * np.sin(angle)
    u = Q1**0.5 * z1
    v = K / Q1**0.5 * z1 + (Q2 - K**2 / Q1) ** 0.5 * z2
    density = np.exp(-(radius**2) / 2) * radius * weight / (2 * np.pi)
    return density @ (function(u) * function(v)).sum(1) * (angle[1] - angle[0])


def moments(activation):
    return MOMENTS[activation](np.array([[K]]), np.array([[Q1]]), np.array([[Q2]]))


def test_relu_moments_are_the_integrals():
    phi, slope = (m.item() for m in moments("relu"))
    assert phi == pytest.approx(double_integral(lambda u: np.maximum(u, 0)), rel=1e-5)
    assert slope == pytest.approx(double_integral(lambda u: 1.0 * (u > 0)), abs=1e-4)


def test_erf_moments_are_the_integrals():
    special = pytest.importorskip("scipy.special")
    phi, slope = (m.item() for m in moments("erf"))
    assert phi == pytest.approx(double_integral(special.erf), rel=1e-6)
    gauss = double_integral(lambda u: 2 / np.pi**0.5 * np.exp(-(u**2)))
    assert slope == pytest.approx(gauss, rel=1e-6)


def test_tanh_moments_are_the_integrals():
    phi, slope = (m.item() for m in moments("tanh"))
    assert phi == pytest.approx(double_integral(np.tanh), rel=1e-6)
    assert slope == pytest.approx(double_integral(lambda u: 1 - np.tanh(u) ** 2), rel=1e-6)


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh"])
def test_the_derivative_of_one_moment_is_the_other(activation):
    """Price: d/dk E[phi phi] = E[phi' phi']."""
    h, q1, q2 = 1e-4, np.array([[Q1]]), np.array([[Q2]])
    up, down = (MOMENTS[activation](np.array([[K + s * h]]), q1, q2).phi for s in (1, -1))
    slope = MOMENTS[activation](np.array([[K]]), q1, q2).derivative
    np.testing.assert_allclose((up - down) / (2 * h), slope, rtol=1e-6)


def test_mehler_s_formula():
    """Normalised Hermite polynomials of two normals of correlation c: E[h_j h_k] = c^k or 0."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights, c = weights / weights.sum(), 0.6
    z = nodes[:, None]
    other = c * z + (1 - c**2) ** 0.5 * nodes
    for j in range(5):
        for k in range(5):
            h = [
                np.polynomial.hermite_e.HermiteE.basis(d)(at)
                / np.prod(np.arange(1.0, d + 1)) ** 0.5
                for d, at in ((j, z), (k, other))
            ]
            mean = weights @ (h[0] * h[1]) @ weights
            assert mean == pytest.approx(c**k * (j == k), abs=1e-10)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_theta_is_the_mean_of_wide_networks(activation):
    net = ngdlib.MLP((64, 512, 512, 1), activation, 1.5, 0.2)
    x = ik.unequal(0.5)
    found = [ik._empirical(net, net.init(s), x) for s in range(30)]
    limit = ik.infinite(net, x)
    assert np.linalg.norm(np.mean(found, 0) - limit) < 0.03 * np.linalg.norm(limit)


def test_the_mean_of_many_networks_stops_at_a_distance_of_one_over_the_width():
    """200 000 ReLU networks of two hidden layers, written out; the noise is below 0.3 %."""
    x = ik.unequal(0.5)[[3, 8, 15, 20]]
    limit = ik.infinite(ngdlib.MLP((64, 1, 1, 1)), x)
    K1, rng = 2 * x @ x.T / 64, np.random.default_rng(0)

    def gram(z):
        return z.swapaxes(1, 2) @ z  # (draws, units, n) -> (draws, n, n)

    def bias(M, draws=200_000, block=5000):
        total = 0
        for _ in range(draws // block):
            u1 = rng.standard_normal((block, M, 4)) @ np.linalg.cholesky(K1).T
            W2, W3 = rng.standard_normal((block, M, M)), rng.standard_normal((block, M, 1))
            a2 = (2 / M) ** 0.5 * np.maximum(u1, 0)
            u2 = W2 @ a2
            g2 = (2 / M) ** 0.5 * W3 * (u2 > 0)
            g1 = (2 / M) ** 0.5 * (W2.swapaxes(1, 2) @ g2) * (u1 > 0)
            A3 = gram((2 / M) ** 0.5 * np.maximum(u2, 0))
            total = total + (A3 + gram(a2) * gram(g2) + K1 * gram(g1)).sum(0)
        return np.linalg.norm(total / draws - limit) / np.linalg.norm(limit)

    narrow, wide = bias(8), bias(16)
    assert wide > 0.007
    assert 1.5 < narrow / wide < 2.8


def test_one_network_comes_closer_like_one_over_the_root_of_its_width():
    data = ik.compute_errors()
    for a in (0, 1):
        assert ik.law(data, a).slope == pytest.approx(-0.5, abs=0.12)
        assert fit(data.widths, data.single[a]).error < 0.05


def test_a_single_variance_is_right_for_equal_norms_and_wrong_for_others():
    net = ngdlib.MLP((64, 1, 1, 1))
    x = digits().x_train
    exact = ik.infinite(net, x)
    np.testing.assert_allclose(ik.single_q(net, x), exact, atol=1e-6 * exact.max())
    x = ik.unequal(0.5)
    exact = ik.infinite(net, x)
    assert np.linalg.norm(ik.single_q(net, x) - exact) > 0.1 * np.linalg.norm(exact)


def test_a_cosine_above_one_is_a_nan_and_a_clipped_one_a_small_error():
    with np.errstate(invalid="ignore"):
        assert np.isnan(np.arccos(1 + 1e-15))
    rounded = np.arccos(np.clip(1 - 2e-16, -1, 1))  # one rounding error below 1
    assert 1e-8 < rounded < 1e-7


@pytest.mark.skipif(
    importlib.util.find_spec("neural_tangents") is None, reason="neural-tangents is not installed"
)
def test_neural_tangents_agrees_also_on_a_convolution():
    import jax

    from ngdlib.exercises.ch05 import _conv
    from ngdlib.interop import neural_tangents

    stax = neural_tangents.load().stax
    with jax.enable_x64(True):
        x = ik.unequal(0.5)[:6]
        layer = (1.5**0.5, 0.2**0.5)
        *_, dense = stax.serial(
            stax.Dense(1, *layer),
            stax.Relu(),
            stax.Dense(1, *layer),
            stax.Relu(),
            stax.Dense(1, *layer),
        )
        mine = ik.infinite(ngdlib.MLP((64, 1, 1, 1), "relu", 1.5, 0.2), x)
        np.testing.assert_allclose(dense(x, None, "ntk"), mine, rtol=1e-6)
        *_, conv = stax.serial(
            stax.Conv(1, (3, 3), padding="CIRCULAR", W_std=1.5**0.5),
            stax.Relu(),
            stax.Flatten(),
            stax.Dense(1, 1.5**0.5),
        )
        images = x.reshape(6, 8, 8)
        np.testing.assert_allclose(
            conv(images[..., None], None, "ntk"), _conv(images, 1.5), rtol=1e-5
        )
