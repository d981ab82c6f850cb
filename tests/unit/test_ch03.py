"""The equations of chapter 3 that tests/unit/test_estimators.py has not, against brute force."""

import numpy as np
import pytest

import ngdlib
from ngdlib import estimators as est
from ngdlib.figures import networks
from ngdlib.figures import sampled_fisher as chapter


def test_one_output():
    net = chapter.expansion(3, "tanh")
    one = net._replace(f=net.f[:1], J=net.J[:1], H=net.H[:1])
    squares = np.outer(one.J[0, 0], one.J[0, 0]) ** 2
    H = one.H[0, 0]
    kinds = {"samples": 1}
    np.testing.assert_allclose(
        est.score_variance(one, "squared_error", **kinds), 2 * squares, atol=1e-14
    )
    np.testing.assert_allclose(
        est.hessian_variance(one, "squared_error", **kinds), H**2, atol=1e-14
    )
    for p in (0.1, 0.5, 0.8):
        coin = one._replace(f=np.array([[np.log(p / (1 - p))]]))
        np.testing.assert_allclose(
            est.score_variance(coin, "logistic", **kinds),
            squares * p * (1 - p) * (1 - 2 * p) ** 2,
            atol=1e-14,
        )
        np.testing.assert_allclose(
            est.hessian_variance(coin, "logistic", **kinds), H**2 * p * (1 - p), atol=1e-14
        )


def test_total_variance_of_normal_labels():
    net = chapter.expansion(3, "relu")
    outputs = net._replace(
        f=np.zeros((1, 2)), J=np.concatenate([net.J[:1], net.J[1:2]], axis=1), H=net.H[:1]
    )
    F = outputs.J[0].T @ outputs.J[0]
    total = est.score_variance(outputs, "squared_error", samples=1).sum()
    assert total == pytest.approx(np.trace(F) ** 2 + (F**2).sum(), rel=1e-12)
    one = net._replace(f=net.f[:1], J=net.J[:1], H=net.H[:1])
    F = est.fisher(one, "squared_error")
    assert est.score_variance(one, "squared_error", samples=1).sum() == pytest.approx(
        2 * (F**2).sum(), rel=1e-12
    )


def test_hessian_estimate_is_never_positive():
    for width, draws in ((6, 100), (12, 40)):
        net = chapter.expansion(width, "tanh")
        F = est.fisher(net, "squared_error")
        for samples in (1, 256, 4096):
            for seed in range(draws):
                e = est.draw("squared_error", net.f, samples=samples, seed=seed)
                E = est.hessian_estimate(net, "squared_error", e)
                assert np.linalg.eigvalsh(E)[0] < -1e-6 * np.linalg.norm(F, 2)
                assert np.linalg.eigvalsh(est.score_estimate(net, e))[0] > -1e-12

    # The proof: v and w move no output, v lies in the last layer (12 units, 8 residuals).
    last = net.sizes[-1]
    J = net.J[:, 0]
    v = np.zeros(len(F))
    v[-last:] = np.linalg.svd(J[:, -last:])[2][-1]
    w = np.zeros(len(F))
    w[:-last] = np.linalg.svd(J[:, :-last])[2][-1]
    np.testing.assert_allclose(J @ np.stack([v, w]).T, 0, atol=1e-12)
    small = np.stack([v, w]) @ E @ np.stack([v, w]).T
    assert abs(small[0, 0]) < 1e-12
    assert abs(small[0, 1]) > 1e-8
    assert np.linalg.det(small) < 0


def test_negative_eigenvalues_shrink_with_the_root_of_the_labels():
    net = chapter.expansion(6, "tanh")
    lowest = []
    for samples in (16, 256, 4096):
        draws = [est.draw("squared_error", net.f, samples=samples, seed=k) for k in range(60)]
        matrices = [est.hessian_estimate(net, "squared_error", e) for e in draws]
        lowest.append(-np.median([np.linalg.eigvalsh(E)[0] for E in matrices]))
    slope = np.polyfit(np.log([16, 256, 4096]), np.log(lowest), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.12)


@pytest.mark.parametrize("samples", [1, 5])
def test_noise_in_the_metric_stands_in_the_denominator(samples):
    net = chapter.expansion(6, "tanh")
    J, r = net.J[:, 0], np.random.default_rng(0).standard_normal(8)
    e = est.draw("squared_error", net.f, samples=samples, seed=1)
    F1 = est.score_estimate(net, e)
    step = np.linalg.pinv(F1, rcond=1e-13, hermitian=True) @ (J.T @ r / 8)
    np.testing.assert_allclose(J @ step, r / (e[:, :, 0] ** 2).mean(1), rtol=1e-5)

    x = chapter.quadrants()
    layers = networks.run(lambda n, p, x: n.layers(p, x), 32, x, inputs=4)
    e = est.draw("squared_error", np.zeros((8, 1)), samples=1, seed=1)
    folded = ngdlib.likelihood.fold(layers, e)
    step = ngdlib.natural_gradient("exact", folded, r[:, None] / e[:, 0], damping=0.0)
    moved = sum(b.push(s) for b, s in zip(layers, step, strict=True))
    np.testing.assert_allclose(moved, r[:, None] / e[:, 0] ** 2, rtol=1e-6)


def test_inverse_of_a_mean_square_has_mean_s_over_s_minus_2():
    e = np.random.default_rng(0).standard_normal((400_000, 8))
    assert (1 / (e**2).mean(1)).mean() == pytest.approx(8 / 6, rel=0.02)


def test_figure_s_errors_are_those_of_the_matrices():
    net, F = chapter.expansion(3, "tanh"), None
    for loss in ("squared_error", "logistic"):
        F = est.fisher(net, loss)
        found = chapter._errors(3, "tanh", loss)
        for k, samples in enumerate((1, 4)):
            e = est.draw(loss, net.f, samples=samples * 200, seed=samples)
            e = e.reshape(8, 200, samples, 1)[:, 7]
            for row, E in enumerate(
                (est.score_estimate(net, e), est.hessian_estimate(net, loss, e))
            ):
                error = np.linalg.norm(E - F) / np.linalg.norm(F)
                assert found[row, k, 7] == pytest.approx(error, rel=1e-9)
