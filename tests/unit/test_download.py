"""The downloader against a local server: every way a file can go wrong, and what is left behind."""

import functools
import gzip
import hashlib
import http.server
import io
import sys
import tarfile
import threading
from typing import ClassVar

import numpy as np
import pytest

from ngdlib import datasets
from ngdlib.datasets import download

pytest.importorskip("pooch")

RNG = np.random.default_rng(0)
LABELS = np.arange(30, dtype=np.uint8) % 3


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(head + array.tobytes(), mtime=0)


def images(n):
    return RNG.integers(0, 256, (n, 4, 5), dtype=np.uint8)


IMAGES = {"train": images(30), "t10k": images(12)}
FILES = {
    "train-images-idx3-ubyte.gz": idx(IMAGES["train"]),
    "train-labels-idx1-ubyte.gz": idx(LABELS),
    "t10k-images-idx3-ubyte.gz": idx(IMAGES["t10k"]),
    "t10k-labels-idx1-ubyte.gz": idx(LABELS[:12]),
}


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; a name under /short/ is cut off in the middle of the promised length."""

    asked: ClassVar[list] = []

    def do_GET(self):
        self.asked.append(self.path)
        if not self.path.startswith("/short/"):
            return super().do_GET()
        content = FILES[self.path.rpartition("/")[2]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.close_connection = True
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A server on 127.0.0.1, the data sets' addresses turned to it, and an empty cache."""
    root = tmp_path / "site"
    for folder in ("good", "bad"):
        (root / folder).mkdir(parents=True)
        for name, content in FILES.items():
            flipped = bytes([content[0], content[1], *(b ^ 255 for b in content[2:])])
            (root / folder / name).write_bytes(content if folder == "good" else flipped)
    Handler.asked = []
    handler = functools.partial(Handler, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr("pooch.os_cache", lambda name: cache / name)
    monkeypatch.delenv(download.OFFLINE, raising=False)

    def use(*mirrors, files=FILES):
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        addresses = tuple(f"{address}/{mirror}/" for mirror in mirrors)
        for name in ("mnist", "fashion_mnist", "cifar10"):
            monkeypatch.setitem(download.SOURCES, name, download.Source(addresses, sums))

    use.root, use.cache = root, cache / "ngdlib"
    yield use
    server.shutdown()
    server.server_close()


def kept(site):
    return sorted(str(p.relative_to(site.cache)) for p in site.cache.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_images_arrive_and_are_drawn_from_their_own_splits(name, site):
    site("good")
    data = datasets.DATASETS[name](classes=(2, 0), train=9, test=5, seed=3)
    assert [a.shape for a in data[:4]] == [(9, 20), (9, 1), (5, 20), (5, 1)]
    chosen = IMAGES["train"].reshape(30, 20)
    for x, label in zip(data.x_train, datasets.labels(data.y_train)):
        candidates = chosen[data.classes[label] == LABELS]
        # a row is (image - m) / norm for some m: its centred direction is the image's
        centred = candidates - candidates.mean(1, keepdims=True)
        cosine = (centred @ (x - x.mean())) / np.linalg.norm(centred, axis=1)
        np.testing.assert_allclose(cosine.max(), np.linalg.norm(x - x.mean()))


def test_the_second_time_nothing_is_asked_for(site):
    site("good")
    datasets.mnist(train=4, test=2)
    first = len(Handler.asked)
    datasets.mnist(train=4, test=2)
    assert first == 4
    assert len(Handler.asked) == 4
    assert kept(site) == sorted(f"mnist/{name}" for name in FILES)


@pytest.mark.parametrize("broken", ["bad", "none", "short"])
def test_the_next_mirror_is_tried(broken, site):
    site(broken, "good")
    datasets.mnist(train=4, test=2)
    assert kept(site) == sorted(f"mnist/{name}" for name in FILES)


@pytest.mark.parametrize("broken", ["bad", "none", "short"])
def test_a_wrong_missing_or_truncated_file_is_named_and_not_kept(broken, site):
    site(broken)
    with pytest.raises(ConnectionError, match=r"train-images-idx3-ubyte\.gz of mnist") as error:
        datasets.mnist(train=4, test=2)
    assert f"/{broken}/train-images" in str(error.value)
    assert "NGDLIB_DATA" in str(error.value)
    assert kept(site) == []


def test_a_server_that_does_not_answer_is_named(site, monkeypatch):
    files = dict.fromkeys(FILES, "0" * 64)
    monkeypatch.setitem(download.SOURCES, "mnist", download.Source(("http://127.0.0.1:9/",), files))
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9/train-images"):
        datasets.mnist()
    assert kept(site) == []


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-3], lambda b: b"", lambda b: b[:5] + b"x" + b[6:]],
    ids=["cut", "empty", "changed"],
)
def test_a_damaged_file_in_the_cache_is_replaced(damage, site):
    site("good")
    datasets.mnist(train=4, test=2)
    victim = site.cache / "mnist" / "t10k-labels-idx1-ubyte.gz"
    victim.write_bytes(damage(victim.read_bytes()))
    datasets.mnist(train=4, test=2)
    assert victim.read_bytes() == FILES[victim.name]


def test_a_damaged_file_in_the_cache_goes_even_where_no_mirror_answers(site):
    site("good")
    datasets.mnist(train=4, test=2)
    victim = site.cache / "mnist" / "t10k-labels-idx1-ubyte.gz"
    victim.write_bytes(b"half")
    site("none")
    with pytest.raises(ConnectionError, match=victim.name):
        datasets.mnist(train=4, test=2)
    assert f"mnist/{victim.name}" not in kept(site)
    assert len(kept(site)) == 3


def test_the_offline_folder_is_used_and_nothing_is_asked_for(site, monkeypatch):
    site("none")
    (site.root / "good").rename(site.root / "mnist")
    monkeypatch.setenv(download.OFFLINE, str(site.root))
    datasets.mnist(train=4, test=2)
    victim = site.root / "mnist" / "train-labels-idx1-ubyte.gz"
    victim.write_bytes(b"half")
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte.gz is damaged or another file"):
        datasets.mnist(train=4, test=2)
    assert victim.read_bytes() == b"half"  # the reader's own file is left alone
    victim.unlink()
    with pytest.raises(FileNotFoundError, match=r"train-labels-idx1-ubyte\.gz is missing"):
        datasets.mnist(train=4, test=2)
    assert Handler.asked == []
    assert kept(site) == []


def test_the_offline_folder_needs_no_pooch(site, monkeypatch):
    site("none")
    (site.root / "good").rename(site.root / "mnist")
    monkeypatch.setenv(download.OFFLINE, str(site.root))
    monkeypatch.setitem(sys.modules, "pooch", None)
    datasets.mnist(train=4, test=2)


def test_without_pooch_the_error_has_the_line_to_install_it(site, monkeypatch):
    site("good")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r'pip install "ngdlib\[data\]"'):
        datasets.mnist()


def test_the_bar_reaches_the_end_on_a_terminal_and_is_silent_elsewhere(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        bar = download._Bar("file.gz")
        bar.total = 1000
        for _ in range(10):
            bar.update(100)
        bar.close()
        assert stream.getvalue().endswith("100 %\n") == drawn
        assert bool(stream.getvalue()) == drawn


def archive(batches):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, rows in batches.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            info.size = len(rows)
            tar.addfile(info, io.BytesIO(rows))
    return buffer.getvalue()


def cifar_rows(n):
    rows = RNG.integers(0, 256, (n, 3073), dtype=np.uint8)
    rows[:, 0] = np.arange(n) % 2
    return rows


BATCHES = {f"data_batch_{k}": cifar_rows(4) for k in range(1, 6)} | {"test_batch": cifar_rows(4)}


def serve_archive(site, content):
    files = {"cifar-10-binary.tar.gz": content}
    (site.root / "good" / "cifar-10-binary.tar.gz").write_bytes(content)
    site("good", files=files)


def test_cifar_is_read_from_its_binary_archive(site):
    serve_archive(site, archive({name: rows.tobytes() for name, rows in BATCHES.items()}))
    data = datasets.cifar10(train=None, test=None)
    assert [a.shape for a in data[:4]] == [(20, 3072), (20, 1), (4, 3072), (4, 1)]
    x = BATCHES["test_batch"][:, 1:].astype(float)
    x -= np.mean([rows[:, 1:].astype(float) for name, rows in BATCHES.items() if "data" in name])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(np.sort(data.x_test, axis=0), np.sort(x, axis=0), atol=1e-12)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "not a whole tar.gz"),
        (archive({"data_batch_1": b"abc"}), "should hold rows of 3073 bytes, it holds 3"),
        (archive({"other": b"abc"}), "not the CIFAR-10 binary archive"),
    ],
    ids=["text", "short", "other"],
)
def test_an_archive_of_another_form_is_refused(content, message, site):
    serve_archive(site, content)
    with pytest.raises(ValueError, match=message):
        datasets.cifar10()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"abc", "not a whole gzip file"),
        (idx(LABELS)[:-9], "not a whole gzip file"),
        (gzip.compress(b""), "not an IDX file of bytes"),
        (
            gzip.compress(b"\0\0\x0d\1\0\0\0\1a"),
            "not an IDX file of bytes: it begins with 00 00 0d 01",
        ),
        (gzip.compress(b"\0\0\x08\1\0\0\0\5abc"), "should hold 5 bytes"),
        (gzip.compress(b"\0\0\x08\3\0\0\0\5abc"), "ends within its header of 16 bytes"),
        (gzip.compress(b"\0\0\x08\1\0\0\0\2abc"), "should hold 2 bytes"),
    ],
    ids=["text", "cut", "empty", "float", "fewer bytes", "cut header", "more bytes"],
)
def test_an_idx_file_of_another_form_is_refused(content, message, tmp_path):
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        datasets.formats.read_idx(tmp_path / "x.gz")


def test_every_address_and_sum_is_well_formed():
    for source in download.SOURCES.values():
        assert len(source.mirrors) >= 2
        assert all(m.startswith("http") and m.endswith("/") for m in source.mirrors)
        assert all(len(s) == 64 and int(s, 16) for s in source.files.values())
