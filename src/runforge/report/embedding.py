"""Pictures as a page holds them: small, and in the page itself."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

LARGEST_SIDE = 160
"""Pixels of a tile's longer side; a larger picture is made smaller."""

EXACT_SIDE = 64
"""A picture of at most so many pixels a side is kept exactly, its pixels seen as squares."""


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """A tile's picture as a page embeds it."""

    media_type: str
    content: bytes
    exact: bool
    """Small enough that its pixels are to be seen as squares."""


def encoded(picture: np.ndarray) -> EncodedPicture:
    """RGB, uint8 [H, W, 3], at most `LARGEST_SIDE` pixels a side."""
    image = Image.fromarray(picture)
    exact = max(image.size) <= EXACT_SIDE
    file = io.BytesIO()
    if exact:
        image.save(file, "PNG", optimize=True)
        return EncodedPicture("image/png", file.getvalue(), True)
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    image.save(file, "JPEG", quality=85)
    return EncodedPicture("image/jpeg", file.getvalue(), False)


def address(media_type: str, content: bytes) -> str:
    """A `data:` address with the content."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
