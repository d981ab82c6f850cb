"""Bad input to the core: one clear sentence that says what is wrong, and what was given."""

import re
import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest

import ngdlib
from ngdlib import likelihood

METHODS = list(ngdlib.FISHERS)
rng = np.random.default_rng(0)
NET = ngdlib.MLP((4, 16, 16, 2))
PARAMS = NET.init(0)
X, Y = rng.standard_normal((6, 4)), rng.standard_normal((6, 2))
X_TEST, Y_TEST = rng.standard_normal((3, 4)), rng.standard_normal((3, 2))
LAYERS, TEST = NET.layers(PARAMS, X), NET.layers(PARAMS, X_TEST)
KERNELS, CROSS = ngdlib.empirical_kernels(LAYERS), ngdlib.empirical_kernels(TEST, LAYERS)
F, F_TEST = NET.apply(PARAMS, X), NET.apply(PARAMS, X_TEST)
R = F - Y


class Data(NamedTuple):
    x_train: Any = X
    y_train: Any = Y
    x_test: Any = X_TEST
    y_test: Any = Y_TEST
    classes: Any = (0, 1)


def broken(array, value=np.nan):
    out = array.copy()
    out.reshape(-1)[1] = value
    return out


BROKEN_PARAMS = [PARAMS[0], (broken(PARAMS[1][0], np.inf), None), PARAMS[2]]


def step(method="exact", layers=LAYERS, residual=R, damping=0.1, **more):
    return ngdlib.natural_gradient(method, layers, residual, damping=damping, **more)


def predict(
    train=LAYERS, test=TEST, f=F, f_test=F_TEST, y=Y, learning_rate=0.1, steps=1, damping=0.1
):
    return ngdlib.predict(
        "exact",
        train,
        test,
        f,
        f_test,
        y,
        learning_rate=learning_rate,
        steps=steps,
        damping=damping,
    )


def train(net=NET, params=PARAMS, method="exact", damping=0.1, steps=1, data=None, **more):
    return ngdlib.train(
        net, params, data or Data(), method=method, damping=damping, steps=steps, **more
    )


# ------------------------------------------------------------------ not finite, empty, shapes


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_nan_inputs_are_named_by_every_method(method, damping):
    layers = NET.layers(PARAMS, broken(X))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "kfac at zero damping")
        with pytest.raises(ValueError, match="layer 1 holds NaN or infinity"):
            step(method, layers, np.zeros((6, 2)), damping)
        with pytest.raises(ValueError, match="layer 1 holds NaN or infinity"):
            ngdlib.isotropy(method, layers, damping=damping)
        with pytest.raises(ValueError, match="layer 1 holds NaN or infinity"):
            ngdlib.precondition(method, layers, [np.zeros((16, 4))] * 3, damping=damping)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_infinite_parameters_are_named():
    with pytest.raises(ValueError, match="holds NaN or infinity: check x and the parameters"):
        step(layers=NET.layers(BROKEN_PARAMS, X))
    with pytest.raises(ValueError, match="the weights of layer 2 hold NaN or infinity"):
        train(params=BROKEN_PARAMS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: step(residual=broken(R)), "the residual holds NaN or infinity"),
        (
            lambda: ngdlib.isotropy("exact", [k._replace(A=broken(k.A)) for k in KERNELS]),
            "NaN or infinity",
        ),
        (lambda: predict(f=broken(F)), "holds NaN or infinity"),
        (lambda: predict(y=broken(Y)), "holds NaN or infinity"),
        (lambda: train(data=Data(x_train=broken(X))), "the data hold NaN or infinity"),
        (lambda: train(data=Data(y_test=broken(Y_TEST))), "the data hold NaN or infinity"),
        (lambda: ngdlib.infinite_kernels(NET, broken(X)), "the inputs hold NaN or infinity"),
        (lambda: NET.apply(PARAMS, X[:0]), "x is empty"),
        (lambda: train(data=Data(x_train=X[:0], y_train=Y[:0])), "the data are empty"),
        (lambda: ngdlib.infinite_kernels(NET, X[:0]), r"n >= 1, got \(0, 4\)"),
        (lambda: NET.apply(PARAMS, X[0]), r"x has shape \(4,\)"),
        (lambda: NET.apply(PARAMS, X[:, :3]), r"x has shape \(6, 3\); the network takes \(n, 4\)"),
        (lambda: ngdlib.infinite_kernels(NET, X[:, :3]), r"inputs are \(n, 4\)"),
        (lambda: NET.apply(PARAMS[:2], X), "the network has 3 layers, the parameters 2"),
        (
            lambda: NET.apply([PARAMS[0], PARAMS[2], PARAMS[2]], X),
            "layer 3 takes 16 inputs, layer 2 gives 2",
        ),
        (
            lambda: ngdlib.MLP((4, 16, 16, 2), bias_variance=1.0).apply(PARAMS, X),
            "layer 1 of the parameters has no bias",
        ),
        (
            lambda: NET.apply(ngdlib.MLP((4, 16, 16, 2), bias_variance=1.0).init(), X),
            "bias_variance is 0.0, and layer 1 of the parameters has a bias",
        ),
        (lambda: NET.update(PARAMS, step()[:2], 1.0), "a step for 2 layers does not fit 3"),
        (
            lambda: NET.update(PARAMS, [s[:, :2] for s in step()], 1.0),
            r"a step of shape \(16, 2\) does not fit a weight of shape \(16, 4\)",
        ),
        (
            lambda: step(residual=R[:, 0]),
            r"the residual has shape \(6,\), the layers have 6 samples and 2",
        ),
        (lambda: step(residual=R.T), r"the residual has shape \(2, 6\)"),
        (lambda: step(layers=[LAYERS[0], *NET.layers(PARAMS, X[:5])[1:]]), "layer 2 has samples"),
        (lambda: predict(f=F[:4]), r"f_train has shape \(4, 2\), y_train \(6, 2\)"),
        (
            lambda: predict(f=F[:4], y=Y[:4]),
            r"f_train has shape \(4, 2\), its layers or kernels 6 samples",
        ),
        (
            lambda: predict(f_test=F_TEST[:2]),
            r"f_test has shape \(2, 2\), its layers or kernels 3 samples",
        ),
        (
            lambda: predict(KERNELS, ngdlib.empirical_kernels(LAYERS, TEST)),
            "the test kernels have shape",
        ),
        (lambda: predict(KERNELS, CROSS[:2]), "come as 3 kernels, so the test inputs must too"),
        (lambda: predict(KERNELS, TEST), "so the test inputs must too"),
        (lambda: predict(LAYERS, CROSS), r"pass net.layers\(params, x_test\)"),
        (
            lambda: train(data=Data(y_train=Y[:4])),
            r"outputs of shape \(6, 2\), the targets \(4, 2\)",
        ),
        (
            lambda: train(data=Data(y_test=Y_TEST[:1])),
            r"outputs of shape \(3, 2\), the targets \(1, 2\)",
        ),
        (lambda: train(data=Data(x_train=X[:, :2])), r"x has shape \(6, 2\)"),
    ],
)
def test_values_and_shapes_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------------ names and numbers


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: step("newton"), "unknown method 'newton'; the methods are exact, block_diagonal"),
        (lambda: step(3), "unknown method 3"),
        (lambda: step(space="both"), 'space is "auto", "parameter" or "function", not \'both\''),
        (
            lambda: step("diagonal", space="function"),
            "diagonal has no dual .* use space='parameter'",
        ),
        (
            lambda: ngdlib.MLP((4, 8, 1), activation="gelu"),
            "unknown activation 'gelu'; there are relu, erf",
        ),
        (lambda: ngdlib.MLP((4, 0, 1)), "a width is at least 1, got 0"),
        (lambda: ngdlib.MLP((4,)), "widths has the inputs and at least one layer"),
        (lambda: ngdlib.MLP((4, 1), weight_variance=0.0), "weight_variance is a finite number > 0"),
        (lambda: ngdlib.MLP((4, 1), bias_variance=-1.0), "bias_variance is a finite number >= 0"),
        (lambda: ngdlib.fisher.mini_block(0), "size is a whole number of units, at least 1, not 0"),
        (lambda: ngdlib.fisher.mini_block(1.5), "size is a whole number of units"),
        (lambda: ngdlib.fisher.kfac("equally"), 'normalisation is "textbook" or "equal"'),
        (lambda: predict(steps=-1), "steps is a whole number >= 0, got -1"),
        (lambda: predict(steps=1.5), "steps is a whole number >= 0, got 1.5"),
        (lambda: predict(learning_rate=np.nan), "learning_rate is a finite number"),
        (lambda: predict(learning_rate="optimal"), "learning_rate is a finite number"),
        (lambda: train(steps=-1), "steps is a whole number >= 0, got -1"),
        (
            lambda: train(loss="hinge"),
            "unknown loss 'hinge'; there are squared_error, softmax, logistic",
        ),
        (
            lambda: train(fisher="true"),
            'fisher is "exact", "monte_carlo", "empirical" or a function',
        ),
        (lambda: train(learning_rate="best"), 'learning_rate is a finite number or "optimal"'),
        (
            lambda: likelihood.monte_carlo(likelihood.softmax, samples=0, seed=0),
            "samples is a whole number",
        ),
        (
            lambda: likelihood.monte_carlo(max, samples=1, seed=0),
            "monte_carlo samples squared_error",
        ),
        (
            lambda: likelihood.plus_identity(likelihood.softmax, -1.0),
            "epsilon is a finite number >= 0",
        ),
        (
            lambda: likelihood.softmax(F, np.array([0, 1, 2, 0, 1, 0])),
            "labels are 0 .. 1 for 2 outputs",
        ),
        (
            lambda: likelihood.softmax(F, np.array([0, 1, -1, 0, 1, 0])),
            "labels are 0 .. 1 for 2 outputs",
        ),
        (lambda: likelihood.softmax(F, np.zeros(6)), "labels are 6 whole numbers"),
        (lambda: likelihood.softmax(F, np.zeros(4, int)), "labels are 6 whole numbers"),
        (lambda: likelihood.softmax(F, Y), "the rows of y are no probabilities"),
        (lambda: likelihood.softmax(F[:, :1], np.zeros(6, int)), "use logistic"),
        (
            lambda: likelihood.logistic(F, np.zeros(6)),
            "logistic is for one output, and f has 2: use softmax",
        ),
        (lambda: likelihood.logistic(F[:, :1], np.full(6, -0.5)), "logistic takes labels 0 and 1"),
        (lambda: likelihood.logistic(F[:, :1], np.zeros(5)), "one label per sample"),
        (lambda: likelihood.squared_error(F[:, :1], np.zeros(6)), "one target per output"),
        (lambda: train(data=Data(y_train=Y, y_test=Y_TEST), loss="softmax"), "no probabilities"),
        (
            lambda: train(
                data=Data(y_train=np.full(6, 7), y_test=np.zeros(3, int)), loss="softmax"
            ),
            "labels are 0 .. 1",
        ),
    ],
)
def test_names_and_numbers_that_do_not_exist(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ngdlib.MLP((4, 2.5, 1)), "a width is a whole number, got 2.5"),
        (lambda: step(residual=R * 1j), "expected real numbers, got an array of complex128"),
        (lambda: step(residual=np.array([["a", "b"]] * 6)), "expected real numbers"),
        (lambda: step(layers=[]), "layers is a list of Layer or Jacobian"),
        (lambda: step(layers=PARAMS), "layers is a list of Layer or Jacobian"),
        (lambda: step(layers=KERNELS), "layers is a list of Layer or Jacobian"),
        (
            lambda: ngdlib.isotropy("unit_wise", KERNELS, damping=0.1),
            "unit_wise predicts from layers",
        ),
        (
            lambda: ngdlib.isotropy("mini_block", KERNELS, damping=0.1),
            "mini_block predicts from layers",
        ),
        (
            lambda: ngdlib.isotropy("diagonal", KERNELS, damping=0.1),
            "diagonal predicts from layers",
        ),
    ],
)
def test_things_of_the_wrong_kind(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    "damping",
    [
        -0.1,
        float("nan"),
        float("inf"),
        None,
        "0.1",
        True,
        np.float32(-1),
        np.array(-0.1),
        [0.1, 0.2],
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda d: step(damping=d),
        lambda d: step("kfac", damping=d, space="parameter"),
        lambda d: ngdlib.precondition("exact", LAYERS, [np.zeros((16, 4))] * 3, damping=d),
        lambda d: ngdlib.isotropy("exact", LAYERS, damping=d),
        lambda d: predict(damping=d),
        lambda d: train(damping=d),
        ngdlib.damping.factored,
        ngdlib.damping.relative,
    ],
)
def test_a_damping_is_a_finite_number_that_is_not_negative(call, damping):
    with pytest.raises(
        ValueError, match=r"damping is a finite number >= 0.*got " + re.escape(repr(damping))
    ):
        call(damping)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "kfac"])
def test_factored_damping_needs_kronecker_products(method):
    with pytest.raises(ValueError, match=f"splits Kronecker products, and {method} has none"):
        step(method, damping=ngdlib.damping.factored(0.1))


def test_factored_damping_needs_layers():
    with pytest.raises(ValueError, match="pass layers, not kernels"):
        ngdlib.isotropy("kfac", KERNELS, damping=ngdlib.damping.factored(0.1))


def test_precondition_in_function_space_needs_damping():
    g = ngdlib.layers.gradient(LAYERS, R)
    for damping in (0.0, ngdlib.damping.relative(0.1)):
        with pytest.raises(ValueError, match="needs a damping that is a number > 0"):
            ngdlib.precondition("exact", LAYERS, g, damping=damping, space="function")


# ------------------------------------------------------------------ kernels


@pytest.mark.parametrize(
    ("kernels", "message"),
    [
        (
            [k._replace(G=k.G + 0.1 * rng.standard_normal(k.G.shape)) for k in KERNELS],
            "is not symmetric",
        ),
        ([k._replace(G=-k.G) for k in KERNELS], "is not positive semi-definite"),
        (CROSS, r"training kernels are square, \(n, c, n, c\); got \(3, 2, 6, 2\)"),
    ],
)
@pytest.mark.parametrize(
    "method", ["exact", "block_diagonal", "block_tridiagonal", "kfac", "gradient"]
)
def test_training_kernels_are_gram_matrices(method, kernels, message):
    with pytest.raises(ValueError, match=message):
        ngdlib.isotropy(method, kernels, damping=0.1)


# ------------------------------------------------------------------ zero damping


def with_duplicate(net=NET):
    x = np.concatenate([X, X[2:3]])
    params = net.init(0)
    return net.layers(params, x), net.apply(params, x)


@pytest.mark.parametrize("method", ["exact", "block_diagonal", "block_tridiagonal", "kfac"])
@pytest.mark.parametrize("space", ["function", "parameter"])
@pytest.mark.filterwarnings("ignore:kfac at zero damping")
def test_duplicate_inputs_at_zero_damping_are_named(method, space):
    layers, f = with_duplicate()
    with pytest.raises(
        ValueError, match=r"sample 6 has the same inputs as an earlier one.*damping > 0"
    ):
        ngdlib.natural_gradient(method, layers, f, damping=0.0, space=space)


@pytest.mark.parametrize("method", ["unit_wise", "mini_block"])
def test_duplicate_inputs_of_units_at_zero_damping_are_named(method):
    layers, f = with_duplicate(ngdlib.MLP((4, 16, 16, 2), activation="tanh"))
    with pytest.raises(
        ValueError, match=r"sample 6 has the same inputs as an earlier one.*damping > 0"
    ):
        ngdlib.natural_gradient(method, layers, f, damping=0.0, space="function")


@pytest.mark.parametrize("method", ["exact", "block_diagonal", "kfac"])
@pytest.mark.filterwarnings("ignore:kfac at zero damping")
def test_under_jit_duplicates_give_nan_instead(method):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        x = jax.numpy.asarray(np.concatenate([X, X[2:3]]))
        params = NET.init(0, xp=jax.numpy)

        def run(params, x):
            f, layers = NET.linearise(params, x)
            return ngdlib.natural_gradient(method, layers, f, damping=0.0)

        # K-FAC's first layer has a step of its own: it has fewer inputs than samples.
        assert all(np.isnan(np.asarray(s)).all() for s in jax.jit(run)(params, x)[1:])
        with pytest.raises(ValueError, match="sample 6 has the same inputs"):
            run(params, x)


@pytest.mark.parametrize("method", ["exact", "block_diagonal", "block_tridiagonal"])
def test_more_residuals_than_parameters(method):
    net = ngdlib.MLP((4, 1, 1))
    layers = net.layers(net.init(0), X)
    with pytest.raises(ValueError, match=rf"{method} at zero damping.* parameters .*damping > 0"):
        ngdlib.natural_gradient(method, layers, np.ones((6, 1)), damping=0.0)
    assert np.isfinite(
        ngdlib.natural_gradient(method, layers, np.ones((6, 1)), damping=0.1)[0]
    ).all()


def test_a_layer_that_is_too_small_is_named():
    net = ngdlib.MLP((4, 16, 3, 1))
    layers = net.layers(net.init(0), X)
    with pytest.raises(
        ValueError, match=r"block_diagonal at zero damping.* 3 does not hold.*damping > 0"
    ):
        ngdlib.natural_gradient("block_diagonal", layers, np.ones((6, 1)), damping=0.0)


@pytest.mark.parametrize(("depth", "alpha"), [(5, 2), (8, 3)])
def test_block_tridiagonal_names_depth_eigenvalue_and_option(depth, alpha):
    net = ngdlib.MLP((8, *[16] * (depth - 1), 1), activation="tanh")
    layers = net.layers(net.init(0), rng.standard_normal((4, 8)))
    message = (
        r"eigenvalue.* 1 \+ 2 cos\(.* 0.*singular at depth "
        rf"{depth}.*block_tridiagonal\(pseudo_inverse=True\), .*alpha = {alpha}"
    )
    with pytest.raises(ValueError, match=message):
        ngdlib.natural_gradient("block_tridiagonal", layers, np.ones((4, 1)), damping=0.0)
    method = ngdlib.fisher.block_tridiagonal(pseudo_inverse=True)
    assert ngdlib.isotropy(method, layers).alpha == pytest.approx(alpha, abs=1e-6)


def test_kfac_warns_where_isotropy_is_lost_and_the_step_is_defined():
    net = ngdlib.MLP((8, 10, 16, 2), activation="tanh")
    layers = net.layers(net.init(0), rng.standard_normal((6, 8)))
    with pytest.warns(UserWarning, match=r"kfac at zero damping.*N C <= M_1"):
        steps = ngdlib.natural_gradient("kfac", layers, np.ones((6, 2)), damping=0.0)
    assert all(np.isfinite(s).all() for s in steps)
    ngdlib.natural_gradient(
        "kfac", layers, np.ones((6, 2)), damping=0.1
    )  # no warning: it is an error here


# ------------------------------------------------------------------ what is not an error


def test_integers_and_lists_are_converted():
    x = np.arange(24).reshape(6, 4) % 5
    for method in METHODS:
        layers = NET.layers(PARAMS, x)
        assert layers[0].a.dtype == np.float64
        ones, floats = (
            ngdlib.natural_gradient(method, layers, r, damping=0.1)
            for r in (np.ones((6, 2), int), np.ones((6, 2)))
        )
        assert all((a == b).all() for a, b in zip(ones, floats, strict=True))
    assert (NET.apply(PARAMS, x.tolist()) == NET.apply(PARAMS, x.astype(float))).all()
    assert ngdlib.infinite_kernels(NET, x)[0].A.dtype == np.float64
    assert train(data=Data(x_train=x)).f_train.dtype == np.float64
    labels = np.arange(6) % 2
    predict(y=np.eye(2, dtype=int)[labels])


@pytest.mark.parametrize("zero", [0, 0.0, np.float32(0), np.float64(0), np.array(0.0), np.int64(0)])
def test_zero_is_zero_in_every_number_type(zero):
    for method in ("exact", "unit_wise", "diagonal"):
        one, two = (step(method, damping=d) for d in (zero, 0.0))
        assert all((a == b).all() for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("method", ["exact", "kfac"])
def test_every_layer_s_kernel_is_checked_and_not_their_sum_alone(method):
    """One that is negative hides behind the others in the sum."""
    hidden = KERNELS[1]._replace(G=-1e-3 * KERNELS[1].G)
    with pytest.raises(ValueError, match="kernel of layer 2 is not positive semi-definite"):
        ngdlib.isotropy(method, [KERNELS[0], hidden, *KERNELS[2:]], damping=0.1)
    skew = KERNELS[1]._replace(A=KERNELS[1].A + np.triu(np.ones_like(KERNELS[1].A), 1))
    with pytest.raises(ValueError, match="kernel of layer 2 is not symmetric"):
        ngdlib.isotropy(method, [KERNELS[0], skew, *KERNELS[2:]], damping=0.1)


def test_too_many_samples_for_the_network_speaks_of_the_network():
    net = ngdlib.MLP((3, 1, 1))
    f, layers = net.linearise(net.init(0), np.random.default_rng(0).standard_normal((9, 3)))
    with pytest.raises(ValueError, match="N C <= the 4 parameters of the network does not hold"):
        ngdlib.natural_gradient("exact", layers, f, damping=0.0)
    with pytest.raises(ValueError, match="N C <= the 3 parameters of layer 1 does not hold"):
        ngdlib.natural_gradient("block_diagonal", layers, f, damping=0.0)
