"""The worst-predicted samples: as tiles of a page, and as one picture."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from runforge.metrics.worst import Case, sections
from runforge.report.canvas import COLOURS, PALE, drawn, shortened
from runforge.sample import Shown

COLUMNS = 6

CELL_WIDTH, CAPTION, SIDE = 1.9, 0.9, 1.75
"""Inches of a tile, of its caption's height, and of the square that holds a picture."""

LINE, MARGIN = 0.105, 0.14
"""Inches of a line of text, and of what is around all of them."""

TITLE = 0.35
"""Inches of the heading."""

MOST_LINES, MOST_SIGNS = 40, 34
"""Lines of a tile, and letters of a line, that the one picture has room for."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One sample with its caption."""

    case: Case
    shown: Shown
    where: str = ""
    """Where it comes from, as the manifest names it; empty: not known."""


def contact_sheet(tiles: tuple[Tile, ...], wrong: int | None) -> bytes:
    """All tiles as one PNG picture; at least one tile. `wrong`: see `worst.sections`."""
    rows, columns = -(-len(tiles) // COLUMNS), min(COLUMNS, len(tiles))
    longest = max(len(_kept(tile.shown.lines)) for tile in tiles)
    inside = max(SIDE, LINE * longest + MARGIN)
    size = CELL_WIDTH * max(columns, 2), (inside + CAPTION) * rows + TITLE
    draw = partial(_draw_sheet, tiles, inside, size, wrong)
    return drawn(*size, draw, fitted=False)


def _draw_sheet(
    tiles: tuple[Tile, ...],
    inside: float,
    size: tuple[float, float],
    wrong: int | None,
    picture: Picture,
) -> None:
    width, height = size
    titles = (title.lower() for title, _ in sections([tile.case for tile in tiles], wrong))
    title = ", then ".join(titles)
    at = 0.1 / width, 1 - 0.1 / height
    picture.text(*at, title[:1].upper() + title[1:], ha="left", va="top", fontweight="bold")
    for number, tile in enumerate(tiles):
        row, column = divmod(number, COLUMNS)
        left = (column + 0.5) * CELL_WIDTH - SIDE / 2
        bottom = height - TITLE - row * (inside + CAPTION) - inside
        place = (left / width, bottom / height, SIDE / width, inside / height)
        _draw_tile(picture.add_axes(place), tile)


def _draw_tile(axes: Axes, tile: Tile) -> None:
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    edge = COLOURS[1] if tile.case.right is False else PALE
    for spine in axes.spines.values():
        spine.set(visible=True, color=edge, linewidth=1.2)
    if tile.shown.picture is not None:
        axes.imshow(tile.shown.picture, interpolation="nearest")
    else:
        axes.set(xlim=(0, 1), ylim=(0, 1))
        text = "\n".join(_kept(tile.shown.lines))
        axes.text(0.04, 0.98, text, ha="left", va="top", fontsize=6)
    facts = [f"{fact.name}: {shortened(fact.text, 22)}" for fact in tile.case.facts]
    origin = [_end(tile.where)] if tile.where else []
    caption = "\n".join([*facts, *origin, tile.case.sample_id[:16]])
    axes.set_xlabel(caption, fontsize=6.5, loc="left")


def _kept(lines: tuple[str, ...]) -> list[str]:
    kept = [textwrap.shorten(line, MOST_SIGNS, placeholder="…") for line in lines[:MOST_LINES]]
    return [*kept, f"… {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else kept


def _end(where: str) -> str:
    """The end of a path, which tells samples apart."""
    plain = "".join(c if c.isprintable() else " " for c in where)
    return plain if len(plain) <= MOST_SIGNS else "…" + plain[1 - MOST_SIGNS :]
