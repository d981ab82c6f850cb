"""Any network, by JAX's automatic differentiation: the same layers for every method.

    net = network(apply, params, x)         # apply(params, x) -> (n, c), params any pytree
    step = ngdlib.natural_gradient("exact", net.layers(params, x), net.apply(params, x) - y, damping=1e-4)
    params = net.update(params, step, learning_rate)

A block is a weight with its bias, or any group of leaves that the caller names:

    dense weight              Layer(a, g), from a tap on its pre-activation u:  g = df/du
    any other block           Jacobian(J), J (n, c, units, inputs of a unit [+ 1, the bias last])
    beyond the memory         Implicit, whose rows are made again, a few samples at a time

Nothing here is a method: all of them are in `ngdlib.fisher`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg

from ..arrays import Array, is_false
from ..layers import Block, Jacobian, Layer
from .tracing import Trace, evaluate, flat, study

Params = Any  # any pytree of floating-point JAX arrays
CHECKED = 4  # samples on which a network is checked when it is made


class Part(NamedTuple):
    """One block: which leaves it holds, and how its step (units, inputs) is put together."""

    name: str
    leaves: tuple[int, ...]
    axis: int | None  # the units' axis of the first leaf; None: one unit, all leaves in a row
    dense: bool
    tapped: bool  # dense, or the filter of a convolution


@jax.tree_util.register_pytree_node_class
class Named(Jacobian):
    """A `Jacobian` with the name of its block, for messages."""

    name: str

    def __new__(cls, J: Array, name: str) -> Named:
        """The same tuple of one array, and a name beside it."""
        self = super().__new__(cls, J)
        self.name = name
        return self

    def fold(self, R: Array) -> Named:
        """The Jacobian of R f."""
        return Named(super().fold(R).J, self.name)

    def tree_flatten(self) -> tuple[tuple[Array], str]:
        """The array, and what is no array."""
        return (self.J,), self.name

    @classmethod
    def tree_unflatten(cls, name: str, children: tuple[Array]) -> Named:
        """Its inverse."""
        return cls(*children, name)


@dataclass(frozen=True, eq=False)
class Network:
    """A function apply(params, x) with its blocks. Made by `network`, which checks it."""

    apply: Callable[[Params, Array], Array]
    names: tuple[str, ...]  # of the leaves
    shapes: tuple[tuple[int, ...], ...]
    treedef: Any
    parts: tuple[Part, ...]
    outputs: int
    memory: int | None
    convolves: bool

    @property
    def depth(self) -> int:
        """The number of blocks."""
        return len(self.parts)

    @property
    def blocks(self) -> tuple[str, ...]:
        """The blocks' names, in the order of `layers`: that in which the network uses them."""
        return tuple(part.name for part in self.parts)

    def layers(self, params: Params, x: Array) -> list[Block | Implicit]:
        """The Jacobian of every block at x: a `Layer`, a `Jacobian`, or an `Implicit` one."""
        return self.linearise(params, x)[1]

    def linearise(self, params: Params, x: Array) -> tuple[Array, list[Block | Implicit]]:
        """f (n, c) and the layers. No weight Jacobian of a dense layer is formed."""
        leaves = self._leaves(params)
        every = range(len(self.parts))
        chunk = self._chunk(leaves, x)
        if chunk is None:
            f, blocks = self._blocks(leaves, x, every)
            return f, [blocks[k] for k in every]
        f, dense = self._blocks(leaves, x, [k for k in every if self.parts[k].dense])
        return f, [dense.get(k) or Implicit(self, k, leaves, x, chunk) for k in every]

    def tree(self, step: Sequence[Array]) -> Params:
        """One array per block, as `natural_gradient` gives it, in the shape of the parameters."""
        if len(step) != len(self.parts):
            raise ValueError(
                f"a step of {len(step)} arrays does not fit the {len(self.parts)} blocks "
                f"{', '.join(self.blocks)}"
            )
        leaves: list[Any] = [None] * len(self.names)
        for part, s in zip(self.parts, step, strict=True):
            shapes = [self.shapes[k] for k in part.leaves]
            units, _ = whole = self.step_shape(part)
            if tuple(s.shape) != whole:
                raise ValueError(f"block {part.name!r} has a step of shape {s.shape}, not {whole}")
            start = 0
            for k, shape in zip(part.leaves, shapes, strict=True):
                width = math.prod(shape) // units
                piece = s[:, start : start + width]
                start += width
                if part.axis is not None and k == part.leaves[0]:
                    rest = [m for j, m in enumerate(shape) if j != part.axis]
                    leaves[k] = jnp.moveaxis(piece.reshape(units, *rest), 0, part.axis)
                else:
                    leaves[k] = piece.reshape(shape)
        return jax.tree.unflatten(self.treedef, leaves)

    def step_shape(self, part: Part) -> tuple[int, int]:
        """(units, inputs) of a block."""
        shapes = [self.shapes[k] for k in part.leaves]
        units = 1 if part.axis is None else shapes[0][part.axis]
        return units, sum(map(math.prod, shapes)) // units

    def update(self, params: Params, step: Sequence[Array], learning_rate: Any) -> Params:
        """params - learning_rate * step."""
        self._leaves(params)
        return jax.tree.map(
            lambda p, s: (p - learning_rate * s).astype(p.dtype), params, self.tree(step)
        )

    def named(self, params: Params) -> dict[str, Array]:
        """The parameters by name."""
        return dict(zip(self.names, self._leaves(params), strict=True))

    def _leaves(self, params: Params) -> list[Array]:
        leaves, treedef = jax.tree.flatten(params)
        if treedef != self.treedef:
            raise ValueError(
                f"the parameters are another tree than the network was made with: {treedef} and not "
                f"{self.treedef}"
            )
        for name, leaf, shape in zip(self.names, leaves, self.shapes, strict=True):
            if jnp.shape(leaf) != shape:
                raise ValueError(
                    f"parameter {name!r} has shape {jnp.shape(leaf)}; the network was made with {shape}"
                )
        return leaves

    def _call(self, leaves: Sequence[Array], x: Array) -> Array:
        return self.apply(jax.tree.unflatten(self.treedef, list(leaves)), x)

    def _blocks(
        self, leaves: list[Array], x: Array, which: Sequence[int]
    ) -> tuple[Array, dict[int, Block]]:
        """f, and some of the blocks with their Jacobians in full, if they are not dense."""
        f, blocks = self._tapped(leaves, x, [k for k in which if self.parts[k].tapped])
        rest = [k for k in which if not self.parts[k].tapped]
        for k, J in zip(rest, self._rows(leaves, x, rest), strict=True):
            blocks[k] = Named(J, self.parts[k].name)
        return f, blocks

    def _tapped(
        self, leaves: list[Array], x: Array, which: Sequence[int]
    ) -> tuple[Array, dict[int, Block]]:
        """f, and dense or convolutional blocks from one forward pass and one backward pass per output."""
        if not which:
            return self._call(leaves, x), {}
        jaxpr = flat(self._call, leaves, x)
        trace = study(jaxpr, len(leaves))
        first = {k: self.parts[k].leaves[0] for k in which}
        dense = {k: trace.dense[j] for k, j in first.items() if self.parts[k].dense}
        filters = {k: trace.filters[j] for k, j in first.items() if not self.parts[k].dense}
        at = {k: tap.equation for k, tap in (dense | filters).items()}

        def shifted(shift: dict[int, Array]) -> Any:
            (f,), inputs = evaluate(jaxpr, [*leaves, x], {at[k]: s for k, s in shift.items()})
            return f, {k: inputs[at[k]] for k in which}

        taps = {k: jaxpr.eqns[at[k]].outvars[0].aval for k in which}
        zeros = {k: jnp.zeros(tap.shape, tap.dtype) for k, tap in taps.items()}
        f, vjp, operands = jax.vjp(shifted, zeros, has_aux=True)
        eye = jnp.eye(f.shape[1], dtype=f.dtype)
        (g,) = jax.vmap(lambda e: vjp(jnp.broadcast_to(e, f.shape)))(eye)
        blocks: dict[int, Block] = {}
        for k, tap in dense.items():
            h = operands[k][tap.side]
            a = tap.scale * (h if tap.contracted == 1 else h.T)
            if tap.bias is not None:
                a = jnp.concatenate([a, jnp.full((len(a), 1), tap.column, a.dtype)], axis=1)
            order = (1, 0, 2) if tap.samples_first else (2, 0, 1)
            blocks[k] = Layer(a, jnp.transpose(g[k], order))
        for k, filter in filters.items():
            J = filter.jacobian(jaxpr.jaxpr, operands[k][0], g[k])
            blocks[k] = Named(J, self.parts[k].name)
        return f, blocks

    def _rows(self, leaves: list[Array], x: Array, which: Sequence[int]) -> list[Array]:
        """J (n, c, units, inputs) of some blocks, sample by sample."""
        chosen = [j for k in which for j in self.parts[k].leaves]
        if not chosen:
            return []

        def single(some: list[Array], x: Array) -> Array:
            every = list(leaves)
            for j, leaf in zip(chosen, some, strict=True):
                every[j] = leaf
            return self._call(every, x[None])[0]

        some = [leaves[j] for j in chosen]
        if self.convolves:
            # Under vmap a filter's gradient is a grouped convolution, and XLA gives wrong numbers for
            # one whose groups, the samples, are split over devices.
            J = jax.lax.map(lambda x: jax.jacrev(single)(some, x), x)
        else:
            J = jax.vmap(jax.jacrev(single), (None, 0))(some, x)
        by_leaf, out = dict(zip(chosen, J, strict=True)), []
        for part in (self.parts[k] for k in which):
            n, c = by_leaf[part.leaves[0]].shape[:2]
            pieces = [by_leaf[j] for j in part.leaves]
            units = 1
            if part.axis is not None:
                pieces[0] = jnp.moveaxis(pieces[0], 2 + part.axis, 2)
                units = pieces[0].shape[2]
            pieces = [p.reshape(n, c, units, -1) for p in pieces]
            out.append(pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces, axis=3))
        return out

    def _chunk(self, leaves: list[Array], x: Array) -> int | None:
        """How many samples' rows fit into the memory; None where all of them do."""
        which = [k for k, part in enumerate(self.parts) if not part.dense]
        if self.memory is None or not which:
            return None
        f = jax.eval_shape(self._call, leaves, x)
        (n, c), size = f.shape, f.dtype.itemsize
        each = [sum(math.prod(self.shapes[j]) for j in self.parts[k].leaves) for k in which]
        dual = (4 * 8 + len(which) * size) * (n * c) ** 2  # the kernels; the system and its factors
        passes = size * c * 3 * activations(self._call, leaves, x)
        if dual + n * (3 * size * c * sum(each) + passes) <= self.memory:
            return None
        # Two chunks of rows stand at a time, and one is being made.
        needed = 4 * size * c * max(each) + passes
        chunk = (self.memory - dual) // needed
        if chunk < 1:
            raise ValueError(
                f"memory={self.memory} bytes is too little: the {n * c} x {n * c} system and one "
                f"sample's rows take {dual + needed}; give that much, fewer samples, or use "
                "`matrix_free`"
            )
        return -(-n // -(-n // int(min(chunk, n))))  # no larger than its number of chunks asks


class Implicit:
    """A block whose Jacobian is never held in full: its rows are made again, `chunk` samples at a
    time, for each product. As an array library sees it, it is made of its leaves and inputs."""

    def __init__(
        self, net: Network, k: int, leaves: list[Array], x: Array, chunk: int, root: Any = None
    ) -> None:
        self.net, self.k, self.leaves, self.x = net, k, leaves, x
        self.chunk, self.root = chunk, root

    @property
    def name(self) -> str:
        """The block's name in the network."""
        return self.net.parts[self.k].name

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, c, units, inputs)."""
        c = self.net.outputs if self.root is None else self.root.shape[1]
        return (len(self.x), c, *self.net.step_shape(self.net.parts[self.k]))

    def __getitem__(self, index: int) -> Array:
        return [*(self.leaves[j] for j in self.net.parts[self.k].leaves), self.x][index]

    def fold(self, R: Array) -> Implicit:
        """The Jacobian of R f."""
        root = R if self.root is None else jnp.einsum("nkd,ndc->nkc", R, self.root)
        return Implicit(self.net, self.k, self.leaves, self.x, self.chunk, root)

    def gram(self, other: Implicit) -> Array:
        """J J'^T, (n, c, m, d), block by block; of a matrix with itself one triangle.

        Samples split over devices stay split in every chunk, and the kernel comes out split by rows.
        """
        (n, c), (m, d), same = self.shape[:2], other.shape[:2], other is self

        def row(i: Array, T: Array) -> Array:
            J = self._at(i).reshape(self.chunk * c, -1)

            def column(j: Array, T: Array) -> Array:
                B = J @ other._at(j).reshape(other.chunk * d, -1).T
                B = B.reshape(self.chunk, 1, c, other.chunk, 1, d)
                T = jax.lax.dynamic_update_slice(T, B, (0, i, 0, 0, j, 0))
                B = jnp.transpose(B, (3, 1, 5, 0, 4, 2))
                return jax.lax.dynamic_update_slice(T, B, (0, j, 0, 0, i, 0)) if same else T

            return jax.lax.fori_loop(i if same else 0, other._chunks, column, T)

        rows, columns = (self.chunk, self._chunks), (other.chunk, other._chunks)
        T = jnp.zeros((*rows, c, *columns, d), self.leaves[0].dtype)
        T = jax.lax.fori_loop(0, self._chunks, row, T)
        return T.reshape(math.prod(rows), c, math.prod(columns), d)[:n, :, :m]

    def pull(self, v: Array) -> Array:
        """J^T v, (..., units, inputs): a sum over chunks."""
        shape = v.shape[:-2]
        flat_v = self._split(jnp.moveaxis(v.reshape(-1, *v.shape[-2:]), 0, 2), zeros=True)

        def add(i: Array, total: Array) -> Array:
            return total + jnp.einsum("nck,ncij->kij", flat_v[:, i], self._at(i))

        zero = jnp.zeros((flat_v.shape[-1], *self.shape[2:]), self.leaves[0].dtype)
        total = jax.lax.fori_loop(0, self._chunks, add, zero)
        return total.reshape(*shape, *self.shape[2:])

    def push(self, step: Array) -> Array:
        """J step, (..., n, c)."""
        s = step.reshape(-1, *self.shape[2:])
        rows = self._map(lambda J: jnp.einsum("ncij,kij->nck", J, s))
        return jnp.moveaxis(rows, 2, 0).reshape(*step.shape[:-2], *self.shape[:2])

    def squares(self) -> Array:
        """sum_nc J_nc^2, (units, inputs)."""
        real = self._split(jnp.ones(len(self.x), self.leaves[0].dtype), zeros=True)

        def add(i: Array, total: Array) -> Array:
            return total + jnp.einsum("n,ncij->ij", real[:, i], self._at(i) ** 2)

        zero = jnp.zeros(self.shape[2:], self.leaves[0].dtype)
        return jax.lax.fori_loop(0, self._chunks, add, zero)

    def jacobian(self) -> Array:
        """J itself, (n, c, units, inputs): against the purpose, for tests."""
        return self._map(lambda J: J)

    @property
    def g(self) -> Array:
        """Not there: a method that works on single units needs the Jacobian in full."""
        raise TypeError(
            f"the Jacobian of block {self.name!r} does not fit into memory="
            f"{self.net.memory} bytes, and this method needs it in full: allow more memory"
        )

    a = g

    @property
    def _chunks(self) -> int:
        return -(-len(self.x) // self.chunk)

    def _split(self, array: Array, zeros: bool = False) -> Array:
        """(chunk, chunks, ..): chunk i holds every `chunks`-th sample, so that each device has its
        share of it; those beyond the last sample repeat it, or are zero."""
        wide = [(0, self.chunk * self._chunks - len(array))] + [(0, 0)] * (array.ndim - 1)
        padded = jnp.pad(array, wide) if zeros else jnp.pad(array, wide, mode="edge")
        return padded.reshape(self.chunk, self._chunks, *array.shape[1:])

    def _at(self, i: Array) -> Array:
        """The rows of chunk i."""
        x = self._split(self.x)[:, i]
        J = self.net._blocks(self.leaves, x, [self.k])[1][self.k].jacobian()
        if self.root is None:
            return J
        return jnp.einsum("nkc,ncij->nkij", self._split(self.root)[:, i], J)

    def _map(self, function: Callable[[Array], Array]) -> Array:
        rows = jax.lax.map(lambda i: function(self._at(i)), jnp.arange(self._chunks))
        rows = rows.swapaxes(0, 1)
        return rows.reshape(-1, *rows.shape[2:])[: len(self.x)]


def network(
    apply: Callable[[Params, Array], Array],
    params: Params,
    x: Array,
    *,
    groups: Sequence[Sequence[str]] | None = None,
    taps: Sequence[str] | None = None,
    memory: int | None = None,
) -> Network:
    """The blocks of a function apply(params, x) -> f (n, c), found once and checked on a few samples.

    Args:
        apply: differentiable, the outputs of a sample a function of that sample alone.
        params: a pytree of floating-point arrays; a name is its path, such as "0.1" or "conv.weight",
            and a shorter path names all leaves below it.
        x: inputs (n, ...); the network then takes any number of samples of this shape.
        groups: blocks of the caller's, each a list of names, every leaf in one. If not given: every
            weight with its bias.
        taps: names of the weights that must be dense layers, factored as `Layer(a, g)`, which the
            Kronecker family needs. If not given: all that are found to be; () for none.
        memory: bytes that the step's Jacobians, kernels and solve may take together; beyond it
            rows are made again, a few samples at a time, which takes longer.
    Raises:
        TypeError: leaves that are no floating-point arrays. ValueError: unknown names; a tap that is
            no dense layer, with the reason; samples that depend on each other; a derivative that is
            not finite.
    """
    paths, treedef = jax.tree_util.tree_flatten_with_path(params)
    names = tuple(
        jax.tree_util.keystr(path, simple=True, separator=".") or "params" for path, _ in paths
    )
    leaves = [leaf for _, leaf in paths]
    for name, leaf in zip(names, leaves, strict=True):
        if not jnp.issubdtype(getattr(leaf, "dtype", type(leaf)), jnp.floating):
            raise TypeError(
                f"parameter {name!r} is {getattr(leaf, 'dtype', type(leaf).__name__)}, and has no "
                "derivative: keep such leaves out of `params`, in a closure of `apply`"
            )
    if not leaves:
        raise ValueError("params holds no arrays")
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    call = lambda leaves, x: apply(jax.tree.unflatten(treedef, list(leaves)), x)  # noqa: E731
    f = jax.eval_shape(call, leaves, x)
    if getattr(f, "ndim", None) != 2 or len(f) != len(x):
        raise ValueError(
            f"apply gives {getattr(f, 'shape', type(f).__name__)} for {len(x)} samples; it has to give "
            f"an array ({len(x)}, number of outputs)"
        )
    jaxpr = flat(call, leaves, x)
    trace = study(jaxpr, len(leaves))
    convolves = "conv_general_dilated" in str(jaxpr)
    for k, name in enumerate(names):
        if trace.order[k] is None:
            raise ValueError(f"parameter {name!r} does not act on the outputs: leave it out")
    named = None if taps is None else {k for tap in taps for k in _find(tap, names)}
    wanted = (
        None
        if groups is None
        else [[k for g in group for k in _find(g, names)] for group in groups]
    )
    shapes = tuple(leaf.shape for leaf in leaves)

    def make(dense: set[int], filters: set[int]) -> Network:
        parts = _parts(trace, names, shapes, wanted, dense, filters)
        return Network(apply, names, shapes, treedef, parts, f.shape[1], memory, convolves)

    found, filters = set(trace.dense), set(trace.filters)
    if named is not None:
        _check_taps(trace, names, shapes, named)
        found &= named
    net = make(found, filters)
    wrong = _check(net, leaves, x[:CHECKED])
    if wrong & found and named is not None:
        raise ValueError(
            f"{names[min(wrong & found)]!r} is no dense layer: input (x) pre-activation gradient is not "
            "its Jacobian"
        )
    net = make(found - wrong, filters - wrong) if wrong else net
    missing = [] if named is None else [k for k in named & found if not _is_dense(net, k)]
    if missing:
        raise ValueError(
            f"{names[missing[0]]!r} is in a group with other parameters: give it, with its bias, its own"
        )
    return net


def layers(apply: Callable, params: Params, x: Array, **options: Any) -> list[Block | Implicit]:
    """The blocks of any apply(params, x) -> (n, c) at x; `options` are those of `network`.

    Checks anew at every call: in a loop make a `network` once, and take its `layers`.
    """
    return network(apply, params, x, **options).layers(params, x)


def matrix_free(
    apply: Callable,
    params: Params,
    x: Array,
    residual: Array,
    *,
    damping: Any,
    tolerance: float = 1e-6,
    max_steps: int = 1000,
) -> Params:
    """The exact natural gradient without a matrix: J^T v / N with (J J^T / N + rho) v = r.

    By conjugate gradients with products J (J^T v), each a backward and a forward pass: for N C too
    large for a dense kernel. Every sample may depend on all others.

    Args:
        residual: f - y, (n, c), or u of `likelihood`; no 1/N. damping: rho > 0, in units of F.
        tolerance: of |r - (J J^T / N + rho) v| / |r|. max_steps: of conjugate gradients.
    Returns:
        the step, a pytree like params: params - learning_rate * step.
    Raises:
        ValueError: a damping that is not > 0; no convergence (NaN under jit).
    """
    if is_false(damping > 0):
        raise ValueError(f"conjugate gradients need damping > 0, got {damping!r}")
    n = len(x)
    f, push = jax.linearize(lambda p: apply(p, x), params)
    if f.shape != residual.shape:
        raise ValueError(f"the residual has shape {residual.shape}, the outputs {f.shape}")
    pull = jax.linear_transpose(push, params)

    def dual(v: Array) -> Array:
        return push(pull(v)[0]) / n + damping * v

    r = residual.astype(f.dtype)
    v, _ = cg(dual, r, tol=tolerance, maxiter=max_steps)
    norm = jnp.linalg.norm
    converged = norm(r - dual(v)) <= 10 * tolerance * norm(r) + jnp.finfo(f.dtype).tiny
    if is_false(converged):
        raise ValueError(
            f"conjugate gradients did not reach {tolerance} in {max_steps} steps: use more damping, "
            "more steps, a larger tolerance, or float64"
        )
    return jax.tree.map(lambda s: jnp.where(converged, s / n, jnp.nan), pull(v)[0])


def activations(call: Callable, leaves: Sequence[Array], x: Array) -> int:
    """The numbers that one sample's forward pass makes: what its backward pass may hold."""
    one = jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
    eqns = flat(call, leaves, one).jaxpr.eqns
    return sum(math.prod(v.aval.shape) for eqn in eqns for v in eqn.outvars)


def _find(name: str, names: Sequence[str]) -> list[int]:
    """The leaves of that name, or below it."""
    found = [k for k, other in enumerate(names) if other == name or other.startswith(name + ".")]
    if not found:
        raise ValueError(f"there is no parameter {name!r}; there are {', '.join(names)}")
    return found


def _parts(
    trace: Trace,
    names: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    groups: list[list[int]] | None,
    dense: set[int],
    filters: set[int],
) -> tuple[Part, ...]:
    """A weight with its bias, in the order of use; then what the caller's groups make of them."""
    parts = []
    taken = {trace.bias[k] for k in trace.bias}
    for k in sorted(set(range(len(names))) - taken, key=lambda k: (trace.order[k] or 0, k)):
        leaves = (k, trace.bias[k]) if k in trace.bias else (k,)
        axis = trace.units.get(k, 0 if len(shapes[k]) == 1 else None)
        parts.append(Part(_name(leaves, names), leaves, axis, k in dense, k in dense | filters))
    if groups is None:
        return tuple(parts)
    every = [k for group in groups for k in group]
    for k, name in enumerate(names):
        if every.count(k) != 1:
            raise ValueError(f"parameter {name!r} is in {every.count(k)} groups; each is in one")
    whole = {frozenset(part.leaves): part for part in parts}
    return tuple(
        whole.get(frozenset(g)) or Part(_name(g, names), tuple(g), None, False, False)
        for g in groups
    )


def _name(leaves: Sequence[int], names: Sequence[str]) -> str:
    """The leaf's path, or the shortest one that names exactly these leaves."""
    if len(leaves) == 1:
        return names[leaves[0]]
    path = names[leaves[0]].split(".")
    for k in range(len(path) - 1, 0, -1):
        start = ".".join(path[:k])
        if set(_find(start, names)) == set(leaves):
            return start
    return " + ".join(names[k] for k in leaves)


def _check_taps(
    trace: Trace, names: Sequence[str], shapes: Sequence[tuple[int, ...]], named: set[int]
) -> None:
    biases = {tap.bias for k, tap in trace.dense.items() if k in named}
    wrong = sorted(named - set(trace.dense) - biases, key=lambda k: (k not in trace.reasons, k))
    for k in wrong:
        why = trace.reasons.get(
            k, f"of shape {shapes[k]} it is no factor of a product with an input"
        )
        raise ValueError(
            f"parameter {names[k]!r} is no weight of a dense layer, which the tap needs: {why}"
        )


def _is_dense(net: Network, leaf: int) -> bool:
    return any(part.dense and leaf in part.leaves for part in net.parts)


def _check(net: Network, leaves: list[Array], x: Array) -> set[int]:
    """The tapped weights whose blocks are not their Jacobians, on a random direction.

    Raises where samples depend on each other, and where a derivative is not finite.
    """
    f, pull = jax.vjp(lambda leaves: net._call(leaves, x), leaves)
    alone = jax.vmap(lambda x: net._call(leaves, x[None])[0])(x)
    close = 1e3 * float(jnp.finfo(f.dtype).eps)
    if is_false(abs(alone - f).max() <= close * (abs(f).max() + 1)):
        raise ValueError(
            "the outputs of a sample depend on the other samples (batch normalisation?): there is no "
            "Jacobian of one sample; normalise with fixed statistics"
        )
    v = jnp.asarray(np.random.default_rng(0).standard_normal(f.shape), f.dtype)
    (slopes,) = pull(v)
    for name, slope in zip(net.names, slopes, strict=True):
        if is_false(jnp.isfinite(slope).all()):
            raise ValueError(f"the derivative with respect to {name!r} is not finite")
        if not is_false((slope == 0).all()) and not isinstance(slope, jax.core.Tracer):
            warnings.warn(
                f"the derivative with respect to {name!r} is zero: a step function or stop_gradient?",
                stacklevel=3,
            )
    wrong = set()
    _, tapped = net._tapped(leaves, x, [k for k, part in enumerate(net.parts) if part.tapped])
    for k, block in tapped.items():
        part = net.parts[k]
        step = block.pull(v)
        tried = net.tree(
            [
                step if j == k else jnp.zeros(net.step_shape(p), f.dtype)
                for j, p in enumerate(net.parts)
            ]
        )
        ours = jax.tree.leaves(tried)
        scale = block.squares().sum() ** 0.5
        if any(is_false(abs(ours[j] - slopes[j]).max() <= close * scale) for j in part.leaves):
            wrong.add(part.leaves[0])
    return wrong
