"""neural-tangents on today's JAX: its kernels are right, and nobody else notices it."""

import importlib.util
import math
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import ngdlib
from ngdlib.interop import neural_tangents as interop

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("neural_tangents") is None, reason="neural-tangents is not installed"
)

WEIGHT_VARIANCE, BIAS_VARIANCE = 1.7, 0.3


@pytest.fixture(autouse=True)
def float64():
    import jax

    with jax.enable_x64(True):
        yield


@pytest.fixture
def nt():
    return interop.load()


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    return rng.standard_normal((5, 6)), rng.standard_normal((3, 6))


def dense(nt, widths, activation, bias=True):
    """The stax network of `ngdlib.MLP(widths, activation)`."""
    stax = nt.stax
    phi = {"relu": stax.Relu, "erf": stax.Erf}[activation]
    layers = []
    for width in widths[1:]:
        b_std = BIAS_VARIANCE**0.5 if bias else None
        layers += [stax.Dense(width, WEIGHT_VARIANCE**0.5, b_std, parameterization="ntk"), phi()]
    return stax.serial(*layers[:-1])


def expectations(activation, q, p, k):
    """E phi(u) phi(v) and E phi'(u) phi'(v) for u, v normal, variances q and p, covariance k."""
    if activation == "relu":
        c = max(-1.0, min(1.0, k / math.sqrt(q * p)))
        angle = math.acos(c)
        return (
            math.sqrt(q * p) / (2 * math.pi) * (math.sin(angle) + (math.pi - angle) * c),
            (math.pi - angle) / (2 * math.pi),
        )
    d = (1 + 2 * q) * (1 + 2 * p)
    return 2 / math.pi * math.asin(2 * k / math.sqrt(d)), 4 / math.pi / math.sqrt(d - 4 * k**2)


def dense_kernels(x, y, depth, activation, bias):
    """NNGP and NTK of one pair of inputs at infinite width, layer by layer."""
    sb = BIAS_VARIANCE * bias
    q, p, k = (WEIGHT_VARIANCE * np.dot(a, b) / len(x) + sb for a, b in ((x, x), (y, y), (x, y)))
    ntk = k
    for _ in range(depth - 1):
        covariance, derivative = expectations(activation, q, p, k)
        q, p = (WEIGHT_VARIANCE * expectations(activation, v, v, v)[0] + sb for v in (q, p))
        k = WEIGHT_VARIANCE * covariance + sb
        ntk = WEIGHT_VARIANCE * derivative * ntk + k
    return k, ntk


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_infinite_dense_kernels_are_the_formula(nt, inputs, activation, bias, jit):
    import jax

    x, y = inputs
    _, _, kernel = dense(nt, (6, 8, 8, 1), activation, bias)

    def both(x, y):
        return tuple(kernel(x, y, ("nngp", "ntk")))

    nngp, ntk = (jax.jit(both) if jit else both)(x, y)
    want = np.array([[dense_kernels(a, b, 3, activation, bias) for b in y] for a in x])
    assert nngp.dtype == ntk.dtype == np.float64
    np.testing.assert_allclose(nngp, want[..., 0], rtol=1e-12)
    np.testing.assert_allclose(ntk, want[..., 1], rtol=1e-12)


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("readout", ["Flatten", "GlobalAvgPool"])
def test_infinite_convolutional_kernels_are_the_formula(nt, readout, jit):
    import jax

    stax = nt.stax
    pixels, channels = 5, 2
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, pixels, channels)), rng.standard_normal((3, pixels, channels))
    w, b = WEIGHT_VARIANCE**0.5, BIAS_VARIANCE**0.5
    conv = [stax.Conv(7, (3,), padding="CIRCULAR", W_std=w, b_std=b) for _ in range(2)]
    _, _, kernel = stax.serial(
        conv[0], stax.Relu(), conv[1], stax.Relu(), getattr(stax, readout)(), stax.Dense(1, w, b)
    )

    def patch(k):
        """Mean over the filter of k at both pixels shifted alike: the prior of a convolution."""
        return WEIGHT_VARIANCE * sum(np.roll(k, (d, d), (0, 1)) for d in (-1, 0, 1)) / 3

    def layers(x, y):
        pairs = {"q": (x, x), "p": (y, y), "k": (x, y)}
        k = {n: patch(a @ b.T / channels) + BIAS_VARIANCE for n, (a, b) in pairs.items()}
        ntk = k["k"]
        for last in (False, True):
            new, slope = {n: np.zeros_like(v) for n, v in k.items()}, np.zeros_like(ntk)
            for s in range(pixels):
                for t in range(pixels):
                    for n, (left, right) in {"q": "qq", "p": "pp", "k": "qp"}.items():
                        variances = k[left][s, s], k[right][t, t]
                        new[n][s, t], d = expectations("relu", *variances, k[n][s, t])
                    slope[s, t] = d
            if not last:
                k = {n: patch(v) + BIAS_VARIANCE for n, v in new.items()}
                ntk = patch(slope * ntk) + k["k"]
        read = np.mean if readout == "GlobalAvgPool" else lambda v: np.trace(v) / pixels
        nngp = WEIGHT_VARIANCE * read(new["k"]) + BIAS_VARIANCE
        return nngp, WEIGHT_VARIANCE * read(slope * ntk) + nngp

    def both(x, y):
        return tuple(kernel(x, y, ("nngp", "ntk")))

    nngp, ntk = (jax.jit(both) if jit else both)(x, y)
    want = np.array([[layers(a, b) for b in y] for a in x])
    np.testing.assert_allclose(nngp, want[..., 0], rtol=1e-12)
    np.testing.assert_allclose(ntk, want[..., 1], rtol=1e-12)


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_infinite_kernels_of_both_libraries_agree(nt, inputs, activation, bias):
    x, y = inputs
    widths = (6, 8, 8, 8, 1)
    net = ngdlib.MLP(
        widths,
        activation=activation,
        weight_variance=WEIGHT_VARIANCE,
        bias_variance=BIAS_VARIANCE * bias,
    )
    _, _, kernel = dense(nt, widths, activation, bias)
    for other in (y, None):
        ours = sum(k.ntk() for k in ngdlib.infinite_kernels(net, x, other))[:, 0, :, 0]
        np.testing.assert_allclose(ours, kernel(x, other, "ntk"), rtol=1e-7)


IMPLEMENTATIONS = ("JACOBIAN_CONTRACTION", "NTK_VECTOR_PRODUCTS", "STRUCTURED_DERIVATIVES", "AUTO")


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("activation", "bias", "jit"),
    [("relu", False, True), ("erf", True, True), ("relu", True, False)],
)
def test_empirical_kernel_is_the_sum_of_our_layers(
    nt, inputs, activation, bias, implementation, jit, capsys
):
    import jax

    x, y = inputs
    widths = (6, 9, 7, 2)
    net = ngdlib.MLP(
        widths,
        activation=activation,
        weight_variance=WEIGHT_VARIANCE,
        bias_variance=BIAS_VARIANCE * bias,
    )
    params = net.init(seed=3)
    init, apply, _ = dense(nt, widths, activation, bias)
    _, template = init(jax.random.key(0), x.shape)
    theirs = [()] * len(template)
    for layer, (W, b) in enumerate(params):
        theirs[2 * layer] = (W.T, None if b is None else b[None])
    assert jax.tree.map(np.shape, theirs) == jax.tree.map(np.shape, list(template))
    np.testing.assert_allclose(apply(theirs, x), net.apply(params, x), rtol=1e-12)

    how = nt.NtkImplementation[implementation]
    ntk = nt.empirical_ntk_fn(apply, trace_axes=(), implementation=how)
    got = (jax.jit(ntk) if jit else ntk)(x, y, theirs)
    kernels = ngdlib.empirical_kernels(net.layers(params, x), net.layers(params, y))
    want = sum(k.ntk() for k in kernels)  # (n, c, m, d)
    assert got.dtype == np.float64
    np.testing.assert_allclose(np.transpose(got, (0, 2, 1, 3)), want, rtol=1e-11, atol=1e-12)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("implementation", "jit"),
    [*((name, True) for name in IMPLEMENTATIONS), ("STRUCTURED_DERIVATIVES", False)],
)
def test_empirical_kernel_of_a_convolutional_network(nt, implementation, jit):
    import jax

    stax = nt.stax
    init, apply, _ = stax.serial(
        stax.Conv(3, (3, 3), padding="SAME", b_std=0.2),
        stax.Relu(),
        stax.Conv(4, (3, 3), strides=(2, 2), padding="CIRCULAR"),
        stax.Erf(),
        stax.AvgPool((2, 2)),
        stax.Flatten(),
        stax.Dense(2, b_std=0.1),
    )
    x = np.random.default_rng(4).standard_normal((3, 6, 6, 2))
    y = np.random.default_rng(5).standard_normal((2, 6, 6, 2))
    _, params = init(jax.random.key(1), x.shape)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    jacobian = jax.jit(jax.jacobian(lambda p, z: apply(unravel(p), z)))
    J, K = jacobian(flat, x), jacobian(flat, y)
    want = np.einsum("ncp,mdp->nmcd", J, K)

    how = nt.NtkImplementation[implementation]
    ntk = nt.empirical_ntk_fn(apply, trace_axes=(), implementation=how)
    got = (jax.jit(ntk) if jit else ntk)(x, y, params)
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_predictions_use_the_kernels(nt, inputs, jit):
    import jax

    x, y = inputs
    _, _, kernel = dense(nt, (6, 8, 8, 1), "erf")
    train, test = np.asarray(kernel(x, None, "ntk")), np.asarray(kernel(y, x, "ntk"))
    target = np.random.default_rng(6).standard_normal((5, 1))
    f_train, f_test = np.zeros((5, 1)), np.zeros((3, 1))

    def predict(train, test, time):
        fit = nt.predict.gradient_descent_mse(train, target)
        return fit(time, f_train, f_test, test)

    if jit:
        predict = jax.jit(predict)
    values, vectors = np.linalg.eigh(train)
    decay = (vectors * np.exp(-values * 2.5 / target.size)) @ vectors.T
    got_train, got_test = predict(train, test, 2.5)
    np.testing.assert_allclose(got_train, target - decay @ target, rtol=1e-9)
    move = np.linalg.solve(train, target - decay @ target)
    np.testing.assert_allclose(got_test, test @ move, rtol=1e-9)

    rate = nt.predict.max_learning_rate(train, y_train_size=5, eps=0)
    np.testing.assert_allclose(rate, 2 * 5 / values[-1], rtol=1e-12)


def test_attention_positions_and_batches_run(nt):
    import jax

    stax = nt.stax
    _, _, kernel = stax.serial(
        stax.Conv(4, (3,), padding="SAME"),
        stax.GlobalSelfAttention(
            4,
            n_chan_key=4,
            n_chan_val=4,
            n_heads=2,
            linear_scaling=False,
            attention_mechanism="IDENTITY",
            pos_emb_type="SUM",
            pos_emb_decay_fn=lambda d: 1 / (1 + d**2),
        ),
        stax.GlobalAvgPool(),
        stax.Dense(1),
    )
    x = np.random.default_rng(7).standard_normal((4, 5, 2))
    whole = kernel(x, None, "ntk")
    np.testing.assert_allclose(jax.jit(lambda x: kernel(x, None, "ntk"))(x), whole, rtol=1e-12)
    batched = nt.batch(kernel, batch_size=2, device_count=0)
    np.testing.assert_allclose(batched(x, None, "ntk"), whole, rtol=1e-12)


def test_loading_again_changes_nothing(nt):
    empirical = sys.modules["neural_tangents._src.empirical"]
    before = dict(vars(empirical))
    assert interop.load() is nt
    assert all(vars(empirical)[name] is value for name, value in before.items())
    import neural_tangents

    assert neural_tangents is nt


@pytest.mark.parametrize("name", ["neural_tangents", "jax", "scipy", "frozendict"])
def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch, name):
    monkeypatch.setattr(interop, "_loaded", None)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"'{name}', which is not installed.*pip install") as e:
        interop.load()
    assert e.value.name == name


def run(script):
    """Run in a fresh interpreter, where a warning is an error."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_nothing_is_imported_until_it_is_asked_for():
    run("""
        import sys
        import ngdlib
        import ngdlib.interop.neural_tangents
        for name in ("neural_tangents", "jax", "scipy", "frozendict", "tensorflow"):
            assert name not in sys.modules, name
    """)


def test_jax_and_scipy_stay_as_they_were():
    run("""
        import sys, types
        import jax, jax.core, jax.extend.core, jax.interpreters.ad, jax.example_libraries.stax
        import jax.numpy, scipy.linalg, scipy.special
        try:
            import neural_tangents  # a failed import leaves halves behind; load() copes
        except ImportError:
            pass
        owners = [
            jax, jax.core, jax.extend.core, jax.interpreters.ad, jax.numpy, jax.lax, jax.config,
            jax.extend.core.Primitive, scipy, scipy.linalg, scipy.special,
        ]
        before = [dict(vars(o)) for o in owners]
        utils = sys.modules.get("jax.util")
        from ngdlib.interop.neural_tangents import load
        nt = load()
        for owner, old in zip(owners, before):
            new = dict(vars(owner))
            assert not old.keys() - new.keys(), (owner, old.keys() - new.keys())
            for name, value in new.items():
                # A submodule that was imported for the first time is bound to its package.
                if name not in old and isinstance(value, types.ModuleType):
                    assert sys.modules.get(value.__name__) is value, (owner, name)
                else:
                    assert name in old and value is old[name], (owner, name)
        assert sys.modules.get("jax.util") is utils
        assert "tensorflow" not in sys.modules and "tf2jax" not in sys.modules
        assert "neural_tangents.experimental" not in sys.modules
        assert not hasattr(nt, "experimental")
        assert not jax.config.jax_enable_x64
    """)


def test_a_jax_that_defeats_it_gives_versions_that_work_and_leaves_nothing_behind():
    run("""
        import sys
        import jax, jax.extend.core
        from ngdlib.interop.neural_tangents import load

        def attempt(cause):
            try:
                load()
            except ImportError as error:
                message = str(error)
            else:
                raise AssertionError("no error")
            assert f"on JAX {jax.__version__}" in message and cause in message, message
            assert "0.6.5 works with JAX 0.10" in message, message
            assert error_free(), message

        def error_free():
            return not any(n.split(".")[0] == "neural_tangents" for n in sys.modules) and (
                "Literal" not in vars(jax.core)
            )

        # Before the import, in the middle of it, and at the trace that follows it.
        for owner, name in (
            (jax.extend.core, "Jaxpr"), (jax.lax, "dot_general_p"), (jax, "linearize"),
        ):
            value = getattr(owner, name)
            delattr(owner, name)
            attempt(name)
            setattr(owner, name, value)
        load()
    """)
