"""What the site serves to the reader's Python: the runtime, its packages, and ngdlib.

Everything is packed into a few files, the same bytes for the same contents on every machine, below a folder
named by their hash, so that a browser may keep them for ever:

    live/python-<hash>/   pyodide.mjs, pyodide.asm.mjs, runtime.bin (the wasm, gzipped),
                          python_stdlib.zip, packages.zip
    live/ngdlib-<hash>.zip

The packages are unpacked from the wheels that `fetch_runtime` verified, less what no figure can use.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import fetch_runtime

# Tests, type stubs, headers, other languages' files, and the fonts and back ends of PDF and PostScript.
NOT_NEEDED = re.compile(
    r"(^|/)(tests?|f2py|sample_data|pdfcorefonts|afm|licenses)/|\.(pyi|h|a|pxd|js|css|lua)$|/images/"
    r"|/DejaVu(Serif|SansMono-)[^/]*ttf$|_webp\.|_tkagg\.|backends/(web_backend|qt_editor)"
)
EPOCH = (1980, 1, 1, 0, 0, 0)


def _zip(entries: dict[str, bytes]) -> bytes:
    """Make a zip file whose bytes depend on the entries only."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, entries[name], compresslevel=9)
    return buffer.getvalue()


def packages(wheels: list[Path]) -> bytes:
    """One zip of all wheels' contents, less what no figure can use."""
    entries: dict[str, bytes] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if not name.endswith("/") and not NOT_NEEDED.search(name):
                    entries[name] = archive.read(name)
    return _zip(entries)


def library(package: Path) -> bytes:
    """The zip of ngdlib: its modules and data files, the typing marker and caches left out."""
    entries = {
        path.relative_to(package.parent).as_posix(): path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and path.suffix in (".py", ".npz", ".json", ".txt")
    }
    return _zip(entries)


def short_hash(content: bytes) -> str:
    """Twelve hex digits of the SHA-256 sum, enough to name a version."""
    return hashlib.sha256(content).hexdigest()[:12]


def write(package: Path, target: Path, keep: Path) -> dict[str, Any]:
    """Write all of it below `target` and return the manifest that the page's script reads.

    `keep` is a folder where the packed runtime stays from build to build, because packing takes seconds.
    Raises RuntimeUnavailable if the runtime cannot be had.
    """
    lock, source = fetch_runtime.read_lock(), fetch_runtime.ensure()
    recipe = fetch_runtime.LOCK.read_bytes() + Path(__file__).read_bytes()
    packed = keep / f"python-{short_hash(recipe)}"
    if not (packed / "done").exists():
        packed.mkdir(parents=True, exist_ok=True)
        for name in ("pyodide.mjs", "pyodide.asm.mjs", "python_stdlib.zip"):
            shutil.copyfile(source / name, packed / name)
        wasm = (source / "pyodide.asm.wasm").read_bytes()
        # Gzipped by us, so that it is small on every host; the name tells a server nothing to act upon.
        (packed / "runtime.bin").write_bytes(gzip.compress(wasm, 9, mtime=0))
        (packed / "packages.zip").write_bytes(
            packages([source / name for name in lock["sha256"] if name.endswith(".whl")])
        )
        (packed / "done").write_text("")
    names = ["pyodide.mjs", "pyodide.asm.mjs", "runtime.bin", "python_stdlib.zip", "packages.zip"]
    sums = "".join(hashlib.sha256((packed / name).read_bytes()).hexdigest() for name in names)
    folder = f"python-{short_hash(sums.encode())}"
    zipped = library(package)
    ours = f"ngdlib-{short_hash(zipped)}.zip"

    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("python-*"):
        if old.name != folder:
            shutil.rmtree(old)
    for old in target.glob("ngdlib-*.zip"):
        if old.name != ours:
            old.unlink()
    (target / folder).mkdir(exist_ok=True)
    for name in names:
        if not (target / folder / name).exists():
            shutil.copyfile(packed / name, target / folder / name)
    (target / ours).write_bytes(zipped)
    files = [f"{folder}/{name}" for name in names] + [ours]
    return {
        "python": f"{folder}/",
        "library": ours,
        "files": {name: (target / name).stat().st_size for name in files},
        "lock": json.dumps({"info": {**lock["info"], "version": lock["version"]}, "packages": {}}),
    }
