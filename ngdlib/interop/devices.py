"""Samples spread over several devices: JAX's own mesh and sharding, with errors that say what to do.

    mesh = devices.mesh(count=8)
    x, y = devices.spread(mesh, x, y)          # one eighth of the samples on each
    params = devices.copy(mesh, params)        # all of the parameters on each

After that the same functions serve: under `jax.jit` XLA splits the work and puts the communication in,
and kernels come out split by rows. On several hosts call `jax.distributed.initialize()` first.
"""

from __future__ import annotations

from typing import Any

from ..arrays import Array


def mesh(count: int | None = None, *, platform: str | None = None) -> Any:
    """A `jax.sharding.Mesh` with one axis, "samples".

    Args:
        count: how many devices; all if not given. platform: "cpu", "gpu" or "tpu"; JAX's default if
            not given.
    Raises:
        ValueError: a platform that this JAX does not see, or fewer devices than `count`.
    """
    import jax

    try:
        found = jax.devices(platform)
    except RuntimeError:
        raise ValueError(
            f"there is no {platform} for JAX {jax.__version__} here: it sees {jax.devices()}. A GPU needs "
            "its driver and a JAX built for it, for example pip install 'jax[cuda12]'"
        ) from None
    count = len(found) if count is None else count
    if not 1 <= count <= len(found):
        raise ValueError(
            f"{count} devices were asked for, and there are {len(found)}. Virtual ones on a CPU: "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={count} before JAX is imported"
        )
    return jax.make_mesh(
        (count,), ("samples",), (jax.sharding.AxisType.Auto,), devices=found[:count]
    )


def spread(mesh: Any, *arrays: Array) -> tuple[Array, ...]:
    """The arrays with their first axis, the samples, split over the mesh.

    Raises:
        ValueError: a number of samples that the devices do not divide: nothing is padded or dropped.
    """
    import jax

    count = mesh.size
    for array in arrays:
        n = len(array)
        if n % count:
            raise ValueError(
                f"{n} samples do not divide among {count} devices: use {n - n % count} or "
                f"{n - n % count + count} samples, or another number of devices"
            )
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("samples"))
    return tuple(jax.device_put(array, rows) for array in arrays)


def copy(mesh: Any, tree: Any) -> Any:
    """A pytree of arrays, whole on every device of the mesh."""
    import jax

    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
