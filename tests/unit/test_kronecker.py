"""The identities of the appendix on Kronecker products: both sides of each, in numbers."""

import numpy as np
import pytest

from ngdlib import damping, fisher, layers
from ngdlib.structure import Kron

rng = np.random.default_rng(0)


def positive(n, rank=None):
    X = rng.standard_normal((n, n if rank is None else rank))
    return X @ X.T


def same(left, right, atol=1e-10):
    np.testing.assert_allclose(left, right, rtol=1e-9, atol=atol)


def rows(g, a):
    """The matrix with the rows g_nc (x) a_n, for g (n, c, i) and a (n, j)."""
    return np.einsum("nci,nj->ncij", g, a).reshape(g.shape[0] * g.shape[1], -1)


def test_entries():
    G, A = rng.standard_normal((2, 3)), rng.standard_normal((4, 5))
    K = np.kron(G, A)
    assert K.shape == (8, 15)
    for i, j in np.ndindex(2, 4):
        for k, m in np.ndindex(3, 5):
            assert K[i * 4 + j, k * 5 + m] == G[i, k] * A[j, m]
    same(K[4:8, 5:10], G[1, 1] * A)
    assert not np.allclose(K, np.kron(A, G))


def test_products_multiply_factor_by_factor():
    G, H = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
    A, B = rng.standard_normal((5, 2)), rng.standard_normal((2, 6))
    same(np.kron(G, A) @ np.kron(H, B), np.kron(G @ H, A @ B))
    g, a = rng.standard_normal(3), rng.standard_normal(2)
    same(np.kron(G, A) @ np.kron(g, a), np.kron(G @ g, A @ a))


def test_inverses_go_to_the_factors():
    G, A = rng.standard_normal((3, 3)), rng.standard_normal((4, 4))
    same(np.kron(G, A).T, np.kron(G.T, A.T))
    same(np.linalg.inv(np.kron(G, A)), np.kron(np.linalg.inv(G), np.linalg.inv(A)))
    G, A = positive(3, rank=2), rng.standard_normal((4, 6))
    pinv = np.kron(np.linalg.pinv(G, rcond=1e-10), np.linalg.pinv(A))
    same(np.linalg.pinv(np.kron(G, A), rcond=1e-10), pinv)


def test_trace_rank_norm_and_eigenvalues():
    G, A = positive(3, rank=2), positive(4, rank=3)
    K = np.kron(G, A)
    assert np.trace(K) == pytest.approx(np.trace(G) * np.trace(A))
    assert np.linalg.matrix_rank(K) == 6
    assert np.linalg.norm(K) == pytest.approx(np.linalg.norm(G) * np.linalg.norm(A))
    mu, V = np.linalg.eigh(G)
    nu, W = np.linalg.eigh(A)
    for i, j in np.ndindex(3, 4):
        v = np.kron(V[:, i], W[:, j])
        same(K @ v, mu[i] * nu[j] * v)
    same(np.linalg.eigvalsh(K), np.sort(np.outer(mu, nu).ravel()))


def test_rows_and_columns():
    G, A, V = rng.standard_normal((3, 3)), rng.standard_normal((4, 4)), rng.standard_normal((3, 4))
    same(np.kron(G, A) @ V.ravel(), (G @ V @ A.T).ravel())
    same(np.kron(A, G) @ V.ravel(order="F"), (G @ V @ A.T).ravel(order="F"))
    S, T = positive(3), positive(4)
    solved = np.linalg.solve(np.kron(S, T), V.ravel())
    same(solved, (np.linalg.inv(S) @ V @ np.linalg.inv(T)).ravel(), atol=1e-8)


def test_damped_inverse():
    G, A, V, rho = positive(3, rank=2), positive(4, rank=2), rng.standard_normal((3, 4)), 0.1
    mu, U = np.linalg.eigh(G)
    nu, W = np.linalg.eigh(A)
    Y = (U.T @ V @ W) / (np.outer(mu, nu) + rho)
    direct = np.linalg.solve(np.kron(G, A) + rho * np.eye(12), V.ravel())
    same(direct, (U @ Y @ W.T).ravel())
    (of_the_library,) = Kron(G, A).shift(rho).solve([V[None]], 0.0)
    same(of_the_library[0], direct.reshape(3, 4))


def test_split_damping():
    G, A, s, t = positive(3), positive(4), 0.2, 0.7
    left = np.kron(G + s * np.eye(3), A + t * np.eye(4))
    cross = t * np.kron(G, np.eye(4)) + s * np.kron(np.eye(3), A)
    same(left, np.kron(G, A) + cross + s * t * np.eye(12))
    layer = layers.Layer(rng.standard_normal((5, 4)), rng.standard_normal((5, 1, 3)))
    ((s, t),) = damping.factored(0.01).of([layer])
    assert s * t == pytest.approx(0.01)


@pytest.mark.parametrize("outputs", [1, 2])
def test_entrywise_product_is_part_of_the_kronecker_product(outputs):
    n = 5
    g, a = rng.standard_normal((n, outputs, 3)), rng.standard_normal((n, 4))
    J, flat = rows(g, a), g.reshape(n * outputs, 3)
    ones = np.ones((outputs, outputs))
    same(J @ J.T, (flat @ flat.T) * np.kron(a @ a.T, ones))
    (kernel,) = layers.empirical_kernels([layers.Layer(a, g)])
    same(kernel.ntk().reshape(n * outputs, -1), J @ J.T)
    if outputs == 1:
        pairs = np.arange(n) * (n + 1)
        same(J @ J.T, np.kron(flat @ flat.T, a @ a.T)[np.ix_(pairs, pairs)])


def test_schur():
    G, A = positive(5, rank=2), positive(5, rank=1)
    assert np.linalg.eigvalsh(G * A)[0] > -1e-10
    G = positive(5)
    rest = G * A - np.linalg.eigvalsh(G)[0] * np.diag(A.diagonal())
    assert np.linalg.eigvalsh(rest)[0] > -1e-10
    assert np.linalg.eigvalsh(G * A)[0] > 0
    A[:, 2] = A[2] = 0  # a sample whose input is zero
    assert np.linalg.matrix_rank(G * A) == 4


def test_push_through():
    J, rho = rng.standard_normal((4, 9)), 0.3
    right = J.T @ np.linalg.inv(J @ J.T + rho * np.eye(4))
    same(np.linalg.solve(J.T @ J + rho * np.eye(9), J.T), right)
    M = positive(4, rank=2)
    right = J.T @ np.linalg.inv(M @ J @ J.T + rho * np.eye(4))
    same(np.linalg.solve(J.T @ M @ J + rho * np.eye(9), J.T), right)
    assert not np.allclose(M @ J @ J.T, J @ J.T @ M)


def test_woodbury():
    J, rho = rng.standard_normal((4, 9)), 0.3
    inner = J.T @ np.linalg.inv(J @ J.T + rho * np.eye(4)) @ J
    same(np.linalg.inv(J.T @ J + rho * np.eye(9)), (np.eye(9) - inner) / rho)


def test_projector():
    X = rng.standard_normal((6, 3)) @ rng.standard_normal((3, 5))
    P = X @ np.linalg.pinv(X.T @ X, rcond=1e-10) @ X.T
    same(P, X @ np.linalg.pinv(X, rcond=1e-10))
    for other in (P @ P, P.T):
        same(P, other)
    same(P @ X, X)
    assert np.trace(P) == pytest.approx(3)
    assert (P.diagonal() <= 1 + 1e-12).all()


def test_kfac_in_function_space():
    n = 5
    for units, inputs in ((7, 8), (3, 8), (7, 3)):
        g, a = rng.standard_normal((n, 1, units)), rng.standard_normal((n, inputs))
        J, flat = rows(g, a), g[:, 0]
        K = np.kron(flat.T @ flat / n, a.T @ a / n)
        PB, PA = flat @ np.linalg.pinv(flat), a @ np.linalg.pinv(a)
        G = J @ np.linalg.pinv(K, rcond=1e-10, hermitian=True) @ J.T / n
        same(G, n * PB * PA, atol=1e-8)


def test_pattern_of_layers():
    J = [rng.standard_normal((4, p)) for p in (2, 3, 5)]
    S = np.zeros((12, 10))
    ends = np.cumsum([0, 2, 3, 5])
    for l, j in enumerate(J):
        S[4 * l : 4 * l + 4, ends[l] : ends[l + 1]] = j
    same(np.kron(np.ones(3), np.eye(4)) @ S, np.concatenate(J, axis=1))
    for method in (fisher.exact(), fisher.block_diagonal(), fisher.block_tridiagonal()):
        sigma = method.sigma(3)
        F = S.T @ np.kron(sigma, np.eye(4)) @ S
        for l, m in np.ndindex(3, 3):
            block = F[ends[l] : ends[l + 1], ends[m] : ends[m + 1]]
            same(block, sigma[l, m] * J[l].T @ J[m])


def test_nearest_kronecker_product():
    n = 6
    g, a = rng.standard_normal((n, 1, 3)), rng.standard_normal((n, 4))
    F = rows(g, a).T @ rows(g, a) / n
    R = F.reshape(3, 4, 3, 4).transpose(0, 2, 1, 3).reshape(9, 16)
    G, A = rng.standard_normal((3, 3)), rng.standard_normal((4, 4))
    ranked = R - np.outer(G.ravel(), A.ravel())
    assert np.linalg.norm(F - np.kron(G, A)) == pytest.approx(np.linalg.norm(ranked))
    U, s, V = np.linalg.svd(R)
    best = np.kron(s[0] * U[:, 0].reshape(3, 3), V[0].reshape(4, 4))
    kfac = np.kron(g[:, 0].T @ g[:, 0] / n, a.T @ a / n)
    assert np.linalg.norm(F - best) == pytest.approx(np.sqrt((s[1:] ** 2).sum()))
    assert np.linalg.norm(F - best) < np.linalg.norm(F - kfac)
