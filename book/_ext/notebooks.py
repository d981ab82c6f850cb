"""The notebook beside each chapter: no outputs, plain Markdown, ready for Colab.

As a Sphinx extension this prepares a chapter for the builder `jupyter` of sphinx-tojupyter: what that
builder has no Markdown for (folded solutions, boxes, captions of computed figures) is rewritten with what it has.

As a script (`python book/_ext/notebooks.py BUILT BOOK`) it takes the notebooks that were built in BUILT, adds the cell
that installs ngdlib, makes them the same on every run, and writes them beside the chapters in BOOK.
"""

from __future__ import annotations

import json
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDER = "https://example.org/your-name/your-repository"

# ------------------------------------------------------------------ before the builder


def bold(text: str) -> nodes.paragraph:
    """Return a line of its own in bold."""
    return nodes.paragraph("", "", nodes.strong(text, text))


def mark(text: str) -> nodes.paragraph:
    """Return a line that `finish` recognises and replaces."""
    return nodes.paragraph("", "", nodes.Text(f"@@{text}@@"))


def body(node: nodes.Element) -> list[nodes.Node]:
    """Return what a box contains, without its title and without a section round it."""
    inner: list[nodes.Node] = []
    for child in node.children:
        if isinstance(child, nodes.title | nodes.rubric | nodes.subtitle):
            continue
        inner += body(child) if isinstance(child, nodes.section) else [child]
    return inner


def fold(title: str, inside: list[nodes.Node]) -> list[nodes.Node]:
    """Fold text behind its title; cells cannot be folded, so what holds one stays open."""
    cells = any(
        n.get("nb_element") == "cell_code" for i in inside for n in i.findall(nodes.container)
    )
    if cells:
        return [bold(title), *inside]
    return [mark(f"fold {title}"), *inside, mark("end")]


def number(app: Any, docname: str, kind: str, label: str) -> str:
    """Return the number of an exercise or a figure, as the page shows it."""
    numbers = app.env.toc_fignumbers.get(docname, {}).get(kind, {})
    return ".".join(map(str, numbers.get(label, ())))


def title_of(node: nodes.Element) -> str:
    """Return the title of an exercise or a box, without the number."""
    for child in node.children:
        if isinstance(child, nodes.title | nodes.rubric):
            subtitles = [c for c in child.children if isinstance(c, nodes.subtitle)]
            text = (subtitles[0] if subtitles else child).astext().strip()
            return re.sub(r"^\((.*)\)$", r"\1", text)
    return ""


def prepare(app: Any, doctree: nodes.document, docname: str) -> None:
    """Rewrite what the builder `jupyter` cannot say."""
    html = app.builder.format == "html"
    for cell in list(doctree.findall(nodes.container)):
        tags = cell.get("cell_metadata", {}).get("tags", [])
        if ("notebook-only" if html else "page-only") in tags:
            cell.parent.remove(cell)
    if app.builder.name != "jupyter":
        return

    for node in list(doctree.findall(nodes.Element)):
        if node.parent is None or node.document is None:
            continue
        name = type(node).__name__
        if isinstance(node, nodes.reference) and leads_nowhere(app, docname, node):
            node.parent.replace(node, node.children)
            continue
        if name in ("exercise_node", "exercise_enumerable_node"):
            label = number(app, docname, "exercise", node["ids"][0]) if "enumerable" in name else ""
            subtitle = title_of(node)
            heading = f"Exercise {label}".strip() + (
                f" ({subtitle})" if subtitle and not subtitle.startswith("Exercise") else ""
            )
            node.parent.replace(node, [*anchor(node), bold(heading), *body(node)])
        elif name == "solution_node" or node.get("design_component") == "dropdown":
            node.parent.replace(node, fold(title_of(node), body(node)))
        elif isinstance(node, nodes.Admonition) and "admonition" in name:
            node.parent.replace(node, [mark("box"), bold(title_of(node)), *body(node), mark("end")])
        elif isinstance(
            node, nodes.note | nodes.tip | nodes.warning | nodes.important | nodes.hint
        ):
            node.parent.replace(
                node, [mark("box"), bold(name.capitalize()), *body(node), mark("end")]
            )
        elif isinstance(node, nodes.abbreviation) and "ngd-test" in node["classes"]:
            node.parent.replace(node, nodes.literal("", node["explanation"]))
        elif isinstance(node, nodes.definition_list):
            node.parent.replace(node, definitions(node))
        elif isinstance(node, nodes.entry):
            # The builder loses its place when a table's cell holds more than plain text and formulas.
            for styled in list(node.findall(nodes.emphasis)) + list(node.findall(nodes.strong)):
                styled.parent.replace(styled, styled.children)
        elif node.get("nb_element") == "cell_code_output":
            lines = captions(app, docname, node)
            cell = node.parent
            cell.remove(node)
            cell.parent[cell.parent.index(cell) + 1 : cell.parent.index(cell) + 1] = lines


def leads_nowhere(app: Any, docname: str, link: nodes.reference) -> bool:
    """Return whether a link leads to a page of the book that has no cell, and so no notebook."""
    path = link.get("refuri", "").partition("#")[0]
    if not link.get("internal") or not path:
        return False
    page = posixpath.normpath(posixpath.join(posixpath.dirname(docname), path))
    source = Path(app.srcdir) / f"{posixpath.splitext(page)[0]}.md"
    return source.exists() and "{code-cell}" not in source.read_text("utf-8")


def definitions(items: nodes.definition_list) -> list[nodes.Node]:
    """Return each term in bold, and below it what it means."""
    lines: list[nodes.Node] = []
    for item in items.children:
        for child in item.children:
            if isinstance(child, nodes.term):
                strong = nodes.strong("", "", *child.children)
                lines.append(nodes.paragraph("", "", strong))
            else:
                lines += child.children
    return lines


def anchor(node: nodes.Element) -> list[nodes.Node]:
    """Return the place that links to an exercise lead to."""
    return [mark(f"anchor {i}") for i in node["ids"][:1]]


def captions(app: Any, docname: str, output: nodes.Element) -> list[nodes.Node]:
    """Return the captions of a cell's figures: the outputs themselves are left for the reader to compute."""
    lines: list[nodes.Node] = []
    for figure in output.findall(nodes.figure):
        for caption in figure.findall(nodes.caption):
            label = f"Fig. {number(app, docname, 'figure', figure['ids'][0])}."
            space = nodes.Text(" ")
            lines.append(
                nodes.paragraph("", "", nodes.strong(label, label), space, *caption.children)
            )
    return lines


def setup(app: Any) -> dict[str, Any]:
    """Connect the preparation to the build."""
    app.connect("doctree-resolved", prepare, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


# ------------------------------------------------------------------ after the builder

INSTALL = """\
# In Colab this installs the book's package. It leaves NumPy and JAX as they are.
import importlib.util
import os
import subprocess
import sys

SOURCE = os.environ.get("NGDLIB_SOURCE", "ngdlib @ git+{url}@{branch}")
wanted = "google.colab" in sys.modules or "NGDLIB_SOURCE" in os.environ
if wanted and importlib.util.find_spec("ngdlib") is None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", SOURCE]
    subprocess.run(pip, check=True)
    importlib.invalidate_caches()
assert importlib.util.find_spec("ngdlib"), "install ngdlib first: pip install --no-deps " + repr(SOURCE)\
"""

FILL_IN = """\
# The address of the repository is not filled in yet: put it in _config.yml (repository: url:) and run
# `make notebooks`, or replace it in SOURCE below.
"""


def install_cell() -> str:
    """Return the first cell, with the address that _config.yml gives."""
    repository = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["repository"]
    url = repository["url"].rstrip("/")
    text = INSTALL.format(url=url, branch=repository["branch"])
    return FILL_IN + text if url == PLACEHOLDER else text


def finish_markdown(text: str) -> str:
    """Replace the marks; put boxes in quotations."""
    lines: list[str] = []
    open_marks: list[str] = []
    for line in text.split("\n"):
        match = re.fullmatch(r"@@(fold|box|end|anchor)\s?(.*)@@", line.strip())
        if not match:
            lines.append(f"> {line}".rstrip() if "box" in open_marks else line)
        elif match[1] == "anchor":
            lines.append(f"<a id='{match[2]}'></a>")
        elif match[1] == "fold":
            open_marks.append("fold")
            lines += ["<details>", f"<summary><b>{match[2]}</b></summary>", ""]
        elif match[1] == "box":
            open_marks.append("box")
        elif open_marks and open_marks.pop() == "fold":
            lines += ["", "</details>"]
    text = re.sub(r"(?<!\$)\$ ([^$\n]+?) \$(?!\$)", r"$\1$", "\n".join(lines))
    text = re.sub(r"(?m)[ \t]+$", "", text)
    # Markdown leaves alone what follows a line of HTML, up to the next empty line.
    text = re.sub(r"(?m)^(<a id='[^']*'></a>)\n(?=\S)", r"\1\n\n", text)
    text = re.sub(r"(?m)^(\|.*\|)\n(?=[^|\n])", r"\1\n\n", text)  # a table ends with an empty line
    text = re.sub(r"(?m)^(>\n)+", ">\n", text)  # and a box neither begins nor ends with one
    text = re.sub(r"(\A|\n\n)>\n", r"\1", text)
    text = re.sub(r"\n>(?=\n\n|\s*\Z)", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def finish(notebook: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the notebook that is committed: the cell that installs comes first, nothing varies."""
    cells: list[dict[str, Any]] = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"]).strip()
        if not source:
            continue
        if cell["cell_type"] == "code":
            cells.append({"cell_type": "code", "source": source})
        elif cells and cells[-1]["cell_type"] == "markdown":
            cells[-1]["source"] += "\n\n" + source
        else:
            cells.append({"cell_type": "markdown", "source": source})
    cells.insert(0, {"cell_type": "code", "source": install_cell()})

    done = []
    for index, cell in enumerate(cells):
        markdown = cell["cell_type"] == "markdown"
        text = finish_markdown(cell["source"]) if markdown else cell["source"]
        common = {"cell_type": cell["cell_type"], "id": f"{name}-{index:03d}"[-64:], "metadata": {}}
        rest = {} if markdown else {"execution_count": None, "outputs": []}
        done.append(common | rest | {"source": text.splitlines(keepends=True)})
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return {"cells": done, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def main(built: Path, book: Path) -> None:
    """Write the notebook of every chapter that has a cell to run."""
    for path in sorted(built.rglob("*.ipynb")):
        notebook = json.loads(path.read_text("utf-8"))
        if any(cell["cell_type"] == "code" for cell in notebook["cells"]):
            target = book / path.relative_to(built)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(
                finish(notebook, path.stem.replace("_", "-")), indent=1, ensure_ascii=False
            )
            target.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
