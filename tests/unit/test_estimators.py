"""Estimates of the Fisher matrix: second derivatives, means and variances against brute force."""

import itertools

import numpy as np
import pytest

from ngdlib import MLP
from ngdlib import estimators as est

LOSSES = [("squared_error", 1), ("squared_error", 2), ("logistic", 1), ("softmax", 3)]


def small(activation="tanh", outputs=1, n=3, widths=(3, 4, 3), bias=0.0, seed=0):
    net = MLP((*widths, outputs), activation, bias_variance=bias)
    x = np.random.default_rng(seed + 1).standard_normal((n, widths[0]))
    params = net.init(seed)
    return net, params, x


def vector(params):
    return np.concatenate(
        [
            np.concatenate([W, b[:, None]], axis=1).ravel() if b is not None else W.ravel()
            for W, b in params
        ]
    )


def network_at(net, params, theta):
    out, k = [], 0
    for W, b in params:
        columns = W.shape[1] + (b is not None)
        block = theta[k : k + W.shape[0] * columns].reshape(W.shape[0], columns)
        k += block.size
        out.append((block[:, : W.shape[1]], None if b is None else block[:, -1]))
    return out


@pytest.mark.parametrize("activation", ["tanh", "erf", "relu", "linear"])
@pytest.mark.parametrize("widths", [(3,), (3, 4), (3, 4, 3), (2, 3, 4, 3)])
@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_second_derivatives(activation, widths, bias):
    net, params, x = small(activation, 2, widths=widths, bias=bias)
    expansion = est.expand(net, params, x)
    theta, h = vector(params), 1e-6
    eye = np.eye(len(theta))
    slopes = [
        (
            est.expand(net, network_at(net, params, theta + h * d), x).J
            - est.expand(net, network_at(net, params, theta - h * d), x).J
        )
        / (2 * h)
        for d in eye
    ]
    np.testing.assert_allclose(expansion.H, np.stack(slopes, axis=3), atol=1e-7)
    first = [
        (net.apply(network_at(net, params, theta + h * d), x)
         - net.apply(network_at(net, params, theta - h * d), x)) / (2 * h)
        for d in eye
    ]  # fmt: skip
    np.testing.assert_allclose(expansion.J, np.stack(first, axis=2), atol=1e-7)
    np.testing.assert_allclose(expansion.H, expansion.H.swapaxes(2, 3), atol=1e-14)
    assert sum(expansion.sizes) == len(theta)


@pytest.mark.parametrize(("loss", "outputs"), LOSSES)
def test_hessian_estimate_is_the_hessian_of_the_loss(loss, outputs):
    """With e at given labels F_2 is the second derivative of the loss itself."""
    net, params, x = small(outputs=outputs)
    expansion = est.expand(net, params, x)
    f = expansion.f
    rng = np.random.default_rng(0)
    if loss == "squared_error":
        y = rng.standard_normal(f.shape)
        e, log_loss = f - y, lambda f: ((f - y) ** 2).sum() / 2
    elif loss == "logistic":
        y = np.array([[0.0], [1.0], [1.0]])
        e, log_loss = 1 / (1 + np.exp(-f)) - y, lambda f: (np.logaddexp(0, f) - y * f).sum()
    else:
        y = np.eye(3)[[0, 2, 1]]
        p = np.exp(f) / np.exp(f).sum(1, keepdims=True)
        e = p - y
        log_loss = lambda f: (np.log(np.exp(f).sum(1)) - (y * f).sum(1)).sum()  # noqa: E731
    theta, h = vector(params), 1e-3
    P = len(theta)
    eye = np.eye(P)

    def value(t):
        return log_loss(net.apply(network_at(net, params, t), x)) / len(x)

    picked = np.random.default_rng(1).integers(P, size=(25, 2))
    H = est.hessian_estimate(expansion, loss, e[:, None, :])
    for i, j in picked:
        a, b = h * eye[i], h * eye[j]
        by_hand = (
            value(theta + a + b)
            - value(theta + a - b)
            - value(theta - a + b)
            + value(theta - a - b)
        ) / (4 * h * h)
        assert H[i, j] == pytest.approx(by_hand, abs=3e-5)


@pytest.mark.parametrize(("loss", "outputs"), LOSSES)
@pytest.mark.parametrize("samples", [1, 8])
def test_variances_against_replicates(loss, outputs, samples):
    """Twenty thousand replicates: means within five standard errors, variances within 5 %."""
    net, params, x = small(outputs=outputs, n=2, widths=(2, 3))
    expansion = est.expand(net, params, x)
    replicates = 20_000
    e = est.draw(loss, expansion.f, samples=samples * replicates, seed=3)
    e = e.reshape(len(x), replicates, samples, outputs)
    F = est.fisher(expansion, loss)
    N = len(x)
    second = np.einsum("nrsc,nrsd->nrcd", e, e) / samples
    first = np.einsum("nrcd,nci,ndj->rij", second, expansion.J, expansion.J, optimize=True) / N
    other = F + np.einsum("nrsc,ncij->rij", e, expansion.H, optimize=True) / (N * samples)
    np.testing.assert_allclose(first[7], est.score_estimate(expansion, e[:, 7]), atol=1e-12)
    np.testing.assert_allclose(other[7], est.hessian_estimate(expansion, loss, e[:, 7]), atol=1e-12)
    for found, variance in (
        (first, est.score_variance(expansion, loss, samples=samples)),
        (other, est.hessian_variance(expansion, loss, samples=samples)),
    ):
        assert np.linalg.norm(found.mean(0) - F) < 0.03 * np.linalg.norm(F)
        # An average of so many replicates is off by sd / sqrt(replicates), and no more than 5 of them.
        bound = 5 * np.sqrt(variance / replicates) + 1e-12
        assert (abs(found.mean(0) - F) <= bound).all()
        off = np.linalg.norm(found.var(0) - variance)
        assert off < 0.05 * np.linalg.norm(variance)


@pytest.mark.parametrize(("loss", "outputs"), LOSSES)
def test_variance_by_fourth_moments(loss, outputs):
    """sum_abcd J_ai J_bj J_ci J_dj (K_abcd - I_ab I_cd) per input: the formula of the source."""
    net, params, x = small(outputs=outputs)
    expansion = est.expand(net, params, x)
    I = est.information(loss, expansion.f)
    eye = np.eye(outputs)
    total = 0.0
    for n in range(len(x)):
        if loss == "squared_error":
            K = np.zeros((outputs,) * 4)
            for a, b, c, d in itertools.product(range(outputs), repeat=4):
                K[a, b, c, d] = (
                    eye[a, b] * eye[c, d] + eye[a, c] * eye[b, d] + eye[a, d] * eye[b, c]
                )
        else:
            e, w = (part[n] for part in est.outcomes(loss, expansion.f))
            K = np.einsum("y,ya,yb,yc,yd->abcd", w, e, e, e, e)
            np.testing.assert_allclose(np.einsum("y,ya,yb->ab", w, e, e), I[n], atol=1e-12)
            np.testing.assert_allclose(w @ e, 0, atol=1e-15)
        J = expansion.J[n]
        K = K - np.einsum("ab,cd->abcd", I[n], I[n])
        total = total + np.einsum("ai,bj,ci,dj,abcd->ij", J, J, J, J, K, optimize=True)
    np.testing.assert_allclose(
        est.score_variance(expansion, loss, samples=5), total / (len(x) ** 2 * 5), atol=1e-12
    )


def test_slope_in_samples():
    net, params, x = small()
    expansion = est.expand(net, params, x)
    F = est.fisher(expansion, "squared_error")
    S = np.array([1, 4, 16, 64])
    errors = []
    for samples in S:
        draws = [
            est.score_estimate(
                expansion, est.draw("squared_error", expansion.f, samples=samples, seed=seed)
            )
            for seed in range(3000)
        ]
        errors.append(np.mean([((D - F) ** 2).sum() for D in draws]))
    assert np.polyfit(np.log(S), np.log(errors), 1)[0] == pytest.approx(-1, abs=0.05)


@pytest.mark.parametrize(("loss", "outputs"), LOSSES)
def test_last_layer_of_the_hessian_is_exact(loss, outputs):
    net, params, x = small(outputs=outputs)
    expansion = est.expand(net, params, x)
    last = expansion.sizes[-1]
    assert est.hessian_variance(expansion, loss, samples=1)[-last:, -last:].max() < 1e-12
    assert est.score_variance(expansion, loss, samples=1)[-last:, -last:].max() > 1e-7


def test_relu_is_exact_within_layers_and_not_across():
    net, params, x = small("relu", widths=(3, 6, 6))
    expansion = est.expand(net, params, x)
    variance = est.hessian_variance(expansion, "squared_error", samples=1)
    layer = np.repeat(range(3), expansion.sizes)
    same = layer[:, None] == layer
    assert variance[same].max() < 1e-12
    assert variance[~same].max() > 1e-3


def test_a_fair_coin_leaves_the_score_no_noise():
    """Logistic labels at p = 1/2 have e = 1/2 or -1/2: the outer product is the same for both."""
    net, params, x = small()
    expansion = est.expand(net, params, x)._replace(f=np.zeros((3, 1)))
    assert est.score_variance(expansion, "logistic", samples=1).max() < 1e-12
    e = est.draw("logistic", expansion.f, samples=1, seed=0)
    np.testing.assert_allclose(
        est.score_estimate(expansion, e), est.fisher(expansion, "logistic"), atol=1e-14
    )


def test_score_estimate_is_the_library_s_monte_carlo_fisher():
    from ngdlib import likelihood

    net, params, x = small(outputs=2)
    expansion = est.expand(net, params, x)
    R, _ = likelihood.monte_carlo(likelihood.squared_error, samples=7, seed=4)(
        expansion.f, expansion.f
    )
    J = [b.jacobian().reshape(3 * 7, -1) for b in likelihood.fold(net.layers(params, x), R)]
    J = np.concatenate(J, axis=1)
    e = est.draw("squared_error", expansion.f, samples=7, seed=4)
    np.testing.assert_allclose(J.T @ J / 3, est.score_estimate(expansion, e), atol=1e-12)
