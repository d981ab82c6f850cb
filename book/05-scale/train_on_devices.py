"""Natural gradient on the digits, the samples spread over several devices, beside the same run on one.

    python train_on_devices.py --devices 8                     eight virtual devices on a CPU
    python train_on_devices.py --devices 4 --platform gpu      four GPUs
    python train_on_devices.py --network conv                  a small convolutional network

It needs ngdlib and JAX. On several hosts start it on each of them, and say so in `main`.
"""

import argparse
import os
import re
from collections import Counter

import numpy as np

import ngdlib
from ngdlib.interop import devices
from ngdlib.solve import response

DAMPING = 1e-3


def mlp(width, x):
    """Two hidden layers of that width."""
    import jax.numpy as jnp

    net = ngdlib.MLP((64, width, width, 10))
    return net, net.init(seed=0, xp=jnp), x


def conv(width, x):
    """Two convolutions with that many filters, the mean over the image, and a dense layer."""
    import jax
    import jax.numpy as jnp

    from ngdlib.models import autodiff

    def apply(params, x):
        for w in params["filters"]:
            form = ("NHWC", "HWIO", "NHWC")
            u = jax.lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=form)
            x = jnp.maximum(u, 0) * (2 / w[..., 0].size) ** 0.5
        return x.mean((1, 2)) @ params["out"] / width**0.5

    draw, images = np.random.default_rng(0).standard_normal, x.reshape(-1, 8, 8, 1)
    filters = [jnp.asarray(draw((3, 3, c, width))) for c in (1, width)]
    params = {"filters": filters, "out": jnp.asarray(draw((width, 10)))}
    return autodiff.network(apply, params, images[:2]), params, images


def train(net, params, data, method, eta, steps):
    """Loss and test accuracy before each step and after the last, the parameters, the program."""
    import jax

    def step(params, x, y, eta):
        f, layers = net.linearise(params, x)
        natural = ngdlib.natural_gradient(method, layers, f - y, damping=DAMPING)
        return net.update(params, natural, eta)

    @jax.jit
    def measure(params, x, y, x_test, y_test):
        hits = net.apply(params, x_test).argmax(1) == y_test.argmax(1)
        return ((net.apply(params, x) - y) ** 2).sum() / (2 * len(x)), hits.mean()

    x, y, *_ = data
    program = jax.jit(step).lower(params, x, y, eta).compile()
    table = [measure(params, *data)]
    for _ in range(steps):
        params = program(params, x, y, eta)
        table.append(measure(params, *data))
    return np.array(table), params, program.as_text()


def run(options):
    """Train on the mesh and on one device, and print both."""
    import jax

    jax.config.update("jax_enable_x64", True)  # to compare the runs to their last digits
    mesh = devices.mesh(options.devices, platform=options.platform)
    jax.config.update("jax_default_device", mesh.local_devices[0])

    digits = ngdlib.digits(classes=None, train=options.samples, test=200)
    net, params, x = NETWORKS[options.network](options.width, digits.x_train)
    x_test = digits.x_test.reshape(-1, *x.shape[1:])
    data = [jax.numpy.asarray(a) for a in (x, digits.y_train, x_test, digits.y_test)]
    spread = [*devices.spread(mesh, *data[:2]), *devices.copy(mesh, data[2:])]
    copies = devices.copy(mesh, params)

    respond = jax.jit(lambda p, x: response(options.method, net.layers(p, x), damping=DAMPING))
    G = np.asarray(respond(params, data[0])).reshape(options.samples * 10, -1)
    eta = float(1 / np.linalg.eigvalsh(G)[-1])  # so that no mode overshoots
    settings = (options.method, eta, options.steps)
    several, end, program = train(net, copies, spread, *settings)
    alone, end_alone, _ = train(net, params, data, *settings)

    print(f"{options.network} on {options.samples} digits, {options.method}, step size {eta:.4f}")
    print(f"{'':4}{f'on {mesh.size} x {mesh.local_devices[0].device_kind}':>24}{'on one':>24}")
    print("step" + f"{'train loss':>14}{'accuracy':>10}" * 2)
    for t, (a, b) in enumerate(zip(several, alone, strict=True)):
        print(f"{t:4d}" + "".join(f"{loss:14.6e}{hits:10.3f}" for loss, hits in (a, b)))
    pairs = zip(jax.tree.leaves(end), jax.tree.leaves(end_alone), strict=True)
    difference = max(float(abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)
    print(f"largest difference: {difference:.1e} in a weight, ", end="")
    print(f"{abs(several - alone)[:, 0].max():.1e} in a loss")

    @jax.jit
    def kernel(params, x):
        return sum(k.ntk() for k in ngdlib.empirical_kernels(net.layers(params, x)))

    theta = kernel(copies, spread[0])
    rows = [shard.index[0].indices(options.samples) for shard in theta.addressable_shards]
    print("kernel", theta.shape, "by samples:", ", ".join(f"{a}-{b - 1}" for a, b, _ in rows))
    found = Counter(
        re.findall(r" (all-\w+|reduce-scatter|collective-permute)(?:-start)?\(", program)
    )
    print(
        "in the step:", ", ".join(f"{n} {name}" for name, n in sorted(found.items())) or "silence"
    )


NETWORKS = {"mlp": mlp, "conv": conv}
WIDTHS = {"mlp": 256, "conv": 8}


class Parser(argparse.ArgumentParser):
    """One line on stderr and exit status 2 for a bad option."""

    def error(self, message):
        """Say it and stop."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def count(text):
    """A whole number >= 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= 1")
    return int(text)


def main():
    """Read the options, prepare JAX before it is imported, run; the exit status."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=count, default=8, help="how many (8)")
    parser.add_argument("--platform", choices=("cpu", "gpu"), default="cpu", help="(cpu, virtual)")
    parser.add_argument("--method", choices=list(ngdlib.FISHERS), default="exact", help="(exact)")
    parser.add_argument("--network", choices=list(NETWORKS), default="mlp", help="(mlp)")
    parser.add_argument("--samples", type=count, default=64, help="to train on (64)")
    parser.add_argument("--width", type=count, help="units of a layer (256), or filters (8)")
    parser.add_argument("--steps", type=count, default=4, help="(4)")
    options = parser.parse_args()
    options.width = options.width or WIDTHS[options.network]
    if options.platform == "cpu":
        flag = f" --xla_force_host_platform_device_count={options.devices}"
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + flag
    try:
        # On several hosts, here and on each:  import jax; jax.distributed.initialize()
        run(options)
    except (ValueError, TypeError, ImportError) as error:
        parser.error(" ".join(str(error).split()))


if __name__ == "__main__":
    main()
