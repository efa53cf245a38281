"""Pictures: decoded in full, brought to one size and mode, packed as uint8 [H, W, C].

B batch, H height, W width, C channels (1 for L, 3 for RGB).
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le
from PIL import Image as Pictures
from PIL import ImageOps, UnidentifiedImageError

from runforge.errors import ConfigError, Refused
from runforge.sample import PackedRows, Raw, Shown

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")

# What Pillow's readers raise on damaged files; each is a reason to refuse one sample.
BROKEN = (
    *(OSError, SyntaxError, ValueError, TypeError, AttributeError, ArithmeticError),
    *(LookupError, EOFError, NotImplementedError, struct.error, zlib.error),
    Pictures.DecompressionBombError,
)

CHUNK_ROWS = 16
"""Rows that are counted at once: few, so that they stay in the processor's cache."""

LARGE_PIXELS = 4_000_000
ONE_LARGE = threading.Lock()
"""Larger pictures are decoded one after another: each takes up to 16 bytes a pixel meanwhile."""

ORIENTATION = 0x0112
"""The EXIF tag."""


class Image:
    """Pictures of one size and mode.

    Encoded files (JPEG, PNG, WebP, BMP, TIFF, GIF, PPM) or arrays uint8 [h, w] or [h, w, 3].
    The EXIF orientation is applied. 16-bit grey is scaled to 8; grey in floats must lie in 0..1;
    32-bit integers are refused, for their range is nowhere said. Alpha and transparent colours are
    composited on grey of the level `background`. A file with several frames or pages is refused.
    The size is reached by stretching with an antialiasing filter; a picture that has it already is
    left as it is. One of more than `max_pixels` pixels is refused before it is decoded.
    """

    def __init__(
        self,
        *,
        height: Annotated[int, Ge(1)],
        width: Annotated[int, Ge(1)],
        mode: Literal["L", "RGB"],
        max_pixels: Annotated[int, Ge(1)],
        background: Annotated[int, Ge(0), Le(255)],
    ) -> None:
        self.height, self.width, self.mode = height, width, mode
        self.max_pixels, self.background = max_pixels, background
        # Our own limit takes the place of Pillow's, which from half of its value on only warns.
        Pictures.MAX_IMAGE_PIXELS = None

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return len(self.mode)

    def layout(self, raws: Iterable[Raw]) -> dict[str, Any]:
        """Nothing: the configuration says it all, and no sample is looked at."""
        return {}

    def decode(
        self, raw: Raw, layout: Mapping[str, Any], remarks: list[str] | None = None
    ) -> np.ndarray:
        """One picture as uint8 [H, W, C]; raises `Refused` with the reason.

        Remarks: what is changed beside the size, told by the file's header alone.
        """
        if isinstance(raw, Mapping):
            raise ConfigError(
                "pictures can't be made of a table's rows", where="data.modality", mend="use Table"
            )
        picture = (
            self._of_array(raw) if isinstance(raw, np.ndarray) else self._of_file(raw, remarks)
        )
        return np.asarray(picture).reshape(self.height, self.width, self.channels)

    def statistics(self, rows: PackedRows, layout: Mapping[str, Any]) -> dict[str, list[float]]:
        """`mean`, `std` (population; 1 where it is 0) of each channel, in units of 0..1. Exact."""
        counts = np.zeros((self.channels, 256), dtype=np.int64)
        for start in range(0, len(rows), CHUNK_ROWS):
            # One tall picture: Pillow counts it three times as fast as NumPy does.
            chunk = rows[start : start + CHUNK_ROWS].reshape(-1, self.width, self.channels)
            counts += np.reshape(_picture(chunk).histogram(), counts.shape)
        moments = [_moments(count) for count in counts.tolist()]
        return {"mean": [mean for mean, _ in moments], "std": [std for _, std in moments]}

    def input_shape(self, layout: Mapping[str, Any]) -> tuple[int, ...]:
        """[C, H, W]."""
        return (self.channels, self.height, self.width)

    def to_float(self, packed: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
        """uint8 [B, H, W, C] → float32 [B, C, H, W] in 0..1."""
        return packed.permute(0, 3, 1, 2).float().div_(255)

    def normalise(self, inputs: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
        """(inputs [B, C, H, W] − mean) / std, channel by channel, in their place.

        Fresh memory would cost more than the arithmetic; and so would three channels in the
        innermost loop, so that they are repeated for a whole line where they lie there.
        """
        mean, std = statistics["mean"], statistics["std"]
        lines = inputs.permute(0, 2, 3, 1)
        if self.channels > 1 and lines.is_contiguous():
            wide = lines.flatten(2)
            wide.sub_(mean.repeat(self.width)).div_(std.repeat(self.width))
            return inputs
        return inputs.sub_(mean.view(1, -1, 1, 1)).div_(std.view(1, -1, 1, 1))

    def columns(self, layout: Mapping[str, Any]) -> None:
        """None: a picture is a file."""

    def show(self, row: np.ndarray, layout: Mapping[str, Any]) -> Shown:
        """The packed picture itself, grey as three equal channels."""
        colour = row if self.channels == 3 else np.repeat(row, 3, axis=2)
        return Shown(picture=colour, lines=())

    def _of_array(self, array: np.ndarray) -> Pictures.Image:
        if array.dtype != np.uint8 or not (array.ndim == 2 or array.shape[2:] == (3,)):
            raise Refused(f"an array {array.dtype} {list(array.shape)} is no picture")
        self._check_size(array.shape[1], array.shape[0])
        return self._sized(Pictures.fromarray(array).convert(self.mode))

    def _of_file(self, content: bytes, remarks: list[str] | None) -> Pictures.Image:
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
                    return self._sized(self._to_mode(_upright(picture)))
        except UnidentifiedImageError:
            raise Refused(f"it is no picture of a known format ({_begin(content)})") from None
        except BROKEN as error:
            raise Refused(f"it can't be decoded: {_reason(error)}") from error

    def _changes(self, picture: Pictures.Image) -> list[str]:
        changes = {
            f"{picture.mode} made {self.mode}": picture.mode != self.mode,
            "transparency filled": picture.has_transparency_data,
            "turned upright": _was_turned(picture),
        }
        return [change for change, made in changes.items() if made]

    def _check(self, picture: Pictures.Image) -> None:
        """Raises `Refused` for what the header tells, before anything is decoded."""
        self._check_size(*picture.size)
        frames = getattr(picture, "n_frames", 1)
        # MPO is a JPEG with more behind it; its first picture is the photograph.
        if frames > 1 and picture.format != "MPO":
            raise Refused(f"it holds {frames} pictures, not one")
        # A 16-bit PGM opens as 32-bit integers too, but its range is known.
        if picture.mode == "I" and picture.format == "TIFF":
            raise Refused("its numbers are 32-bit integers, of unknown range")

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

    def _to_mode(self, picture: Pictures.Image) -> Pictures.Image:
        if picture.mode.startswith(("I", "F")):
            if picture.has_transparency_data:
                raise Refused(f"it has a transparent colour in the mode {picture.mode}")
            picture = Pictures.fromarray(_eight_bits(picture))
        elif picture.has_transparency_data:
            ground = Pictures.new("RGBA", picture.size, (self.background,) * 3 + (255,))
            picture = Pictures.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")
        elif picture.mode in ("P", "CMYK", "PA"):
            picture = picture.convert("RGB")
        return picture if picture.mode == self.mode else picture.convert(self.mode)


def _picture(rows: np.ndarray) -> Pictures.Image:
    """uint8 [h, w, C] as a picture."""
    return Pictures.fromarray(rows[:, :, 0] if rows.shape[2] == 1 else rows)


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


def _eight_bits(picture: Pictures.Image) -> np.ndarray:
    """Grey of 16 bits or floats, scaled to uint8 [h, w]."""
    values = np.asarray(picture)
    if picture.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise Refused("its numbers are floats outside 0..1, of unknown range")
        scaled: np.ndarray = np.rint(values * 255).astype(np.uint8)
        return scaled
    wide = values.astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise Refused("its numbers are integers outside 0..65535, of unknown range")
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)


def _moments(counts: list[int]) -> tuple[float, float]:
    """Mean and standard deviation, over 255, of values that occur `counts` times: exact sums."""
    total = sum(counts)
    if total == 0:
        return 0.0, 1.0
    first = sum(value * n for value, n in enumerate(counts))
    second = sum(value * value * n for value, n in enumerate(counts))
    variance = (total * second - first * first) / (total * total)
    return first / total / 255, variance**0.5 / 255 or 1.0


def _begin(content: bytes) -> str:
    return f"{len(content)} bytes, beginning with {content[:8]!r}" if content else "it is empty"


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
