"""What a loader promises: the draw, the normalisation, the targets, and clear refusals."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ngdlib
from ngdlib import datasets
from ngdlib.datasets import digits, from_arrays, npz

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 3, 2))
Y = np.arange(20) % 4
FOLDER = Path(ngdlib.__file__).parent / "data"


def test_the_embedded_digits_are_whole_and_come_with_licence_and_citation():
    file = np.load(FOLDER / "digits.npz")
    assert file["x"].shape == (1797, 64)
    assert (file["x"].min(), file["x"].max()) == (0, 16)
    assert np.bincount(file["y"]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    digest = hashlib.sha256(file["x"].tobytes() + file["y"].tobytes()).hexdigest()
    assert digest == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
    text = (FOLDER / "DIGITS.txt").read_text()
    assert "Attribution 4.0" in text
    assert "10.24432/C50P49" in text


def test_shapes_types_and_unit_rows():
    data = digits(classes=(0, 1), train=100, test=50)
    assert [a.shape for a in data[:4]] == [(100, 64), (100, 1), (50, 64), (50, 1)]
    assert {a.dtype for a in data[:4]} == {np.dtype(np.float64)}
    for x in (data.x_train, data.x_test):
        np.testing.assert_allclose((x**2).sum(1), 1.0, rtol=1e-14)


def test_standardised_by_the_training_split_alone():
    """Brute force: one mean and one deviation, from the training entries, then unit rows."""
    data = digits(classes=(3, 5), train=40, test=30, seed=2)
    raw = {k: v.astype(float) for k, v in np.load(FOLDER / "digits.npz").items()}
    candidate = raw["x"][np.isin(raw["y"], (3, 5))]
    # centring an image and scaling it leaves its centred direction: that tells which were drawn
    directions = [v - v.mean(1, keepdims=True) for v in (candidate, data.x_train, data.x_test)]
    directions = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in directions]
    found = [(v @ directions[0].T).argmax(1) for v in directions[1:]]
    train, test = (candidate[i] for i in found)
    for x, images in ((data.x_train, train), (data.x_test, test)):
        z = (images - train.mean()) / train.std()
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        np.testing.assert_allclose(x, z, atol=1e-14)
    assert not set(found[0]) & set(found[1])


def test_the_same_seed_draws_the_same_and_another_seed_does_not():
    first, again, other = (digits(seed=s) for s in (1, 1, 2))
    for a, b in zip(first[:4], again[:4]):
        np.testing.assert_array_equal(a, b)
    assert np.abs(first.x_train - other.x_train).max() > 0.1


def test_a_larger_training_set_holds_the_smaller_and_leaves_the_test_set():
    small, large = (digits(classes=(0, 1, 2), train=n, test=9) for n in (20, 40))
    cosine = small.x_train @ large.x_train[:20].T
    np.testing.assert_allclose(np.diag(cosine), 1.0, atol=1e-2)  # the mean differs a little
    np.testing.assert_array_equal(small.y_test, large.y_test)
    np.testing.assert_allclose((small.x_test * large.x_test).sum(1), 1.0, atol=1e-2)


@pytest.mark.parametrize(("train", "test"), [(7, 5), (30, 11), (1, 1)])
def test_the_draw_is_balanced(train, test):
    data = digits(classes=(9, 4, 6), train=train, test=test)
    for y, n in ((data.y_train, train), (data.y_test, test)):
        counts = np.bincount(datasets.labels(y), minlength=3)
        assert counts.sum() == n
        assert np.ptp(counts) <= 1


def test_a_class_that_runs_out_leaves_its_turns_to_the_others():
    x, y = RNG.standard_normal((10, 3)), np.array([0] * 2 + [1] * 8)
    data = from_arrays(x, y, train=8, test=2)
    assert np.bincount(datasets.labels(data.y_train)).tolist() == [1, 7]


def test_targets_fit_the_loss():
    two, three = np.array([0, 1, 1]), np.array([2, 0, 1])
    np.testing.assert_array_equal(datasets.targets(two, 2), [[-0.5], [0.5], [0.5]])
    np.testing.assert_array_equal(datasets.targets(three, 3), np.eye(3)[three])
    for loss in ("softmax", "logistic"):
        y = datasets.targets(two, 2, loss)
        np.testing.assert_array_equal(y, two)
        assert np.isdtype(y.dtype, "integral")
    assert datasets.targets(two, 2, dtype=np.float32).dtype == np.float32


@pytest.mark.parametrize("classes", [(0, 1), (7, 3, 5)])
@pytest.mark.parametrize("loss", ["squared_error", "softmax"])
def test_labels_are_recovered_from_any_targets(classes, loss):
    data = digits(classes=classes, train=10, test=6)
    there = datasets.with_targets(data, loss)
    back = datasets.with_targets(there, "squared_error")
    np.testing.assert_array_equal(back.y_train, data.y_train)
    assert there.y_train.shape == ((10,) if loss == "softmax" else data.y_train.shape)
    np.testing.assert_array_equal(
        digits(classes=classes, train=10, test=6, loss=loss).y_test, there.y_test
    )


def test_a_class_keeps_its_name():
    data = digits(classes=(7, 3), train=10, test=4)
    same = digits(classes=(3, 7), train=10, test=4)
    assert (data.classes, same.classes) == ((7, 3), (3, 7))
    words = from_arrays(X, np.array(["cat", "dog"] * 10), train=6, test=4)
    assert words.classes == ("cat", "dog")


def test_the_data_train_a_network_for_every_loss():
    net = ngdlib.MLP((64, 32, 1))
    for loss in ("squared_error", "logistic"):
        data = digits(train=10, test=6, loss=loss)
        history = ngdlib.train(
            net, net.init(0), data, method="exact", damping=1e-2, steps=2, loss=loss
        )
        assert history.train_loss[-1] < history.train_loss[0]


@pytest.mark.parametrize("kind", [np.uint8, np.int32, bool, np.float32])
def test_integers_and_booleans_become_floats(kind):
    x = RNG.integers(0, 2, (20, 5)).astype(kind)
    x[:, 0], x[:, 1] = 0, 1
    data = from_arrays(x, Y, train=8, test=4)
    expected = from_arrays(x.astype(float), Y, train=8, test=4)
    np.testing.assert_array_equal(data.x_train, expected.x_train)
    assert data.x_train.dtype == np.float64
    assert from_arrays(x, Y, train=8, test=4, dtype=np.float32).x_test.dtype == np.float32


def test_huge_and_tiny_inputs_do_not_overflow():
    plain = from_arrays(X, Y, train=8, test=4)
    for scale in (1e200, 1e-200):
        data = from_arrays(X * scale, Y, train=8, test=4)
        np.testing.assert_allclose(data.x_train, plain.x_train, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"classes": (0, 10)}, ValueError, "digits has no class 10; there are 0, 1, 2"),
        ({"classes": ("0", "1")}, ValueError, "no class '0'"),
        ({"classes": (1,)}, ValueError, "at least two classes are needed, got 1"),
        ({"classes": ()}, ValueError, "at least two classes are needed, got 0"),
        ({"classes": (1, 1)}, ValueError, "named twice"),
        ({"classes": 3}, TypeError, "classes is a sequence"),
        ({"classes": "01"}, TypeError, "classes is a sequence"),
        ({"train": 311}, ValueError, r"360 samples of these classes; .* 311 \+ 50"),
        ({"train": None, "test": 360}, ValueError, "360 samples"),
        ({"train": 0}, ValueError, "train is a whole number >= 1, got 0"),
        ({"test": 0}, ValueError, "test is a whole number >= 1, got 0"),
        ({"train": 2.5}, TypeError, "train is a whole number"),
        ({"seed": -1}, ValueError, "seed is a whole number >= 0, got -1"),
        ({"seed": "x"}, TypeError, "seed is a whole number"),
        ({"dtype": int}, TypeError, "dtype is float64 or float32"),
        ({"loss": "hinge"}, ValueError, "unknown loss 'hinge'; there are squared_error"),
        ({"loss": "logistic", "classes": (0, 1, 2)}, ValueError, "use softmax"),
    ],
)
def test_a_wrong_choice_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        digits(**options)


def with_value(value):
    x = X.copy()
    x[3, 1, 0] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), ValueError, "empty"),
        (np.zeros((3, 0)), np.zeros(3, int), ValueError, "empty"),
        (with_value(np.nan), Y, ValueError, "NaN or infinity in 1 rows; the first is 3"),
        (with_value(np.inf), Y, ValueError, "NaN or infinity"),
        (X, Y[:-1], ValueError, r"y \(19,\); y must be \(20,\)"),
        (X, Y[:, None], ValueError, r"y must be \(20,\)"),
        (X, Y / 2, TypeError, "integers or text; got an array of float64"),
        (X * 1j, Y, TypeError, "real numbers"),
        (X, np.zeros(20, int), ValueError, "at least two classes"),
        (np.ones((20, 3)), Y, ValueError, "16 of the training inputs of the data equal the mean"),
    ],
)
def test_wrong_arrays_are_refused(x, y, error, message):
    with pytest.raises(error, match=message):
        from_arrays(x, y)


def test_splits_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="come together"):
        from_arrays(X, Y, X)
    with pytest.raises(ValueError, match="a training input has 6 entries, a test input 2"):
        from_arrays(X, Y, X[:, 0], Y)
    with pytest.raises(ValueError, match="20 samples of these classes to test on, not 21"):
        from_arrays(X, Y, X, Y, test=21)
    with pytest.raises(ValueError, match="test split has class 4, the training split not"):
        from_arrays(X, Y, X, Y + 1)
    with pytest.raises(ValueError, match="0 samples of these classes to test on"):
        from_arrays(X, Y, X[:1], Y[:1], classes=(2, 3))


def test_wrong_labels_are_refused():
    with pytest.raises(ValueError, match=r"labels are 0 .. 1, got 0 .. 2"):
        datasets.targets(np.array([0, 2]), 2)
    with pytest.raises(ValueError, match="labels are integers"):
        datasets.targets(np.array([0.0, 1.0]), 2)
    with pytest.raises(ValueError, match="at least two classes"):
        datasets.targets(np.array([0]), 1)
    with pytest.raises(ValueError, match=r"\(n,\) or \(n, c\)"):
        datasets.labels(np.zeros((1, 1, 1)))


def test_an_npz_of_ones_own(tmp_path):
    np.savez(tmp_path / "own.npz", x=X, y=Y)
    data = npz(tmp_path / "own.npz")
    assert [len(a) for a in data[:4]] == [16, 16, 4, 4]
    assert data.classes == (0, 1, 2, 3)
    np.savez(tmp_path / "own.npz", x=X, y=Y, x_test=X[:8] + 1, y_test=Y[:8])
    data = npz(tmp_path / "own.npz", classes=(2, 3), train=5)
    assert [len(a) for a in data[:4]] == [5, 5, 4, 4]


def test_a_missing_malformed_or_pickled_npz_is_refused(tmp_path):
    path = tmp_path / "own.npz"
    with pytest.raises(FileNotFoundError, match="there is no file"):
        npz(path)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        npz(tmp_path)
    for content in (b"", b"text", b"PK\x03\x04rest"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a whole npz file"):
            npz(path)
    np.savez(path, x=X)
    with pytest.raises(ValueError, match="no array 'y'; it has x"):
        npz(path)
    np.savez(path, x=np.array([{}, []], dtype=object), y=[0, 1])
    with pytest.raises(ValueError, match="Python objects, which are not read"):
        npz(path)
    with open(path, "wb") as file:
        np.save(file, X)
    with pytest.raises(ValueError, match="one bare array"):
        npz(path)
    np.savez(path, x=X, y=Y, x_test=X)
    with pytest.raises(ValueError, match="come together"):
        npz(path)
    np.savez(path, x=with_value(np.nan), y=Y)
    with pytest.raises(ValueError, match=r"own.npz: x holds NaN"):
        npz(path)


def test_importing_the_data_sets_needs_numpy_only():
    code = (
        "import sys, ngdlib.datasets, ngdlib.files, ngdlib.forster;"
        "print({'pooch', 'requests', 'jax', 'scipy', 'matplotlib'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
