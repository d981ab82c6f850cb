"""What chapter 8 says, computed by brute force: whole Jacobians, whole Fisher matrices, float64."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest

import ngdlib
from ngdlib.figures import block_diagonal, block_tridiagonal, networks
from ngdlib.fisher import block_tridiagonal as fisher

PINV = fisher(pseudo_inverse=True)


class Problem:
    """A small network of some depth, and its block-tri-diagonal Fisher matrix in full."""

    def __init__(self, depth: int, outputs: int = 1, bias_variance: float = 0.0) -> None:
        widths = (5, *[9] * (depth - 1), outputs)
        self.net = ngdlib.MLP(widths, activation="tanh", bias_variance=bias_variance)
        rng = np.random.default_rng(1)
        self.x, self.y = rng.standard_normal((5, 5)), rng.standard_normal((5, outputs))
        self.params = self.net.init(seed=2)
        f, self.layers = self.net.linearise(self.params, self.x)
        self.f, self.residual = f, f - self.y
        self.r = self.residual.ravel()
        self.J = [b.jacobian().reshape(len(self.r), -1) for b in self.layers]
        self.theta = [j @ j.T for j in self.J]
        self.depth, self.n = depth, len(self.x)
        self.whole = np.concatenate(self.J, axis=1)
        self.layer = np.repeat(np.arange(depth), [j.shape[1] for j in self.J])
        kept = abs(self.layer[:, None] - self.layer) <= 1
        self.F = self.whole.T @ self.whole / self.n * kept
        self.sigma = np.tri(depth, k=1) - np.tri(depth, k=-2)

    def step(self, method=PINV, damping: float = 0.0) -> np.ndarray:
        step = ngdlib.natural_gradient(method, self.layers, self.residual, damping=damping)
        return np.concatenate([s.ravel() for s in step])

    def brute(self) -> np.ndarray:
        """F_hat^+ J^T r / N, with the pseudo-inverse of the P x P matrix."""
        return np.linalg.pinv(self.F, rcond=1e-11) @ self.whole.T @ self.r / self.n

    def parts(self, weights, q=None) -> np.ndarray:
        """x_l J_l^T Theta_l^-1 r of every layer, and z_l J_l^T Theta_l^-1 q."""
        z = np.resize([1.0, -1.0, 0.0], self.depth)
        q = np.zeros_like(self.r) if q is None else q
        return np.concatenate(
            [
                j.T @ np.linalg.solve(t, x * self.r + zl * q)
                for j, t, x, zl in zip(self.J, self.theta, weights, z, strict=True)
            ]
        )


@pytest.fixture(params=[(3, 1, 0.0), (4, 2, 0.5), (6, 1, 0.0)], ids=["3", "4", "6"])
def problem(request):
    return Problem(*request.param)


def close(a, b, rtol=1e-6):
    return np.abs(a - b).max() <= rtol * np.abs(b).max()


def test_pattern_times_jacobians_is_the_metric(problem):
    """F_hat = S^T (Sigma (x) I) S / N, with S = diag(J_1 .. J_L)."""
    rows, L = len(problem.r), problem.depth
    S = np.zeros((L * rows, len(problem.F)))
    for l in range(L):
        S[l * rows : (l + 1) * rows, problem.layer == l] = problem.J[l]
    assert close(S.T @ np.kron(problem.sigma, np.eye(rows)) @ S / problem.n, problem.F)
    assert (ngdlib.FISHERS["block_tridiagonal"].sigma(L) == problem.sigma).all()


def test_step_weighs_the_layers_by_x(problem):
    """Delta_l = x_l J_l^T Theta_l^-1 r with Sigma x = 1."""
    x = np.linalg.solve(problem.sigma, np.ones(problem.depth))
    assert close(problem.step(), problem.parts(x))
    assert close(problem.brute(), problem.parts(x), 1e-5)


def test_step_solves_the_metric(problem):
    """F_hat Delta = J^T r / N, as the pen-and-paper proof has it."""
    assert close(problem.F @ problem.step(), problem.whole.T @ problem.r / problem.n)


@pytest.mark.parametrize("depth", range(1, 10))
def test_alpha_is_a_third_of_the_layers_rounded_up(depth):
    problem = Problem(depth)
    iso = ngdlib.isotropy(PINV, problem.layers)
    assert iso.alpha == pytest.approx(ceil(depth / 3))
    assert iso.deviation < 1e-6
    assert np.linalg.pinv(problem.sigma).sum() == pytest.approx(ceil(depth / 3))


@pytest.mark.parametrize("depth", range(2, 15))
def test_weights_repeat_after_three_layers(depth):
    sigma = np.tri(depth, k=1) - np.tri(depth, k=-2)
    first = {0: 0.0, 1: 1.0, 2: 0.5}[depth % 3]
    x = np.resize([first, 1 - first, 0.0], depth)
    assert sigma @ x == pytest.approx(np.ones(depth))
    assert np.linalg.pinv(sigma).sum(1) == pytest.approx(x)
    if depth % 3 == 2:
        for free in (-2.0, 0.0, 0.7):
            x = np.resize([free, 1 - free, 0.0], depth)
            assert sigma @ x == pytest.approx(np.ones(depth))
            assert x.sum() == pytest.approx(ceil(depth / 3))


@pytest.mark.parametrize("depth", range(1, 20))
def test_spectrum_of_the_pattern(depth):
    sigma = np.tri(depth, k=1) - np.tri(depth, k=-2)
    k = np.arange(1, depth + 1)
    value = 1 + 2 * np.cos(k * np.pi / (depth + 1))
    vector = np.sin(np.outer(k, k) * np.pi / (depth + 1))
    assert close(sigma @ vector, vector * value, 1e-12)
    assert (abs(value).min() < 1e-12) == (depth % 3 == 2)
    assert (value.min() < -1e-12) == (depth >= 3)


def test_metric_has_negative_eigenvalues(problem):
    """As many as Sigma has, times N C; and a direction of negative squared length by hand at L = 3."""
    value = np.linalg.eigvalsh(problem.F)
    negative = (np.linalg.eigvalsh(problem.sigma) < 0).sum() * len(problem.r)
    assert (value < -1e-10 * value[-1]).sum() == negative
    if problem.depth == 3:
        d = problem.parts([0.5, -(0.5**0.5), 0.5])
        assert d @ problem.F @ d == pytest.approx((1 - 2**0.5) * problem.r @ problem.r / problem.n)


def test_undamped_step_moves_one_layer_in_three(problem):
    step = ngdlib.natural_gradient(PINV, problem.layers, problem.residual, damping=0.0)
    size = np.array([np.linalg.norm(s) for s in step])
    x = np.linalg.solve(problem.sigma, np.ones(problem.depth))
    assert ((size > 1e-8 * size.max()) == (x > 0.5)).all()
    assert (x > 0.5).sum() == ceil(problem.depth / 3)


def test_residual_keeps_one_minus_eta_alpha_of_itself(problem):
    """Along the step of the real network (finite difference), dr / d eta = -ceil(L/3) r."""
    net, params = problem.net, problem.params
    step = ngdlib.natural_gradient(PINV, problem.layers, problem.residual, damping=0.0)
    h = 1e-6
    there, back = (net.apply(net.update(params, step, s * h), problem.x) for s in (1, -1))
    assert close((there - back) / (2 * h), -ceil(problem.depth / 3) * problem.residual, 1e-5)


def test_new_inputs_see_only_the_layers_that_move(problem):
    """At eta = 1 / alpha, f' - sum_l x_l Theta'_l Theta_l^-1 r / alpha."""
    other = np.random.default_rng(5).standard_normal((3, 5))
    f_new, layers = problem.net.linearise(problem.params, other)
    x = np.linalg.solve(problem.sigma, np.ones(problem.depth))
    cross = [b.jacobian().reshape(f_new.size, -1) for b in layers]
    moved = np.concatenate(cross, axis=1) @ problem.parts(x) / x.sum()
    _, run = ngdlib.predict(
        "block_tridiagonal", problem.layers, layers, problem.f, f_new, problem.y,
        learning_rate=1 / x.sum(), steps=1,
    )  # fmt: skip
    assert close(run[1].ravel(), f_new.ravel() - moved)


@pytest.mark.parametrize("depth", [5, 8])
def test_singular_depths_are_refused_and_the_pseudo_inverse_rescues_them(depth):
    problem = Problem(depth)
    with pytest.raises(ValueError, match=f"depth {depth}"):
        problem.step("block_tridiagonal")
    step = problem.step(PINV)
    assert close(step, problem.brute(), 1e-4)
    assert close(problem.whole @ step, ceil(depth / 3) * problem.r)
    # The limit of small damping is the same step.
    assert close(problem.step("block_tridiagonal", 1e-9), step, 1e-3)


@pytest.mark.parametrize("depth", [5, 8])
def test_the_pseudo_inverse_takes_the_shortest_of_many_steps(depth):
    """x_l r + z_l q solves the metric for every x_1 and q; one q makes the step shortest."""
    problem = Problem(depth)
    rhs = problem.whole.T @ problem.r / problem.n
    rng = np.random.default_rng(0)
    shortest = problem.step(PINV)
    x = np.resize([0.5, 0.5, 0.0], depth)
    z = np.resize([1.0, -1.0, 0.0], depth)
    inverses = [np.linalg.inv(t) for t in problem.theta]
    normal = sum(zl**2 * i for zl, i in zip(z, inverses, strict=True))
    pull = sum(zl * xl * i for zl, xl, i in zip(z, x, inverses, strict=True)) @ problem.r
    assert close(problem.parts(x, -np.linalg.solve(normal, pull)), shortest, 1e-5)
    for _ in range(3):
        other = problem.parts(x, rng.standard_normal(len(problem.r)))
        assert close(problem.F @ other, rhs, 1e-5)
        assert close(problem.whole @ other, ceil(depth / 3) * problem.r)
        assert other @ other > shortest @ shortest


def test_poles_are_the_negative_eigenvalues(problem):
    """F_hat + rho I is singular where rho is minus an eigenvalue; the dual has the same ones."""
    rows = len(problem.r)
    theta = np.kron(np.eye(problem.depth), np.ones((rows, rows)))
    theta *= np.tile(np.concatenate(problem.theta, axis=1), (problem.depth, 1)) / problem.n
    dual = np.linalg.eigvals(np.kron(problem.sigma, np.eye(rows)) @ theta)
    assert abs(dual.imag).max() < 1e-6 * abs(dual).max()
    value = np.linalg.eigvalsh(problem.F)
    negative = value[value < -1e-8 * value[-1]]
    assert close(np.sort(dual.real[dual.real < -1e-8 * value[-1]]), negative, 1e-4)
    pole = -negative[0]
    near = [np.linalg.norm(problem.step(damping=pole * s)) for s in (1 + 1e-5, 1.3)]
    assert near[0] > 100 * near[1]


def test_damped_response_is_a_sum_of_poles(problem):
    """G_bar(rho) = sum_k c_k c_k^T / (lambda_k + rho), with lambda_k, c_k from one eigenproblem."""
    rho = 1e-3 * np.linalg.eigvalsh(problem.F)[-1]
    value, U = np.linalg.eigh(problem.F)
    c = problem.whole @ U / problem.n**0.5
    G = ngdlib.isotropy(PINV, problem.layers, damping=rho).matrix
    assert close(G, (c / (value + rho)) @ c.T, 1e-5)


def test_the_figure_s_masks_and_their_negative_eigenvalues():
    data = block_tridiagonal.compute_blocks()
    assert data.share_diagonal == block_diagonal.compute_blocks().share
    assert data.share_diagonal < data.share < 1
    lowest = np.linalg.eigvalsh(data.fisher * block_diagonal.near(data.sizes, 1))
    assert (lowest < -1e-10).sum() == 32  # N C = 32, and Sigma has one negative eigenvalue at L = 4


@pytest.mark.parametrize(("depth", "rho"), [(3, 0.0), (3, 1e-3), (4, 2e-2), (5, 0.0), (5, 1e-4)])
def test_the_live_figure_takes_the_library_s_step(depth, rho):
    data = networks.problem(block_diagonal.CLASSES, train=64)
    x, y = data.x_train[:16], data.y_train[:16]

    def step(net, params, x, y, method, eta):
        f, layers = net.linearise(params, x)
        part = ngdlib.natural_gradient(method, layers, f - y, damping=rho)
        after = net.apply(net.update(params, part, eta), x)
        G = ngdlib.isotropy(method, layers, damping=rho).matrix
        left = f - y - eta * G @ (f - y)
        return [((after - y) ** 2).sum(), (left**2).sum()] / ((f - y) ** 2).sum()

    shown = block_tridiagonal.compute_poles(depth, rho, True)
    alpha = ceil(depth / 3)
    for method, eta, value, curve in (
        (PINV, 1 / alpha, shown.measured, shown.predicted),
        (ngdlib.FISHERS["exact"], 1.0, shown.exact, shown.predicted_exact),
    ):
        measured, predicted = networks.run(step, 256, x, y, depth=depth, method=method, eta=eta)
        assert value[depth - 2] == pytest.approx(measured, rel=1e-6)
        if rho:
            assert np.interp(rho, shown.sweep, curve) == pytest.approx(predicted, rel=0.05)


def test_the_live_figure_s_spikes_and_poles():
    plain = block_tridiagonal.compute_poles(3, 0.0, False)
    assert plain.depths[plain.measured > 1].tolist() == [2, 5, 8, 11]
    assert (block_tridiagonal.compute_poles(3, 0.0, True).measured < 1).all()
    for depth in (2, 3, 6, 8):
        negative = (np.linalg.eigvalsh(block_tridiagonal.sigma(depth)) < -1e-9).sum()
        assert len(block_tridiagonal.compute_poles(depth, 0.0, True).poles) == 16 * negative
