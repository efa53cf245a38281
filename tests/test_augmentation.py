"""Augmentation against SciPy, Pillow and NumPy, and its independence of batch and neighbours."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageEnhance
from scipy import ndimage
from torch import Tensor

from runforge import targets
from runforge.augmentations.identity import Identity
from runforge.augmentations.image import DRAWS, ImageAugmentation
from runforge.errors import ConfigError

CONF = Path(__file__).parents[1] / "conf" / "augmentation"
NODES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CONF.glob("*.yaml"))}
OFF = {
    **dict.fromkeys(("rotation", "shear", "zoom", "shift", "crop"), 0.0),
    **dict.fromkeys(("horizontal_flip", "vertical_flip", "erasing"), 0.0),
    **dict.fromkeys(("brightness", "contrast", "saturation"), 0.0),
    "border": "nearest",
}
EVERYTHING = {
    **{"rotation": 20.0, "shear": 0.2, "zoom": 0.2, "shift": 0.1, "crop": 0.2, "erasing": 0.5},
    **{"horizontal_flip": 0.5, "vertical_flip": 0.5, "border": "mirror"},
    **{"brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
}


def _augmentation(**strengths: Any) -> ImageAugmentation:
    return ImageAugmentation(**{**OFF, **strengths})


def _draws(count: int = 1, **fixed: float) -> Tensor:
    """Draws that change nothing (one half: the middle of every range), but for those given."""
    draws = torch.full((count, len(DRAWS)), 0.5)
    draws[:, DRAWS.index("crop")] = 0.0
    for name, value in fixed.items():
        draws[:, DRAWS.index(name)] = value
    return draws


def _pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def _scipy(picture: np.ndarray, matrix: np.ndarray, offset: np.ndarray | float = 0.0) -> np.ndarray:
    """The warp by SciPy: `matrix` takes (row, column) about the middle to the picture's."""
    middle = (np.array(picture.shape) - 1) / 2
    return np.asarray(
        ndimage.affine_transform(
            picture, matrix, middle - matrix @ middle + offset, order=1, mode="nearest"
        )
    )


@pytest.mark.parametrize("angle", [90.0, -90.0, 180.0])
def test_right_angles_against_numpy(angle: float) -> None:
    pictures = _pictures(2, 3, 9, 9)
    draws = _draws(2, rotation=0.5 + angle / 360)
    turned = _augmentation(rotation=180.0)(pictures, draws)
    expected = torch.rot90(pictures, round(angle / 90), (2, 3))
    torch.testing.assert_close(turned, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(12, 12), (10, 17)])
@pytest.mark.parametrize("angle", [-25.0, 10.0])
def test_rotation_against_scipy(shape: tuple[int, int], angle: float) -> None:
    pictures = _pictures(1, 1, *shape)
    draws = _draws(rotation=0.5 + angle / 60)
    turned = _augmentation(rotation=30.0)(pictures, draws)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # In rows and columns; counter-clockwise on the screen for a positive angle.
    expected = _scipy(pictures[0, 0].numpy(), np.array([[c, s], [-s, c]]))
    np.testing.assert_allclose(turned[0, 0].numpy(), expected, atol=1e-4)


def test_shear_and_zoom_against_scipy() -> None:
    pictures = _pictures(1, 1, 10, 16)
    draws = _draws(shear=0.75, zoom_x=1.0, zoom_y=0.0)
    changed = _augmentation(shear=0.4, zoom=0.2)(pictures, draws)
    sheared = np.array([[1.0, 0.0], [0.2, 1.0]])
    zoomed = np.diag([1 / 0.8, 1 / 1.2])
    expected = _scipy(pictures[0, 0].numpy(), sheared @ zoomed)
    np.testing.assert_allclose(changed[0, 0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("border", "mode"), [("nearest", "edge"), ("mirror", "symmetric"), ("black", "constant")]
)
def test_whole_pixels_and_borders_against_numpy(border: str, mode: Any) -> None:
    pictures = _pictures(1, 2, 8, 10)
    # A shift to the right by 2 of 10 pixels, and up by 1 of 8.
    draws = _draws(shift_x=0.5 + 0.2 / 0.5, shift_y=0.5 - 0.125 / 0.5)
    moved = _augmentation(shift=0.25, border=border)(pictures, draws)
    padded = np.pad(pictures.numpy(), ((0, 0), (0, 0), (0, 1), (2, 0)), mode=mode)
    np.testing.assert_allclose(moved.numpy(), padded[:, :, 1:, :10], atol=1e-5)


def test_crop_takes_a_window() -> None:
    pictures = _pictures(1, 1, 8, 8)
    draws = _draws(crop=1.0, crop_x=0.0, crop_y=1.0)
    cropped = _augmentation(crop=0.5)(pictures, draws)
    # The window is the lower left quarter: its own mean is kept but for the edge's interpolation.
    window = torch.nn.functional.interpolate(
        pictures[:, :, 4:, :4], scale_factor=2, mode="bilinear"
    )
    torch.testing.assert_close(cropped[:, :, 1:, :7], window[:, :, 1:, :7], atol=1e-5, rtol=0)


def test_flips_are_exact() -> None:
    pictures = _pictures(3, 1, 5, 6)
    draws = _draws(3)
    draws[:, DRAWS.index("horizontal_flip")] = torch.tensor([0.0, 0.49, 0.5])
    flipped = _augmentation(horizontal_flip=0.5)(pictures, draws)
    expected = torch.cat([pictures[:2].flip(-1), pictures[2:]])
    assert torch.equal(flipped, expected)
    upside = _augmentation(vertical_flip=1.0)(pictures, draws)
    assert torch.equal(upside, pictures.flip(-2))


def test_flip_within_the_warp() -> None:
    pictures = _pictures(1, 1, 6, 7)
    warped = _augmentation(horizontal_flip=1.0, rotation=10.0)(pictures, _draws())
    torch.testing.assert_close(warped, pictures.flip(-1), atol=1e-5, rtol=0)


def test_colour_against_pillow() -> None:
    pictures = (_pictures(1, 3, 6, 6) * 255).round() / 255
    picture = Image.fromarray((pictures[0].permute(1, 2, 0) * 255).byte().numpy())
    for name, enhancer in (("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)):
        changed = _augmentation(**{name: 0.4})(pictures, _draws(**{name: 0.75}))[0]
        expected = np.asarray(enhancer(picture).enhance(1.2)).transpose(2, 0, 1)
        np.testing.assert_allclose(changed.numpy() * 255, expected, atol=1.5)
    brighter = _augmentation(brightness=0.4)(pictures, _draws(brightness=0.75))
    torch.testing.assert_close(brighter, (pictures + 0.2).clamp(0, 1))


def test_erasing() -> None:
    pictures = _pictures(400, 2, 16, 20)
    draws = torch.rand(400, len(DRAWS), generator=torch.Generator().manual_seed(1))
    erased = _augmentation(erasing=0.25)(pictures, draws)
    changed = (erased != pictures).any(1)
    touched = changed.flatten(1).any(1)
    assert torch.equal(touched, draws[:, DRAWS.index("erasing")] < 0.25)
    for picture, mask, result in zip(
        pictures[touched], changed[touched], erased[touched], strict=True
    ):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        assert mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        assert mask.float().mean() < 0.4
        expected = picture.mean((1, 2))[:, None].expand(-1, int(mask.sum()))
        torch.testing.assert_close(result[:, mask], expected)


def test_nothing_is_exactly_nothing() -> None:
    pictures = _pictures(3, 1, 7, 5)
    draws = torch.rand(3, len(DRAWS))
    assert torch.equal(_augmentation()(pictures, draws), pictures)
    assert Identity()(pictures, torch.empty(3, 0)) is pictures


@pytest.mark.parametrize("name", [*NODES, "everything"])
def test_a_sample_depends_on_its_own_draws_alone(name: str) -> None:
    node = {"_target_": "runforge.augmentations.image.ImageAugmentation", **EVERYTHING}
    augmentation = targets.build(NODES.get(name, node))
    pictures, draws = _pictures(7, 3, 12, 12), torch.rand(7, augmentation.draw_count)
    together = augmentation(pictures, draws)
    assert together.shape == pictures.shape
    assert together.min() >= 0 and together.max() <= 1
    assert torch.equal(augmentation(pictures, draws), together)
    order = torch.randperm(7)
    assert torch.equal(augmentation(pictures[order], draws[order]), together[order])
    for i in range(7):
        alone = augmentation(pictures[i : i + 1], draws[i : i + 1])
        torch.testing.assert_close(alone, together[i : i + 1], atol=1e-6, rtol=0)


def test_the_draws_are_used() -> None:
    augmentation = ImageAugmentation(**EVERYTHING)
    pictures = _pictures(1, 3, 16, 16).expand(2, -1, -1, -1)
    for column, name in enumerate(DRAWS):
        draws = torch.full((2, len(DRAWS)), 0.3)
        draws[1, column] = 0.9
        one, other = augmentation(pictures, draws)
        assert not torch.equal(one, other), name


def test_a_table_is_refused() -> None:
    with pytest.raises(ConfigError, match="augmentation=none"):
        _augmentation(rotation=5.0)(torch.rand(2, 7), torch.rand(2, len(DRAWS)))


def test_grey_pictures_have_no_saturation() -> None:
    with pytest.raises(ConfigError, match=r"augmentation.saturation: pictures of 1 channels"):
        _augmentation(saturation=0.5)(torch.rand(2, 1, 4, 4), torch.rand(2, len(DRAWS)))


def test_origin_is_the_origins() -> None:
    node = NODES["origin"]
    assert (node["shear"], node["zoom"], node["horizontal_flip"]) == (0.2, 0.2, 0.5)
