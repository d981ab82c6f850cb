"""What every entry of `ngdlib.FISHERS` must do, with a dense brute force as the judge.

A new method is one line in the table, and all of this covers it unasked; if `brute.fisher` does not
know it, its own matrix in full is the judge. The quick cases touch every value of every axis; the
whole product is marked slow.
"""

import itertools

import numpy as np
import pytest

import ngdlib
from ngdlib import likelihood

from . import brute
from .brute import METHODS, Case

QUICK = [
    Case(2, 1, False, "wide"),
    Case(3, 2, True, "tall"),
    Case(3, 3, False, "crowded"),
    Case(4, 1, True, "wide", "relu"),
    Case(5, 2, False, "wide"),
]
ALL = [
    Case(*axes)
    for axes in itertools.product(
        (2, 3, 4, 5), (1, 2, 3), (False, True), brute.SHAPES, ("tanh", "relu")
    )
    # With five relu units a sample may find all of them off, and no rank is known.
    if axes[3] == "wide" or axes[4] == "tanh"
]
DAMPINGS = (0.0, 1e-4, 1e-1)
LIKELIHOODS = {
    "squared_error": likelihood.squared_error,
    "softmax": likelihood.softmax,
    "logistic": likelihood.logistic,
    "plus_identity": likelihood.plus_identity(likelihood.softmax, 0.3),
}

each_method = pytest.mark.parametrize("name", METHODS)


def cases(more):
    slow = [pytest.param(c, marks=pytest.mark.slow) for c in more if c not in QUICK]
    return pytest.mark.parametrize("case", [*QUICK, *slow], ids=str)


each_case = cases(ALL)
some_cases = cases(ALL[::11])
# K-FAC warns that N C > M breaks isotropy; `test_errors.py` sees to that.
pytestmark = pytest.mark.filterwarnings("ignore:kfac at zero damping")


def dampings(name, depth):
    """Block-tri-diagonal matrices have poles at useful dampings beyond two layers."""
    return [r for r in DAMPINGS if r <= 1e-4 or depth == 2 or not name.startswith("block_tri")]


def distance(got, want):
    return abs(np.asarray(got) - want).max() / abs(want).max()


def spaces(method):
    return ("auto", "parameter", "function") if method.has_dual else ("auto", "parameter")


def check_step(method, layers, residual, damping, blocks):
    """Every space gives the judge's step; or, where the rank that the structure promises is short, an error."""
    defined = damping > 0 or brute.range_is_full(method, layers)
    want = brute.natural_gradient(blocks, layers, residual, damping) if defined else None
    for space in spaces(method):
        if not defined:
            with pytest.raises(ValueError, match=r"zero damping|is singular at depth"):
                ngdlib.natural_gradient(method, layers, residual, damping=damping, space=space)
            continue
        step = ngdlib.natural_gradient(method, layers, residual, damping=damping, space=space)
        assert distance(brute.flat(step), want) < brute.tolerance(blocks, damping), (space, damping)


@each_case
@each_method
def test_every_space_gives_the_step_of_the_dense_matrix(name, case):
    p = brute.problem(case)
    for damping in dampings(name, case.depth):
        check_step(METHODS[name], p.layers, p.residual, damping, brute.blocks_of(name, case))


@some_cases
@each_method
def test_the_structures_in_full_are_the_dense_matrix_and_its_dual(name, case):
    method, layers = METHODS[name], brute.problem(case).layers
    F = np.asarray(method.parameter_space(layers).dense())
    if name == "unit_wise" or name.startswith("mini_block"):
        return  # blocks padded with units that do nothing: the spectrum is looked at below
    assert distance(F, brute.dense(brute.blocks_of(name, case))) < 1e-9
    if method.has_dual and name != "gradient":
        dual = np.asarray(
            method.function_space(method.kernels(layers), ngdlib.fisher.Sizes.of(layers)).dense()
        )
        # S^T M S and M S S^T have the same non-zero eigenvalues.
        ours, theirs = (np.sort(np.linalg.eigvals(m).real) for m in (F, dual))
        scale = abs(ours).max()
        ours, theirs = (s[abs(s) > 1e-9 * scale] for s in (ours, theirs))
        assert len(ours) == len(theirs)
        assert abs(ours - theirs).max() < 1e-9 * scale


@each_case
@each_method
def test_isotropy_is_the_matrix_by_brute_force(name, case):
    p, method = brute.problem(case), METHODS[name]
    for damping in dampings(name, case.depth):
        if not damping and not brute.range_is_full(method, p.layers):
            continue
        iso = ngdlib.isotropy(method, p.layers, damping=damping)
        want = brute.response(brute.blocks_of(name, case), p.layers, p.layers, damping)
        # K-FAC's narrow layers: deep ones hand on Gram matrices that are nearly singular.
        tolerance = brute.tolerance(brute.blocks_of(name, case), damping)
        assert distance(iso.matrix, want) < tolerance
        alpha = np.trace(want) / len(want)
        assert iso.alpha == pytest.approx(alpha, rel=tolerance)
        deviation = np.linalg.norm(want - alpha * np.eye(len(want)), 2) / alpha
        assert iso.deviation == pytest.approx(deviation, rel=1e-6, abs=tolerance)


@some_cases
@each_method
def test_predictions_iterate_the_dense_matrices_from_layers_and_from_kernels(name, case):
    p, method = brute.problem(case), METHODS[name]
    test_layers = p.net.layers(p.params, p.x_test)
    f, f_test = p.net.apply(p.params, p.x), p.net.apply(p.params, p.x_test)
    for damping in dampings(name, case.depth):
        if not damping and not brute.range_is_full(method, p.layers):
            continue
        blocks = brute.blocks_of(name, case)
        G, K = (brute.response(blocks, p.layers, o, damping) for o in (p.layers, test_layers))
        eta = 0.5 / abs(np.linalg.eigvals(G)).max()
        train, test = [f.reshape(-1)], [f_test.reshape(-1)]
        for _ in range(3):
            r = train[-1] - p.y.reshape(-1)
            train.append(train[-1] - eta * G @ r)
            test.append(test[-1] - eta * K @ r)
        pairs = [(p.layers, test_layers)]
        kernels = (
            ngdlib.empirical_kernels(p.layers),
            ngdlib.empirical_kernels(test_layers, p.layers),
        )
        if not method.has_dual or name == "unit_wise" or name.startswith("mini_block"):
            with pytest.raises(TypeError, match="predicts from layers, not from kernels"):
                ngdlib.predict(
                    method, *kernels, f, f_test, p.y, learning_rate=eta, steps=3, damping=damping
                )
        elif damping or case.shape == "wide" or not name.startswith("kfac"):
            # From kernels K-FAC cannot know that a hidden layer is narrow, and refuses at zero damping.
            pairs.append(kernels)
        for pair in pairs:
            got = ngdlib.predict(
                method, *pair, f, f_test, p.y, learning_rate=eta, steps=3, damping=damping
            )
            assert got[0].shape == (4, *f.shape)
            assert got[1].shape == (4, *f_test.shape)
            for g, want in zip(got, (train, test), strict=True):
                assert distance(g.reshape(4, -1), np.stack(want)) < (1e-8 if damping else 1e-7)


@some_cases
@each_method
def test_the_outputs_move_by_minus_g_bar_times_the_residual(name, case):
    """Along the step, by central differences of the network itself."""
    p, method = brute.problem(case), METHODS[name]
    if not brute.range_is_full(method, p.layers) or case.activation == "relu":
        return
    damping = 0.0 if case.shape == "wide" else 1e-4
    step = ngdlib.natural_gradient(method, p.layers, p.residual, damping=damping)
    want = -ngdlib.isotropy(method, p.layers, damping=damping).matrix @ p.residual.reshape(-1)
    h = 1e-5 / max(1.0, *(abs(s).max() for s in step))
    moved = [p.net.apply(p.net.update(p.params, step, eta), p.x) for eta in (h, -h)]
    assert distance((moved[0] - moved[1]).reshape(-1) / (2 * h), want) < 1e-4


def folded(case, loss):
    """The layers of a loss, its u, and its gradient in the outputs."""
    p = brute.problem(case)
    f = p.net.apply(p.params, p.x)
    y = p.y if loss == "squared_error" else np.arange(len(f)) % max(case.outputs, 2)
    R, u = LIKELIHOODS[loss](f, y)
    return likelihood.fold(p.layers, R), u, np.einsum("nkc,nk->nc", R, u)


@some_cases
@each_method
def test_under_every_loss_the_step_is_that_of_the_dense_matrix(name, case):
    p, method = brute.problem(case), METHODS[name]
    J = np.concatenate(brute.jacobians(p.layers), axis=1)
    fitting = ["squared_error", "logistic"] if case.outputs == 1 else ["softmax", "plus_identity"]
    for loss in fitting:
        layers, u, df = folded(case, loss)
        blocks = brute.fisher(method, layers)
        for damping in dampings(name, case.depth):
            check_step(method, layers, u, damping, blocks)
            if damping:  # and the gradient is that of the loss
                want = brute.times_inverse(blocks, damping, J.T @ df.reshape(-1) / len(df))
                got = ngdlib.natural_gradient(method, layers, u, damping=damping)
                assert distance(brute.flat(got), want) < 1e-8


@some_cases
@each_method
def test_precondition_is_the_natural_gradient_of_the_same_gradient(name, case):
    p, method = brute.problem(case), METHODS[name]
    g = ngdlib.layers.gradient(p.layers, p.residual)
    for damping in dampings(name, case.depth):
        if not damping and not brute.range_is_full(method, p.layers):
            continue
        want = brute.natural_gradient(brute.blocks_of(name, case), p.layers, p.residual, damping)
        for space in spaces(method) if damping else ("auto", "parameter"):
            if name == "gradient" and space == "function":
                continue  # nothing to solve: it says so
            got = ngdlib.precondition(method, p.layers, g, damping=damping, space=space)
            tolerance = 10 * brute.tolerance(brute.blocks_of(name, case), damping)
            assert distance(brute.flat(got), want) < tolerance, (space, damping)


@pytest.mark.parametrize("modifier", ["monte_carlo", "empirical"])
@some_cases
@each_method
def test_a_sampled_or_empirical_fisher_works_with_every_method(name, case, modifier):
    p, method = brute.problem(case), METHODS[name]
    loss = likelihood.softmax if case.outputs > 1 else likelihood.logistic
    y = np.arange(len(p.x)) % max(case.outputs, 2)
    f = p.net.apply(p.params, p.x)
    root = (
        likelihood.empirical(loss)
        if modifier == "empirical"
        else likelihood.monte_carlo(loss, samples=2, seed=3)
    )
    S, u = loss(f, y)
    gradient = ngdlib.layers.gradient(likelihood.fold(p.layers, S), u)
    R, none = root(f, y)
    assert none is None
    layers = likelihood.fold(p.layers, R)
    blocks = brute.fisher(method, layers)
    for damping in dampings(name, case.depth)[1:]:
        want = brute.times_inverse(blocks, damping, brute.flat(gradient))
        for space in spaces(method)[: 2 if name == "gradient" else 3]:
            got = ngdlib.precondition(method, layers, gradient, damping=damping, space=space)
            assert distance(brute.flat(got), want) < 1e-8, (space, damping)


@some_cases
@each_method
def test_no_damping_is_the_limit_of_a_small_one(name, case):
    """Where the step is defined, damping of 1e-9 of the smallest eigenvalue changes next to nothing."""
    p, method = brute.problem(case), METHODS[name]
    if not brute.range_is_full(method, p.layers) or name.startswith("block_tri"):
        return  # indefinite: the layers' split of the step differs (THEORY: not unique)
    blocks = brute.blocks_of(name, case)
    smallest = min(abs(b.s[~b.zero]).min() for b in blocks if not b.zero.all())
    small, zero = (
        ngdlib.isotropy(method, p.layers, damping=rho).matrix
        for rho in (max(1e-9 * smallest, 1e-13), 0.0)
    )
    assert distance(small, zero) < 1e-3


@each_method
def test_uneven_blocks_and_the_two_ends_of_mini_block(name):
    """One unit to a block is unit-wise, all units to a block block-diagonal."""
    p = brute.problem(QUICK[1])
    pairs = {
        "unit_wise": ngdlib.fisher.mini_block(1),
        "block_diagonal": ngdlib.fisher.mini_block(8),
    }
    if name in pairs:
        for damping in (1e-3, 0.0):
            one, two = (
                ngdlib.isotropy(m, p.layers, damping=damping).matrix
                for m in (METHODS[name], pairs[name])
            )
            assert distance(one, two) < 1e-9
