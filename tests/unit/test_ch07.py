"""What chapter 7 says, computed by brute force: whole Jacobians, whole Fisher matrices, float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import ngdlib
from ngdlib.figures import block_diagonal, networks

RHO = 3e-3


class Problem:
    """A small network, its Jacobian layer by layer, and the block-diagonal Fisher matrix in full."""

    def __init__(self, outputs: int, bias_variance: float) -> None:
        self.net = ngdlib.MLP(
            (5, 14, 13, 12, outputs), activation="tanh", bias_variance=bias_variance
        )
        rng = np.random.default_rng(1)
        self.x, self.y = rng.standard_normal((6, 5)), rng.standard_normal((6, outputs))
        self.params = self.net.init(seed=2)
        f, self.layers = self.net.linearise(self.params, self.x)
        self.residual = f - self.y
        self.r = self.residual.ravel()
        self.J = [b.jacobian().reshape(len(self.r), -1) for b in self.layers]
        self.theta = [j @ j.T for j in self.J]
        self.L, self.n = len(self.J), len(self.x)
        self.whole = np.concatenate(self.J, axis=1)
        layer = np.repeat(np.arange(self.L), [j.shape[1] for j in self.J])
        self.F = self.whole.T @ self.whole / self.n * (layer[:, None] == layer)

    def step(self, method: str = "block_diagonal", damping: float = 0.0) -> np.ndarray:
        step = ngdlib.natural_gradient(method, self.layers, self.residual, damping=damping)
        return np.concatenate([s.ravel() for s in step])


@pytest.fixture(params=[(1, 0.0), (2, 0.5)], ids=["one output", "two outputs and biases"])
def problem(request):
    return Problem(*request.param)


def close(a, b, rtol=1e-7):
    return np.abs(a - b).max() <= rtol * np.abs(b).max()


def test_each_layer_solves_its_own_least_squares_problem(problem):
    """Delta_l minimises |r - J_l d|^2 / 2N + rho |d|^2 / 2, as if the other layers stood still."""
    for rho in (0.0, RHO):
        parts = []
        for j in problem.J:
            tall = np.concatenate([j / problem.n**0.5, rho**0.5 * np.eye(j.shape[1])])
            rhs = np.concatenate([problem.r / problem.n**0.5, np.zeros(j.shape[1])])
            parts.append(np.linalg.lstsq(tall, rhs)[0])
        assert close(problem.step(damping=rho), np.concatenate(parts))


def test_each_layer_moves_the_outputs_by_all_of_r(problem):
    step = ngdlib.natural_gradient("block_diagonal", problem.layers, problem.residual, damping=0.0)
    for layer, part in zip(problem.layers, step, strict=True):
        assert close(layer.push(part), problem.residual)


def test_function_space_matrix_is_l_times_the_identity(problem):
    """G_bar = J F_hat^+ J^T / N = L I, with the pseudo-inverse of the P x P matrix."""
    G = problem.whole @ np.linalg.pinv(problem.F, rcond=1e-12) @ problem.whole.T / problem.n
    assert close(G, problem.L * np.eye(len(G)))
    iso = ngdlib.isotropy("block_diagonal", problem.layers)
    assert iso.alpha == pytest.approx(problem.L)
    assert iso.deviation < 1e-9


def test_residual_keeps_one_minus_eta_l_of_itself(problem):
    """Along the step of the real network (finite difference), dr / d eta = -L r."""
    net, params = problem.net, problem.params
    step = ngdlib.natural_gradient("block_diagonal", problem.layers, problem.residual, damping=0.0)
    h = 1e-5
    there, back = (net.apply(net.update(params, step, s * h), problem.x) for s in (1, -1))
    assert close((there - back) / (2 * h), -problem.L * problem.residual, 1e-6)


def test_closed_form_of_the_residual(problem):
    runs = ngdlib.predict(
        "block_diagonal", problem.layers, problem.layers, problem.residual + problem.y,
        problem.residual + problem.y, problem.y, learning_rate=0.2, steps=5,
    )  # fmt: skip
    for t in range(6):
        assert close(runs[0][t] - problem.y, (1 - 0.2 * problem.L) ** t * problem.residual)


def test_step_is_longer_than_the_exact_one(problem):
    """|Delta|^2 = sum_l r^T Theta_l^-1 r / L^2 at eta = 1/L, never below r^T Theta^-1 r."""
    own = problem.step() / problem.L
    exact = problem.step("exact")
    formula = sum(problem.r @ np.linalg.solve(t, problem.r) for t in problem.theta) / problem.L**2
    assert own @ own == pytest.approx(formula)
    assert exact @ exact == pytest.approx(
        problem.r @ np.linalg.solve(sum(problem.theta), problem.r)
    )
    assert own @ own > exact @ exact


def test_exact_shares_out_the_residual_by_kernel_size(problem):
    """Under exact NGD layer l moves the outputs by Theta_l Theta^-1 r, and these add up to r."""
    step = ngdlib.natural_gradient("exact", problem.layers, problem.residual, damping=0.0)
    moves = [b.push(s).ravel() for b, s in zip(problem.layers, step, strict=True)]
    v = np.linalg.solve(sum(problem.theta), problem.r)
    for move, theta in zip(moves, problem.theta, strict=True):
        assert close(move, theta @ v)
    assert close(sum(moves), problem.r)


def test_new_inputs_get_the_mean_of_the_layers_regressions(problem):
    """At eta = 1/L, f' - (1/L) sum_l Theta'_l Theta_l^-1 r."""
    net, params = problem.net, problem.params
    other = np.random.default_rng(5).standard_normal((3, 5))
    f_new, layers = net.linearise(params, other)
    rows = f_new.size
    gain = sum(
        b.jacobian().reshape(rows, -1) @ j.T @ np.linalg.inv(t)
        for b, j, t in zip(layers, problem.J, problem.theta, strict=True)
    )
    _, run = ngdlib.predict(
        "block_diagonal", problem.layers, layers, problem.residual + problem.y, f_new, problem.y,
        learning_rate=1 / problem.L, steps=1,
    )  # fmt: skip
    assert close(run[1].ravel(), f_new.ravel() - gain @ problem.r / problem.L)


def test_damping_acts_layer_by_layer(problem):
    """G_bar = sum_l (Theta_l / N) (Theta_l / N + rho)^-1, against the P x P matrix."""
    n, eye = problem.n, np.eye(len(problem.r))
    G = ngdlib.isotropy("block_diagonal", problem.layers, damping=RHO).matrix
    assert close(G, sum(t / n @ np.linalg.inv(t / n + RHO * eye) for t in problem.theta))
    dense = np.linalg.solve(problem.F + RHO * np.eye(len(problem.F)), problem.whole.T)
    assert close(G, problem.whole @ dense / n)


def test_one_layer_with_too_few_weights_is_refused_by_name():
    net = ngdlib.MLP((64, 40, 16, 1))
    x = networks.problem((3, 5), train=64).x_train[:32]
    f, layers = net.linearise(net.init(0), x)
    with pytest.raises(ValueError, match=r"layer 3"):
        ngdlib.natural_gradient("block_diagonal", layers, f, damping=0.0)
    assert len(ngdlib.natural_gradient("exact", layers, f, damping=0.0)) == 3


def test_a_narrow_last_layer_fits_only_part_of_the_residual():
    """N = 20 samples, 12 weights in the last of four layers: eigenvalues 4 (12 times) and 3 (8)."""
    net = ngdlib.MLP((6, 12, 12, 12, 1), activation="tanh")
    x = np.random.default_rng(3).standard_normal((20, 6))
    layers = net.layers(net.init(seed=1), x)
    G = ngdlib.isotropy("block_diagonal", layers, damping=1e-12).matrix
    spectrum = np.linalg.eigvalsh((G + G.T) / 2)
    assert abs(spectrum - np.r_[[3] * 8, [4] * 12]).max() < 1e-3


def test_the_mask_keeps_the_diagonal_blocks_of_a_true_fisher_matrix():
    data = block_diagonal.compute_blocks()
    ends = np.cumsum(np.r_[0, data.sizes])
    assert data.fisher.shape == (264, 264)
    assert np.linalg.eigvalsh(data.fisher)[0] > -1e-12
    assert np.linalg.matrix_rank(data.fisher, tol=1e-12) == 32
    kept = np.zeros((264, 264))
    for start, stop in itertools.pairwise(ends):
        kept[start:stop, start:stop] = 1
    assert (data.kept == kept).all()
    mean = [
        [abs(data.fisher[a:b, c:d]).mean() for c, d in itertools.pairwise(ends)]
        for a, b in itertools.pairwise(ends)
    ]
    assert (np.array(mean)[np.triu_indices(4, 1)] > mean[1][1]).all()  # "all six are brighter"


def test_the_figure_takes_the_library_s_step():
    data = networks.problem(block_diagonal.CLASSES, train=64)
    x, y = data.x_train[:32], data.y_train[:32]
    shown = block_diagonal.compute_overshoot(layers=3, eta_layers=1.5, width=64)

    def losses(net, params, x, y):
        out = []
        for _ in range(3):
            f, layers = net.linearise(params, x)
            out.append(((f - y) ** 2).sum() / 64)
            step = ngdlib.natural_gradient("block_diagonal", layers, f - y, damping=0.0)
            params = net.update(params, step, 0.5)
        return np.array(out)

    assert close(networks.run(losses, 64, x, y), shown.loss[:3], 1e-6)
    assert shown.predicted_left == pytest.approx([1, 0.5, 0, -0.5])
    assert shown.predicted_loss[2] == pytest.approx(shown.loss[0] * 0.5**4)
    wide = block_diagonal.compute_overshoot(layers=3, eta_layers=0.1, width=1024)
    assert abs(wide.left - wide.predicted_left).max() < 0.003
