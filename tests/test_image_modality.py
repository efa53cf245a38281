"""Pictures of every kind come out right, and damaged ones are refused."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pictures
from sklearn.datasets import load_sample_image

from runforge.errors import ConfigError, Refused
from runforge.modalities.image import Image

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def image(**keys: Any) -> Image:
    keywords = {"height": 8, "width": 8, "mode": "RGB", "max_pixels": 10**6, "background": 255}
    return Image(**{**keywords, **keys})


def encoded(picture: Pictures.Image, kind: str = "PNG", **keys: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **keys)
    return buffer.getvalue()


def decoded(raw: Any, **keys: Any) -> np.ndarray:
    return image(**keys).decode(raw, {})


def colour(raw: bytes, **keys: Any) -> list[int]:
    """The one colour of an even picture."""
    row = decoded(raw, **keys)
    assert (row == row[0, 0]).all()
    return row[0, 0].tolist()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_a_picture_at_its_size_is_untouched(kind: str) -> None:
    row = decoded(encoded(Pictures.fromarray(PHOTO), kind), height=40, width=60)
    assert row.dtype == np.uint8
    np.testing.assert_array_equal(row, PHOTO)


def test_webp_and_jpeg_are_read() -> None:
    picture = Pictures.fromarray(PHOTO)
    exact = decoded(encoded(picture, "WEBP", lossless=True), height=40, width=60)
    np.testing.assert_array_equal(exact, PHOTO)
    assert colour(encoded(Pictures.new("RGB", (64, 64), (200, 200, 200)), "JPEG")) == [200] * 3


def test_arrays_are_pictures_too() -> None:
    grey = PHOTO[:, :, 0]
    row = decoded(grey, height=40, width=60, mode="L")
    np.testing.assert_array_equal(row, grey[:, :, None])
    np.testing.assert_array_equal(decoded(PHOTO, height=40, width=60), PHOTO)
    np.testing.assert_array_equal(decoded(grey, height=40, width=60)[:, :, 2], grey)


@pytest.mark.parametrize(
    "array",
    [np.zeros((8, 8), np.float32), np.zeros((8, 8, 4), np.uint8), np.zeros((8,), np.uint8)],
)
def test_arrays_that_are_no_picture(array: np.ndarray) -> None:
    with pytest.raises(Refused, match="is no picture"):
        decoded(array)


EXIF_TURNS = {2: np.fliplr, 3: lambda a: np.rot90(a, 2), 6: lambda a: np.rot90(a, -1), 8: np.rot90}


@pytest.mark.parametrize("orientation", EXIF_TURNS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    exif = Pictures.Exif()
    exif[0x0112] = orientation
    upright = EXIF_TURNS[orientation](PHOTO)
    raw = encoded(Pictures.fromarray(PHOTO), kind, exif=exif)
    height, width = upright.shape[:2]
    np.testing.assert_array_equal(decoded(raw, height=height, width=width), upright)


def test_exif_orientation_of_a_jpeg_that_is_drafted() -> None:
    exif = Pictures.Exif()
    exif[0x0112] = 6
    picture = Pictures.new("L", (800, 400), 0)
    picture.paste(255, (0, 0, 400, 400))  # Left half white: turned right by 90°, the upper half.
    row = decoded(encoded(picture, "JPEG", exif=exif), mode="L")
    assert row[:3].min() > 240 and row[5:].max() < 15


WIDE = (np.arange(64, dtype=np.int64) * 1040).reshape(8, 8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    raw = encoded(Pictures.fromarray(WIDE.astype(np.uint16)), kind)
    expected = np.floor(WIDE / 257 + 0.5)
    np.testing.assert_array_equal(decoded(raw, mode="L")[:, :, 0], expected)


def test_sixteen_bit_colour_is_scaled() -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    lines = (b"\0" + struct.pack(">HHH", 65535, 32896, 257) * 8) * 8
    raw = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    raw += chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    assert colour(raw) == [255, 128, 1]


def test_floats_in_0_to_1_are_scaled_and_others_refused() -> None:
    half = Pictures.fromarray(np.full((8, 8), 0.5, np.float32))
    assert colour(encoded(half, "TIFF"), mode="L") == [128]
    for value in (1.5, -0.1, np.nan, np.inf):
        odd = Pictures.fromarray(np.full((8, 8), value, np.float32))
        with pytest.raises(Refused, match="floats outside"):
            decoded(encoded(odd, "TIFF"))


def test_wide_integers_of_a_tiff_are_refused() -> None:
    for value in (7, 70_000):
        odd = Pictures.fromarray(np.full((8, 8), value, np.int32))
        with pytest.raises(Refused, match="32-bit integers"):
            decoded(encoded(odd, "TIFF"))


def palette() -> Pictures.Image:
    picture = Pictures.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 10, 200, 30])
    return picture


CASES = {
    "grey": (encoded(Pictures.new("L", (8, 8), 9)), [9, 9, 9]),
    "one bit": (encoded(Pictures.new("1", (8, 8), 1)), [255, 255, 255]),
    "palette": (encoded(palette()), [10, 200, 30]),
    "gif": (encoded(palette(), "GIF"), [10, 200, 30]),
    "alpha": (encoded(Pictures.new("RGBA", (8, 8), (255, 0, 0, 51))), [255, 204, 204]),
    "grey, alpha": (encoded(Pictures.new("LA", (8, 8), (0, 51))), [204, 204, 204]),
    "webp, alpha": (
        encoded(Pictures.new("RGBA", (8, 8), (255, 0, 0, 51)), "WEBP", lossless=True),
        [255, 204, 204],
    ),
    "transparent palette": (encoded(palette(), transparency=1), [255, 255, 255]),
    "palette, alpha": (encoded(palette(), transparency=bytes([255, 51])), [206, 244, 210]),
    "transparent colour": (
        encoded(Pictures.new("RGB", (8, 8), (1, 2, 3)), transparency=(1, 2, 3)),
        [255, 255, 255],
    ),
    "cmyk": (encoded(Pictures.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), [255, 0, 0]),
}


@pytest.mark.parametrize("name", CASES)
def test_modes_become_colour(name: str) -> None:
    raw, expected = CASES[name]
    assert np.abs(np.subtract(colour(raw), expected)).max() <= 1


def test_the_background_is_a_setting_and_colour_becomes_grey() -> None:
    raw = encoded(Pictures.new("RGBA", (8, 8), (255, 0, 0, 51)))
    assert colour(raw, background=0) == [51, 0, 0]
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert colour(encoded(Pictures.new("RGB", (8, 8), (200, 100, 50))), mode="L") == [luma]


def test_resizing_is_antialiased() -> None:
    """A fine checkerboard becomes its mean, not one of its colours."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    row = decoded(encoded(Pictures.fromarray(board)), mode="L")
    assert abs(int(row.min()) - 128) <= 3 and abs(int(row.max()) - 128) <= 3


def test_a_drafted_jpeg_is_close_to_the_full_one() -> None:
    smooth = np.add.outer(np.arange(480), np.arange(640)).astype(np.float64)
    photo = Pictures.fromarray((smooth / smooth.max() * 255).astype(np.uint8)).convert("RGB")
    raw = encoded(photo, "JPEG", quality=95)
    full = Pictures.open(io.BytesIO(raw)).resize((8, 8), Pictures.Resampling.BILINEAR)
    assert np.abs(decoded(raw).astype(int) - np.asarray(full).astype(int)).max() <= 3


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
@pytest.mark.parametrize("side", [32, 100, 150, 213])
def test_a_photograph_at_reduced_scale_is_close_to_the_full_one(name: str, side: int) -> None:
    photograph = Pictures.fromarray(load_sample_image(name))  # 640 × 427
    raw = encoded(photograph, "JPEG", quality=90)
    whole = Pictures.open(io.BytesIO(raw)).convert("RGB")
    full = np.asarray(whole.resize((side, side), Pictures.Resampling.BILINEAR)).astype(int)
    row = decoded(raw, height=side, width=side)
    # In grey levels; a bilinear and a Lanczos filter differ by 1 to 3 on these two.
    assert 0 < np.abs(row - full).mean() < 4
    assert np.abs(row.mean((0, 1)) - full.mean((0, 1))).max() < 2


def test_a_jpeg_of_less_than_twice_the_size_is_decoded_in_full() -> None:
    photograph = Pictures.fromarray(load_sample_image("china.jpg"))
    raw = encoded(photograph, "JPEG", quality=90)
    whole = Pictures.open(io.BytesIO(raw)).resize((214, 214), Pictures.Resampling.BILINEAR)
    np.testing.assert_array_equal(decoded(raw, height=214, width=214), np.asarray(whole))


WHOLE = {k: encoded(Pictures.fromarray(PHOTO), k) for k in ("JPEG", "PNG", "WEBP", "BMP", "GIF")}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("kept", [0.01, 0.5, 0.9, 0.99])
def test_cut_files_are_refused(kind: str, kept: float) -> None:
    with pytest.raises(Refused):
        decoded(WHOLE[kind][: int(len(WHOLE[kind]) * kept)])


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "it is empty"),
        (b"<html><body>no</body></html>", "no picture of a known format"),
        (b"%PDF-1.4", "no picture of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture of a known format"),
        (WHOLE["PNG"][:-60] + b"\x00" * 60, "can't be decoded"),
    ],
)
def test_files_that_are_no_pictures(raw: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        decoded(raw)


def test_several_frames_are_refused() -> None:
    more = {"save_all": True, "append_images": [Pictures.fromarray(255 - PHOTO)]}
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        with pytest.raises(Refused, match="holds 2 pictures"):
            decoded(encoded(Pictures.fromarray(PHOTO), kind, **more))


@pytest.mark.parametrize("side", [1001, 20_000])
def test_too_many_pixels_are_refused_before_they_are_decoded(side: int) -> None:
    """Far over Pillow's own limits, which warn and raise on their own account."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    raw = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + checksum
    raw += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(Refused, match=f"{side}×{side} pixels"):
        decoded(raw)


def test_a_row_of_a_table_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match="rows"):
        decoded({"a": "1"})


def test_statistics_are_exact() -> None:
    rows = RNG.integers(0, 256, (1500, 5, 6, 3), dtype=np.uint8)
    found = image(height=5, width=6).statistics(rows, {})
    values = rows.reshape(-1, 3).astype(np.float64) / 255
    np.testing.assert_allclose(found["mean"], values.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found["std"], values.std(0), rtol=1e-13)


def test_a_constant_channel_has_deviation_one() -> None:
    found = image(mode="L").statistics(np.full((3, 8, 8, 1), 51, np.uint8), {})
    assert found == {"mean": [0.2], "std": [1.0]}


def test_to_float_and_normalise() -> None:
    modality = image(height=5, width=6)
    rows = RNG.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    statistics = {k: torch.tensor(v) for k, v in modality.statistics(rows, {}).items()}
    inputs = modality.to_float(torch.from_numpy(rows), statistics)
    assert inputs.dtype == torch.float32 and tuple(inputs.shape[1:]) == modality.input_shape({})
    np.testing.assert_allclose(inputs.numpy(), rows.transpose(0, 3, 1, 2) / 255.0, rtol=1e-6)
    normal = modality.normalise(inputs, statistics)
    np.testing.assert_allclose(normal.mean((0, 2, 3)).numpy(), 0, atol=1e-6)
    np.testing.assert_allclose(normal.std((0, 2, 3), correction=0).numpy(), 1, rtol=1e-5)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_inputs_are_what_plain_arithmetic_gives_bit_for_bit(mode, count, layout) -> None:
    modality = image(height=5, width=6, mode=mode)
    rows = torch.from_numpy(RNG.integers(0, 256, (count, 5, 6, len(mode)), dtype=np.uint8))
    mean, std = (torch.from_numpy(RNG.uniform(0.2, 0.8, len(mode))).float() for _ in range(2))
    before = rows.clone()
    levels = rows.permute(0, 3, 1, 2).float().div(255).contiguous(memory_format=layout)
    wanted = (levels - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)
    statistics = {"mean": mean, "std": std}
    found = modality.to_float(rows, statistics).contiguous(memory_format=layout)
    found = modality.normalise(found, statistics)
    assert torch.equal(found, wanted) and torch.equal(rows, before)
    assert count < 2 or found.stride() == wanted.stride()


def test_show_gives_a_colour_picture() -> None:
    grey = PHOTO[:8, :8, :1]
    shown = image(mode="L").show(grey, {})
    assert shown.picture is not None and shown.lines == ()
    np.testing.assert_array_equal(shown.picture, np.dstack([grey] * 3))
    np.testing.assert_array_equal(image().show(PHOTO[:8, :8], {}).picture, PHOTO[:8, :8])


def test_importing_it_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, runforge.modalities.image, runforge.modalities.table, runforge.packing;"
    code += "print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
