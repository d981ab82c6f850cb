"""What the book's build needs beyond Jupyter Book itself.

- Executed cells know that they run for the page (NGDLIB_HOME), and run again when ngdlib changes.
- Mathematics is typeset by MathJax served from the site.
- Scripts that are broken, heavy or load from other hosts are taken off every page.
- The role {test} names the test that checks an equation, and the build fails if there is none.
- The repository's address, said once in _config.yml, decides whether there are buttons and links to it.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
from functools import cache
from importlib.metadata import files
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDER = "https://example.org/your-name/your-repository"
COLAB = "https://colab.research.google.com"
logger = logging.getLogger(__name__)


def repository(app: Sphinx) -> str | None:
    """Return the address given in _config.yml, or None while it is the placeholder."""
    url = str(app.config.html_theme_options.get("repository_url", "")).rstrip("/")
    return None if url in ("", PLACEHOLDER) else url


def branch(app: Sphinx) -> str:
    """Return the branch that links point into."""
    return str(app.config.html_theme_options.get("repository_branch", "main"))


# ------------------------------------------------------------------ execution


def library_hash() -> str:
    """Return the hash of everything an executed cell depends on besides its own text."""
    digest = hashlib.sha256()
    sources = [p for p in (ROOT / "ngdlib").rglob("*") if p.suffix in (".py", ".npz")]
    sources += [*ROOT.glob("book/[0-9]*/*.py"), *ROOT.glob("benchmarks/results/*.json")]
    for path in [*sorted(sources), ROOT / "requirements.txt"]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def drop_stale_results(app: Sphinx) -> None:
    """Drop the execution cache when ngdlib changed: jupyter-cache looks at the cells' text only."""
    build = Path(app.outdir).parent
    stamp = build / ".jupyter_cache" / "ngdlib.sha256"
    if not stamp.exists() or stamp.read_text() != library_hash():
        shutil.rmtree(stamp.parent, ignore_errors=True)
        stamp.parent.mkdir(parents=True)
        stamp.write_text(library_hash())


def read_notebooks_again(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """Read every page again when ngdlib changed: Sphinx, too, looks at the pages' text only."""
    before, env.ngdlib_hash = getattr(env, "ngdlib_hash", None), library_hash()  # type: ignore[attr-defined]
    return [] if before == library_hash() else sorted(env.found_docs)


# ------------------------------------------------------------------ pages

MATHJAX_PARTS = re.compile(
    r"mathjax/(tex-chtml\.js|output/chtml/fonts/.*|input/tex/extensions/.*|a11y/.*"
    r"|sre/mathmaps/(base|en)\.json)$"
)


def add_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Copy MathJax, with its fonts, into the site."""
    if error or app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static"
    for path in files("sphinx-mathjax-offline") or []:
        if match := MATHJAX_PARTS.search(path.as_posix()):
            copy = target / match.group()
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(path.locate()), copy)


# Broken (Thebe), heavy and not needed for the icons, which come from its CSS (Font Awesome), or loaded from
# other hosts (widget state).
UNWANTED = re.compile(
    r"thebe|fontawesome/[^\"]*\.js|require(\.min)?\.js|html-manager", re.IGNORECASE
)


def strip_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    """Take the unwanted scripts off the list that the theme writes into the page."""
    scripts = context.get("script_files", [])
    scripts[:] = [
        s
        for s in scripts
        if not UNWANTED.search(f"{getattr(s, 'filename', s)} {getattr(s, 'attributes', {})}")
    ]


SCRIPT = re.compile(r"[ \t]*<script\b([^>]*)>(.*?)</script>\n?", re.DOTALL)
PRELOAD = re.compile(r"[ \t]*<link\b[^>]*fontawesome[^>]*\.js[^>]*>\n?")


def strip_pages(app: Sphinx, error: Exception | None) -> None:
    """Take off what the theme's templates write themselves, after all pages are there."""
    if error or app.builder.format != "html":
        return

    def keep(match: re.Match[str]) -> str:
        attributes, body = match.groups()
        widgets = "application/vnd.jupyter.widget" in attributes
        return "" if widgets or UNWANTED.search(attributes) or "THEBE_JS_URL" in body else match[0]

    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text("utf-8")
        new = PRELOAD.sub("", SCRIPT.sub(keep, text))
        if new != text:
            path.write_text(new, "utf-8")
    for script in (Path(app.outdir) / "_static").rglob("fontawesome/*/js/*"):
        script.unlink()


def add_buttons(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Offer Colab for each page that has a notebook, once the repository's address is known."""
    url = repository(app)
    notebook = ROOT / f"{page}.ipynb"
    if url and "github.com" in url and notebook.exists():
        path = url.split("github.com/", 1)[1].removesuffix(".git")
        context.setdefault("header_buttons", []).append(
            {
                "type": "link",
                "url": f"{COLAB}/github/{path}/blob/{branch(app)}/{page}.ipynb",
                "icon": "fas fa-rocket",
                "text": "Colab",
                "tooltip": "Open this chapter in Colab, on a CPU or a GPU",
                "label": "colab-button",
            }
        )


def forget_placeholder(app: Sphinx, config: Any) -> None:
    """Without an address there is nothing to link to."""
    options = config.html_theme_options
    if repository(app) is None:
        options["repository_url"] = ""
    options["use_download_button"] = False
    options["use_repository_button"] = options["use_issues_button"] = repository(app) is not None


# ------------------------------------------------------------------ {test}


@cache
def tests_in(path: Path) -> dict[str, tuple[int, bool]]:
    """Return the tests of a file: name (Class::method for methods) -> (line, takes parameters)."""
    found: dict[str, tuple[int, bool]] = {}

    def visit(body: list[ast.stmt], prefix: str, many: bool) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                marks = many or any("parametrize" in ast.unparse(d) for d in node.decorator_list)
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{prefix}{node.name}::", marks)
                elif node.name.startswith("test"):
                    arguments = bool(node.args.args[1:] if prefix else node.args.args)
                    found[prefix + node.name] = (node.lineno, marks or arguments)

    visit(ast.parse(path.read_text("utf-8")).body, "", False)
    return found


def find_test(name: str, root: Path = ROOT) -> int:
    """Return the line of the test called `path::name`, or raise ValueError saying what is wrong."""
    path, _, test = name.partition("::")
    test, bracket, _ = test.partition("[")
    if not test:
        raise ValueError(f"{name!r} names no test: write path::test, or path::Class::test")
    file = root / path
    if not file.is_file():
        raise ValueError(f"there is no file {path!r}")
    if test not in tests_in(file):
        raise ValueError(f"{path!r} has no test {test!r}")
    line, many = tests_in(file)[test]
    if bracket and not many:
        raise ValueError(f"{test!r} takes no parameters, so {name!r} does not exist")
    return line


class TestRole(SphinxRole):
    """{test}`tests/unit/test_solve.py::test_push_through`: the test that checks what was just said."""

    __test__ = False

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        name = self.text.strip()
        path = name.partition("::")[0]
        try:
            line = find_test(name)
        except ValueError as problem:
            logger.warning(
                "{test}: %s", problem, location=self.get_location(), type="ngd", subtype="test"
            )
            return [nodes.literal(name, name)], []
        self.env.note_dependency(str(ROOT / path))
        short = name.rpartition("::")[2]
        literal = nodes.literal(short, short, classes=["ngd-test-name"])
        outer = nodes.abbreviation("", classes=["ngd-test"], explanation=name)
        if url := repository(self.env.app):
            link = nodes.reference(
                "", "", internal=False, refuri=f"{url}/blob/{branch(self.env.app)}/{path}#L{line}"
            )
            link["reftitle"] = name
            link += literal
            outer += link
        else:
            outer += literal
        return [outer], []


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect all of it to the build."""
    # Inherited by the kernels that run the chapters.
    os.environ["NGDLIB_HOME"] = "page"
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    # The kernel of this environment, not one of the same name that the reader has installed.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"

    app.add_role("test", TestRole())
    app.connect("config-inited", forget_placeholder)
    app.connect("builder-inited", drop_stale_results, priority=1)
    app.connect("env-get-outdated", read_notebooks_again)
    app.connect("html-page-context", strip_scripts, priority=999)
    app.connect("html-page-context", add_buttons, priority=998)
    app.connect("build-finished", add_mathjax)
    app.connect("build-finished", strip_pages, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
