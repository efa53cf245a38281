"""Augmentation of pictures: one warp, then colour, then erasing.

B batch, C channels, H height, W width. Everything is a function of the draws given, sample by
sample: a sample's result depends neither on its neighbours nor on any random state.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le, Lt
from torch import Tensor, nn
from torch.nn import functional

from runforge.errors import ConfigError

DRAWS = (
    *("rotation", "shear", "zoom_x", "zoom_y", "shift_x", "shift_y", "crop_x", "crop_y", "crop"),
    *("horizontal_flip", "vertical_flip", "brightness", "contrast", "saturation"),
    *("erasing", "erasing_area", "erasing_shape", "erasing_x", "erasing_y"),
)
"""What each column of the draws decides: the same whichever parts are switched on."""

ERASED_SHARE = (0.02, 0.33)
ERASED_ASPECT = (0.3, 1 / 0.3)
"""Area and aspect of the erased rectangle, as in Zhong et al. 2020, "Random Erasing"."""


class ImageAugmentation(nn.Module):
    """Pictures [B, C, H, W] in 0..1 → pictures like them.

    Each strength is the largest change; the change itself is drawn evenly between none and it,
    to both sides. 0 switches a part off, and with all at 0 the pictures come back untouched.

    Geometry: `rotation` in degrees; `shear`: how far a point moves sideways, as a share of its
    height over the middle; `zoom`: height and width are magnified each by its own factor in
    1 ± zoom; `shift`: share of height and width; `crop`: a window with sides of 1 − crop or more
    is cut out anywhere and takes the whole place; `horizontal_flip`, `vertical_flip`:
    probabilities. All of it is one bilinear warp. `border` fills what comes from outside: the
    nearest pixel, the mirrored picture, or black.

    Colour: `brightness` is added; `contrast` and `saturation` are factors in 1 ± strength. The
    result is clamped to 0..1. `erasing`: probability that a rectangle is painted over with the
    picture's mean colour.
    """

    draw_count = len(DRAWS)

    def __init__(  # noqa: PLR0913 - one keyword for each part that can be switched on
        self,
        *,
        rotation: Annotated[float, Ge(0), Le(180)],
        shear: Annotated[float, Ge(0), Le(1)],
        zoom: Annotated[float, Ge(0), Lt(1)],
        shift: Annotated[float, Ge(0), Lt(1)],
        crop: Annotated[float, Ge(0), Lt(1)],
        horizontal_flip: Annotated[float, Ge(0), Le(1)],
        vertical_flip: Annotated[float, Ge(0), Le(1)],
        border: Literal["nearest", "mirror", "black"],
        brightness: Annotated[float, Ge(0), Le(1)],
        contrast: Annotated[float, Ge(0), Le(1)],
        saturation: Annotated[float, Ge(0), Le(1)],
        erasing: Annotated[float, Ge(0), Le(1)],
    ) -> None:
        super().__init__()
        self.rotation, self.shear, self.zoom = rotation, shear, zoom
        self.shift, self.crop, self.border = shift, crop, border
        self.horizontal_flip, self.vertical_flip = horizontal_flip, vertical_flip
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation
        self.erasing = erasing

    def forward(self, inputs: Tensor, draws: Tensor) -> Tensor:
        """Pictures [B, C, H, W] in 0..1, draws [B, draw_count] in [0, 1) → [B, C, H, W] in 0..1.

        Raises `ConfigError` where the inputs are no pictures, or grey ones to be saturated.
        """
        self._check(inputs)
        drawn = dict(zip(DRAWS, draws.unbind(1), strict=True))
        if any((self.rotation, self.shear, self.zoom, self.shift, self.crop)):
            inputs = self._warp(inputs, drawn)
        else:
            inputs = self._flip(inputs, drawn)
        if any((self.brightness, self.contrast, self.saturation)):
            inputs = self._colour(inputs, drawn)
        return self._erase(inputs, drawn) if self.erasing else inputs

    def _check(self, inputs: Tensor) -> None:
        if inputs.ndim != 4:
            what = f"it changes pictures [C, H, W], not inputs {list(inputs.shape[1:])}"
            raise ConfigError(what, where="augmentation", mend="take `augmentation=none`")
        if self.saturation and inputs.shape[1] != 3:
            what = f"pictures of {inputs.shape[1]} channels have no saturation"
            mend = "set it to 0, or `data.modality.mode=RGB`"
            raise ConfigError(what, where="augmentation.saturation", mend=mend)

    def _flip(self, inputs: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        """Flips alone need no warp, and are exact."""
        for name, probability, axis in (
            ("horizontal_flip", self.horizontal_flip, -1),
            ("vertical_flip", self.vertical_flip, -2),
        ):
            if probability:
                flipped = (drawn[name] < probability).view(-1, 1, 1, 1)
                inputs = torch.where(flipped, inputs.flip(axis), inputs)
        return inputs

    def _warp(self, inputs: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        height, width = inputs.shape[-2:]
        matrix = self._matrix(drawn, aspect=width / height)
        # Under mixed precision too: half a float can't address the pixels of a large picture.
        grid = functional.affine_grid(matrix[:, :2], list(inputs.shape), align_corners=False)
        padding = {"nearest": "border", "mirror": "reflection", "black": "zeros"}[self.border]
        return functional.grid_sample(inputs, grid, "bilinear", padding, align_corners=False)

    def _matrix(self, drawn: dict[str, Tensor], *, aspect: float) -> Tensor:
        """[B, 3, 3]: from a place in the result to its place in the picture, both in −1..1."""
        angle = _evenly(drawn["rotation"], math.radians(self.rotation))
        # Rotation and shear keep shapes only where a unit is as long to the side as up.
        rigid = _affine(angle.cos(), -angle.sin() / aspect, angle.sin() * aspect, angle.cos())
        side = _evenly(drawn["shear"], self.shear) / aspect
        sheared = _affine(_ones(side), side, _zeros(side), _ones(side))
        scale_x = _sign(drawn["horizontal_flip"], self.horizontal_flip)
        scale_y = _sign(drawn["vertical_flip"], self.vertical_flip)
        scale_x = scale_x / (1 + _evenly(drawn["zoom_x"], self.zoom))
        scale_y = scale_y / (1 + _evenly(drawn["zoom_y"], self.zoom))
        zoomed = _affine(scale_x, _zeros(side), _zeros(side), scale_y)
        return self._window(drawn) @ rigid @ sheared @ zoomed

    def _window(self, drawn: dict[str, Tensor]) -> Tensor:
        """[B, 3, 3] of crop and shift."""
        side = 1 - self.crop * drawn["crop"]
        x, y = ((1 - side) * (2 * drawn[name] - 1) for name in ("crop_x", "crop_y"))
        # A shift by a share s of the side is 2s in −1..1, and the picture moves against the window.
        x = x - 2 * _evenly(drawn["shift_x"], self.shift)
        y = y - 2 * _evenly(drawn["shift_y"], self.shift)
        matrix = _affine(side, _zeros(side), _zeros(side), side)
        matrix[:, 0, 2], matrix[:, 1, 2] = x, y
        return matrix

    def _colour(self, inputs: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        # Kornia takes seconds to import: only those pay who use it.
        from kornia import enhance

        if self.brightness:
            added = _evenly(drawn["brightness"], self.brightness)
            inputs = enhance.adjust_brightness(inputs, added)
        if self.contrast:
            factor = 1 + _evenly(drawn["contrast"], self.contrast)
            inputs = enhance.adjust_contrast_with_mean_subtraction(inputs, factor)
        if self.saturation:
            factor = 1 + _evenly(drawn["saturation"], self.saturation)
            inputs = enhance.adjust_saturation_with_gray_subtraction(inputs, factor)
        return inputs.clamp(0, 1)

    def _erase(self, inputs: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        height, width = inputs.shape[-2:]
        area = _between(drawn["erasing_area"], *ERASED_SHARE)
        log_aspect = _between(drawn["erasing_shape"], *map(math.log, ERASED_ASPECT))
        tall = (area * log_aspect.exp()).sqrt().clamp(max=1)
        wide = (area / log_aspect.exp()).sqrt().clamp(max=1)
        rows = _span(height, tall, drawn["erasing_y"])
        columns = _span(width, wide, drawn["erasing_x"])
        erased = (rows[:, :, None] & columns[:, None, :])[:, None]
        erased = erased & (drawn["erasing"] < self.erasing).view(-1, 1, 1, 1)
        return torch.where(erased, inputs.mean((2, 3), keepdim=True), inputs)


def _evenly(draws: Tensor, strength: float) -> Tensor:
    """[B] in [0, 1) → [B] in [−strength, strength)."""
    return (2 * draws - 1) * strength


def _between(draws: Tensor, low: float, high: float) -> Tensor:
    return low + draws * (high - low)


def _sign(draws: Tensor, probability: float) -> Tensor:
    """−1 with the probability given, else 1."""
    return torch.where(draws < probability, -1.0, 1.0)


def _ones(like: Tensor) -> Tensor:
    return torch.ones_like(like)


def _zeros(like: Tensor) -> Tensor:
    return torch.zeros_like(like)


def _affine(xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor) -> Tensor:
    """[B, 3, 3] with the linear part given, no translation."""
    zero, one = _zeros(xx), _ones(xx)
    rows = ((xx, xy, zero), (yx, yy, zero), (zero, zero, one))
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def _span(length: int, share: Tensor, place: Tensor) -> Tensor:
    """[B, length]: which of the pixels lie in a span of so large a share, at a place in 0..1."""
    centres = (torch.arange(length, device=share.device) + 0.5) / length
    begin = place * (1 - share)
    return (centres >= begin[:, None]) & (centres < (begin + share)[:, None])
