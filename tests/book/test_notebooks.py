"""The notebooks beside the chapters: made from them, in plain Markdown, and running on what a reader has."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import notebooks as nb  # noqa: E402

BOOK = ROOT / "book"
NOTEBOOKS = sorted(p.relative_to(ROOT).as_posix() for p in BOOK.glob("*/*.ipynb"))
# Only what a shell has: nothing of this environment, of make or of the book's build leaks into it.
CLEAN = {
    k: v
    for k, v in os.environ.items()
    if not re.match(r"PYTHON|MAKE|MFLAGS|VIRTUAL_ENV|NGDLIB|JUPYTER|COVERAGE", k)
}


def test_every_chapter_has_its_notebook() -> None:
    files = re.findall(r"file: (\S+)", (ROOT / "_toc.yml").read_text())
    with_cells = [f for f in files if "{code-cell}" in (ROOT / f"{f}.md").read_text()]
    assert sorted(f"{f}.ipynb" for f in with_cells) == NOTEBOOKS


@pytest.mark.slow
@pytest.mark.book
@pytest.mark.xdist_group("notebooks")
def test_notebooks_are_those_of_the_chapters(tmp_path: Path) -> None:
    """`make notebooks` changes nothing."""
    command = ["make", "-C", str(ROOT), "notebooks", f"NOTEBOOKS={tmp_path}"]
    result = subprocess.run(command, capture_output=True, text=True, env=CLEAN, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    made = {p.relative_to(tmp_path).as_posix(): p.read_text() for p in tmp_path.rglob("*.ipynb")}
    assert sorted(made) == NOTEBOOKS
    stale = [name for name, text in made.items() if text != (ROOT / name).read_text("utf-8")]
    assert not stale, f"run `make notebooks` and commit: {stale}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_plain(name: str) -> None:
    notebook = nbformat.read(ROOT / name, as_version=4)
    nbformat.validate(notebook)
    first = notebook.cells[0]
    assert first.cell_type == "code"
    assert first.source == nb.install_cell()
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        if cell.cell_type == "markdown":
            outside_code = re.sub(r"```.*?```|`[^`\n]*`", "", cell.source, flags=re.DOTALL)
            assert not re.search(r"\{[a-z:-]+\}`|^:::|^```\{|@@", cell.source, re.MULTILINE)
            assert "ngd-live" not in outside_code
            assert "<script" not in outside_code
            assert "data:image" not in outside_code
        else:
            assert "myst_nb" not in cell.source


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_between_notebooks_lead_somewhere(name: str) -> None:
    """The glossary and its like have no cells and no notebook: their words stand there without a link."""
    notebook = nbformat.read(ROOT / name, as_version=4)
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
        assert (ROOT / name).parent.joinpath(link).exists(), link


def test_install_cell_leaves_numpy_and_jax_alone() -> None:
    cell = nb.install_cell()
    assert "--no-deps" in cell
    assert "google.colab" in cell
    assert not re.search(r"install.*(jax|numpy)", cell.replace("NumPy and JAX", ""), re.IGNORECASE)


def test_install_cell_says_what_to_fill_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = (ROOT / "_config.yml").read_text()
    monkeypatch.setattr(nb, "ROOT", tmp_path)
    url = "https://github.com/somebody/a-book"
    (tmp_path / "_config.yml").write_text(re.sub(r"(?m)^  url: .*$", f"  url: {url}", config))
    cell = nb.install_cell()
    assert f"git+{url}@main" in cell
    assert "_config.yml" not in cell
    placeholder = re.sub(r"(?m)^  url: .*$", f"  url: {nb.PLACEHOLDER}", config)
    (tmp_path / "_config.yml").write_text(placeholder)
    assert "_config.yml" in nb.install_cell()


def test_markdown_is_finished() -> None:
    text = "@@fold Hint@@\n\nlook\n\n@@end@@\n\n@@box@@\n\n**Note**\n\nx $ a $\n\n@@end@@\n\nafter"
    assert nb.finish_markdown(text) == (
        "<details>\n<summary><b>Hint</b></summary>\n\nlook\n\n</details>\n\n"
        "> **Note**\n>\n> x $a$\n\nafter"
    )


# ------------------------------------------------------------------ run as a reader runs them


@cache
def newest_python() -> str:
    """The newest suitable interpreter: on PATH, or one that pyenv keeps."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in (14, 13, 12, 11):
        kept = sorted(map(str, pyenv.glob(f"3.{minor}.*/bin/python3")))
        for python in [f"python3.{minor}", *reversed(kept)]:
            code = f"import sys, venv; sys.exit(sys.version_info[:2] != (3, {minor}))"
            try:
                if not subprocess.run(
                    [python, "-c", code], capture_output=True, check=False
                ).returncode:
                    return shutil.which(python) or python
            except OSError:
                continue
    return sys.executable


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An environment with what Colab has, newest versions, and a kernel in it; no ngdlib yet."""
    folder = tmp_path_factory.mktemp("fresh")
    uv = f"{sys.prefix}/bin/uv"
    packages = ["jax", "numpy", "matplotlib", "ipywidgets", "ipykernel"]
    python = folder / "env" / "bin" / "python"
    for command in (
        [uv, "venv", "--quiet", "--seed", "--python", newest_python(), str(folder / "env")],
        [uv, "pip", "install", "--quiet", "--python", str(python), *packages],
    ):
        subprocess.run(command, check=True, env=CLEAN, cwd=folder)
    source = folder / "source"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ngdlib", source / "ngdlib", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    spec = folder / "share" / "kernels" / "reader"
    spec.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {"argv": argv, "display_name": "Reader", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(kernel))
    environment = CLEAN | {
        "NGDLIB_SOURCE": str(source),
        "JUPYTER_PATH": str(folder / "share"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    return folder, environment


@pytest.mark.slow
@pytest.mark.book
@pytest.mark.xdist_group("notebooks")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs(name: str, fresh: tuple[Path, dict[str, str]]) -> None:
    """From an empty folder, on the newest Python, JAX and NumPy, with ngdlib from the first cell."""
    folder, environment = fresh
    empty = folder / Path(name).stem
    empty.mkdir()
    done = folder / f"{Path(name).stem}.ipynb"
    code = (
        "import sys, nbformat, nbclient; "
        "n = nbformat.read(sys.argv[1], as_version=4); "
        "nbclient.NotebookClient(n, timeout=300, kernel_name='reader', "
        "resources={'metadata': {'path': sys.argv[2]}}).execute(); "
        "nbformat.write(n, sys.argv[3])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / name), str(empty), str(done)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert not list(empty.iterdir()), "a chapter writes no files"
    ran = nbformat.read(done, as_version=4)
    shown = [o for c in ran.cells for o in c.get("outputs", []) if o.output_type != "stream"]
    if any("explore(" in c.source for c in ran.cells if c.cell_type == "code"):
        assert any("application/vnd.jupyter.widget-view+json" in o.get("data", {}) for o in shown)
