"""Radial isotropic position: what it promises, that it is one linear map, and when it must refuse."""

import numpy as np
import pytest

import ngdlib
from ngdlib import forster


@pytest.mark.parametrize(("n", "m"), [(40, 10), (12, 11), (100, 64)])
def test_second_moment_is_round_and_leverage_scores_are_equal(n, m):
    x = np.random.default_rng(0).standard_normal((n, m)) * np.logspace(-2, 2, m)
    z = forster.fit(x)(x)
    np.testing.assert_allclose(z.T @ z, n / m * np.eye(m), atol=2e-12 * n / m)
    np.testing.assert_allclose((z**2).sum(1), 1.0, atol=2e-15 * m)
    leverage = np.diag(z @ np.linalg.pinv(z))
    np.testing.assert_allclose(leverage, m / n, atol=2e-12)


def test_raw_inputs_have_unequal_leverage():
    x = ngdlib.digits(classes=None, train=200, test=10).x_train
    u = np.linalg.svd(x, full_matrices=False)[0][:, :30]
    assert (u**2).sum(1).std() > 0.05 * 30 / 200


def test_new_inputs_go_through_the_map_of_the_training_inputs():
    rng = np.random.default_rng(1)
    x, new = rng.standard_normal((30, 6)), rng.standard_normal((5, 6))
    position = forster.fit(x)
    z = new @ position.matrix
    np.testing.assert_allclose(position(new), z / np.linalg.norm(z, axis=1, keepdims=True))
    np.testing.assert_array_equal(position(np.concatenate([x, new]))[30:], position(new))


def test_scale_of_the_inputs_does_not_matter():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((30, 6))
    z, scaled = (forster.fit(v)(v) for v in (x, x * rng.uniform(0.1, 10, (30, 1))))
    np.testing.assert_allclose(scaled, z, atol=1e-10)


def test_components_are_part_of_the_map():
    data = ngdlib.digits(classes=(0, 1), train=100, test=20)
    position = forster.fit(data.x_train, components=20)
    assert position.matrix.shape == (64, 20)
    z = position(data.x_train)
    np.testing.assert_allclose(z.T @ z, 5 * np.eye(20), atol=1e-11)
    assert position(data.x_test).shape == (20, 20)


def test_kfac_is_isotropic_afterwards_with_more_inputs_than_dimensions():
    """alpha = M_0 + N (L - 2) + 1."""
    n, m = 16, 8
    raw = np.random.default_rng(3).standard_normal((n, m))
    net = ngdlib.MLP((m, 64, 64, 1))
    params = net.init(0)
    x = forster.fit(raw)(raw)
    with_forster = ngdlib.isotropy("kfac", net.layers(params, x))
    without = ngdlib.isotropy("kfac", net.layers(params, raw))
    assert with_forster.alpha == pytest.approx(m + n * 1 + 1, rel=1e-8)
    assert with_forster.deviation < 1e-8
    assert without.deviation > 0.05


def test_precision_and_library_of_the_inputs_are_kept():
    x = np.random.default_rng(4).standard_normal((12, 3))
    position = forster.fit(x)
    assert position(x.astype(np.float32)).dtype == np.float32
    assert position(np.ones((2, 3), dtype=int)).dtype == np.float64
    np.testing.assert_array_equal(position(np.zeros((1, 3))), 0.0)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.eye(3), {}, "needs N > M_0"),
        (np.zeros((0, 3)), {}, "not empty"),
        (np.ones(5), {}, "not empty, got shape"),
        (np.full((9, 3), np.nan), {}, "NaN"),
        (np.eye(4)[[0, 1, 2, 3, 0]] * [[1], [1], [1], [1], [0]], {}, "zero everywhere"),
        (np.ones((9, 3)), {}, "span 1 of 3"),
        (np.ones((9, 3)), {"components": 4}, "components is 1 .. M_0 = 3"),
    ],
)
def test_bad_inputs_are_refused(x, options, message):
    with pytest.raises(ValueError, match=message):
        forster.fit(x, **options)


def test_too_many_inputs_in_one_subspace_end_in_an_error_and_not_in_a_long_run():
    rng = np.random.default_rng(5)
    x = np.concatenate([np.repeat(rng.standard_normal((1, 3)), 9, 0), rng.standard_normal((6, 3))])
    with pytest.raises(ValueError, match="Too many inputs lie in one subspace"):
        forster.fit(x)


def test_new_inputs_of_another_width_are_refused():
    x = np.random.default_rng(6).standard_normal((12, 3))
    with pytest.raises(ValueError, match=r"\(n, 3\)"):
        forster.fit(x)(np.ones((2, 4)))
