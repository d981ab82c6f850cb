"""Kernels of infinitely wide networks: closed forms against quadrature, anchors, and finite nets."""

import math

import numpy as np
import pytest

import ngdlib

# 2 e_1, 2 e_2, -2 e_1: |x|^2 = M_0 = 4
ANCHOR_INPUTS = np.array([[2.0, 0, 0, 0], [0, 2.0, 0, 0], [-2.0, 0, 0, 0]])
ANCHORS = {  # diagonal, orthogonal, antipodal of the NNGP and of the NTK, three layers
    ("relu", 2.0, 0.0): ((2.0, 0.98746218, 0.63661977), (6.0, 1.37141727, 0.63661977)),
    ("erf", 1.5, 0.2): (
        (0.90889524, 0.37857772, -0.05272403),
        (2.76112073, 0.61416179, -0.75991668),
    ),
    ("tanh", 1.5, 0.2): (
        (0.77356476, 0.35978529, 0.00731286),
        (2.12486478, 0.56655251, -0.54113736),
    ),
}
SETTINGS = [
    ("relu", 2.0, 0.0),
    ("erf", 1.5, 0.2),
    ("tanh", 1.5, 0.2),
    ("relu", 1.7, 0.3),
    ("linear", 1.0, 0.1),
]


def net_of(activation, weight_variance, bias_variance, hidden=(8, 8), inputs=4, outputs=1):
    return ngdlib.MLP(
        (inputs, *hidden, outputs),
        activation=activation,
        weight_variance=weight_variance,
        bias_variance=bias_variance,
    )


def ntk(kernels):
    return sum(k.ntk() for k in kernels)[:, 0, :, 0]


@pytest.mark.parametrize("setting", ANCHORS)
def test_the_anchor_table(setting):
    kernels = ngdlib.infinite_kernels(net_of(*setting), ANCHOR_INPUTS)
    for matrix, want in zip((kernels[-1].A, ntk(kernels)), ANCHORS[setting], strict=True):
        assert np.allclose([matrix[0, 0], matrix[0, 1], matrix[0, 2]], want, atol=1e-6)


def test_relu_layer_by_layer():
    kernels = ngdlib.infinite_kernels(net_of("relu", 2.0, 0.0), ANCHOR_INPUTS)
    each = np.array([k.ntk()[:, 0, :, 0] for k in kernels])
    assert np.allclose(each[:, 0, 0], 2.0, atol=1e-12)
    assert np.allclose(each[:, 0, 1], (0, 0.38395509, 0.98746218), atol=1e-8)


PHI = {
    "relu": (lambda u: np.maximum(u, 0), lambda u: 1.0 * (u > 0)),
    "erf": (
        np.vectorize(math.erf),
        lambda u: 2 / np.pi**0.5 * np.exp(-(u**2)),
    ),
    "tanh": (np.tanh, lambda u: 1 - np.tanh(u) ** 2),
    "linear": (lambda u: u, np.ones_like),
}


def expectations(activation, q, p, k):
    """E phi(u) phi(v) and E phi'(u) phi'(v) by the trapezoidal rule in two independent normals."""
    z = np.linspace(-9, 9, 1801)
    w = np.exp(-(z**2) / 2)
    w /= w.sum()
    c = k / np.sqrt(q * p)
    u = np.sqrt(q) * z[:, None] * np.ones_like(z)
    v = np.sqrt(p) * (c * z[:, None] + np.sqrt(max(0.0, 1 - c * c)) * z)
    weights = w[:, None] * w
    phi, slope = PHI[activation]
    return [(weights * f(u) * f(v)).sum() for f in (phi, slope)]


@pytest.mark.parametrize("setting", SETTINGS)
def test_unequal_norms_against_quadrature(setting):
    """Each entry by its own two-dimensional integral: no formula of the package is used."""
    activation, sw, sb = setting
    x1 = np.array([[0.3, -1.2, 0.5], [2.5, 0.4, -1.0]])
    x2 = np.array([[1.0, 1.0, 0.2]])
    kernels = ngdlib.infinite_kernels(net_of(*setting, inputs=3), x1, x2)
    for n, x in enumerate(x1):
        K = [
            sw
            * np.outer([1, 1], [1, 1])
            * np.array([[x @ x, x @ x2[0]], [x @ x2[0], x2[0] @ x2[0]]])
            / 3
            + sb
        ]
        slopes = []
        for _ in range(2):
            (q, k), (_, p) = K[-1]
            (phi, slope), (own, _), (other, _) = (
                expectations(activation, *a) for a in ((q, p, k), (q, q, q), (p, p, p))
            )
            slopes.append(sw * slope)
            K.append(sw * np.array([[own, phi], [phi, other]]) + sb)
        B = [slopes[0] * slopes[1], slopes[1], 1.0]
        tolerance = (
            5e-3 if activation == "relu" else 1e-7
        )  # the kink of relu, the jump of its slope
        for kernel, A, b in zip(kernels, K, B, strict=True):
            assert kernel.A[n, 0] == pytest.approx(A[0, 1], rel=tolerance, abs=tolerance)
            assert kernel.G[n, 0, 0, 0] == pytest.approx(b, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("depth", [1, 2, 5, 10])
def test_symmetric_positive_semi_definite_and_one_for_every_split(setting, depth):
    net = net_of(*setting, hidden=(8,) * (depth - 1))
    x = np.random.default_rng(0).standard_normal((12, 4)) * np.linspace(0.3, 3, 12)[:, None]
    kernels = ngdlib.infinite_kernels(net, x)
    assert len(kernels) == depth
    for matrix in (ntk(kernels), *(k.A for k in kernels), *(k.ntk()[:, 0, :, 0] for k in kernels)):
        assert np.allclose(matrix, matrix.T, atol=1e-10 * abs(matrix).max())
        assert np.linalg.eigvalsh(matrix)[0] > -1e-10 * 12 * abs(matrix).max()
    parts = ngdlib.infinite_kernels(net, x[:5], x[5:])
    assert np.allclose(ntk(parts), ntk(kernels)[:5, 5:], rtol=1e-7, atol=1e-12)
    # A test input that is also a training input: the off-diagonal formula at angle 0.
    same = ngdlib.infinite_kernels(net, x, x.copy())
    assert np.allclose(ntk(same), ntk(kernels), rtol=1e-5)


@pytest.mark.parametrize(("q", "p"), [(3, 3), (10, 10), (20, 20), (20, 0.3), (0.5, 7)])
@pytest.mark.parametrize("rho", [-0.999, 0.2, 0.999])
def test_tanh_stays_accurate_up_to_a_variance_of_twenty(q, p, rho):
    x1, x2 = np.array([[q**0.5, 0.0]]), p**0.5 * np.array([[rho, (1 - rho**2) ** 0.5]])
    net = net_of("tanh", 2.0, 0.0, hidden=(4,), inputs=2)  # K_1 = x1 . x2
    kernels = ngdlib.infinite_kernels(net, x1, x2)
    phi, slope = expectations("tanh", q, p, rho * np.sqrt(q * p))
    assert kernels[1].A[0, 0] == pytest.approx(2 * phi, abs=1e-7)
    assert kernels[0].G[0, 0, 0, 0] == pytest.approx(2 * slope, abs=1e-7)
    own = ngdlib.infinite_kernels(net, x1)  # the diagonal, without the series
    assert own[0].G[0, 0, 0, 0] == pytest.approx(2 * expectations("tanh", q, q, q)[1], abs=1e-9)


def test_tanh_gives_the_few_entries_near_one_all_their_terms():
    x = 2 * np.random.default_rng(0).standard_normal((200, 64))
    net, near = net_of("tanh", 2.0, 0.0, inputs=64), x + 1e-3
    whole = ngdlib.infinite_kernels(net, x, near)
    for n in (0, 7, 160):
        own = slice(n, n + 1)
        for one, all_ in zip(ngdlib.infinite_kernels(net, x[own], near[own]), whole, strict=True):
            assert np.allclose(all_.A[n, n], one.A, atol=1e-7)
            assert np.allclose(all_.G[n, 0, n, 0], one.G, atol=1e-7)


def test_tanh_beyond_its_series_says_so():
    net = net_of("tanh", 2.0, 0.0, inputs=1)
    with pytest.raises(ValueError, match=r"variance 50.* accurate up to 20: scale"):
        ngdlib.infinite_kernels(net, np.array([[25**0.5], [0.1]]))


def test_many_rows_go_in_blocks_and_come_out_in_order():
    x, other = np.split(np.random.default_rng(0).standard_normal((1470, 4)), [70])  # 5 rows each
    for activation in ("relu", "erf", "tanh", "linear"):
        net = net_of(activation, 1.5, 0.1)
        whole = ntk(ngdlib.infinite_kernels(net, x, other))
        one = ntk(ngdlib.infinite_kernels(net, x[50:51], other))
        assert np.allclose(whole[50:51], one, rtol=1e-9)


def test_relu_is_homogeneous_and_zero_inputs_have_no_nan():
    net = net_of("relu", 2.0, 0.0)
    x = np.random.default_rng(0).standard_normal((6, 4))
    one, three = (ntk(ngdlib.infinite_kernels(net, c * x)) for c in (1.0, 3.0))
    assert np.allclose(three, 9 * one, rtol=1e-12)
    x[2] = 0
    for activation in ("relu", "erf", "tanh", "linear"):
        assert np.isfinite(ntk(ngdlib.infinite_kernels(net_of(activation, 1.5, 0.0), x))).all()


@pytest.mark.parametrize("setting", SETTINGS)
def test_jax_gives_the_same_kernels(setting):
    jax = pytest.importorskip("jax")
    x = np.random.default_rng(0).standard_normal((5, 4))
    net = net_of(*setting)
    want = ntk(ngdlib.infinite_kernels(net, x))
    with jax.enable_x64(True):
        got = jax.jit(lambda x: ntk(ngdlib.infinite_kernels(net, x)))(jax.numpy.asarray(x))
    assert np.allclose(got, want, rtol=1e-10)


def mean_deviations(setting, width, nets, x):
    """Relative distance of the mean kernel, and the mean distance of one net, from the infinite one."""
    activation, sw, sb = setting
    net = net_of(activation, sw, sb, hidden=(width, width), inputs=x.shape[1])
    infinite = [k.ntk()[:, 0, :, 0] for k in ngdlib.infinite_kernels(net, x)]
    want = np.stack([*infinite, sum(infinite)])
    each = []
    for seed in range(nets):
        finite = [
            k.ntk()[:, 0, :, 0] for k in ngdlib.empirical_kernels(net.layers(net.init(seed), x))
        ]
        each.append(np.stack([*finite, sum(finite)]))

    def size(m):
        return np.linalg.norm(m, axis=(-2, -1))

    mean = size(np.mean(each, axis=0) - want) / size(want)
    return mean, np.mean([size(k - want) / size(want) for k in each], axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("setting", [*ANCHORS, ("relu", 1.7, 0.3)])
def test_the_mean_of_fifty_nets_of_width_512(setting):
    x = np.random.default_rng(1).standard_normal((6, 8))
    mean, _ = mean_deviations(setting, 512, 50, x)
    assert mean[-1] < 0.05
    assert (mean[:-1] < 0.10).all()


@pytest.mark.slow
def test_one_net_comes_closer_as_one_over_the_root_of_its_width():
    x = np.random.default_rng(1).standard_normal((6, 8))
    widths = np.array([64, 128, 256, 512, 1024])
    deviations = [mean_deviations(("relu", 2.0, 0.0), w, 12, x)[1][-1] for w in widths]
    slope = np.polyfit(np.log(widths), np.log(deviations), 1)[0]
    assert -0.65 < slope < -0.35
