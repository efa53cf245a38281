"""The change of a confusion matrix as a picture, without matplotlib, whose import takes longer."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, PALE, GRID, PAPER = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff"
BETTER, WORSE = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)
"""More right or fewer wrong answers; fewer right or more wrong ones. Safe when colour-blind."""

CELL, SMALL_CELL, SIDE = 48, 14, 1600
"""Pixels of a cell; of one without a number; of the longest side of all cells together."""

MOST_CELL_TEXTS, MOST_CLASS_NAMES = 20, 60
"""Classes up to which each cell holds its number, and each row and column is named."""

LONGEST = 14
"""Letters of a class's name."""


def change_picture(change: np.ndarray, classes: tuple[str, ...], title: str) -> bytes:
    """A PNG; `change` is int64 [C, C], rows are the truth. The same bytes for the same change."""
    count = len(classes)
    cell = CELL if count <= MOST_CELL_TEXTS else max(1, min(SMALL_CELL, SIDE // count))
    names = [_shortened(name) for name in classes] if count <= MOST_CLASS_NAMES else []
    font, large = _font(15 if cell == CELL else 11), _font(17)
    margin = 30 + max((int(font.getlength(name)) for name in names), default=0)
    top = margin + 62
    width = max(margin + count * cell + 24, int(large.getlength(title)) + 40)
    picture = Image.new("RGB", (width, top + count * cell + 46), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((16, 12), title, INK, large)
    _draw_cells(draw, change, (margin, top, cell), font)
    _draw_names(picture, names, (margin, top, cell), font)
    caption = "rows: true class · columns: predicted class · blue: better · orange: worse"
    draw.text((16, top + count * cell + 16), caption, PALE, _font(13))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _draw_cells(
    draw: ImageDraw.ImageDraw,
    change: np.ndarray,
    place: tuple[int, int, int],
    font: ImageFont.FreeTypeFont,
) -> None:
    left, top, cell = place
    most = max(int(np.abs(change).max()), 1)
    for (row, column), moved in np.ndenumerate(change):
        x, y = left + column * cell, top + row * cell
        good = (moved > 0) == (row == column)
        strength = abs(int(moved)) / most
        fill = _mixed(BETTER if good else WORSE, 0.15 + 0.85 * strength) if moved else PAPER
        draw.rectangle((x, y, x + cell, y + cell), fill=fill, outline=GRID)
        if moved and cell == CELL:
            ink = PAPER if strength > 0.5 else INK
            middle = (x + cell / 2, y + cell / 2)
            draw.text(middle, f"{moved:+d}".replace("-", "−"), ink, font, anchor="mm")


def _draw_names(
    picture: Image.Image,
    names: list[str],
    place: tuple[int, int, int],
    font: ImageFont.FreeTypeFont,
) -> None:
    left, top, cell = place
    draw = ImageDraw.Draw(picture)
    for number, name in enumerate(names):
        middle = number * cell + cell // 2
        draw.text((left - 8, top + middle), name, INK, font, anchor="rm")
        length, height = int(font.getlength(name)) + 2, cell
        upright = Image.new("RGB", (max(length, 1), height), PAPER)
        ImageDraw.Draw(upright).text((0, height / 2), name, INK, font, anchor="lm")
        turned = upright.rotate(90, expand=True)
        picture.paste(turned, (left + number * cell, top - 6 - turned.height))


def _mixed(colour: tuple[int, int, int], strength: float) -> tuple[int, int, int]:
    red, green, blue = (round(255 + (part - 255) * strength) for part in colour)
    return red, green, blue


def _shortened(name: str) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font of the other pictures, which comes with matplotlib; found without importing it."""
    found = importlib.util.find_spec("matplotlib")
    assert found is not None and found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0])
    return ImageFont.truetype(str(folder / "mpl-data/fonts/ttf/DejaVuSans.ttf"), size)
