"""One style for every figure of the book: colours, lines, markers, light and dark.

A method looks the same everywhere: `ax.plot(x, y, **style.METHODS["kfac"])`. The hues are Okabe and
Ito's; their lightness is spread so that readers with any colour vision can tell all eight methods
apart, each with a contrast of at least 3 : 1 with the page (a test measures both). Line style and
marker say the same thing once more. Colours are named "C0" .. "C9" and take their value from the
page they are drawn on, so a figure never asks whether the page is light or dark.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

# C0 .. C9: (on a light page, on a dark page)
_COLORS = {
    "blue": ("#0072c2", "#57a2f8"),
    "vermillion": ("#b84300", "#cc6414"),
    "green": ("#00a368", "#00a268"),
    "purple": ("#792464", "#c46cab"),
    "orange": ("#d28000", "#fab119"),
    "sky": ("#4d9cc1", "#93d1fe"),
    "brown": ("#573622", "#ffd9b0"),
    "grey": ("#707070", "#b0b0b0"),
    "olive": ("#7d7a00", "#d6cf52"),
    "ink": ("#1f2430", "#e6e9ee"),
}
COLORS = {dark: [pair[dark] for pair in _COLORS.values()] for dark in (False, True)}

PAPER = {False: "#ffffff", True: "#121212"}
INK = {False: "#1f2430", True: "#e6e9ee"}
_GRID = {False: "#dfe2e7", True: "#33373d"}
_EDGE = {False: "#8a9099", True: "#7d848e"}


def _line(
    color: str, linestyle: str | tuple[int, tuple[float, ...]], marker: str
) -> dict[str, Any]:
    return {"color": color, "linestyle": linestyle, "marker": marker}


# The same colour, line style and marker for the same thing in every figure.
METHODS: dict[str, dict[str, Any]] = {
    "exact": _line("C0", "-", "o"),
    "block_diagonal": _line("C1", "--", "s"),
    "block_tridiagonal": _line("C4", "-.", "D"),
    "kfac": _line("C2", (0, (5, 1)), "^"),
    "unit_wise": _line("C3", (0, (1, 1)), "v"),
    "mini_block": _line("C5", (0, (3, 1, 1, 1)), "P"),
    "diagonal": _line("C6", (0, (3, 1, 1, 1, 1, 1)), "X"),
    "gradient": _line("C7", (0, (4, 2)), "d"),
    "theory": _line("C9", ":", ""),
    "measured": _line("C0", "-", "o"),
    "train": _line("C9", "-", "o"),
    "test": _line("C8", "--", "s"),
}

NAMES: dict[str, str] = {
    "exact": "exact",
    "block_diagonal": "block-diagonal",
    "block_tridiagonal": "block-tri-diagonal",
    "kfac": "K-FAC",
    "unit_wise": "unit-wise",
    "mini_block": "mini-block",
    "diagonal": "diagonal",
    "gradient": "gradient descent",
    "theory": "theory",
    "measured": "measured",
    "train": "training set",
    "test": "test set",
}


def rc(dark: bool = False) -> dict[str, Any]:
    """matplotlib settings of a light or dark page."""
    from cycler import cycler

    paper, ink, edge = PAPER[dark], INK[dark], _EDGE[dark]
    return {
        "figure.facecolor": paper,
        "savefig.facecolor": paper,
        "savefig.transparent": False,
        "axes.facecolor": paper,
        "axes.edgecolor": edge,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.titlepad": 7.0,
        "axes.labelsize": 10,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=COLORS[dark]),
        "axes.xmargin": 0.03,
        "axes.ymargin": 0.06,
        "axes.formatter.useoffset": False,
        "axes.unicode_minus": True,
        "grid.color": _GRID[dark],
        "grid.linewidth": 0.7,
        "text.color": ink,
        "xtick.color": edge,
        "ytick.color": edge,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "xtick.minor.visible": False,
        "ytick.minor.visible": False,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "mathtext.fontset": "dejavusans",
        "font.size": 10,
        "lines.linewidth": 1.8,
        "lines.markersize": 4.5,
        "legend.fontsize": 9,
        "legend.frameon": True,
        "legend.framealpha": 0.85,
        "legend.facecolor": paper,
        "legend.edgecolor": "none",
        "legend.borderpad": 0.3,
        "legend.handlelength": 2.6,
        "image.cmap": "viridis",
        "image.interpolation": "nearest",
        "figure.constrained_layout.h_pad": 0.06,
        "figure.constrained_layout.w_pad": 0.06,
        "path.simplify": True,
        "agg.path.chunksize": 0,
    }


@contextlib.contextmanager
def page(dark: bool = False) -> Iterator[None]:
    """Draw for a light or dark page: every home of a figure draws inside this context."""
    import matplotlib

    with matplotlib.rc_context(rc(dark)):
        yield


def diverging() -> str:
    """The colour map for signed numbers on the page being drawn: its middle is the paper's side."""
    import matplotlib

    return "berlin" if matplotlib.rcParams["axes.facecolor"] == PAPER[True] else "RdBu_r"


def quiet(figure: matplotlib.figure.Figure) -> None:
    """Take the minor ticks off every logarithmic axis, and write its labels without TeX.

    Minor ticks are half the time of a drawing, and noise; parsing 10^{-5} as TeX is half of the rest.
    """
    from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, NullFormatter, NullLocator

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                if not isinstance(axis.get_minor_locator(), NullLocator):
                    axis.set_minor_locator(NullLocator())
                    axis.set_minor_formatter(NullFormatter())
                if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
                    axis.set_major_formatter(FuncFormatter(power))


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power(value: float, _position: int | None = None) -> str:
    """A tick of a logarithmic axis: 10⁻⁵ for a power of ten, 0.02 for anything else."""
    import math

    if value <= 0:
        return f"{value:g}"
    exponent = round(math.log10(value))
    if abs(value / 10.0**exponent - 1) > 1e-9:
        return f"{value:g}"
    return "10" + str(exponent).translate(_RAISED)


def limits(
    axes: matplotlib.axes.Axes, low: float, high: float, *, axis: str = "y", decades: bool = True
) -> None:
    """Make the axis hold low .. high in rounded steps, so that small moves redraw nothing else.

    On a logarithmic axis the ends are whole decades; on a linear one they are 1, 2 or 5 times a
    power of ten.
    """
    import math

    which = axes.yaxis if axis == "y" else axes.xaxis
    setter = axes.set_ylim if axis == "y" else axes.set_xlim
    if which.get_scale() == "log":
        if not 0 < low <= high:
            raise ValueError(f"a logarithmic axis needs 0 < low <= high, got {low} and {high}.")
        bottom = math.floor(math.log10(low) + 1e-9)
        top = max(math.ceil(math.log10(high) - 1e-9), bottom + 1)
        new = (10.0**bottom, 10.0**top) if decades else (low, high)
    else:
        span = (high - low if high > low else max(abs(low), 1e-300)) / 5
        unit = 10.0 ** math.floor(math.log10(span))
        step = next(s * unit for s in (1.0, 2.0, 5.0, 10.0) if s * unit >= span)
        new = (step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9))
        if new[0] == new[1]:
            new = (new[0] - step, new[1] + step)
    if tuple(which.get_view_interval()) != new:
        setter(*new)
