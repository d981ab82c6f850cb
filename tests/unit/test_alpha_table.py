"""The appendix with every alpha: its formulas, its conditions and what its cell prints."""

import re
from math import ceil
from pathlib import Path

import numpy as np
import pytest

import ngdlib

PAGE = Path(__file__).resolve().parents[2] / "book" / "appendices" / "alpha_table.md"


@pytest.fixture(scope="module")
def page():
    """What the page's cell defines, and the rows of its table: method -> formula in LaTeX."""
    text = PAGE.read_text("utf-8")
    (cell,) = re.findall(r"```\{code-cell\} ipython3\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(compile(cell, str(PAGE), "exec"), names)
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| ([^|]+?) \| \d+ \|$", text, re.MULTILINE)
    return names["table"], {name: alpha for name, alpha, _ in rows}


def formulas(N, L, M):
    """The table's formulas as they are printed there, with their values."""
    return {
        "exact": ("$1$", 1),
        "block-diagonal": ("$L$", L),
        "block-tri-diagonal": (r"$\lceil L/3 \rceil$", ceil(L / 3)),
        "K-FAC, textbook": ("$N(L-1) + 1$", N * (L - 1) + 1),
        "K-FAC, equal layers": ("$N L$", N * L),
        "unit-wise": ("$M(L-1) + 1$", M * (L - 1) + 1),
        "mini-blocks of $k$ units": (r"$\frac{M}{k}(L-1) + 1$", M / 8 * (L - 1) + 1),
    }


@pytest.mark.parametrize(
    ("widths", "samples"), [((64, 96, 96, 1), 16), ((64, 80, 80, 80, 80, 1), 20), ((64, 40, 1), 10)]
)
def test_the_page_computes_what_the_table_says(page, widths, samples):
    table, printed = page
    expected = formulas(samples, len(widths) - 1, widths[1])
    assert {name: printed[name] for name in expected} == {n: f for n, (f, _) in expected.items()}
    assert [printed[name] for name in ("diagonal", "gradient")] == ["none", "none"]
    rows = table(widths, samples, "tanh")
    for (name, alpha, measured, deviation, lost), (_, value) in zip(
        rows, expected.values(), strict=False
    ):
        assert lost == [], name
        assert alpha == value, name
        assert measured == pytest.approx(value, rel=1e-6), name
        assert deviation < 1e-6, name
    for name, alpha, _, deviation, lost in rows[-2:]:
        assert alpha is None
        assert lost
        assert deviation > 1, name


def test_every_method_has_a_row(page):
    table, _ = page
    shown = [row[0] for row in table((64, 40, 40, 1), 8, "tanh")]
    assert len(shown) == len(ngdlib.FISHERS) + 1  # K-FAC has two


def test_lost_conditions_are_named(page):
    """Where a condition of the table fails, the cell says which, and the deviation shows it."""
    table, _ = page
    rows = {row[0]: row for row in table((64, 96, 96, 3), 12, "tanh", classes=(3, 5, 8))}
    _, alpha, measured, deviation, lost = rows["unit-wise"]
    assert "one output" in lost[0]
    assert deviation > 1e-3
    assert measured == pytest.approx((alpha - 1) / 3 + 1, rel=1e-6)
    _, alpha, measured, deviation, lost = rows["mini-blocks of 8"]
    assert (measured, deviation, lost) == (pytest.approx(alpha), pytest.approx(0, abs=1e-6), [])
    rows = {row[0]: row for row in table((64, 96, 96, 1), 16, "relu")}
    assert rows["unit-wise"][3] > 1e-2
    assert rows["unit-wise"][2] == pytest.approx(0.5 * 96 * 2 + 1, rel=0.1)
    assert rows["mini-blocks of 8"][3] < 1e-6
    # Four blocks of 8 and one of 1: that one reaches a single output.
    rows = {row[0]: row for row in table((64, 33, 33, 3), 12, "tanh", classes=(3, 5, 8))}
    assert "smallest block" in rows["mini-blocks of 8"][4][0]
    assert rows["mini-blocks of 8"][3] > 1e-3
    rows = {row[0]: row for row in table((64, 24, 24, 1), 30, "tanh")}
    assert any("M_1 = 24" in text for text in rows["K-FAC, textbook"][4])
    assert rows["K-FAC, textbook"][3] > 1e-2
    assert rows["exact"][3] < 1e-6
    assert np.isnan(rows["block-diagonal"][2])  # the last layer has 24 weights for 30 residuals
    assert rows["block-diagonal"][4]
