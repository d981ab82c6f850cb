"""`python -m ngdlib train`: its table, its files, and one line on stderr for what is wrong."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from ngdlib import files
from ngdlib.__main__ import main

SMALL = ["train", "--width", "48", "--train-size", "12", "--test-size", "6", "--steps", "1"]


@pytest.fixture
def run(capsys):
    def call(*more):
        status = main([*SMALL, *map(str, more)])
        out, err = capsys.readouterr()
        assert status == 0, err
        return out

    return call


def rows(out):
    return [line.split() for line in out.splitlines() if line[:2] in ("0 ", "1 ")]


def test_the_table_has_a_row_for_each_step_and_a_prediction_beside_each_column(run):
    out = run()
    head = next(line for line in out.splitlines() if line.startswith("step "))
    assert head.split().count("predicted") == 4
    table = np.array(rows(out), dtype=float)
    assert table.shape == (2, 9)
    assert np.allclose(table[0, 1::2], table[0, 2::2])
    assert table[1, 3] < 0.5 * table[0, 3]


def test_the_same_seed_is_the_same_table_and_another_seed_is_not(run):
    assert run("--seed", 3) == run("--seed", 3)
    assert rows(run("--seed", 3)) != rows(run("--seed", 4))


def test_json_holds_the_settings_and_the_table(run, tmp_path):
    out = run("--json", tmp_path / "run.json", "--method", "block_diagonal")
    found = json.loads((tmp_path / "run.json").read_text())
    assert found["settings"]["method"] == "block_diagonal"
    assert found["settings"]["alpha"] == pytest.approx(3)
    assert f"{found['train_loss'][1]:.6g}" == rows(out)[1][3]


@pytest.mark.parametrize("kind", ["data", "params", "kernels"])
def test_what_is_saved_is_loaded_into_the_same_run(kind, run, tmp_path):
    path = tmp_path / f"{kind}.npz"
    first = run(f"--save-{kind}", path)
    assert rows(run(f"--load-{kind}", path)) == rows(first)
    assert files.settings(path)


@pytest.mark.parametrize(
    "options",
    [
        ["--kernels", "infinite"],
        ["--kernel-memory", 200_000],
        ["--loss", "softmax", "--epsilon", 0.1, "--learning-rate", 0.1],
        ["--loss", "softmax", "--epsilon", 0, "--learning-rate", 0.1],
        ["--loss", "logistic", "--damping", 0.1],
        ["--method", "kfac", "--normalisation", "equal"],
        ["--method", "mini_block", "--block-size", 4, "--damping", "relative:0.01"],
        ["--forster", "--forster-components", 5],
        ["--lr-factor", 0.5],
        ["--dtype", "float32"],
    ],
    ids=lambda o: " ".join(map(str, o)),
)
def test_every_kind_of_run_gives_its_table(options, run):
    assert len(rows(run(*options))) == 2


def test_kernels_in_batches_predict_the_same(run):
    assert rows(run("--kernel-memory", 200_000)) == rows(run())


def test_jax_gives_the_table_of_numpy(run):
    jax = pytest.importorskip("jax")
    flag = jax.config.jax_enable_x64
    try:
        ours = np.array(rows(run("--backend", "jax")), dtype=float)
    finally:
        jax.config.update("jax_enable_x64", flag)
    want = np.array(rows(run()), dtype=float)
    assert np.allclose(ours[:, [1, 3, 5, 7]], want[:, [1, 3, 5, 7]], rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "newton"], "newton"),
        (["--activation", "swish"], "swish"),
        (["--dataset", "letters"], "unknown data set 'letters'"),
        (["--dataset", "missing.npz"], "missing.npz"),
        (["--classes", "0,11"], "11"),
        (["--width", "0"], "'0' is not a whole number >= 1"),
        (["--depth", "0"], "'0' is not a whole number >= 1"),
        (["--train-size", "0"], "'0' is not a whole number >= 1"),
        (["--damping", "-1"], "'-1' is none of: a number >= 0"),
        (["--learning-rate", "fast"], "neither a number nor"),
        (["--learning-rate", "nan"], "finite number"),
        (["--width", "1", "--depth", "2", "--train-size", "90"], "N C <= the 65 parameters"),
        (["--kernel-memory", "10"], "memory is 10 bytes"),
        (["--epsilon", "0.1"], "--epsilon belongs to softmax and logistic"),
        (["--block-size", "4"], "--block-size is an option of mini_block, not of exact"),
        (["--json", "no/such/folder/a.json"], "cannot be written"),
        (["--weight-variance", "-1"], "weight_variance"),
    ],
    ids=lambda o: " ".join(o) if isinstance(o, list) else "",
)
def test_bad_input_is_one_line_and_status_two(options, message, capsys):
    try:
        status = main([*SMALL, *options])
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert err.startswith("python -m ngdlib")
    assert "Traceback" not in err + out


def test_a_malformed_npz_is_one_line(tmp_path, capsys):
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    assert main([*SMALL, "--dataset", str(tmp_path / "bad.npz")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_samples_over_several_devices_give_the_same_table():
    """A program of its own: the number of devices is fixed when JAX is imported."""
    pytest.importorskip("jax")
    options = [*SMALL, "--backend", "jax", "--method", "kfac", "--damping", "1e-3", "--devices"]

    def program(count: int) -> subprocess.CompletedProcess:
        env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=5"}
        command = [sys.executable, "-m", "ngdlib", *options, str(count)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    one, four, five, six = (program(count) for count in (1, 4, 5, 6))
    assert rows(four.stdout) == rows(one.stdout) != [], four.stderr
    assert (five.returncode, six.returncode) == (2, 2)
    assert "12 samples do not divide among 5 devices: use 10 or 15 samples" in five.stderr
    assert "6 devices were asked for, and there are 5" in six.stderr


def test_devices_are_for_jax(capsys):
    assert main([*SMALL, "--devices", "2"]) == 2
    assert "--devices is for --backend jax" in capsys.readouterr().err
