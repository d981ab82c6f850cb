"""The book's build: what it refuses, and what it finds by itself."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import ngd_book  # noqa: E402

TESTS = """
import pytest

def test_plain(): ...

@pytest.mark.parametrize("x", [1, 2])
def test_many(x): ...

class TestClass:
    def test_method(self): ...

def helper(): ...
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "test_it.py").write_text(TESTS)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("test_it.py::test_plain", 4),
        ("test_it.py::test_many", 7),
        ("test_it.py::test_many[1]", 7),
        ("test_it.py::TestClass::test_method", 10),
    ],
)
def test_role_finds_tests(root: Path, name: str, line: int) -> None:
    assert ngd_book.find_test(name, root) == line


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("test_it.py", "names no test"),
        ("test_other.py::test_plain", "there is no file"),
        ("test_it.py::test_missing", "has no test"),
        ("test_it.py::test_method", "has no test"),
        ("test_it.py::helper", "has no test"),
        ("test_it.py::test_plain[1]", "takes no parameters"),
    ],
)
def test_role_refuses_what_is_no_test(root: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ngd_book.find_test(name, root)


FRONT = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  name: python3
  display_name: Python 3
chapter: 3
---

# A chapter

"""


def build(
    folder: Path, chapter: str, page: str = "book/index", url: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Build a book of one page with the settings of this one."""
    (folder / page).parent.mkdir(exist_ok=True, parents=True)
    (folder / f"{page}.md").write_text(FRONT + textwrap.dedent(chapter))
    (folder / "book" / "references.bib").write_text("")
    (folder / "book" / "_static").mkdir(exist_ok=True)
    (folder / "book" / "_static" / "book.css").write_text("")
    config = (ROOT / "_config.yml").read_text()
    config = re.sub(r"(?m)^    (\w+): book/_ext/$", rf"    \1: {ROOT}/book/_ext/", config)
    # Only what this file tests: the live figures have tests of their own.
    config = re.sub(r"(?m)^    (live_site|page_policy): .*\n", "", config)
    config = re.sub(r"(?m)^  url: .*$", f"  url: {url or ngd_book.PLACEHOLDER}", config)
    (folder / "_config.yml").write_text(config)
    (folder / "_toc.yml").write_text(f"format: jb-book\nroot: {page}\n")
    command = [f"{sys.prefix}/bin/jupyter-book", "build", ".", "-n", "-W", "--keep-going"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.book
def test_build_refuses_failing_cells_and_unknown_tests(tmp_path: Path) -> None:
    good = """
        $$ x = y $$ (eq-t-x)

        Equation {eq}`eq-t-x`, and {test}`tests/test_floors.py::test_nothing_imports_upwards`.

        ```{code-cell} ipython3
        import os
        print("home", os.environ["NGDLIB_HOME"])
        ```
        """
    result = build(tmp_path, good)
    assert result.returncode == 0, result.stdout + result.stderr
    page = (tmp_path / "_build/html/book/index.html").read_text()
    assert "home page" in page
    assert "(3.1)" in page
    assert 'title="tests/test_floors.py::test_nothing_imports_upwards"' in page

    result = build(tmp_path, good.replace("imports_upwards`", "imports_downwards`"))
    assert result.returncode != 0
    assert "has no test 'test_nothing_imports_downwards'" in result.stdout + result.stderr

    result = build(tmp_path, good.replace("import os", "raise RuntimeError('boom')"))
    assert result.returncode != 0
    assert "boom" in result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.book
@pytest.mark.parametrize("url", [None, "https://github.com/somebody/a-book"])
def test_everything_follows_from_the_address(tmp_path: Path, url: str | None) -> None:
    page = "book/00-orientation/how_to_use"
    test = "tests/test_floors.py::test_nothing_imports_upwards"
    result = build(tmp_path, f"Checked by {{test}}`{test}`.", page, url)
    assert result.returncode == 0, result.stdout + result.stderr
    html = (tmp_path / "_build/html" / f"{page}.html").read_text()
    colab = f"https://colab.research.google.com/github/somebody/a-book/blob/main/{page}.ipynb"
    assert (colab in html) == bool(url)
    assert (f"{url}/blob/main/tests/test_floors.py#L" in html) == bool(url)
    assert "example.org" not in html


def test_hash_follows_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngd_book, "ROOT", tmp_path)
    (tmp_path / "ngdlib").mkdir()
    (tmp_path / "requirements.txt").write_text("numpy==2.0\n")
    module = tmp_path / "ngdlib" / "a.py"
    module.write_text("x = 1\n")
    first = ngd_book.library_hash()
    assert ngd_book.library_hash() == first
    module.write_text("x = 2\n")
    second = ngd_book.library_hash()
    module.rename(tmp_path / "ngdlib" / "b.py")
    assert len({first, second, ngd_book.library_hash()}) == 3
