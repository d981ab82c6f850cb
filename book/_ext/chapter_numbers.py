"""Chapters carry the number in their front matter (`chapter: 6`), and so do their figures and equations.

Sphinx would count the chapters that exist; then a chapter that is added renumbers every later one, on the
page, in its notebook and in what others have cited.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.addnodes import compact_paragraph
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors.toctree import TocTreeCollector


def assign_section_numbers(self: TocTreeCollector, env: BuildEnvironment) -> list[str]:
    """Number each chapter and its sections; return the pages whose numbers changed."""
    before, env.toc_secnumbers = env.toc_secnumbers, {}
    for docname, metadata in env.metadata.items():
        if "chapter" in metadata:
            numbers: dict[str, tuple[int, ...]] = {}
            number_entries(env.tocs[docname], (), int(metadata["chapter"]) - 1, numbers)
            env.toc_secnumbers[docname] = numbers
            env.titles[docname]["secnumber"] = numbers[""]
    return [d for d in env.found_docs if before.get(d) != env.toc_secnumbers.get(d)]


def number_entries(
    entries: nodes.Element, parent: tuple[int, ...], last: int, numbers: dict[str, tuple[int, ...]]
) -> None:
    """Number the entries of one level of a page's table of contents, and those below them."""
    for item in entries.children:
        if not isinstance(item, nodes.list_item):
            continue
        last += 1
        number = (*parent, last)
        for child in item.children:
            if isinstance(child, compact_paragraph):
                numbers[child[0]["anchorname"]] = number
                child[0]["secnumber"] = number
            elif isinstance(child, nodes.bullet_list):
                number_entries(child, number, 0, numbers)


def setup(app: Sphinx) -> dict[str, Any]:
    """Put the numbers in Sphinx's own place, before it numbers figures from them."""
    TocTreeCollector.assign_section_numbers = assign_section_numbers  # type: ignore[method-assign]
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
