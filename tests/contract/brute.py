"""The judge: every approximation as one dense matrix, written only to be obviously right.

No line here is shared with the package but `Layer.jacobian`, which `test_layers.py` holds against
finite differences.
"""

import functools
from typing import NamedTuple

import numpy as np

import ngdlib

# The entries of the table, and what their options make of them. A new entry is covered unasked.
METHODS = {
    **ngdlib.FISHERS,
    "kfac equal": ngdlib.fisher.kfac("equal"),
    "block_tridiagonal pseudo_inverse": ngdlib.fisher.block_tridiagonal(pseudo_inverse=True),
    "mini_block 3": ngdlib.fisher.mini_block(3),  # uneven: 3 divides no width below
    "mini_block width": ngdlib.fisher.mini_block(100),
}


class Case(NamedTuple):
    """A small problem. `shape`: wide (nothing is short), tall (N > M_0), crowded (N C > M)."""

    depth: int
    outputs: int
    bias: bool
    shape: str
    activation: str = "tanh"

    def __str__(self):
        bias = "bias" if self.bias else "none"
        return f"L{self.depth}-C{self.outputs}-{bias}-{self.shape}-{self.activation}"


# samples, inputs, hidden width
SHAPES = {"wide": (3, 5, 10), "tall": (5, 3, 8), "crowded": (4, 6, 5)}


class Problem(NamedTuple):
    net: ngdlib.MLP
    params: list
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    layers: list
    residual: np.ndarray


@functools.lru_cache(maxsize=256)
def problem(case, seed=0):
    samples, inputs, width = SHAPES[case.shape]
    if case.shape == "crowded" and case.outputs == 1:
        width = 3
    rng = np.random.default_rng(seed)
    net = ngdlib.MLP(
        (inputs, *[width] * (case.depth - 1), case.outputs),
        activation=case.activation,
        weight_variance=1.7,
        bias_variance=0.4 if case.bias else 0.0,
    )
    params = net.init(seed + 1)
    x, x_test = rng.standard_normal((samples, inputs)), rng.standard_normal((4, inputs))
    y = rng.standard_normal((samples, case.outputs))
    return Problem(net, params, x, y, x_test, net.layers(params, x), net.apply(params, x) - y)


def jacobians(layers):
    """J of each layer, (N C, parameters of the layer), sample-major."""
    return [b.jacobian().reshape(b.jacobian().shape[0] * b.jacobian().shape[1], -1) for b in layers]


def flat(step):
    return np.concatenate([np.asarray(s, dtype=np.float64).reshape(-1) for s in step])


def split(vector, layers):
    ends = np.cumsum([b.jacobian()[0, 0].size for b in layers])
    return [
        part.reshape(b.jacobian().shape[2:])
        for part, b in zip(np.split(vector, ends[:-1]), layers, strict=True)
    ]


class Eigen(NamedTuple):
    """A symmetric matrix, block by block: rows, eigenvalues, eigenvectors; `zero` says which are 0."""

    rows: np.ndarray
    s: np.ndarray
    U: np.ndarray
    zero: np.ndarray


def eigen(matrix, rows):
    s, U = np.linalg.eigh(matrix)
    return Eigen(rows, s, U, abs(s) <= 1e-11 * abs(s).max())


def times_inverse(blocks, damping, v):
    """(F_hat + rho I)^-1 v, or F_hat^+ v."""
    out = np.array(v, dtype=np.float64)
    for b in blocks:
        shifted = np.where(b.zero, 0.0, b.s) + damping
        inverse = np.where(shifted != 0, 1 / np.where(shifted != 0, shifted, 1.0), 0.0)
        out[b.rows] = b.U @ (inverse * (b.U.T @ out[b.rows]).T).T
    return out


def fisher(method, layers):
    """F_hat as `Eigen` blocks."""
    method = ngdlib.fisher.find(method)
    J = jacobians(layers)
    n = layers[0].a.shape[0]
    whole = np.concatenate(J, axis=1)
    layer_of = np.repeat(np.arange(len(J)), [j.shape[1] for j in J])
    everything = np.arange(len(layer_of))
    each = [np.flatnonzero(layer_of == l) for l in range(len(J))]

    if method.name == "exact" or (method.name == "block_tridiagonal" and len(J) <= 2):
        return [eigen(whole.T @ whole / n, everything)]
    if method.name == "block_diagonal":
        return [eigen(j.T @ j / n, rows) for j, rows in zip(J, each, strict=True)]
    if method.name == "block_tridiagonal":
        near = abs(layer_of[:, None] - layer_of[None, :]) <= 1
        return [eigen(np.where(near, whole.T @ whole / n, 0.0), everything)]
    if method.name in ("unit_wise", "mini_block"):
        blocks = []
        for b, rows in zip(layers, each, strict=True):
            group = np.repeat(np.arange(b.g.shape[2]), b.a.shape[1]) // method.size
            for u in np.unique(group):
                j = whole[:, rows[group == u]]
                blocks.append(eigen(j.T @ j / n, rows[group == u]))
        return blocks
    if method.name == "kfac":
        return [
            kronecker(b, j, rows, n, method.normalisation)
            for b, j, rows in zip(layers, J, each, strict=True)
        ]
    if method.name == "diagonal":
        d = (whole**2).sum(0) / n
        return [Eigen(np.array([k]), d[[k]], np.eye(1), d[[k]] == 0) for k in everything]
    if method.name == "gradient":
        one = np.ones(1)
        return [Eigen(np.array([k]), one, np.eye(1), one == 0) for k in everything]
    # A method that is not known here is judged by its own matrix, in full.
    return [eigen(np.asarray(method.parameter_space(layers).dense()), everything)]


def kronecker(block, j, rows, n, normalisation):
    """G (x) A from sums of outer products; zero where a factor is."""
    A = eigen(sum(np.outer(a, a) for a in block.a) / n, None)
    G = eigen(sum(np.outer(g, g) for g in block.g.reshape(-1, block.g.shape[2])) / n, None)
    zero = (G.zero[:, None] | A.zero[None, :]).reshape(-1)
    F = Eigen(rows, np.kron(G.s, A.s), np.kron(G.U, A.U), zero)
    if normalisation == "equal":  # every layer contributes N to alpha
        own = F._replace(rows=np.arange(len(rows)))
        alpha = np.trace(j @ times_inverse([own], 0.0, j.T)) / n / len(j)
        F = F._replace(s=F.s * alpha / n)
    return F


def dense(blocks):
    """The matrix itself."""
    out = np.zeros((sum(len(b.rows) for b in blocks),) * 2)
    for b in blocks:
        out[np.ix_(b.rows, b.rows)] = (b.U * b.s) @ b.U.T
    return out


@functools.lru_cache(maxsize=32)
def blocks_of(name, case):
    return fisher(METHODS[name], problem(case).layers)


def natural_gradient(blocks, layers, residual, damping):
    """(F_hat + rho I)^-1 J^T r / N, flat."""
    J = np.concatenate(jacobians(layers), axis=1)
    return times_inverse(blocks, damping, J.T @ residual.reshape(-1) / len(residual))


def response(blocks, layers, others, damping):
    """J' (F_hat + rho I)^-1 J^T / N, (N' C, N C)."""
    J, K = (np.concatenate(jacobians(b), axis=1) for b in (layers, others))
    return K @ times_inverse(blocks, damping, J.T) / len(layers[0].a)


def tolerance(blocks, damping):
    """1e-8, or what the condition number leaves: parameter space squares that of the Jacobian, and a
    unit that is nearly off makes it large."""
    worst = 0.0
    for b in blocks:
        s = abs(b.s + damping) if damping else abs(b.s[~b.zero])
        worst = max(worst, s.max() / s.min()) if len(s) else worst
    return max(1e-8, 2 * np.finfo(np.float64).eps * worst)


def range_is_full(method, layers):
    """Whether the rank that a method's structure promises at zero damping is there."""
    method = ngdlib.fisher.find(method)
    J = jacobians(layers)

    def full(j):
        s = np.linalg.svd(j, compute_uv=False)
        return j.shape[0] <= j.shape[1] and s[-1] > 1e-6 * s[0]

    if method.name == "exact" or (method.name == "block_tridiagonal" and len(J) == 2):
        return full(np.concatenate(J, axis=1))
    if method.name in ("block_diagonal", "block_tridiagonal"):
        singular = method.name == "block_tridiagonal" and len(J) % 3 == 2 and len(J) > 2
        return all(full(j) for j in J) and (not singular or method.pseudo_inverse)
    return True
