"""The look of all pictures, and how one becomes the bytes of a PNG file."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#7F7F7F",
    "#8C6D1F",
    "#332288",
    "#882255",
)
"""Okabe and Ito's palette without its yellow, with four that go with it: safe when colour-blind."""

DASHES = ("-", "--", ":", "-.")
"""Lines beyond the colours are told apart by these."""

INK, PALE, GRID = "#1f2933", "#7b8794", "#e4e7eb"

DOTS_PER_INCH = 144

STYLE: dict[Any, Any] = {
    # DejaVu Sans comes with matplotlib: the same picture on every machine. A name may hold signs
    # that it lacks; they are drawn as boxes.
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10.0,
    "axes.labelsize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": PALE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "text.color": INK,
    "text.parse_math": False,  # a name with dollars is no formula
    "axes.formatter.useoffset": False,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.12,
}


def drawn(
    width: float, height: float, draw: Callable[[Figure], None], *, fitted: bool = True
) -> bytes:
    """A PNG of `width` × `height` inches; the same bytes for the same drawing.

    `fitted`: axes are moved so that nothing overlaps, which takes long for many axes.
    """
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A class's name may hold signs that the font lacks; the report's text shows them.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        # A person's own matplotlibrc must not change the picture.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(
            figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained" if fitted else None
        )
        canvas = FigureCanvasAgg(figure)
        draw(figure)
        file = io.BytesIO()
        # Not `savefig`, which draws everything once more to know how large it is.
        canvas.print_png(file, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return file.getvalue()


def colour(index: int) -> str:
    """The colour of the line with this number, from 0."""
    return COLOURS[index % len(COLOURS)]


def dashes(index: int) -> str:
    """The dashes of the line with this number."""
    return DASHES[index // len(COLOURS) % len(DASHES)]


def shortened(name: str, most: int = 18) -> str:
    """A name as a picture has room for it, on one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return line if len(line) <= most else line[: most - 1] + "…"
