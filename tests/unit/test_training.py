"""Training beside its prediction, step sizes, likelihoods, damping."""

from typing import Any, NamedTuple

import numpy as np
import pytest

import ngdlib
from ngdlib import likelihood

rng = np.random.default_rng(0)
NET = ngdlib.MLP((6, 64, 64, 2), activation="tanh")


class Data(NamedTuple):
    x_train: Any
    y_train: Any
    x_test: Any
    y_test: Any
    classes: Any = (0, 1)


DATA = Data(*(rng.standard_normal(s) for s in ((8, 6), (8, 2), (5, 6), (5, 2))))
LABELS = DATA._replace(y_train=np.arange(8) % 2, y_test=np.arange(5) % 2)


def run(method="exact", damping=0.0, steps=4, net=NET, data=DATA, seed=0, **more):
    return ngdlib.train(
        net, net.init(seed), data, method=method, damping=damping, steps=steps, **more
    )


def test_the_first_entry_is_the_start_and_the_loss_is_half_the_mean_square():
    history = run(steps=2)
    f = NET.apply(NET.init(0), DATA.x_train)
    assert np.array_equal(history.f_train[0], f)
    assert history.train_loss[0] == pytest.approx(((f - DATA.y_train) ** 2).sum() / 16)
    assert history.train_loss.shape == (3,)
    assert np.allclose(history.f_train[-1], NET.apply(history.params, DATA.x_train))


def test_a_small_step_follows_the_prediction_to_second_order():
    """Halving the step size quarters the distance after one step."""
    for method in ("exact", "block_diagonal", "kfac", "unit_wise", "diagonal", "gradient"):
        gaps = []
        for eta in (1e-3, 5e-4):
            alpha = run(method, 0.01, 0).alpha
            h = run(method, 0.01, 1, learning_rate=eta / alpha)
            f = ngdlib.predict(
                method,
                NET.layers(NET.init(0), DATA.x_train),
                NET.layers(NET.init(0), DATA.x_test),
                h.f_train[0],
                h.f_test[0],
                DATA.y_train,
                learning_rate=eta / alpha,
                steps=1,
                damping=0.01,
            )
            gaps.append(abs(h.f_train[1] - f[0][1]).max() + abs(h.f_test[1] - f[1][1]).max())
        assert 3.0 < gaps[0] / gaps[1] < 5.0, method


def test_the_optimal_step_is_the_reciprocal_of_alpha_where_isotropic():
    h = run("block_diagonal", steps=1)
    assert h.alpha == pytest.approx(3)
    assert h.learning_rate == pytest.approx(1 / 3)
    assert h.predicted_train_loss[1] < 1e-20


def test_the_same_run_twice_is_the_same_to_the_last_bit():
    one, two = run("kfac", 0.01), run("kfac", 0.01)
    assert one.f_train.tobytes() == two.f_train.tobytes()


@pytest.mark.parametrize("fisher", ["exact", "monte_carlo", "empirical"])
@pytest.mark.parametrize("method", ngdlib.FISHERS)
def test_every_fisher_of_every_method_lowers_the_cross_entropy(method, fisher):
    h = run(method, 1.0, 5, data=LABELS, loss="softmax", fisher=fisher, learning_rate=0.05)
    assert h.train_loss[-1] < h.train_loss[0]
    assert np.isnan(h.predicted_train_loss).all()


def test_progress_is_told_after_each_step():
    seen = []
    run(steps=3, progress=seen.append)
    assert seen == [1, 2, 3]


def test_jax_trains_like_numpy_and_flips_nothing():
    jax = pytest.importorskip("jax")
    flag = jax.config.jax_enable_x64
    want = run("exact", 0.01, 3)
    params = NET.init(0, xp=jax.numpy, dtype="float32")
    got = ngdlib.train(NET, params, DATA, method="exact", damping=0.01, steps=3)
    assert np.allclose(got.f_train, want.f_train, atol=2e-4)
    assert jax.config.jax_enable_x64 == flag
    assert params[0][0].dtype == "float32"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("kfac", {}),
        ("exact", {"loss": "softmax"}),
        ("unit_wise", {"loss": "softmax", "fisher": "monte_carlo"}),
    ],
)
def test_any_network_trains_like_the_one_written_by_hand(method, options):
    jax = pytest.importorskip("jax")
    from ngdlib.models import autodiff

    data = LABELS if options else DATA
    options = {"damping": 0.1, "steps": 3, **options}
    with jax.enable_x64(True):
        params = NET.init(0, xp=jax.numpy)
        tree = {"first": params[0][0], "rest": [W for W, _ in params[1:]]}

        def apply(tree, x):
            return NET.apply([(tree["first"], None), *((W, None) for W in tree["rest"])], x)

        want = ngdlib.train(NET, params, data, method=method, **options)
        net = autodiff.network(apply, tree, jax.numpy.asarray(DATA.x_train))
        got = ngdlib.train(net, tree, data, method=method, **options)
        broken = {**tree, "first": tree["first"] * np.nan}
        with pytest.raises(ValueError, match="first hold NaN or infinity"):
            ngdlib.train(net, broken, data, method=method, **options)
    for name, a, b in zip(want._fields[:-1], want, got, strict=False):
        assert np.allclose(a, b, rtol=1e-8, atol=1e-10, equal_nan=True), name
    assert np.allclose(got.params["rest"][1], want.params[2][0])


@pytest.mark.slow
def test_one_program_for_every_damping_and_step_size(monkeypatch):
    jax = pytest.importorskip("jax")
    traced = []

    def counting(*arguments, **options):
        traced.append(options["damping"])
        return ngdlib.natural_gradient(*arguments, **options)

    monkeypatch.setattr("ngdlib.training.natural_gradient", counting)
    net = ngdlib.MLP((6, 33, 33, 2), "tanh")  # of this test alone: programs are kept
    params = net.init(0, xp=jax.numpy, dtype="float32")
    for damping, eta in ((0.1, 0.2), (0.2, 0.2), (0.3, 0.1), (1e-3, "optimal")):
        ngdlib.train(net, params, DATA, method="kfac", damping=damping, learning_rate=eta, steps=3)
    assert len(traced) == 1
    for c in (0.1, 0.2):
        ngdlib.train(net, params, DATA, method="kfac", damping=ngdlib.damping.factored(c), steps=3)
    assert len(traced) == 2  # another kind of damping is another program, its number is not


def test_the_loop_takes_its_own_buffers_and_leaves_the_callers():
    jax = pytest.importorskip("jax")
    from ngdlib import training

    params = NET.init(0, xp=jax.numpy, dtype="float32")
    before = np.asarray(params[1][0]).copy()
    history = ngdlib.train(NET, params, DATA, method="exact", damping=0.1, steps=2)
    assert (np.asarray(params[1][0]) == before).all()
    assert not history.params[1][0].is_deleted()
    program = training._program(NET, ngdlib.FISHERS["exact"], "squared_error", False)
    own = training._copy(params)
    x, y, x_test = (jax.numpy.asarray(a, "float32") for a in DATA[:3])
    program(own, x, y, x_test, 0.1, 0.1, None)
    assert all(W.is_deleted() for W, _ in own)


# ------------------------------------------------------------------ likelihoods and damping


def difference(function, f, h=1e-5):
    out = np.zeros_like(f)
    for k in np.ndindex(f.shape):
        e = np.zeros_like(f)
        e[k] = h
        out[k] = (function(f + e) - function(f - e)) / (2 * h)
    return out


@pytest.mark.parametrize("loss", ["squared_error", "softmax", "logistic"])
def test_gradient_and_hessian_of_every_loss_by_differences(loss):
    c = 1 if loss == "logistic" else 3
    f = rng.standard_normal((4, c))
    y = rng.standard_normal((4, c)) if loss == "squared_error" else np.array([0, 1, 1, 0])
    R, u = likelihood.LOSSES[loss](f, y)

    def gradient(f):
        return 4 * difference(lambda z: likelihood.value(loss, z, y), f, 1e-4)

    assert np.allclose(np.einsum("nkc,nk->nc", R, u), gradient(f), atol=1e-6)
    for d in range(c):
        e = np.zeros(c)
        e[d] = 1e-4
        column = (gradient(f + e) - gradient(f - e)) / 2e-4
        assert np.allclose(np.einsum("nkc,nkd->ncd", R, R)[:, :, d], column, atol=1e-4)


@pytest.mark.parametrize("loss", ["squared_error", "softmax", "logistic"])
def test_many_sampled_labels_come_near_the_hessian(loss):
    f = np.random.default_rng(5).standard_normal((3, 1 if loss == "logistic" else 3))
    y = f if loss == "squared_error" else np.zeros(3, int)
    base = likelihood.LOSSES[loss]
    R, _ = base(f, y)
    S, none = likelihood.monte_carlo(base, samples=40000, seed=1)(f, y)
    assert none is None
    H, M = (np.einsum("nkc,nkd->ncd", X, X) for X in (R, S))
    assert abs(H - M).max() < 0.03
    again, _ = likelihood.monte_carlo(base, samples=4, seed=1)(f, y)
    assert (again == likelihood.monte_carlo(base, samples=4, seed=1)(f, y)[0]).all()
    other, _ = likelihood.monte_carlo(base, samples=4, seed=2)(f, y)
    assert (again != other).any()


def test_the_empirical_fisher_is_the_outer_product_of_gradients():
    f, y = rng.standard_normal((4, 3)), np.array([0, 1, 2, 0])
    R, u = likelihood.softmax(f, y)
    E, none = likelihood.empirical(likelihood.softmax)(f, y)
    assert none is None
    assert np.allclose(E[:, 0], np.einsum("nkc,nk->nc", R, u))


def test_factored_damping_by_hand():
    """(G + sqrt(rho) / pi)^-1 dW (A + sqrt(rho) pi)^-1 in both spaces; not G (x) A + rho."""
    net = ngdlib.MLP((6, 7, 5, 2), activation="tanh", bias_variance=0.2)
    layers, n, rho = net.layers(net.init(0), DATA.x_train), 8, 0.05
    r = DATA.y_train
    damping = ngdlib.damping.factored(rho)
    for space in ("parameter", "function"):
        step = ngdlib.natural_gradient("kfac", layers, r, damping=damping, space=space)
        for layer, got in zip(layers, step, strict=True):
            A, G = layer.a.T @ layer.a / n, np.einsum("nci,nck->ik", layer.g, layer.g) / n
            pi = np.sqrt(np.trace(A) / len(A) / (np.trace(G) / len(G)))
            A, G = A + pi * rho**0.5 * np.eye(len(A)), G + rho**0.5 / pi * np.eye(len(G))
            want = np.linalg.solve(G, layer.pull(r) / n) @ np.linalg.inv(A)
            assert np.allclose(got, want, atol=1e-10)


@pytest.mark.parametrize(
    "method", ["exact", "block_diagonal", "kfac", "unit_wise", "mini_block", "diagonal"]
)
def test_relative_damping_has_no_units_and_one_value_in_both_spaces(method):
    layers = NET.layers(NET.init(0), DATA.x_train)
    scaled = [layer._replace(g=3.0 * layer.g) for layer in layers]
    damping = ngdlib.damping.relative(0.01)
    one, two = (ngdlib.isotropy(method, b, damping=damping).matrix for b in (layers, scaled))
    assert np.allclose(one, two, rtol=1e-7, atol=1e-9)
    if ngdlib.FISHERS[method].has_dual and method != "exact" and method != "block_diagonal":
        small = ngdlib.MLP((6, 8, 8, 2), activation="tanh")
        b = small.layers(small.init(0), DATA.x_train)
        steps = [
            ngdlib.natural_gradient(method, b, DATA.y_train, damping=damping, space=s)
            for s in ("parameter", "function")
        ]
        assert all(np.allclose(p, q, atol=1e-8) for p, q in zip(*steps, strict=True))


def test_relative_damping_is_the_cure_of_unit_wise_relu():
    """At zero damping a unit that is nearly off takes a huge step."""
    net = ngdlib.MLP((10, 512, 512, 1))
    x = rng.standard_normal((20, 10))
    params = net.init(0)
    f, layers = net.linearise(params, x)
    y = np.where(np.arange(20) % 2, 0.5, -0.5)[:, None]
    ratios = []
    for damping in (1e-12, ngdlib.damping.relative(1e-2)):
        alpha = ngdlib.isotropy("unit_wise", layers, damping=damping).alpha
        step = ngdlib.natural_gradient("unit_wise", layers, f - y, damping=damping)
        after = net.apply(net.update(params, step, 1 / alpha), x)
        ratios.append(((after - y) ** 2).sum() / ((f - y) ** 2).sum())
    assert ratios[1] < 0.2
    assert ratios[1] < 0.2 * ratios[0]


# ------------------------------------------------------------------ runs at the edges


@pytest.mark.parametrize("backend", ["numpy", "jax"])
@pytest.mark.parametrize("method", ["gradient", "unit_wise"])
def test_a_run_that_diverges_goes_on_as_infinity(method, backend):
    xp = np if backend == "numpy" else pytest.importorskip("jax").numpy
    net, steps = ngdlib.MLP((6, 16, 16, 2), activation="linear"), 40  # relu would end dead
    params = net.init(0, xp=xp, dtype="float32")
    damping = 0.0 if method == "gradient" else 1.0
    options = {"method": method, "damping": damping}
    eta = 100 * ngdlib.train(net, params, DATA, steps=0, **options).learning_rate
    h = ngdlib.train(net, params, DATA, steps=steps, learning_rate=eta, **options)
    assert h.train_loss.shape == (steps + 1,)
    assert np.isfinite(h.train_loss[:2]).all()
    assert not np.isfinite(h.train_loss[-20:]).any()
    assert not np.isfinite(h.test_loss[-20:]).any()


def test_a_linear_model_of_one_layer_is_predicted_exactly():
    net = ngdlib.MLP((6, 2), bias_variance=0.1)
    data = DATA._replace(x_train=DATA.x_train[:5], y_train=DATA.y_train[:5])
    for method in ("exact", "block_diagonal", "block_tridiagonal", "kfac", "gradient"):
        h = run(method, 0.0, net=net, data=data, learning_rate=0.3)
        assert h.alpha == pytest.approx(1.0) or method == "gradient"
        assert np.allclose(h.train_loss, h.predicted_train_loss, rtol=1e-9)
        assert np.allclose(h.test_loss, h.predicted_test_loss, rtol=1e-9)


@pytest.mark.parametrize("method", ["exact", "block_diagonal", "kfac"])
def test_float32_at_zero_damping_on_digits_is_float64(method):
    data, net = ngdlib.digits(train=30, test=20), ngdlib.MLP((64, 256, 256, 1))
    one, two = (
        ngdlib.train(net, net.init(0, dtype=t), data, method=method, damping=0.0, steps=1)
        for t in (np.float32, np.float64)
    )
    for name in ("f_train", "f_test"):
        a, b = (getattr(h, name)[1] for h in (one, two))
        assert np.linalg.norm(a - b) < 1e-4 * np.linalg.norm(b)


@pytest.mark.parametrize("fisher", ["plus_identity", "monte_carlo"])
def test_a_fisher_of_ones_own_on_jax_is_that_of_numpy(fisher):
    jax = pytest.importorskip("jax")

    def make(loss, t):
        if fisher == "plus_identity":
            return likelihood.plus_identity(loss, 0.1)
        return likelihood.monte_carlo(loss, samples=3, seed=t)

    options = {"method": "exact", "damping": 0.1, "steps": 3, "learning_rate": 0.1}
    want = ngdlib.train(NET, NET.init(0), LABELS, loss="softmax", fisher=make, **options)
    with jax.enable_x64(True):
        params = NET.init(0, xp=jax.numpy)
        got = ngdlib.train(NET, params, LABELS, loss="softmax", fisher=make, **options)
    assert np.allclose(got.f_train, want.f_train, atol=1e-8)
    assert want.train_loss[-1] < want.train_loss[0]


# ------------------------------------------------------------------ appendix D


def softmax_problem(scale=1.0):
    net = ngdlib.MLP((6, 40, 40, 3), activation="tanh")
    f, layers = net.linearise(net.init(0), DATA.x_train)
    y = np.arange(8) % 3
    f = scale * f
    p = np.exp(f - f.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    theta = sum(k.ntk() for k in ngdlib.empirical_kernels(layers)).reshape(24, 24)
    H = np.zeros((24, 24))
    for n in range(8):
        H[3 * n : 3 * n + 3, 3 * n : 3 * n + 3] = np.diag(p[n]) - np.outer(p[n], p[n])
    return layers, f, y, p, theta, H, (p - np.eye(3)[y]).reshape(-1)


def pulled(layers, v):
    return [layer.pull(v.reshape(8, 3)) for layer in layers]


def near(step, want, rtol):
    return all(
        np.linalg.norm(a - b) < rtol * np.linalg.norm(b) for a, b in zip(step, want, strict=True)
    )


def test_softmax_exact_is_the_formula_of_the_appendix():
    """J^T (H Theta / N + rho)^-1 (p - y) / N."""
    layers, f, y, _, theta, H, df = softmax_problem()
    R, u = likelihood.softmax(f, y)
    step = ngdlib.natural_gradient("exact", likelihood.fold(layers, R), u, damping=0.05)
    v = np.linalg.solve(H @ theta / 8 + 0.05 * np.eye(24), df) / 8
    assert near(step, pulled(layers, v), 1e-10)


@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_exact_plus_mse_is_the_formula_of_the_appendix(epsilon):
    """J^T Theta^-1 (H + epsilon I)^-1 (p - y), at zero damping."""
    layers, f, y, _, theta, H, df = softmax_problem()
    R, u = likelihood.plus_identity(likelihood.softmax, epsilon)(f, y)
    step = ngdlib.natural_gradient("exact", likelihood.fold(layers, R), u, damping=0.0)
    v = np.linalg.solve(theta, np.linalg.solve(H + epsilon * np.eye(24), df))
    assert near(step, pulled(layers, v), 1e-6)


def test_the_limit_of_exact_plus_mse_in_closed_form():
    """J^T Theta^-1 H^+ (p - y), H^+ (p - y) = -(e_y - 1 / C) / p_y; reached as epsilon goes to 0."""
    layers, f, y, p, theta, H, df = softmax_problem()
    R, u = likelihood.plus_identity(likelihood.softmax, 0)(f, y)
    closed = -(np.eye(3)[y] - 1 / 3) / p[np.arange(8), y][:, None]
    assert np.allclose(u, closed, rtol=1e-12)
    assert np.allclose(u.reshape(-1), np.linalg.pinv(H, rcond=1e-12) @ df, rtol=1e-8)
    step = ngdlib.natural_gradient("exact", likelihood.fold(layers, R), u, damping=0.0)
    assert near(step, pulled(layers, np.linalg.solve(theta, closed.reshape(-1))), 1e-9)
    S, v = likelihood.plus_identity(likelihood.softmax, 1e-7)(f, y)
    other = ngdlib.natural_gradient("exact", likelihood.fold(layers, S), v, damping=0.0)
    assert near(other, step, 1e-4)


def test_softmax_at_zero_damping_moves_the_centred_outputs_by_the_same():
    """Its own pseudo-inverse picks another mean of the logits, which no probability sees."""
    layers, f, y, p, *_ = softmax_problem()
    R, u = likelihood.softmax(f, y)
    step = ngdlib.natural_gradient("exact", likelihood.fold(layers, R), u, damping=0.0)
    change = sum(layer.push(s[None])[0] for layer, s in zip(layers, step, strict=True))
    centred = change - change.mean(1, keepdims=True)
    closed = -(np.eye(3)[y] - 1 / 3) / p[np.arange(8), y][:, None]
    assert np.allclose(centred, closed, rtol=1e-8)
    assert not np.allclose(change, closed, rtol=1e-3)


def test_the_limit_is_safe_where_probabilities_underflow():
    y = np.array([0, 1])
    f = np.array([[0.0, 2000.0, -2000.0], [0.0, 2000.0, -2000.0]])
    for dtype in (np.float32, np.float64):
        _, u = likelihood.plus_identity(likelihood.softmax, 0)(f.astype(dtype), y)
        assert np.isfinite(u).all()
        assert np.allclose(u[1], [1 / 3, -2 / 3, 1 / 3], rtol=1e-6)
        _, u = likelihood.plus_identity(likelihood.logistic, 0)(f[:1, 1:2].T.astype(dtype), y[:1])
        assert np.isfinite(u).all()
    f = rng.standard_normal((5, 1))
    y = np.array([0, 1, 1, 0, 1])
    _, u = likelihood.plus_identity(likelihood.logistic, 0)(f, y)
    R, v = likelihood.logistic(f, y)
    assert np.allclose(u, v / R[:, 0])


def test_plus_identity_takes_no_negative_epsilon_and_knows_which_losses_have_a_limit():
    for epsilon in (-1.0, np.nan):
        with pytest.raises(ValueError, match="epsilon is a finite number >= 0, got"):
            likelihood.plus_identity(likelihood.softmax, epsilon)
    with pytest.raises(ValueError, match="epsilon = 0 is for squared_error, softmax and logistic"):
        likelihood.plus_identity(lambda f, y: likelihood.softmax(f, y), 0)


@pytest.mark.parametrize("shape", [(8, 2), (7, 1, 2), (8, 2, 3)])
def test_a_root_of_the_hessian_of_another_shape_is_refused(shape):
    layers = NET.layers(NET.init(0), DATA.x_train)
    with pytest.raises(ValueError, match=r"layers of 8 samples and 2 outputs take \(8, k, 2\)"):
        likelihood.fold(layers, np.ones(shape))
