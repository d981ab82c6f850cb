"""Natural gradients of any JAX network: against the hand-written layers, and against brute force."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import ngdlib

jax = pytest.importorskip("jax")
jnp = jax.numpy
from ngdlib.models import autodiff  # noqa: E402


@pytest.fixture(autouse=True)
def _float64() -> Any:
    with jax.enable_x64(True):
        yield


MLP = ngdlib.MLP((7, 12, 9, 2), "tanh", 1.5, 0.3)


def mlp() -> tuple:
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.standard_normal((5, 7))), jnp.asarray(rng.standard_normal((5, 2)))
    return MLP.init(0, xp=jnp), x, y


def conv(p: Any, x: Any) -> Any:
    axes = ("NHWC", "HWIO", "NHWC")
    h = jax.lax.conv_general_dilated(x, p["c1"]["w"], (1, 1), "SAME", dimension_numbers=axes)
    h = jnp.tanh(h + p["c1"]["b"])
    h = jnp.tanh(
        jax.lax.conv_general_dilated(h, p["c2"]["w"], (2, 2), "SAME", dimension_numbers=axes)
    )
    return 0.3 * h.reshape(len(x), -1) @ p["out"]["w"] + 0.5 * p["out"]["b"]


def convolutional() -> tuple:
    rng = np.random.default_rng(1)

    def draw(*s: int) -> Any:
        return jnp.asarray(rng.standard_normal(s))

    p = {
        "c1": {"w": draw(3, 3, 1, 3), "b": draw(3)},
        "c2": {"w": draw(3, 3, 3, 4)},
        "out": {"w": draw(16, 2), "b": draw(2)},
    }
    return p, draw(5, 4, 4, 1), draw(5, 2)


def residual(p: Any, x: Any) -> Any:
    h = x @ p[0]
    for w, b in p[1]:
        h = h + jnp.tanh(h @ w.T / jnp.sqrt(6.0) + b)
    return h @ p[2]


def res_net() -> tuple:
    rng = np.random.default_rng(2)

    def draw(*s: int) -> Any:
        return jnp.asarray(rng.standard_normal(s))

    p = [draw(4, 6), [(draw(6, 6), draw(6)) for _ in range(2)], draw(6, 2)]
    return p, draw(5, 4), draw(5, 2)


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.asarray(leaf).reshape(-1) for leaf in jax.tree.leaves(tree)])


def brute(apply: Any, p: Any, x: Any, y: Any, rho: float) -> np.ndarray:
    """(J^T J / N + rho)^-1 J^T r / N with everything written out."""
    f = apply(p, x)
    J = jax.tree.leaves(jax.jacrev(apply)(p, x))
    J = np.concatenate([np.asarray(j).reshape(f.size, -1) for j in J], axis=1)
    F = J.T @ J / len(x) + rho * np.eye(J.shape[1])
    return np.linalg.solve(F, J.T @ np.asarray(f - y).reshape(-1) / len(x))


@pytest.mark.parametrize("method", list(ngdlib.FISHERS))
def test_the_mlp_takes_the_steps_of_the_hand_written_layers(method: str) -> None:
    params, x, y = mlp()
    net = autodiff.network(MLP.apply, params, x)
    r = MLP.apply(params, x) - y
    both = [
        ngdlib.natural_gradient(method, n.layers(params, x), r, damping=1e-3) for n in (MLP, net)
    ]
    for ours, theirs in zip(*both, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
    assert all(isinstance(b, ngdlib.Layer) for b in net.layers(params, x))


@pytest.mark.parametrize(("apply", "case"), [(conv, convolutional), (residual, res_net)])
@pytest.mark.parametrize("memory", [None, 30_000])
def test_exact_is_brute_force(apply: Any, case: Any, memory: int | None) -> None:
    p, x, y = case()
    net = autodiff.network(apply, p, x, taps=(), memory=memory)
    blocks = net.layers(p, x)
    kind = autodiff.Implicit if memory else ngdlib.Jacobian
    assert all(isinstance(b, kind) for b in blocks)
    step = ngdlib.natural_gradient("exact", blocks, apply(p, x) - y, damping=1e-2)
    np.testing.assert_allclose(flat(net.tree(step)), brute(apply, p, x, y, 1e-2), atol=1e-10)
    free = autodiff.matrix_free(apply, p, x, apply(p, x) - y, damping=1e-2, tolerance=1e-12)
    np.testing.assert_allclose(flat(free), brute(apply, p, x, y, 1e-2), atol=1e-9)


FILTERS = {
    "NCHW and OIHW, strided": {
        "strides": (2, 1),
        "padding": "VALID",
        "axes": ("NCHW", "OIHW", "NCHW"),
    },
    "NHWC and HWIO, dilated": {
        "strides": (1, 2),
        "padding": [(1, 2), (0, -1)],
        "axes": ("NHWC", "HWIO", "NHWC"),
        "rhs": (2, 1),
    },
    "transposed": {
        "strides": (1, 1),
        "padding": [(1, 1), (2, 1)],
        "axes": ("NHWC", "OHWI", "NCHW"),
        "lhs": (2, 2),
    },
}


@pytest.mark.parametrize("case", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("halved", [False, True])
def test_the_rows_of_a_filter_are_those_of_jacrev(case: dict, halved: bool) -> None:
    rng = np.random.default_rng(3)
    size = {"N": 3, "C": 2, "H": 5, "W": 6, "I": 2, "O": 4}
    inputs, weight, outputs = case["axes"]
    x = jnp.asarray(rng.standard_normal([size[a] for a in inputs]))
    kernel = {**size, "H": 2, "W": 3}
    p = {"w": rng.standard_normal([kernel[a] for a in weight]), "b": rng.standard_normal(4)}
    p = jax.tree.map(jnp.asarray, p)
    along = [4 if a == "C" else 1 for a in outputs]

    def apply(p: Any, x: Any) -> Any:
        u = jax.lax.conv_general_dilated(
            x,
            p["w"] / 2 if halved else p["w"],
            case["strides"],
            case["padding"],
            case.get("lhs"),
            case.get("rhs"),
            case["axes"],
        )
        u = u / 3 + p["b"].reshape(along)
        return jnp.stack([jnp.tanh(u).sum((1, 2, 3)), (u**2).sum((1, 2, 3))], axis=1)

    net = autodiff.network(apply, p, x)
    assert net.parts[0].tapped
    assert not net.parts[0].dense
    (block,) = net.layers(p, x)
    J = jax.jacrev(apply)(p, x)
    W = jnp.moveaxis(J["w"], 2 + weight.index("O"), 2).reshape(3, 2, 4, -1)
    wanted = jnp.concatenate([W, J["b"][..., None]], axis=3)
    np.testing.assert_allclose(block.J, wanted, rtol=0, atol=1e-10)


def test_a_convolution_that_does_not_fit_the_tap_is_done_sample_by_sample() -> None:
    rng = np.random.default_rng(4)
    x, w = (jnp.asarray(rng.standard_normal(s)) for s in ((3, 5, 5, 2), (2, 2, 1, 2)))
    b = jnp.asarray(rng.standard_normal(4))

    def grouped(p: Any, x: Any) -> Any:
        axes = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, p, (1, 1), "SAME", dimension_numbers=axes, feature_group_count=2
        ).sum((1, 2))

    def along_the_width(p: Any, x: Any) -> Any:  # the bias has the channels' number, but is none
        axes = ("NHWC", "HWIO", "NHWC")
        u = jax.lax.conv_general_dilated(x, p[0], (1, 1), "VALID", dimension_numbers=axes)
        return jnp.tanh(u + p[1][:, None]).sum((1, 2))

    full = jnp.asarray(rng.standard_normal((2, 2, 2, 4)))
    for apply, p in ((grouped, w), (along_the_width, (full, b))):
        net = autodiff.network(apply, p, x)
        assert not any(part.tapped for part in net.parts)
        step = ngdlib.natural_gradient("exact", net.layers(p, x), apply(p, x), damping=1e-2)
        wanted = brute(apply, p, x, jnp.zeros_like(apply(p, x)), 1e-2)
        np.testing.assert_allclose(flat(net.tree(step)), wanted, atol=1e-10)


@pytest.mark.parametrize("rho", [1e-3, 0.0])
@pytest.mark.parametrize("space", ["parameter", "function"])
def test_unit_wise_takes_output_channels_one_by_one(rho: float, space: str) -> None:
    p, x, y = convolutional()
    blocks = autodiff.layers(conv, p, x)
    r = np.asarray(conv(p, x) - y).reshape(-1)
    steps = ngdlib.natural_gradient("unit_wise", blocks, conv(p, x) - y, damping=rho, space=space)
    assert [b.shape[2:] for b in blocks] == [(3, 10), (4, 27), (2, 17)]
    for block, step in zip(blocks, steps, strict=True):
        for unit in range(block.shape[2]):
            J = np.asarray(block.jacobian())[:, :, unit].reshape(len(r), -1)
            F = J.T @ J / len(x) + rho * np.eye(J.shape[1])
            wanted = np.linalg.pinv(F, rcond=1e-11, hermitian=True) @ (J.T @ r) / len(x)
            np.testing.assert_allclose(step[unit], wanted, atol=1e-7 if rho == 0 else 1e-10)


def test_kfac_of_a_residual_network_by_taps() -> None:
    p, x, y = res_net()
    net = autodiff.network(residual, p, x)
    assert net.blocks == ("0", "1.0", "1.1", "2")
    blocks = net.layers(p, x)
    (J,) = [jax.jacrev(lambda w: residual([p[0], [(w, p[1][0][1]), p[1][1]], p[2]], x))(p[1][0][0])]
    np.testing.assert_allclose(blocks[1].jacobian()[..., :-1], J, atol=1e-12)
    step = ngdlib.natural_gradient("kfac", blocks, residual(p, x) - y, damping=1e-2)
    new = net.update(p, step, 0.1)
    assert jax.tree.structure(new) == jax.tree.structure(p)


def test_an_equinox_module() -> None:
    eqx = pytest.importorskip("equinox")
    k = jax.random.split(jax.random.key(0), 3)
    model = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(1, 3, 3, key=k[0]),
            eqx.nn.Lambda(jax.nn.tanh),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(12, 2, key=k[1]),
        ]
    )
    p, static = eqx.partition(model, eqx.is_inexact_array)

    def apply(p: Any, x: Any) -> Any:
        return jax.vmap(eqx.combine(p, static))(x)

    x = jax.random.normal(k[2], (5, 1, 4, 4), dtype=apply(p, jnp.zeros((1, 1, 4, 4))).dtype)
    net = autodiff.network(apply, p, x)
    blocks = net.layers(p, x)
    assert isinstance(blocks[0], ngdlib.Jacobian)
    assert isinstance(blocks[1], ngdlib.Layer)
    assert net.parts[0].tapped
    y = jnp.zeros((5, 2))
    step = ngdlib.natural_gradient("exact", net.layers(p, x), apply(p, x) - y, damping=1e-2)
    np.testing.assert_allclose(flat(net.tree(step)), brute(apply, p, x, y, 1e-2), atol=1e-5)


def test_groups_are_blocks() -> None:
    p, x, _ = convolutional()
    net = autodiff.network(conv, p, x, groups=[["c1", "c2"], ["out"]])
    blocks = net.layers(p, x)
    assert [b.shape for b in blocks] == [(5, 2, 1, 138), (5, 2, 2, 17)]
    with pytest.raises(ValueError, match=r"'out\.b' is in 0 groups"):
        autodiff.network(conv, p, x, groups=[["c1", "c2"]])


def test_a_weight_used_twice_is_no_dense_layer() -> None:
    p, x = [jnp.ones((4, 4)) / 3], jnp.arange(8.0).reshape(2, 4) / 8

    def tied(p: Any, x: Any) -> Any:
        return jnp.tanh(x @ p[0]) @ p[0]

    assert isinstance(autodiff.layers(tied, p, x)[0], ngdlib.Jacobian)
    with pytest.raises(ValueError, match=r"'0' is no weight of a dense layer.* used 2 times"):
        autodiff.network(tied, p, x, taps=["0"])
    blocks = autodiff.layers(tied, p, x)
    with pytest.raises(TypeError, match=r"kfac needs dense layers: block 1 \(0\) is none"):
        ngdlib.natural_gradient("kfac", blocks, jnp.ones((2, 4)), damping=0.1)


@pytest.mark.parametrize("memory", [None, 30_000])
def test_errors_name_the_block(memory: int | None) -> None:
    p, x, y = convolutional()
    net = autodiff.network(conv, p, x, memory=memory)
    blocks = jax.jit(net.layers)(p, x) if memory is None else net.layers(p, x)
    R = jnp.ones((5, 1, 2))
    for b in (blocks, ngdlib.likelihood.fold(blocks, R)):
        with pytest.raises(TypeError, match=r"kfac needs dense layers: block 1 \(c1\) is none"):
            ngdlib.natural_gradient("kfac", b, jnp.ones(b[0].shape[:2]), damping=0.1)
    if memory:
        words = r"block 'c1' does not fit into memory=30000 bytes.*allow more memory"
        for method in ("unit_wise", "mini_block"):
            with pytest.raises(TypeError, match=words):
                ngdlib.natural_gradient(method, blocks, y, damping=0.1)


def test_bad_input() -> None:
    p, x, _ = convolutional()
    with pytest.raises(ValueError, match=r"'c1\.w' is no weight.*filter of a convolution"):
        autodiff.network(conv, p, x, taps=["c1"])
    with pytest.raises(ValueError, match="there is no parameter 'c9'"):
        autodiff.network(conv, p, x, taps=["c9"])
    with pytest.raises(TypeError, match="'n' is int"):
        autodiff.network(lambda p, x: conv(p, x), {**p, "n": jnp.arange(3)}, x)
    net = autodiff.network(conv, p, x)
    with pytest.raises(ValueError, match="another tree"):
        net.layers({**p, "more": x}, x)
    with pytest.raises(ValueError, match=r"'out\.w' has shape"):
        net.layers({**p, "out": {"w": jnp.ones((3, 2)), "b": p["out"]["b"]}}, x)
    with pytest.raises(ValueError, match="depend on the other samples"):
        autodiff.network(lambda p, x: conv(p, x - x.mean(0)), p, x)
    with pytest.raises(ValueError, match=r"derivative with respect to .* is not finite"):
        autodiff.network(
            lambda p, x: x @ p + jnp.sqrt(0 * p).sum(), jnp.ones((3, 2)), jnp.ones((2, 3))
        )
    with pytest.warns(UserWarning, match="is zero"):
        autodiff.network(lambda p, x: x @ jnp.round(p), jnp.ones((3, 2)), jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="is too little"):
        autodiff.network(conv, p, x, memory=1000).layers(p, x)
    with pytest.raises(ValueError, match="did not reach"):
        autodiff.matrix_free(conv, p, x, conv(p, x), damping=1e-9, max_steps=2)


def test_damping_and_step_size_compile_nothing_new() -> None:
    p, x, y = convolutional()
    net = autodiff.network(conv, p, x)
    traced = []

    @jax.jit
    def step(p: Any, x: Any, y: Any, eta: Any, rho: Any) -> Any:
        traced.append(1)
        f, layers = net.linearise(p, x)
        return net.update(p, ngdlib.natural_gradient("exact", layers, f - y, damping=rho), eta)

    losses = []
    for eta, rho in [(1.0, 1e-2), (0.5, 1e-3), (0.9, 0.1)]:
        losses.append(float(((conv(p, x) - y) ** 2).sum()))
        p = step(p, x, y, eta, rho)
    assert len(traced) == 1
    assert losses[-1] < losses[0]


def test_jax_is_not_imported_until_asked_for() -> None:
    code = "import sys, ngdlib, ngdlib.interop.devices; print('jax' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
