"""The equations of chapter 2, each against brute force."""

import numpy as np
import pytest

import ngdlib
from ngdlib import likelihood
from ngdlib.figures import fisher_information as two


def model(outputs=3, n=4, seed=0, widths=(3, 4)):
    """A small network, its parameters as one vector, and its inputs."""
    net = ngdlib.MLP((*widths, outputs), activation="tanh")
    params = net.init(seed)
    x = np.random.default_rng(seed + 1).standard_normal((n, widths[0]))
    shapes = [W.shape for W, _ in params]

    def outputs_at(theta):
        weights, k = [], 0
        for shape in shapes:
            size = shape[0] * shape[1]
            weights.append((theta[k : k + size].reshape(shape), None))
            k += size
        return net.apply(weights, x)

    theta = np.concatenate([W.reshape(-1) for W, _ in params])
    layers = net.layers(params, x)
    J = np.concatenate([layer.jacobian().reshape(n, outputs, -1) for layer in layers], axis=2)
    return outputs_at, theta, J, layers


def log_softmax(f):
    f = f - f.max(-1, keepdims=True)
    return f - np.log(np.exp(f).sum(-1, keepdims=True))


def second_derivative(function, theta, h=1e-3):
    """Hessian by central differences of fourth order in h."""
    size = len(theta)
    eye = np.eye(size)

    def plain(h):
        H = np.empty((size, size))
        for i in range(size):
            for j in range(i + 1):
                a, b = h * eye[i], h * eye[j]
                H[i, j] = H[j, i] = (
                    function(theta + a + b)
                    - function(theta + a - b)
                    - function(theta - a + b)
                    + function(theta - a - b)
                ) / (4 * h * h)
        return H

    return (4 * plain(h / 2) - plain(h)) / 3


def test_the_score_has_mean_zero():
    f, theta, J, _ = model()
    p = np.exp(log_softmax(f(theta)))
    scores = np.einsum("yc,ncp->nyp", np.eye(3), J) - np.einsum("nc,ncp->np", p, J)[:, None]
    np.testing.assert_allclose(np.einsum("ny,nyp->np", p, scores), 0, atol=1e-14)


def test_three_definitions_agree():
    f, theta, J, layers = model()
    n = len(J)
    start = log_softmax(f(theta))
    p = np.exp(start)
    scores = np.einsum("yc,ncp->nyp", np.eye(3), J) - np.einsum("nc,ncp->np", p, J)[:, None]
    covariance = np.einsum("ny,nyp,nyq->pq", p, scores, scores) / n

    # The labels are drawn from the model at theta, and stay so while the parameters move.
    curvature = second_derivative(lambda t: -(p * log_softmax(f(t))).sum() / n, theta)
    divergence = second_derivative(lambda t: (p * (start - log_softmax(f(t)))).sum() / n, theta)
    np.testing.assert_allclose(covariance, curvature, atol=1e-7)
    np.testing.assert_allclose(covariance, divergence, atol=1e-7)

    R, _ = likelihood.softmax(f(theta), np.zeros(n, dtype=int))
    K = np.concatenate(
        [b.jacobian().reshape(n * 2, -1) for b in likelihood.fold(layers, R)], axis=1
    )
    np.testing.assert_allclose(covariance, K.T @ K / n, atol=1e-12)


def test_squared_error_gives_gauss_newton():
    _, _, J, layers = model(outputs=2)
    n = len(J)
    # E[e e^T] = I for a standard normal e: exact with the 4 points of a quadrature rule.
    points = np.array([[s, t] for s in (-1, 1) for t in (-1, 1)])
    scores = np.einsum("yc,ncp->nyp", points, J)
    F = np.einsum("nyp,nyq->pq", scores, scores) / (4 * n)
    flat = J.reshape(2 * n, -1)
    np.testing.assert_allclose(F, flat.T @ flat / n, atol=1e-12)
    R, _ = likelihood.squared_error(np.zeros((n, 2)), np.zeros((n, 2)))
    np.testing.assert_allclose(R, np.broadcast_to(np.eye(2), (n, 2, 2)))


def test_kl_is_half_a_quadratic_form():
    w, d = np.array([1.0, 1.5]), np.array([0.6, -0.8])
    F = two.fisher(w)
    errors = [abs(two.kl(w, w + h * d) - h * h * d @ F @ d / 2) for h in (0.02, 0.01)]
    assert errors[0] / errors[1] == pytest.approx(8, rel=0.05)  # the next term is cubic
    p, q = two.probability(w), two.probability(w + d)
    direct = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
    assert two.kl(w, w + d) == pytest.approx(direct, rel=1e-10)


def test_steepest_descent_at_equal_divergence():
    w = np.array([1.0, 0.2])
    F, g = two.fisher(w), two.slope(w)
    natural = np.linalg.solve(F, g)

    def per_distance(d):
        return g @ d / np.sqrt(d @ F @ d)

    best = per_distance(-natural)
    angles = np.linspace(0, 2 * np.pi, 2000)
    others = [per_distance(np.array([np.cos(a), np.sin(a)])) for a in angles]
    assert min(others) >= best * (1 + 1e-12)
    assert min(others) == pytest.approx(best, rel=1e-4)
    assert per_distance(-g) > best  # plain gradient descent is not it

    eta, rng = 0.3, np.random.default_rng(0)

    def model_of_the_loss(d):
        return g @ d + d @ F @ d / (2 * eta)

    for _ in range(100):
        assert model_of_the_loss(-eta * natural) <= model_of_the_loss(
            -eta * natural + rng.standard_normal(2)
        )


def test_hessian_is_fisher_plus_curvature_of_the_network():
    f, theta, J, _ = model(outputs=2)
    n = len(J)
    y = np.random.default_rng(5).standard_normal((n, 2))
    r = f(theta) - y
    hessian = second_derivative(lambda t: ((f(t) - y) ** 2).sum() / (2 * n), theta)
    bend = second_derivative(lambda t: (r * f(t)).sum() / n, theta)  # sum r d2f / N
    flat = J.reshape(2 * n, -1)
    np.testing.assert_allclose(hessian, flat.T @ flat / n + bend, atol=1e-6)
    assert np.abs(bend).max() > 1e-2
    at_fit = second_derivative(lambda t: ((f(t) - f(theta)) ** 2).sum() / (2 * n), theta)
    np.testing.assert_allclose(at_fit, flat.T @ flat / n, atol=1e-6)


def test_natural_gradient_of_logistic_regression_is_newton():
    w = np.array([0.7, 1.3])
    np.testing.assert_allclose(second_derivative(two.loss, w), two.fisher(w), atol=1e-8)


def test_empirical_fisher_vanishes_at_the_fit():
    f, theta, J, layers = model(outputs=1)
    for shift in (1.0, 1e-3, 0.0):
        out = f(theta)
        R, u = likelihood.empirical(likelihood.squared_error)(out, out - shift)
        assert u is None
        K = np.concatenate(
            [b.jacobian().reshape(len(J), -1) for b in likelihood.fold(layers, R)], axis=1
        )
        trace = np.trace(K.T @ K)
        np.testing.assert_allclose(trace, shift**2 * (J**2).sum(), atol=1e-12)


def test_empirical_fisher_moves_outputs_by_one_over_r():
    f, theta, J, layers = model(outputs=1, widths=(3, 8))
    r = np.array([0.1, -0.5, 2.0, 0.02])[:, None]
    J = J[:, 0]
    E = (J * r).T @ (J * r) / 4
    step = np.linalg.pinv(E, rcond=1e-12) @ (J.T @ r[:, 0] / 4)
    np.testing.assert_allclose(J @ step, 1 / r[:, 0], rtol=1e-6)
    folded = likelihood.fold(layers, r[:, :, None])
    steps = ngdlib.natural_gradient("exact", folded, np.ones((4, 1)), damping=0.0)
    moved = sum(layer.push(s) for layer, s in zip(layers, steps, strict=True))
    np.testing.assert_allclose(moved, 1 / r, rtol=1e-9)


def test_straight_coordinates_change_nothing():
    rng = np.random.default_rng(0)
    J, r, T = rng.standard_normal((9, 4)), rng.standard_normal(9), rng.standard_normal((4, 4))
    F, g = J.T @ J / 9, J.T @ r / 9
    in_xi = np.linalg.solve(T.T @ F @ T, T.T @ g)
    np.testing.assert_allclose(T @ in_xi, np.linalg.solve(F, g), rtol=1e-9)
    for skew in (-1.5, 0.7, 1.5):
        assert two.compute_paths(skew, 0.3, 0.0, "straight").natural_moved < 1e-9
        assert two.compute_paths(skew, 0.3, 0.0, "straight").gradient_moved > 0.1


def test_curved_coordinates_matter_at_second_order():
    moved = [two.compute_paths(0.8, eta, 0.0, "curved").natural_moved for eta in (0.1, 0.05)]
    assert moved[0] / moved[1] == pytest.approx(2, rel=0.1)  # second order a step, first a path

    xi = two._to_xi(np.array([1.0, 1.5]), 0.8, "curved")
    T = two._jacobian(xi, 0.8, "curved")
    F, g = two.fisher(np.array([1.0, 1.5])), two.slope(np.array([1.0, 1.5]))
    errors = []
    for eta in (0.1, 0.05):
        step = np.linalg.solve(T.T @ F @ T, T.T @ g)
        w = two._to_w(xi - eta * step, 0.8, "curved")
        errors.append(np.linalg.norm(w - (np.array([1.0, 1.5]) - eta * np.linalg.solve(F, g))))
    assert errors[0] / errors[1] == pytest.approx(4, rel=1e-6)


def test_singular_fisher_the_outputs_still_agree():
    rng = np.random.default_rng(0)
    J, r, T = rng.standard_normal((4, 9)), rng.standard_normal(4), rng.standard_normal((9, 9))
    J[3] = J[0] + J[1]  # and J is not even of full rank
    step = np.linalg.pinv(J.T @ J, rcond=1e-10) @ J.T @ r
    K = J @ T
    other = T @ np.linalg.pinv(K.T @ K, rcond=1e-10) @ K.T @ r
    np.testing.assert_allclose(J @ other, J @ step, atol=1e-8)
    assert np.linalg.norm(other - step) > 0.1 * np.linalg.norm(step)


def test_damping_breaks_invariance():
    net = ngdlib.MLP((5, 16, 16, 1))
    rng = np.random.default_rng(0)
    x, r = rng.standard_normal((6, 5)), rng.standard_normal((6, 1))
    layers = net.layers(net.init(0), x)
    scaled = [layers[0]._replace(a=10 * layers[0].a), *layers[1:]]

    def moved(blocks, rho):
        steps = ngdlib.natural_gradient("exact", blocks, r, damping=rho)
        return sum(b.push(s) for b, s in zip(blocks, steps, strict=True))

    np.testing.assert_allclose(moved(scaled, 0.0), moved(layers, 0.0), rtol=1e-8)
    assert np.abs(moved(scaled, 1e-1) - moved(layers, 1e-1)).max() > 1e-2
