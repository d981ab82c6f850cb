"""The network: its forward pass by hand, its Jacobian against differences and against JAX."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

import ngdlib
from ngdlib.models.mlp import narrow

rng = np.random.default_rng(0)
X = rng.standard_normal((4, 5))
ACTIVATIONS = ["relu", "erf", "tanh", "linear"]


def net_of(activation="tanh", bias=0.3, hidden=(7, 6), outputs=2):
    return ngdlib.MLP(
        (5, *hidden, outputs), activation=activation, weight_variance=1.7, bias_variance=bias
    )


def test_the_forward_pass_by_hand():
    net = net_of("relu")
    (W1, b1), (W2, b2), (W3, b3) = params = net.init(3)
    h = np.maximum((1.7 / 5) ** 0.5 * X @ W1.T + 0.3**0.5 * b1, 0)
    h = np.maximum((1.7 / 7) ** 0.5 * h @ W2.T + 0.3**0.5 * b2, 0)
    assert np.allclose(
        net.apply(params, X), (1.7 / 6) ** 0.5 * h @ W3.T + 0.3**0.5 * b3, rtol=1e-13
    )


@pytest.mark.parametrize("bias", [0.0, 0.3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_jacobian_is_that_of_finite_differences(activation, bias):
    net = net_of(activation, bias)
    params, h = net.init(1), 1e-6
    for l, layer in enumerate(net.layers(params, X)):
        J = layer.jacobian()  # (n, c, out, in [+ 1])
        for i, j in [(0, 0), (1, 2), (J.shape[2] - 1, J.shape[3] - 1)]:
            step = [np.zeros(b.jacobian().shape[2:]) for b in net.layers(params, X)]
            step[l][i, j] = 1.0
            ahead, behind = (net.apply(net.update(params, step, eta), X) for eta in (-h, h))
            assert np.allclose((ahead - behind) / (2 * h), J[:, :, i, j], atol=1e-8)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_jacobian_is_that_of_automatic_differentiation(activation):
    jax = pytest.importorskip("jax")
    net = net_of(activation)
    with jax.enable_x64(True):
        params = net.init(1, xp=jax.numpy)
        x = jax.numpy.asarray(X)
        auto = jax.jacobian(lambda p: net.apply(p, x))(params)
        for layer, (W, b) in zip(net.layers(params, x), auto, strict=True):
            assert np.allclose(
                layer.jacobian(), np.concatenate([W, b[..., None]], axis=-1), atol=1e-12
            )


def test_the_bias_column_is_sigma_b_and_there_is_none_without_biases():
    for bias, columns in ((0.3, 1), (0.0, 0)):
        layers = net_of(bias=bias).layers(net_of(bias=bias).init(), X)
        assert [layer.a.shape[1] for layer in layers] == [5 + columns, 7 + columns, 6 + columns]
        if bias:
            assert all((layer.a[:, -1] == 0.3**0.5).all() for layer in layers)


def test_the_seed_is_the_network_in_every_precision():
    net = net_of()
    one, two, other = net.init(3), net.init(3, dtype=np.float32), net.init(4)
    assert all((a[0].astype("float32") == b[0]).all() for a, b in zip(one, two, strict=True))
    assert (one[0][0] != other[0][0]).any()
    assert (
        abs(np.concatenate([W.ravel() for W, _ in net_of(hidden=(200, 200)).init(0)]).std() - 1)
        < 0.02
    )


def test_update_subtracts_and_leaves_its_arguments_alone():
    net = net_of()
    params = net.init(0)
    copies = [(W.copy(), b.copy()) for W, b in params]
    step = [np.ones((W.shape[0], W.shape[1] + 1)) for W, _ in params]
    for (W, b), (V, c), (K, k) in zip(net.update(params, step, 0.25), copies, params, strict=True):
        assert np.allclose(W, V - 0.25)
        assert np.allclose(b, c - 0.25)
        assert (V == K).all()
        assert (c == k).all()


@pytest.mark.parametrize("bias", [0.0, 0.3])
@pytest.mark.parametrize("method", ngdlib.FISHERS)
def test_narrow_is_the_narrower_network(method, bias):
    """Padded with zeros and masked: same outputs, same step, zero beyond."""
    wide = net_of(bias=bias, hidden=(9, 8))
    widths = (5, 6, 7, 2)
    net = dataclasses.replace(wide, widths=widths)
    padded = narrow(wide.init(0), widths)
    small = [
        (W[:o, :i], None if b is None else b[:o])
        for (W, b), i, o in zip(padded, widths, widths[1:])
    ]
    assert np.allclose(net.apply(padded, X), net.apply(small, X), rtol=1e-13)
    r = rng.standard_normal((4, 2))
    options = {"damping": 0.01, "space": "auto"}
    one, two = (
        ngdlib.natural_gradient(method, net.layers(p, X), r, **options) for p in (padded, small)
    )
    for big, little in zip(one, two, strict=True):
        o, i = little.shape[0], little.shape[1] - bool(bias)
        assert np.allclose(big[:o, :i], little[:, :i], atol=1e-9)
        if bias:
            assert np.allclose(big[:o, -1], little[:, -1], atol=1e-9)


def test_moving_the_width_compiles_nothing():
    jax = pytest.importorskip("jax")
    net = net_of(hidden=(12, 12), outputs=1)
    with jax.enable_x64(True):
        params, x = net.init(0, xp=jax.numpy), jax.numpy.asarray(X)

        @jax.jit
        def step(width):
            widths = (5, width, width, 1)
            masked = narrow(params, widths)
            f, layers = dataclasses.replace(net, widths=widths).linearise(masked, x)
            return f, ngdlib.natural_gradient("exact", layers, f, damping=1e-3)

        for width in (4, 7, 12):
            f, (dW, *_) = step(width)
            widths = (5, width, width, 1)
            host = narrow(net.init(0), widths)
            narrower = dataclasses.replace(net, widths=widths)
            assert np.allclose(f, narrower.apply(host, X), atol=1e-12)
            want = ngdlib.natural_gradient(
                "exact", narrower.layers(host, X), np.asarray(f), damping=1e-3
            )
            assert np.allclose(dW, want[0], atol=1e-9)
        assert step._cache_size() == 1


@pytest.mark.parametrize("bias", [0.0, 0.3])
@pytest.mark.parametrize("memory", [40_000, 2**28])
def test_kernels_in_batches_are_those_at_once(bias, memory):
    net = net_of(bias=bias)
    params, x, other = net.init(0), rng.standard_normal((23, 5)), rng.standard_normal((9, 5))
    for x1, x2 in ((x, None), (other, x)):
        layers = net.layers(params, x1)
        want = ngdlib.empirical_kernels(layers, None if x2 is None else net.layers(params, x2))
        got = net.kernels(params, x1, x2, memory=memory)
        for ours, theirs in zip(got, want, strict=True):
            assert np.allclose(ours.A, theirs.A, rtol=1e-12, atol=1e-12)
            assert np.allclose(ours.G, theirs.G, rtol=1e-12, atol=1e-12)


def test_kernels_stay_within_their_memory():
    net = ngdlib.MLP((64, 400, 400, 2))
    params, x = net.init(0), rng.standard_normal((200, 64))
    memory = 2**20
    net.kernels(params, x[:2], memory=memory)  # what is imported and cached once
    tracemalloc.start()
    got = net.kernels(params, x, memory=memory)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    kernels = sum(part.nbytes for K in got for part in K)
    assert peak < memory + 2.5 * kernels  # their blocks and they, while they are joined


def test_a_memory_budget_too_small_for_one_input_is_an_error():
    with pytest.raises(ValueError, match=r"memory is 100 bytes, .* one input of each set take"):
        net_of().kernels(net_of().init(0), X, memory=100)
