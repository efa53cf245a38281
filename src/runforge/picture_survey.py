"""What many pictures have in common: their usual size, whether they hold colour, their grey levels.

Found from a part of them that is spread evenly over all, by header and a coarse grid of pixels, so
that it costs little beside decoding them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median_low

import numpy as np
from PIL import Image as Pictures

from runforge.sample import Raw

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
GREY = ("1", "L", "LA", "La", "I", "F")
WIDE = ("I;16", "I;16B", "I;16L", "I;16N")

LOOKED_AT, LOOKED_AT_FOR_LEVELS = 256, 32
"""Pictures of a survey, at most: where all is to be found, and where only the levels are."""

LONGEST_SIDE = 64
"""Pixels, of a size that is found: what two processor cores train in minutes, not hours."""

SHORTEST_SIDE, STEP = 8, 8
"""Pixels, of a size that stands for several: it stays the same while a few pictures are added."""

GRID = 64
"""Pixels a side that are looked at for colour."""

LEAST_SPREAD, LEAST_SHARE = 16, 1 / 500
"""A picture holds colour where in this share of its pixels the largest of red, green and blue is
more than so much above the smallest: more than what JPEG makes of grey."""

SIDEWAYS = range(5, 9)
"""EXIF orientations whose height is the width on disk."""

ORIENTATION = 0x0112
"""The EXIF tag."""

FULL = 0, 65535
"""Levels of 16 bits."""


@dataclass(slots=True)
class Survey:
    """What was seen."""

    sizes: list[tuple[int, int]] = field(default_factory=list)
    """Width and height, upright."""
    colourful: bool = False
    """Whether one at least holds colour."""
    wide: bool = False
    """Whether one at least has grey of 16 bits."""

    @property
    def usual(self) -> tuple[int, int]:
        """Median width and height."""
        widths, heights = zip(*self.sizes, strict=True)
        return median_low(widths), median_low(heights)

    @property
    def range(self) -> str:
        """The smallest and the largest side that there is, and the median size."""
        width, height = self.usual
        if len(set(self.sizes)) == 1:
            return f"{width}×{height} pixels"
        least, most = (
            f"{w}×{h}" for w, h in (min(self.sizes, key=_area), max(self.sizes, key=_area))
        )
        return f"{least} to {most} pixels (median {width}×{height})"


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def survey(raws: Iterable[Raw], max_pixels: int, *, colour: bool) -> Survey:
    """Of the first `LOOKED_AT` pictures that can be read; `colour`: whether it is looked for."""
    found = Survey()
    for raw in raws:
        with suppress(Exception):  # a picture that can't be read is refused when it is decoded
            _look(raw, found, max_pixels, colour)
        if len(found.sizes) == LOOKED_AT:
            break
    return found


def _look(raw: Raw, found: Survey, max_pixels: int, colour: bool) -> None:
    if isinstance(raw, np.ndarray):
        found.sizes.append((raw.shape[1], raw.shape[0]))
        found.colourful = found.colourful or (raw.ndim == 3 and has_colour(Pictures.fromarray(raw)))
        return
    if not isinstance(raw, bytes):
        return
    with Pictures.open(io.BytesIO(raw), formats=FORMATS) as picture:
        width, height = picture.size
        if not 0 < width * height <= max_pixels:
            return
        turned = picture.getexif().get(ORIENTATION) in SIDEWAYS
        found.wide = found.wide or is_wide(picture)
        if colour and not found.colourful:
            picture.draft(None, (GRID, GRID))
            found.colourful = has_colour(picture)
        found.sizes.append((height, width) if turned else (width, height))


def is_wide(picture: Pictures.Image) -> bool:
    """Whether it is grey of 16 bits; a PGM file of such opens as 32-bit integers."""
    return picture.mode in WIDE or (picture.mode == "I" and picture.format in ("PNG", "PPM"))


def has_colour(picture: Pictures.Image) -> bool:
    """Whether a picture is not only grey, whatever its mode: by a coarse grid of its pixels."""
    if picture.mode in GREY or picture.mode in WIDE:
        return False
    width, height = picture.size
    grid = (min(width, GRID), min(height, GRID))
    small = (
        picture if grid == (width, height) else picture.resize(grid, Pictures.Resampling.NEAREST)
    )
    if small.has_transparency_data:
        pixels = np.asarray(small.convert("RGBA")).reshape(-1, 4)
        pixels = pixels[pixels[:, 3] > 0, :3]
    else:
        pixels = np.asarray(small.convert("RGB")).reshape(-1, 3)
    if not len(pixels):
        return False
    spread = pixels.max(axis=1) - pixels.min(axis=1)
    return bool((spread > LEAST_SPREAD).mean() >= LEAST_SHARE)


def fitting_size(seen: Survey, width: int | None, height: int | None) -> tuple[int, int]:
    """Width and height to pack at, where one or both are not given.

    All pictures of one size that is small enough: that size. Else the median size with its aspect,
    made smaller until no side is longer than `LONGEST_SIDE`, rounded to steps.
    """
    usual = seen.usual
    if width is not None or height is not None:
        factor = width / usual[0] if width is not None else (height or 1) / usual[1]
        return width or max(1, round(usual[0] * factor)), height or max(1, round(usual[1] * factor))
    if len(set(seen.sizes)) == 1 and max(usual) <= LONGEST_SIDE:
        return usual
    factor = min(1.0, LONGEST_SIDE / max(usual))
    first, second = (max(SHORTEST_SIDE, STEP * round(side * factor / STEP)) for side in usual)
    return first, second


def levels(pictures: Iterable[np.ndarray]) -> tuple[int, int, int, int] | None:
    """Of grey of 16 bits: lowest and highest level to keep apart, and those that there are.

    The levels of the fewest bits that hold them, where they fill half of those at least: then a
    picture that is added later changes nothing. Else exactly those that there are. None where there
    is no picture.
    """
    extremes = [(int(values.min()), int(values.max())) for values in pictures if values.size]
    if not extremes:
        return None
    low, high = min(least for least, _ in extremes), max(most for _, most in extremes)
    full = 2 ** max(8, high.bit_length()) - 1
    if 2 * (high - low) >= full:
        return 0, full, low, high
    return low, max(high, low + 1), low, high


def wide_values(
    raws: Iterable[Raw], usable: Callable[[Pictures.Image], bool]
) -> Iterable[np.ndarray]:
    """The levels [h, w] of each picture of 16-bit grey that can be read."""
    for raw in raws:
        values = None
        with suppress(Exception):
            if isinstance(raw, bytes):
                with Pictures.open(io.BytesIO(raw), formats=FORMATS) as picture:
                    if is_wide(picture) and usable(picture):
                        values = np.asarray(picture)
        if values is not None:
            yield values
