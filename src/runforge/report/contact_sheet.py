"""The worst-predicted samples: as tiles of a page, and as one picture."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from runforge.metrics.worst import Case
from runforge.report.canvas import COLOURS, PALE, drawn, shortened
from runforge.sample import Shown

COLUMNS = 6

CELL_WIDTH, CELL_HEIGHT, SIDE = 1.9, 2.55, 1.75
"""Inches of a tile with its caption, and of the square that holds the sample."""

MOST_LINES, MOST_SIGNS = 11, 34
"""Lines of a tile, and letters of a line, that the one picture has room for."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One sample with its caption."""

    case: Case
    shown: Shown


def contact_sheet(tiles: tuple[Tile, ...]) -> bytes:
    """All tiles as one PNG picture; at least one tile."""
    rows, columns = -(-len(tiles) // COLUMNS), min(COLUMNS, len(tiles))
    draw = partial(_draw_sheet, tiles, rows, columns)
    return drawn(CELL_WIDTH * columns, CELL_HEIGHT * rows, draw, fitted=False)


def _draw_sheet(tiles: tuple[Tile, ...], rows: int, columns: int, picture: Picture) -> None:
    width, height = 1 / columns, 1 / rows
    side = SIDE / CELL_WIDTH * width, SIDE / CELL_HEIGHT * height
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        left = (column + 0.5) * width - side[0] / 2
        top = 1 - (row + 0.03) * height
        _draw_tile(picture.add_axes((left, top - side[1], *side)), tile)


def _draw_tile(axes: Axes, tile: Tile) -> None:
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    edge = COLOURS[1] if tile.case.right is False else PALE
    for spine in axes.spines.values():
        spine.set(visible=True, color=edge, linewidth=1.2)
    if tile.shown.picture is not None:
        axes.imshow(tile.shown.picture, interpolation="nearest")
    else:
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.text(0.04, 0.96, _text(tile.shown.lines), ha="left", va="top", fontsize=6)
    facts = [f"{fact.name}: {shortened(fact.text, 22)}" for fact in tile.case.facts]
    axes.set_xlabel("\n".join([*facts, tile.case.sample_id[:16]]), fontsize=6.5, loc="left")


def _text(lines: tuple[str, ...]) -> str:
    kept = [textwrap.shorten(line, MOST_SIGNS, placeholder="…") for line in lines[:MOST_LINES]]
    return "\n".join([*kept, "…"] if len(lines) > MOST_LINES else kept)
