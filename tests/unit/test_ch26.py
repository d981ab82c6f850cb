"""What chapter 26 says: the table of costs counted in JAX's programs, and its script run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ngdlib
from ngdlib.figures import hardware

jax = pytest.importorskip("jax")

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "05-scale"
SCRIPT = CHAPTER / "train_on_devices.py"
WIDTHS = [(7, 11, 5, 3), (6, 9, 1), (4, 8, 8, 8, 2)]


def count(jaxpr) -> dict[str, float]:
    """Operations of the products and the factorisations in a program, with all that it calls."""
    found = {"products": 0.0, "cholesky": 0.0, "lu": 0.0}
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            shape = eqn.invars[0].aval.shape
            inner = np.prod([shape[k] for k in contracted])
            found["products"] += 2 * inner * np.prod(eqn.outvars[0].aval.shape)
        for name, third in (("cholesky", 1), ("lu", 2)):
            if eqn.primitive.name == name:
                found[name] += third * eqn.invars[0].aval.shape[-1] ** 3 / 3
        inner_programs = eqn.params.values()
        if eqn.primitive.name == "custom_linear_solve":  # the others are for its derivative
            inner_programs = [eqn.params["jaxprs"].solve]
        for inside in jax.tree.leaves(list(inner_programs), is_leaf=is_program):
            if is_program(inside):
                for name, n in count(getattr(inside, "jaxpr", inside)).items():
                    found[name] += n
    return found


def is_program(value) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def problem(widths, samples=6):
    net = ngdlib.MLP(widths)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((samples, widths[0])), rng.standard_normal((samples, widths[-1]))
    params = net.init(0, xp=jax.numpy)
    return net, params, jax.numpy.asarray(x), jax.numpy.asarray(y)


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_table_counts_the_products_of_a_step(widths):
    net, params, x, y = problem(widths)
    table = hardware.operations(widths, len(x))

    def step(params, x, y):
        f, layers = net.linearise(params, x)
        return ngdlib.natural_gradient("exact", layers, f - y, damping=1e-2, space="function")

    whole = count(jax.make_jaxpr(step)(params, x, y).jaxpr)
    assert whole["cholesky"] + whole["lu"] == pytest.approx(table["solve"])
    assert whole["products"] == table["passes"] + table["kernel"] + table["step"]
    passes = count(jax.make_jaxpr(net.linearise)(params, x).jaxpr)
    assert passes["products"] == table["passes"]
    layers = net.layers(params, x)
    kernels = count(jax.make_jaxpr(ngdlib.empirical_kernels)(layers).jaxpr)
    assert kernels["products"] == table["kernel"]

    def pull(layers, v):
        return [layer.pull(v) for layer in layers]

    pulls = count(jax.make_jaxpr(pull)(layers, y[None]).jaxpr)
    assert pulls["products"] == table["step"]


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_parameter_space_is_counted_too(widths):
    net, params, x, _ = problem(widths)
    exact, P = ngdlib.FISHERS["exact"], sum(W.size for W, _ in params)
    made = count(
        jax.make_jaxpr(lambda b: exact.parameter_space(b).dense())(net.layers(params, x)).jaxpr
    )
    jacobian = 2 * len(x) * widths[-1] * P  # J itself, entry by entry: not in the table
    expected = hardware.parameter_space(widths, len(x)) + jacobian
    assert made["products"] + 2 * P**3 / 3 == pytest.approx(expected)


def test_memory_of_the_factors():
    data = hardware.compute_parts(48, 10, 1, 1.0)
    net, params, x, _ = problem((64, 48, 48, 10), samples=10)
    entries = sum(a.size + g.size for a, g in net.layers(params, x))
    assert np.interp(100.0, data.rows, data.factors) == pytest.approx(4 * entries, rel=1e-12)
    P = sum(W.size for W, _ in params)
    assert (data.parameters, data.fisher) == (4.0 * P, 8.0 * P**2)


@pytest.mark.parametrize(
    "widths", [(64, 1024, 1024, 10), (784, 500, 500, 10), (64, 32, 1)], ids=str
)
@pytest.mark.parametrize(("devices", "price"), [(1, 1.0), (8, 1.0), (1, 64.0), (64, 2.0)])
def test_crossover_is_where_the_solve_costs_as_much_as_the_rest(widths, devices, price):
    n = hardware.crossover(widths, devices, price)
    work = hardware.operations(widths, n / widths[-1])
    rest = work["passes"] + work["kernel"] + work["step"]
    assert price * work["solve"] == pytest.approx(rest / devices)


def test_numbers_of_the_solution_and_of_the_question():
    text = (CHAPTER / "hardware.md").read_text()
    widths = (784, 500, 500, 10)
    P, first, units, inputs = 784 * 500 + 500 * 500 + 5000, 784 * 500, 1010, 1784
    s, t = inputs / 100 + units, 4 * P / 10 + 2 * (P - first) + 2 * units
    n = s + (s**2 + t) ** 0.5
    assert n == pytest.approx(hardware.crossover(widths))
    said = text.split("By hand:")[1].split("```")[0].replace("\\,", "")
    for number in (inputs / 100, units, s, 4 * P // 10, 2 * (P - first), 2 * units, int(t)):
        assert f"{number}" in said
    assert f"\\approx {n:.0f}$" in said
    assert f"N \\approx {n / 10:.0f}$" in said
    assert 400 < hardware.crossover((64, 1024, 1024, 10)) / 10 < 600  # "500" of the question


@pytest.mark.slow
def test_only_shapes_and_types_compile_again():
    traces = []
    jnp = jax.numpy

    def make(width):
        net = ngdlib.MLP((6, width, 1))

        @jax.jit
        def step(params, x, y, damping, eta):
            traces.append(x.shape)
            f, layers = net.linearise(params, x)
            natural = ngdlib.natural_gradient("exact", layers, f - y, damping=damping)
            return net.update(params, natural, eta)

        return step, net.init(0, xp=jnp)

    def compiles(step, *arguments):
        before = len(traces)
        return step(*arguments), len(traces) > before

    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.standard_normal((8, 6))), jnp.asarray(rng.standard_normal((8, 1)))
    step, params = make(16)
    params, first = compiles(step, params, x, y, 1e-3, 1.0)
    assert first
    assert [
        compiles(step, params, x, y, 1e-4, 0.5)[1],
        compiles(step, params, x[:6], y[:6], 1e-3, 1.0)[1],
        compiles(step, compiles(step, params, x, y, 1e-3, 1.0)[0], x, y, 1e-3, 1.0)[1],
        compiles(make(24)[0], make(24)[1], x, y, 1e-3, 1.0)[1],
    ] == [False, True, False, True]
    other = not jax.config.jax_enable_x64
    dtype = np.float64 if other else np.float32
    with jax.enable_x64(other):
        again = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), dtype=dtype), (params, x, y))
        assert compiles(step, *again, 1e-3, 1.0)[1]


def test_digits_are_lost_in_the_product():
    data = hardware.compute_digits()
    undamped = data.damping <= 1e-4
    assert (abs(np.log10(data.single / data.mixed))[undamped] < 0.1).all()
    assert (data.double < data.mixed / 5)[undamped].all()
    assert (data.tensor > 50 * data.mixed)[undamped].all()
    assert all((np.diff(e) < 0)[5:].all() for e in data[1:5])


def test_tf32_keeps_ten_bits():
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    rounded = hardware.to_tf32(x)
    assert (hardware.to_tf32(rounded) == rounded).all()
    assert 2**-12 < (abs(rounded - x) / abs(x)).max() <= 2**-11
    one = np.float32(1) + np.float32(2) ** np.arange(-12, -9, dtype=np.float32)
    assert hardware.to_tf32(one).tolist() == [1.0, 1.0, 1 + 2**-10]
    assert hardware.to_tf32(np.float32([1 + 3 * 2**-11])).tolist() == [1 + 2**-9]  # ties to even


# ------------------------------------------------------------------ the script


def run(*options) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    command = [sys.executable, str(SCRIPT), *map(str, options)]
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=300)


def table(said: str) -> np.ndarray:
    rows = re.findall(r"^ *\d+((?: +[\d.e+-]+){4})$", said, re.MULTILINE)
    return np.array([row.split() for row in rows], dtype=float)


@pytest.mark.slow
def test_script_gives_on_four_devices_what_numpy_gives():
    done = run("--devices", 4, "--samples", 12, "--width", 24, "--steps", 2)
    assert done.returncode == 0, done.stderr[-2000:]
    data = ngdlib.digits(classes=None, train=12, test=200)
    net = ngdlib.MLP((64, 24, 24, 10))
    params = net.init(seed=0)
    G = ngdlib.isotropy("exact", net.layers(params, data.x_train), damping=1e-3).matrix
    eta, expected = 1 / np.linalg.eigvalsh(G)[-1], []
    for _ in range(3):
        f, layers = net.linearise(params, data.x_train)
        hits = net.apply(params, data.x_test).argmax(1) == data.y_test.argmax(1)
        expected.append([((f - data.y_train) ** 2).sum() / 24, hits.mean()] * 2)
        step = ngdlib.natural_gradient("exact", layers, f - data.y_train, damping=1e-3)
        params = net.update(params, step, eta)
    assert np.allclose(table(done.stdout), expected, rtol=1e-6, atol=5e-4)
    assert float(re.search(r"difference: (\S+) in a weight", done.stdout)[1]) < 1e-10
    assert "kernel (12, 10, 12, 10) by samples: 0-2, 3-5, 6-8, 9-11" in done.stdout
    assert "all-gather" in done.stdout


@pytest.mark.slow
def test_script_trains_a_convolutional_network():
    done = run("--network", "conv", "--devices", 2, "--samples", 8, "--width", 3, "--steps", 1)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = table(done.stdout)
    assert rows.shape == (2, 4)
    assert rows[1, 0] < rows[0, 0]
    assert float(re.search(r"difference: (\S+) in a weight", done.stdout)[1]) < 1e-10
    assert "by samples: 0-3, 4-7" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--samples", "63"], "63 samples do not divide among 8 devices: use 56 or 64"),
        (["--method", "newton"], "invalid choice: 'newton'"),
        (["--steps", "few"], "'few' is not a whole number >= 1"),
        (["--devices", "0"], "'0' is not a whole number >= 1"),
        (["--samples", "5000"], "digits has"),
        (["--network", "conv", "--method", "kfac", "--samples", "8"], "kfac needs dense layers"),
    ],
    ids=lambda o: " ".join(o) if isinstance(o, list) else "",
)
def test_script_refuses_in_one_line(options, words):
    done = run(*options)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(jax.default_backend() == "gpu", reason="there is a GPU")
def test_script_says_that_there_is_no_gpu():
    done = run("--platform", "gpu")
    assert done.returncode == 2
    assert "there is no gpu for JAX" in done.stderr.splitlines()[-1]


SHARES = """
import re, jax, jax.numpy as jnp, numpy as np, ngdlib
from ngdlib.interop import devices
jax.config.update("jax_enable_x64", True)
net, rng = ngdlib.MLP((32, 96, 96, 4)), np.random.default_rng(0)
x, y = rng.standard_normal((32, 32)), rng.standard_normal((32, 4))

def kernel(params, x, y):
    return sum(k.ntk() for k in ngdlib.empirical_kernels(net.layers(params, x)))

def step(params, x, y):
    f, layers = net.linearise(params, x)
    return net.update(params, ngdlib.natural_gradient("exact", layers, f - y, damping=1e-3), 1.0)

def program(function, count):
    mesh = devices.mesh(count)
    arguments = (devices.copy(mesh, net.init(0, xp=jnp)), *devices.spread(mesh, x, y))
    return jax.jit(function).lower(*arguments).compile()

for function in (kernel, step):
    one, eight = program(function, 1), program(function, 8)
    text = eight.as_text()
    shares = one.cost_analysis()["flops"] / eight.cost_analysis()["flops"]
    whole = len(re.findall(r"f64\\[128,128\\]\\S*, .*custom-call\\(.*getrf", text))
    print(shares, len(re.findall(r" all-gather(?:-start)?\\(", text)), whole)
"""


@pytest.mark.slow
def test_each_device_does_its_share_and_solves_the_whole():
    """The products (XLA counts no LAPACK) are an eighth; a and g are gathered, all but the last g."""
    env = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", SHARES], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    kernel, step = (list(map(float, line.split())) for line in done.stdout.splitlines())
    assert kernel[0] == pytest.approx(8, rel=0.05)
    assert kernel[1] == 5
    assert step[0] == pytest.approx(8, rel=0.15)
    assert step[2] == 1
