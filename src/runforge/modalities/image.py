"""Pictures: decoded in full, brought to one size and mode, packed as uint8 [H, W, C].

B batch, H height, W width, C channels (1 for L, 3 for RGB).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le
from PIL import Image as Pictures

from runforge import picture_survey
from runforge.errors import ConfigError
from runforge.notices import notice
from runforge.picture_decoding import MOST_SHRUNK, Form
from runforge.picture_survey import FULL, Survey
from runforge.sample import PackedRows, Raw, Raws, Shown

if TYPE_CHECKING:
    from torch import Tensor

CHUNK_ROWS = 16
"""Rows that are counted at once: few, so that they stay in the processor's cache."""


class Image:
    """Pictures of one size and mode.

    Encoded files (JPEG, PNG, WebP, BMP, TIFF, GIF, PPM) or arrays uint8 [h, w] or [h, w, 3].
    The EXIF orientation is applied. Alpha and transparent colours are composited on grey of the
    level `background`. A file with several frames or pages is refused. The size is reached by
    stretching with an antialiasing filter; a picture that has it already is left as it is. One of
    more than `max_pixels` pixels is refused before it is decoded.

    `height`, `width` (pixels), `mode` (L: grey): null is found in the data, see `layout`.
    `levels`: of grey of 16 bits, the two that become 0 and 255; null is found in the training
    split. Grey in floats must lie in 0..1, and 32-bit integers are refused, unless it is given.
    """

    def __init__(
        self,
        *,
        height: Annotated[int, Ge(1)] | None,
        width: Annotated[int, Ge(1)] | None,
        mode: Literal["L", "RGB"] | None,
        max_pixels: Annotated[int, Ge(1)],
        background: Annotated[int, Ge(0), Le(255)],
        levels: list[float] | None = None,
    ) -> None:
        if levels is not None and not (len(levels) == 2 and levels[0] < levels[1]):
            raise ConfigError(
                f"{levels} are no two rising levels",
                where="data.modality.levels",
                mend="write data.modality.levels=[LOW,HIGH]",
            )
        self.height, self.width, self.mode = height, width, mode
        self.max_pixels, self.background = max_pixels, background
        self.levels = None if levels is None else (levels[0], levels[1])
        # Our own limit takes the place of Pillow's, which from half of its value on only warns.
        Pictures.MAX_IMAGE_PIXELS = None

    def layout(self, raws: Raws) -> dict[str, Any]:
        """`height`, `width`, `mode` and `levels` where they are to be found, else nothing.

        From a part of the pictures, spread evenly: the mode is RGB where one of them holds colour;
        for the size see `picture_survey.fitting_size`. `levels` are those of the training split's
        pictures of 16 bits, if one of that part is such. What is found is told, unless every
        picture is packed as it is.
        """
        asked = None not in (self.height, self.width, self.mode)
        most = picture_survey.LOOKED_AT_FOR_LEVELS if asked else picture_survey.LOOKED_AT
        seen = picture_survey.survey(raws.spread(most), self.max_pixels, colour=self.mode is None)
        if not seen.sizes:  # None of that part can be read: perhaps one of the others can.
            seen = picture_survey.survey(raws, self.max_pixels, colour=self.mode is None)
        found = self._found_size(seen)
        if self.mode is None:
            found["mode"] = "RGB" if seen.colourful or not seen.sizes else "L"
        self._tell(seen, found)
        return found | self._found_levels(seen, raws)

    def _found_size(self, seen: Survey) -> dict[str, Any]:
        if self.height is not None and self.width is not None:
            return {}
        longest = picture_survey.LONGEST_SIDE
        size = (self.width or longest, self.height or longest)
        if seen.sizes:
            size = picture_survey.fitting_size(seen, self.width, self.height)
        sides = {"height": (self.height, size[1]), "width": (self.width, size[0])}
        return {name: side for name, (given, side) in sides.items() if given is None}

    def _tell(self, seen: Survey, found: Mapping[str, Any]) -> None:
        if ("height" not in found and "width" not in found) or not seen.sizes:
            return
        form = self._form(found)
        size = (form.width, form.height)
        if set(seen.sizes) == {size}:
            return
        times = max(seen.usual[0] / size[0], seen.usual[1] / size[1])
        smaller = f", {times:.1f} times smaller a side" if times > MOST_SHRUNK else ""
        notice(
            f"pictures of {seen.range} are packed at {size[0]}×{size[1]} {form.mode}{smaller}",
            hint="data.modality.height=, data.modality.width= and data.modality.mode= change it",
        )

    def _found_levels(self, seen: Survey, raws: Raws) -> dict[str, Any]:
        if self.levels is not None or not seen.wide:
            return {}
        levels = picture_survey.levels(
            picture_survey.wide_values(raws.training(), lambda p: self._is_small(p.size))
        )
        if levels is None or levels[:2] == FULL:
            return {}
        low, high, least, most = levels
        notice(
            f"training pictures of 16-bit grey hold levels {least} to {most}:"
            f" {low} to {high} become 0 to 255",
            hint="data.modality.levels=[LOW,HIGH] sets others",
        )
        return {"levels": [low, high]}

    def _is_small(self, size: tuple[int, int]) -> bool:
        return size[0] * size[1] <= self.max_pixels

    def _form(self, layout: Mapping[str, Any]) -> Form:
        """What was asked for, and what `layout` found where nothing was."""
        found = layout.get("levels", FULL)
        return Form(
            height=self.height or layout["height"],
            width=self.width or layout["width"],
            mode=self.mode or layout["mode"],
            levels=self.levels,
            wide_levels=self.levels or (found[0], found[1]),
            size_given=self.height is not None and self.width is not None,
            max_pixels=self.max_pixels,
            background=self.background,
        )

    def decode(
        self, raw: Raw, layout: Mapping[str, Any], remarks: list[str] | None = None
    ) -> np.ndarray:
        """One picture as uint8 [H, W, C]; raises `Refused` with the reason.

        Remarks: what is changed; the size only where it was asked for.
        """
        if isinstance(raw, Mapping):
            raise ConfigError(
                "pictures can't be made of a table's rows", where="data.modality", mend="use Table"
            )
        form = self._form(layout)
        picture = form.of_array(raw) if isinstance(raw, np.ndarray) else form.of_file(raw, remarks)
        return np.asarray(picture).reshape(form.height, form.width, form.channels)

    def statistics(self, rows: PackedRows, layout: Mapping[str, Any]) -> dict[str, list[float]]:
        """`mean`, `std` (population; 1 where it is 0) of each channel, in units of 0..1. Exact."""
        form = self._form(layout)
        counts = np.zeros((form.channels, 256), dtype=np.int64)
        for start in range(0, len(rows), CHUNK_ROWS):
            # One tall picture: Pillow counts it three times as fast as NumPy does.
            chunk = rows[start : start + CHUNK_ROWS].reshape(-1, form.width, form.channels)
            counts += np.reshape(_picture(chunk).histogram(), counts.shape)
        moments = [_moments(count) for count in counts.tolist()]
        return {"mean": [mean for mean, _ in moments], "std": [std for _, std in moments]}

    def input_shape(self, layout: Mapping[str, Any]) -> tuple[int, ...]:
        """[C, H, W]."""
        form = self._form(layout)
        return (form.channels, form.height, form.width)

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
        if inputs.shape[1] > 1 and lines.is_contiguous():
            wide, width = lines.flatten(2), inputs.shape[3]
            wide.sub_(mean.repeat(width)).div_(std.repeat(width))
            return inputs
        return inputs.sub_(mean.view(1, -1, 1, 1)).div_(std.view(1, -1, 1, 1))

    def columns(self, layout: Mapping[str, Any]) -> None:
        """None: a picture is a file."""

    def show(self, row: np.ndarray, layout: Mapping[str, Any]) -> Shown:
        """The packed picture itself, grey as three equal channels."""
        colour = row if row.shape[2] == 3 else np.repeat(row, 3, axis=2)
        return Shown(picture=colour, lines=())


def _picture(rows: np.ndarray) -> Pictures.Image:
    """uint8 [h, w, C] as a picture."""
    return Pictures.fromarray(rows[:, :, 0] if rows.shape[2] == 1 else rows)


def _moments(counts: list[int]) -> tuple[float, float]:
    """Mean and standard deviation, over 255, of values that occur `counts` times: exact sums."""
    total = sum(counts)
    if total == 0:
        return 0.0, 1.0
    first = sum(value * n for value, n in enumerate(counts))
    second = sum(value * value * n for value, n in enumerate(counts))
    variance = (total * second - first * first) / (total * total)
    return first / total / 255, variance**0.5 / 255 or 1.0
