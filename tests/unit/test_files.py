"""One npz layout: what goes in comes out, the wrong file is refused, and a failure loses nothing."""

import json

import numpy as np
import pytest

import ngdlib
from ngdlib import files

NET = ngdlib.MLP((64, 8, 8, 1))


@pytest.fixture(scope="module")
def values():
    data = ngdlib.digits(train=6, test=4)
    biased = ngdlib.MLP((64, 8, 1), bias_variance=0.1).init(0)
    layers = NET.layers(NET.init(0), data.x_train)
    return {
        "data": data,
        "parameters": biased,
        "kernels": ngdlib.empirical_kernels(layers),
        "history": ngdlib.train(NET, NET.init(0), data, method="exact", damping=1e-3, steps=2),
    }


def leaves(value):
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


@pytest.mark.parametrize("kind", ["data", "parameters", "kernels", "history"])
def test_what_is_saved_is_loaded_bit_for_bit(kind, values, tmp_path):
    files.save(tmp_path / "a.npz", kind, values[kind], {"seed": 0})
    back = files.load(tmp_path / "a.npz", kind, {"seed": 0})
    assert type(back) is type(values[kind])
    ours, theirs = leaves(back), leaves(values[kind])
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        np.testing.assert_array_equal(np.asarray(a, dtype=None), np.asarray(b, dtype=None))
        assert np.asarray(a).dtype == np.asarray(b).dtype


def test_parameters_without_biases_keep_none_and_their_precision(tmp_path):
    files.save(tmp_path / "p", "parameters", NET.init(0, dtype=np.float32))
    params = files.load(tmp_path / "p", "parameters")
    assert [b for _, b in params] == [None] * 3
    assert {W.dtype for W, _ in params} == {np.dtype(np.float32)}


def test_classes_may_be_text(tmp_path, values):
    data = values["data"]._replace(classes=("cat", "dog"))
    files.save(tmp_path / "d", "data", data)
    assert files.load(tmp_path / "d", "data").classes == ("cat", "dog")


def test_settings_are_told(tmp_path, values):
    files.save(tmp_path / "d", "data", values["data"], {"seed": 3, "classes": (0, 1)})
    assert files.settings(tmp_path / "d") == {"seed": 3, "classes": [0, 1], "kind": "data"}


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("history", {}, "holds data, and history is wanted"),
        ("data", {"seed": 1}, "made with seed = 0, and 1 is wanted"),
        ("data", {"width": 1}, "does not say with which 'width'"),
        ("pictures", {}, "unknown kind 'pictures'; there are data, parameters"),
    ],
)
def test_another_kind_or_other_settings_are_refused(kind, settings, message, tmp_path, values):
    files.save(tmp_path / "d", "data", values["data"], {"seed": 0})
    with pytest.raises(ValueError, match=message):
        files.load(tmp_path / "d", kind, settings)


def test_kernels_of_other_data_are_refused(tmp_path, values):
    data, other = values["data"], ngdlib.digits(train=6, test=4, seed=1)
    made_with = {"data": files.fingerprint(*data[:4])}
    files.save(tmp_path / "k", "kernels", values["kernels"], made_with)
    files.load(tmp_path / "k", "kernels", made_with)
    with pytest.raises(ValueError, match="was made with data = "):
        files.load(tmp_path / "k", "kernels", {"data": files.fingerprint(*other[:4])})


def test_fingerprint_sees_values_shapes_and_types():
    x = np.arange(6.0)
    prints = [x, x.reshape(2, 3), x.astype(np.float32), x + 1e-15]
    assert len({files.fingerprint(p) for p in prints}) == 4
    assert files.fingerprint(x) == files.fingerprint(x.copy())
    assert files.fingerprint(x[::2]) == files.fingerprint(x[::2].copy())


def test_another_version_is_refused(tmp_path, values, monkeypatch):
    monkeypatch.setattr(files, "VERSION", 2)
    files.save(tmp_path / "d", "data", values["data"])
    monkeypatch.undo()
    with pytest.raises(
        ValueError, match="version 2 of the layout, and this ngdlib reads version 1"
    ):
        files.load(tmp_path / "d", "data")


def test_damaged_foreign_and_missing_files_are_refused(tmp_path, values):
    path = tmp_path / "d.npz"
    files.save(path, "data", values["data"])
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="not a whole npz file"):
            files.load(path, "data")
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 255
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match="not a whole npz file"):
        files.load(path, "data")
    np.savez(path, x=np.ones(3))
    with pytest.raises(ValueError, match="not saved by ngdlib"):
        files.load(path, "data")
    np.savez(path, ngdlib=np.array("{"))
    with pytest.raises(ValueError, match="damaged header"):
        files.load(path, "data")
    np.savez(path, ngdlib=np.array([None]))
    with pytest.raises(ValueError, match="Python objects"):
        files.load(path, "data")
    header = {"version": 1, "kind": "data", "extra": [0, 1], "settings": {}}
    np.savez(path, ngdlib=np.array(json.dumps(header)))
    with pytest.raises(ValueError, match="not complete: 'x_train' is missing"):
        files.load(path, "data")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        files.load(tmp_path / "none.npz", "data")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        files.load(tmp_path, "data")


@pytest.mark.parametrize("kind", ["data", "parameters", "kernels", "history"])
@pytest.mark.parametrize("value", [None, [], 3, [1, 2], {"a": 1}])
def test_a_value_of_another_kind_is_refused(kind, value, tmp_path):
    with pytest.raises(TypeError, match=kind):
        files.save(tmp_path / "a", kind, value)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_older_file_and_no_draft(tmp_path, values, monkeypatch):
    path = tmp_path / "d.npz"
    files.save(path, "data", values["data"])
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match=r"cannot be written: No space left on device; nothing was"):
        files.save(path, "data", values["data"])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["d.npz"]


def test_a_place_that_cannot_be_written_is_named(tmp_path, values):
    with pytest.raises(FileNotFoundError, match=r"none/d.npz cannot be written"):
        files.save(tmp_path / "none" / "d.npz", "data", values["data"])
    with pytest.raises(IsADirectoryError, match="is a folder; give the name of a file"):
        files.save(tmp_path, "data", values["data"])
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="cannot be written"):
        files.save(tmp_path / "file" / "d.npz", "data", values["data"])


def test_objects_and_settings_that_json_cannot_hold_are_refused(tmp_path, values):
    data = values["data"]._replace(y_test=np.array([None]))
    with pytest.raises(TypeError, match="y_test holds Python objects"):
        files.save(tmp_path / "d", "data", data)
    with pytest.raises(TypeError, match="settings must be what JSON can hold"):
        files.save(tmp_path / "d", "data", values["data"], {"x": np.ones(2)})
    assert not list(tmp_path.iterdir())
