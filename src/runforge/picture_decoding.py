"""One picture, decoded in full and brought to a size and mode; B batch, H height, W width.

Its pixels come out as uint8 [H, W, C]: C is 1 for the mode L, 3 for RGB.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pictures
from PIL import ImageOps, UnidentifiedImageError

from runforge.errors import Refused
from runforge.picture_survey import FORMATS, FULL, ORIENTATION, has_colour, is_wide

# What Pillow's readers raise on damaged files; each is a reason to refuse one sample.
BROKEN = (
    *(OSError, SyntaxError, ValueError, TypeError, AttributeError, ArithmeticError),
    *(LookupError, EOFError, NotImplementedError, struct.error, zlib.error),
    Pictures.DecompressionBombError,
)

LARGE_PIXELS = 4_000_000
ONE_LARGE = threading.Lock()
"""Larger pictures are decoded one after another: each takes up to 16 bytes a pixel meanwhile."""

MOST_SHRUNK = 4
"""Times a side, without a remark, where the size is given."""

COLOUR_LOST = "colour made grey; data.modality.mode=RGB keeps it"
SHRUNK = (
    f"more than {MOST_SHRUNK} times smaller a side than the file;"
    " data.modality.height=, data.modality.width= set the size"
)
CUT = "levels beyond the range cut off; data.modality.levels=[LOW,HIGH] sets it"


@dataclass(frozen=True, slots=True)
class Form:
    """What pictures are packed as, and what is not."""

    height: int
    width: int
    mode: str
    levels: tuple[float, float] | None
    """Of numbers wider than 8 bits, those that become 0 and 255, as they were asked for."""
    wide_levels: tuple[float, float]
    """The same of grey of 16 bits: asked for, found in the data, or all of them."""
    size_given: bool
    """Whether the size was asked for."""
    max_pixels: int
    background: int

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return len(self.mode)

    def of_array(self, array: np.ndarray) -> Pictures.Image:
        """An array uint8 [h, w] or [h, w, 3]; raises `Refused`."""
        if array.dtype != np.uint8 or not (array.ndim == 2 or array.shape[2:] == (3,)):
            raise Refused(f"an array {array.dtype} {list(array.shape)} is no picture")
        self._check_size(array.shape[1], array.shape[0])
        return self._sized(Pictures.fromarray(array).convert(self.mode))

    def of_file(self, content: bytes, remarks: list[str] | None) -> Pictures.Image:
        """An encoded file; raises `Refused` with the reason."""
        try:
            with Pictures.open(io.BytesIO(content), formats=FORMATS) as picture:
                self._check(picture)
                if remarks is not None:
                    remarks += self._changes(picture)
                # JPEG is decoded at a half, quarter or eighth where that leaves at least the size:
                # the decoder leaves out the fine detail that resizing would average away.
                picture.draft(None, (max(self.width, self.height),) * 2)
                large = picture.width * picture.height > LARGE_PIXELS
                with ONE_LARGE if large else nullcontext():
                    return self._sized(self._to_mode(_upright(picture), remarks))
        except UnidentifiedImageError:
            raise Refused(f"it is no picture of a known format ({_begin(content)})") from None
        except BROKEN as error:
            raise Refused(f"it can't be decoded: {_reason(error)}") from error

    def _changes(self, picture: Pictures.Image) -> list[str]:
        """What is changed, told by the header alone."""
        upright = sorted(picture.size)
        shrunk = any(
            side > MOST_SHRUNK * packed
            for side, packed in zip(upright, sorted((self.width, self.height)), strict=True)
        )
        changes = {
            f"{picture.mode} made {self.mode}": picture.mode != self.mode,
            "transparency filled": picture.has_transparency_data,
            "turned upright": _was_turned(picture),
            SHRUNK: self.size_given and shrunk,
        }
        return [change for change, made in changes.items() if made]

    def _check(self, picture: Pictures.Image) -> None:
        """Raises `Refused` for what the header tells, before anything is decoded."""
        self._check_size(*picture.size)
        frames = getattr(picture, "n_frames", 1)
        # A photograph of some cameras (MPO) carries a preview; its first picture is the photograph.
        if frames > 1 and picture.format != "MPO":
            raise Refused(f"it holds {frames} pictures, not one")
        # A 16-bit PGM opens as 32-bit integers too, but its range is known.
        if picture.mode == "I" and picture.format == "TIFF" and self.levels is None:
            raise Refused(
                "its numbers are 32-bit integers, of unknown range: set data.modality.levels"
            )

    def _sized(self, picture: Pictures.Image) -> Pictures.Image:
        size = (self.width, self.height)
        if picture.size == size:
            return picture
        return picture.resize(size, Pictures.Resampling.BILINEAR, reducing_gap=3.0)

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            limit = f"more than max_pixels ({self.max_pixels})"
            raise Refused(f"it has {width}×{height} pixels, {limit}")
        if width * height == 0:
            raise Refused("it has no pixels")

    def _to_mode(self, picture: Pictures.Image, remarks: list[str] | None) -> Pictures.Image:
        if remarks is not None and self.mode == "L" and has_colour(picture):
            remarks.append(COLOUR_LOST)
        if picture.mode.startswith(("I", "F")):
            if picture.has_transparency_data:
                raise Refused(f"it has a transparent colour in the mode {picture.mode}")
            picture = Pictures.fromarray(self._eight_bits(picture, remarks))
        elif picture.has_transparency_data:
            ground = Pictures.new("RGBA", picture.size, (self.background,) * 3 + (255,))
            picture = Pictures.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")
        elif picture.mode in ("P", "CMYK", "PA"):
            picture = picture.convert("RGB")
        return picture if picture.mode == self.mode else picture.convert(self.mode)

    def _eight_bits(self, picture: Pictures.Image, remarks: list[str] | None) -> np.ndarray:
        """Grey of 16 bits, other integers or floats, scaled to uint8 [h, w]."""
        values = np.asarray(picture)
        if not np.isfinite(values).all():
            raise Refused("its numbers are floats outside 0..1, of unknown range")
        low, high = self.levels or self._own_levels(picture, values)
        if remarks is not None and (values.min() < low or values.max() > high):
            remarks.append(CUT)
        scaled = (values.astype(np.float64) - low) * 255 / (high - low)
        levels: np.ndarray = np.rint(scaled.clip(0, 255)).astype(np.uint8)
        return levels

    def _own_levels(self, picture: Pictures.Image, values: np.ndarray) -> tuple[float, float]:
        """Where none are asked for: raises `Refused` for numbers that may mean anything."""
        told = "of unknown range: set data.modality.levels"
        if picture.mode == "F":
            if values.min() < 0 or values.max() > 1:
                raise Refused(f"its numbers are floats outside 0..1, {told}")
            return 0, 1
        if values.min() < 0 or values.max() > FULL[1]:
            raise Refused(f"its numbers are integers outside 0..65535, {told}")
        return self.wide_levels if is_wide(picture) else FULL


def _upright(picture: Pictures.Image) -> Pictures.Image:
    """Decoded in full, and turned as the camera was held."""
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)
    return picture


def _was_turned(picture: Pictures.Image) -> bool:
    """By EXIF; a PNG file may hold it behind its pixels, and is not decoded again for that."""
    if picture.format == "PNG" and "exif" not in picture.info:
        return False
    return picture.getexif().get(ORIENTATION) in range(2, 9)


def _begin(content: bytes) -> str:
    if content[4:8] == b"ftyp":
        return "HEIC, AVIF or a film; save it as JPEG or PNG"
    return f"{len(content)} bytes, beginning with {content[:8]!r}" if content else "it is empty"


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
