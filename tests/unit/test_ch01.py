"""The equations of chapter 1, each against brute force."""

import numpy as np
import pytest

import ngdlib
from ngdlib.datasets import digits
from ngdlib.figures import gradient_descent as modes
from ngdlib.layers import gradient


def small(outputs=2, bias=0.3, n=5, seed=0, activation="tanh"):
    net = ngdlib.MLP((4, 7, 6, outputs), activation=activation, bias_variance=bias)
    rng = np.random.default_rng(seed)
    return net, net.init(seed), rng.standard_normal((n, 4)), rng.standard_normal((n, outputs))


def ntk(layers):
    theta = sum(k.ntk() for k in ngdlib.empirical_kernels(layers))
    return theta.reshape(theta.shape[0] * theta.shape[1], -1)


def test_gradient_of_the_loss_is_the_mean_pull():
    net, params, x, y = small()
    f, layers = net.linearise(params, x)
    g = gradient(layers, f - y)
    h = 1e-6
    for l, (W, b) in enumerate(params):
        for index in [(0, 0), (1, 2)]:
            W2 = W.copy()
            losses = []
            for sign in (1, -1):
                W2[index] = W[index] + sign * h
                out = net.apply([*params[:l], (W2, b), *params[l + 1 :]], x)
                losses.append(((out - y) ** 2).sum() / (2 * len(x)))
            assert g[l][index] == pytest.approx((losses[0] - losses[1]) / (2 * h), rel=1e-6)


def test_a_step_moves_the_outputs_by_theta_r():
    net, params, x, y = small()
    f, layers = net.linearise(params, x)
    r = (f - y).reshape(-1)
    promised = -ntk(layers) @ r / len(x)
    errors = []
    for eta in (1e-3, 5e-4):
        moved = net.apply(net.update(params, gradient(layers, f - y), eta), x) - f
        errors.append(np.linalg.norm(moved.reshape(-1) - eta * promised))
    assert errors[0] < 1e-4 * np.linalg.norm(promised)
    # What is left out is of second order.
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)


def test_modes_decay_one_by_one():
    net, params, x, y = small(n=6)
    f, layers = net.linearise(params, x)
    theta, N = ntk(layers), len(x)
    r0 = (f - y).reshape(-1)
    eigenvalues, vectors = np.linalg.eigh(theta)
    eta = 1.7 * N / eigenvalues[-1]
    r = r0.copy()
    for _ in range(9):
        r = r - eta / N * theta @ r
    factor = 1 - eta * eigenvalues / N
    np.testing.assert_allclose(vectors.T @ r, factor**9 * (vectors.T @ r0), atol=1e-12)
    loss = (factor**18 * (vectors.T @ r0) ** 2).sum() / (2 * N)
    assert (r**2).sum() / (2 * N) == pytest.approx(loss, rel=1e-12)


def test_largest_stable_step():
    rng = np.random.default_rng(0)
    J = rng.standard_normal((6, 20))
    theta, N = J @ J.T, 6
    largest = 2 * N / np.linalg.eigvalsh(theta)[-1]
    for size, grows in [(0.999, False), (1.001, True)]:
        r = rng.standard_normal(6)
        r = np.linalg.matrix_power(np.eye(6) - size * largest / N * theta, 20000) @ r
        assert (np.linalg.norm(r) > 1e3) == grows
        assert grows or np.linalg.norm(r) < 1e-3


def test_best_step():
    eigenvalues, N = np.array([0.1, 0.7, 2.0, 8.0]), 40
    best = 2 * N / (eigenvalues[0] + eigenvalues[-1])

    def slowest(eta):
        return np.abs(1 - eta * eigenvalues / N).max()

    kappa = eigenvalues[-1] / eigenvalues[0]
    assert slowest(best) == pytest.approx((kappa - 1) / (kappa + 1), rel=1e-12)
    steps = np.linspace(0.01, 12, 5000)
    assert min(slowest(eta) for eta in steps) >= slowest(best)


def test_jacobian_of_a_layer_is_a_product():
    net, params, x, _ = small()
    layers = net.layers(params, x)
    h = 1e-6
    for l, (W, b) in enumerate(params):
        J = layers[l].jacobian()
        for i in range(W.shape[0]):
            for j in range(W.shape[1] + 1):  # the bias is the last column
                out = []
                for sign in (1, -1):
                    W2, b2 = W.copy(), b.copy()
                    if j < W.shape[1]:
                        W2[i, j] += sign * h
                    else:
                        b2[i] += sign * h
                    out.append(net.apply([*params[:l], (W2, b2), *params[l + 1 :]], x))
                np.testing.assert_allclose(J[:, :, i, j], (out[0] - out[1]) / (2 * h), atol=1e-8)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_layer_kernel_is_a_hadamard_product(activation):
    net, params, x, _ = small(activation=activation)
    layers = net.layers(params, x)
    total = 0
    for layer, kernel in zip(layers, ngdlib.empirical_kernels(layers), strict=True):
        J = layer.jacobian().reshape(len(x) * 2, -1)
        A, G = (
            layer.a @ layer.a.T,
            layer.g.reshape(len(x) * 2, -1) @ layer.g.reshape(len(x) * 2, -1).T,
        )
        np.testing.assert_allclose(np.kron(A, np.ones((2, 2))) * G, J @ J.T, atol=1e-12)
        np.testing.assert_allclose(kernel.ntk().reshape(len(J), -1), J @ J.T, atol=1e-12)
        total = total + J @ J.T
    everything = np.concatenate(
        [layer.jacobian().reshape(len(x) * 2, -1) for layer in layers], axis=1
    )
    np.testing.assert_allclose(total, everything @ everything.T, atol=1e-12)


def test_beyond_the_limit_the_kernel_shrinks():
    data = digits(classes=(0, 1), train=24, test=2)
    net = ngdlib.MLP((64, 512, 512, 1))
    params = net.init(0)
    before = np.linalg.eigvalsh(ntk(net.layers(params, data.x_train)))[-1]
    eta = 1.5 * 2 * 24 / before
    run = ngdlib.train(
        net, params, data, method="gradient", damping=0.0, learning_rate=eta, steps=30
    )
    after = np.linalg.eigvalsh(ntk(net.layers(run.params, data.x_train)))[-1]
    assert run.train_loss.max() > run.train_loss[0]
    assert run.train_loss[-1] < 0.1 * run.train_loss[0]
    assert run.predicted_train_loss[-1] > 1e6
    assert after < 2 * 24 / eta < before


def test_what_the_text_says_of_the_figures():
    data = modes.compute_modes(20.0, 256, 3)
    assert (np.argmax(data.mode_loss[:4], axis=1) == 1).all()  # three steps: mode 2
    steps = {int(t): k for k, t in enumerate(data.steps)}
    assert np.argmax(data.mode_loss[steps[10]]) == 2  # then modes 3 to 8
    assert np.argmax(data.mode_loss[steps[100]]) == 3  # then the smallest
    lost, kept = (modes.compute_modes(eta, 256, 3).measured[-1] for eta in (500.0, 60.0))
    assert lost >= 1e6
    assert kept < data.measured[0]

    picture = modes.compute_kernel()
    assert picture.same > 1.5 * picture.different
    assert picture.measured[12, 0] < 0.02  # the first mode is gone after a dozen steps
    assert (picture.measured[:, 3] > 0.8).all()  # the last sixteen have hardly begun
    assert np.abs(picture.measured - picture.predicted).max() < 0.02


def test_steps_to_a_thousandth_of_the_loss():
    data = digits(classes=(0, 1), train=24, test=50)
    net = ngdlib.MLP((64, 512, 512, 1))
    start = net.init(0)
    f, layers = net.linearise(start, data.x_train)
    eigenvalues, vectors = np.linalg.eigh(ntk(layers) / 24)
    c = vectors.T @ (f - data.y_train)[:, 0]
    goal = (c**2).sum() / 1000

    def theory(eta):
        return next(
            t for t in range(999) if (((1 - eta * eigenvalues) ** t * c) ** 2).sum() <= goal
        )

    def network(eta):
        params = start
        for t in range(999):
            f, layers = net.linearise(params, data.x_train)
            if ((f - data.y_train) ** 2).sum() <= goal:
                return t, np.linalg.eigvalsh(ntk(layers) / 24)[-1]
            params = net.update(params, gradient(layers, f - data.y_train), eta)

    for share in (0.5, 0.9):
        eta = share * 2 / eigenvalues[-1]
        assert network(eta)[0] == pytest.approx(theory(eta), rel=0.1)
    best = 2 / (eigenvalues[0] + eigenvalues[-1])
    steps, largest = network(best)
    assert theory(best) > 3 * steps  # so close to the limit the kernel's change matters
    assert 0.02 < 1 - largest / eigenvalues[-1] < 0.06  # and it is small
    assert abs(1 - best * largest) ** (2 * steps) < 0.1 * abs(1 - best * eigenvalues[-1]) ** (2 * steps)  # fmt: skip
    slow = np.abs(1 - best * eigenvalues[:-1]) ** theory(best) * c[:-1]
    assert (slow**2).sum() < 0.1 * goal  # it is the fastest mode that theory waits for
