"""Copy the chapters' notebooks to a folder to work in (`python lab.py BOOK LAB`), and keep what was changed there.

A copy that was edited or run is left as it is when the book's notebook moves on; the new one is put beside it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(book: Path, lab: Path) -> None:
    record = lab / ".copied.json"
    copied: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    for source in sorted(book.rglob("*.ipynb")):
        name = source.relative_to(book).as_posix()
        target = lab / name
        if target.exists() and digest(target) != copied.get(name):
            if digest(source) != copied.get(name):
                newer = target.with_suffix(".new.ipynb")
                newer.write_bytes(source.read_bytes())
                print(f"{target} was changed by you; the book's newer one is {newer}")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        copied[name] = digest(source)
    lab.mkdir(exist_ok=True)
    record.write_text(json.dumps(copied, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
