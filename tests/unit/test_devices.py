"""Samples over eight virtual devices: the same numbers, kernels split by rows, clear errors."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("jax")

CODE = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import ngdlib
from ngdlib.interop import devices
from ngdlib.models import autodiff

rng = np.random.default_rng(0)
x, y = rng.standard_normal((16, 6, 6, 1)), rng.standard_normal((16, 2))

def conv(p, x):
    x = jax.lax.conv_general_dilated(x, p["w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.tanh(x + p["b"]).mean((1, 2)) @ p["out"]

filters = {"w": rng.standard_normal((3, 3, 1, 8)), "b": rng.standard_normal(8), "out": rng.standard_normal((8, 2))}
mlp = ngdlib.MLP((36, 8, 8, 2), "tanh")
mesh = devices.mesh(8)
flat = x.reshape(16, -1)
cases = [(mlp, mlp.init(0, xp=jnp), flat, m) for m in ngdlib.FISHERS]
net = autodiff.network(conv, jax.tree.map(jnp.asarray, filters), jnp.asarray(x))
small = autodiff.network(conv, jax.tree.map(jnp.asarray, filters), jnp.asarray(x), memory=90_000)
assert net.parts[0].tapped
cases += [(net, filters, x, m) for m in ("exact", "unit_wise", "diagonal", "block_diagonal")]
cases += [(small, filters, x, m) for m in ("exact", "diagonal")]
for net, params, x, method in cases:
    def step(params, x, y, net=net, method=method):
        f, layers = net.linearise(params, x)
        s = ngdlib.natural_gradient(method, layers, f - y, damping=1e-3)
        theta = sum(k.ntk() for k in ngdlib.empirical_kernels(layers))
        return net.update(params, s, 0.1), theta
    params = jax.tree.map(jnp.asarray, params)
    alone, theta = jax.jit(step)(params, jnp.asarray(x), jnp.asarray(y))
    xs, ys = devices.spread(mesh, x, y)
    assert len(xs.sharding.device_set) == 8
    split, theta_split = jax.jit(step)(devices.copy(mesh, params), xs, ys)
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(split)):
        assert np.allclose(a, b, rtol=0, atol=1e-10), (method, abs(a - b).max())
    assert np.allclose(theta, theta_split, rtol=0, atol=1e-10)
    assert theta_split.sharding.spec[:1] == ("samples",), (method, theta_split.sharding)
    assert theta_split.addressable_shards[0].data.shape[0] == 2
def free(p, x, r):
    return autodiff.matrix_free(conv, p, x, r, damping=1e-2, tolerance=1e-12)
r = conv(params, jnp.asarray(x)) - y
xs, rs = devices.spread(mesh, x, r)
a, b = jax.jit(free)(params, jnp.asarray(x), r), jax.jit(free)(devices.copy(mesh, params), xs, rs)
assert all(np.allclose(u, v, rtol=0, atol=1e-9) for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b)))
for wrong, words in [
    (lambda: devices.spread(mesh, x[:10]), "10 samples do not divide among 8 devices: use 8 or 16"),
    (lambda: devices.mesh(9), "9 devices were asked for, and there are 8"),
    (lambda: devices.mesh(platform="gpu"), "there is no gpu"),
]:
    try:
        wrong()
    except ValueError as error:
        assert words in str(error), error
    else:
        raise AssertionError(words)
print("same")
"""


@pytest.mark.slow
def test_eight_devices_give_the_same_steps_and_kernels_split_by_rows() -> None:
    env = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=env, capture_output=True, text=True, timeout=580
    )
    assert done.stdout.strip() == "same", done.stderr[-3000:]
