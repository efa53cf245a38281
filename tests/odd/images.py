"""Files that are no pictures, broken ones, and odd ones that must be read rightly."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pictures
from PIL import ImageCms

from runforge.prepared import PreparedSet
from tests.odd.cases import Accepted, Case, Quarantined

OVERRIDES = ("data=digits", "data.modality.mode=RGB", "data.max_refused=0.9")
ODD = "a/odd.jpg"
SIDE = 16

RED, GREEN, BLUE, WHITE = (220, 40, 40), (40, 200, 40), (40, 40, 220), (250, 250, 250)
QUARTERS = (RED, GREEN, BLUE, WHITE)
"""Top left, top right, bottom left, bottom right."""

Colours = Sequence[Sequence[int]]


def quarters(mode: str = "RGB") -> Pictures.Image:
    """Four squares of one colour each."""
    array = np.zeros((SIDE, SIDE, 3), np.uint8)
    half = SIDE // 2
    for number, colour in enumerate(QUARTERS):
        row, column = divmod(number, 2)
        array[row * half :, column * half :] = colour
    return Pictures.fromarray(array).convert(mode)


def encoded(picture: Pictures.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def fill(root: Path, count: int = 12) -> None:
    """Two classes of `count` small pictures that are all different."""
    draw = np.random.default_rng(0)
    for label in "ab":
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            array = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            (root / label / f"{number}.png").write_bytes(encoded(Pictures.fromarray(array)))


def chunk(name: bytes, content: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(content)) + name + content + crc(name + content)


def crc(content: bytes) -> bytes:
    """A chunk's check sum."""
    return struct.pack(">I", zlib.crc32(content))


def png(width: int, height: int, bits: int, colour: int, body: bytes, *more: bytes) -> bytes:
    """A PNG file by its specification: bit depth, colour type, compressed rows, other chunks."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    content = chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", body)
    return b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b"")


def bomb(width: int, height: int) -> bytes:
    """A picture of one bit a pixel, really as large as it says: a few kilobytes of zeros."""
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + -(-width // 8))
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return png(width, height, 1, 0, body)


def oriented(orientation: int, turn: Pictures.Transpose) -> bytes:
    """A photograph taken with the camera turned: upright, it shows the quarters."""
    exif = Pictures.Exif()
    exif[0x0112] = orientation
    return encoded(quarters().transpose(turn), "JPEG", quality=95, exif=exif)


def wide_colour() -> bytes:
    """16 bits a channel."""
    array = np.asarray(quarters()).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in array)
    return png(SIDE, SIDE, 16, 2, zlib.compress(rows))


def wide_grey(*more: bytes) -> bytes:
    """16 bits of grey: each level of the quarters times 257, the range of 16 bits."""
    array = np.asarray(quarters("L")).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in array)
    return png(SIDE, SIDE, 16, 0, zlib.compress(rows), *more)


def floats(scale: float, hole: float | None = None) -> bytes:
    """A TIFF file of floats."""
    array = np.asarray(quarters("L")).astype(np.float32) / 255 * scale
    if hole is not None:
        array[0, 0] = hole
    return encoded(Pictures.fromarray(array), "TIFF")


def in_lab() -> Pictures.Image:
    """The quarters in CIELAB."""
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    made = ImageCms.profileToProfile(quarters(), *profiles, outputMode="LAB")
    assert made is not None
    return made


def several(kind: str) -> bytes:
    """Two pictures in one file."""
    other = quarters().transpose(Pictures.Transpose.ROTATE_90)
    return encoded(quarters(), kind, save_all=True, append_images=[other])


def clear_corner(mode: str) -> bytes:
    """The red quarter fully transparent."""
    picture = quarters("RGBA")
    picture.putpixel((0, 0), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 0), (0, 0, SIDE // 2, SIDE // 2))
    return encoded(picture.convert(mode))


def palette_with_transparency() -> bytes:
    """The colour of the red quarter is said to be transparent."""
    picture = quarters("RGB").quantize(8)
    return encoded(picture, transparency=picture.getpixel((0, 0)))


def shows(colours: Colours = QUARTERS, tolerance: int = 14) -> Accepted:
    """The middle of each quarter of the packed picture has its colour."""

    def right(prepared: PreparedSet) -> bool:
        packed = prepared.inputs[prepared.where.index(ODD)].astype(int)
        middles = packed[[1, 1, 6, 6], [1, 6, 1, 6]]
        return bool(np.abs(middles - np.array(colours)).max() <= tolerance)

    return Accepted(right)


def is_all(colour: Sequence[int]) -> Accepted:
    """Every pixel has one colour."""
    return Accepted(
        lambda s: bool((s.inputs[s.where.index(ODD)].astype(int) == np.array(colour)).all())
    )


def greys() -> Colours:
    """The quarters as ITU-R 601 luma."""
    return [[round(np.dot((0.299, 0.587, 0.114), c))] * 3 for c in QUARTERS]


def flip(content: bytes, at: int) -> bytes:
    """One byte changed."""
    return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]


def _case(name: str, content: Callable[[], bytes], expected: Accepted | str) -> Case:
    def put(root: Path) -> None:
        fill(root)
        (root / ODD).write_bytes(content())

    outcome = Quarantined(ODD, expected) if isinstance(expected, str) else expected
    return Case(f"image: {name}", put, outcome, OVERRIDES)


def _sparse(root: Path) -> None:
    fill(root)
    with (root / ODD).open("wb") as file:
        file.truncate(40 * 2**30)


def jpeg(**options: Any) -> bytes:
    """The quarters as a photograph."""
    return encoded(quarters(), "JPEG", quality=95, **options)


NO_PICTURE = "no picture of a known format"
BROKEN = "can't be decoded"
FILLED = ((255, 255, 255), GREEN, BLUE, WHITE)
T = Pictures.Transpose

KINDS: list[tuple[str, Callable[[], bytes], Accepted | str]] = [
    ("no byte", lambda: b"", "it is empty"),
    ("one byte", lambda: b"\xff", NO_PICTURE),
    ("text", lambda: b"buy milk\n", NO_PICTURE),
    ("HTML of a failed download", lambda: b"<!DOCTYPE html><h1>404</h1>", NO_PICTURE),
    ("PDF", lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", NO_PICTURE),
    ("SVG", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", NO_PICTURE),
    ("HEIC", lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", NO_PICTURE),
    ("AVIF", lambda: b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", NO_PICTURE),
    ("PostScript", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", NO_PICTURE),
    ("icon", lambda: encoded(quarters(), "ICO"), NO_PICTURE),
    ("ZIP", lambda: b"PK\x03\x04" + b"\0" * 40, NO_PICTURE),
    ("JPEG cut at 50%", lambda: jpeg()[: len(jpeg()) // 2], BROKEN),
    ("JPEG cut at 99%", lambda: jpeg()[: len(jpeg()) * 99 // 100], BROKEN),
    ("JPEG without its end", lambda: jpeg()[:-2], BROKEN),
    ("JPEG of a header alone", lambda: jpeg()[:20], NO_PICTURE),
    ("JPEG with more behind it", lambda: jpeg() + b"\0" * 5000, shows()),
    ("progressive JPEG", lambda: jpeg(progressive=True), shows()),
    ("JPEG of a damaged EXIF part", lambda: jpeg(exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), shows()),
    ("JPEG, CMYK", lambda: encoded(quarters("CMYK"), "JPEG", quality=95), shows(tolerance=20)),
    ("JPEG, grey", lambda: encoded(quarters("L"), "JPEG", quality=95), shows(greys())),
    ("photograph turned by 180°", lambda: oriented(3, T.ROTATE_180), shows()),
    ("photograph turned left", lambda: oriented(6, T.ROTATE_90), shows()),
    ("photograph turned right", lambda: oriented(8, T.ROTATE_270), shows()),
    ("photograph mirrored", lambda: oriented(2, T.FLIP_LEFT_RIGHT), shows()),
    # At half its scale the colours of so small a JPEG ring; the second picture is far from it.
    ("MPO of two pictures", lambda: several("MPO"), shows(tolerance=40)),
    ("PNG named .jpg", lambda: encoded(quarters()), shows()),
    ("PNG, header damaged", lambda: flip(encoded(quarters()), 20), NO_PICTURE),
    ("PNG, pixels damaged", lambda: flip(encoded(quarters()), 60), BROKEN),
    ("PNG cut in half", lambda: encoded(quarters())[: len(encoded(quarters())) // 2], BROKEN),
    ("PNG of a signature alone", lambda: encoded(quarters())[:8], NO_PICTURE),
    ("PNG without its end", lambda: encoded(quarters())[:-12], shows()),
    ("PNG without width", lambda: png(0, 8, 8, 0, zlib.compress(b"")), ""),
    ("PNG, LA", lambda: encoded(quarters("LA")), shows(greys())),
    ("PNG, RGBA with a clear corner", lambda: clear_corner("RGBA"), shows(FILLED)),
    ("PNG, palette", lambda: encoded(quarters().quantize(8)), shows()),
    ("PNG, palette, a colour transparent", palette_with_transparency, shows(FILLED)),
    (
        "PNG, 1 bit",
        lambda: encoded(quarters("L").point(lambda v: 255 * (v > 128), "1")),
        shows([[255 * (g[0] > 128)] * 3 for g in greys()]),
    ),
    ("PNG, 16-bit grey", wide_grey, shows(greys())),
    (
        "PNG, 16-bit grey, a level transparent",
        lambda: wide_grey(chunk(b"tRNS", b"\x12\x34")),
        "transparent colour",
    ),
    ("PNG, 16-bit colour", wide_colour, shows()),
    ("PNG with a text of 2 MB", lambda: _png_with_text(2 * 2**20), BROKEN),
    (
        "PNG with a colour profile of nonsense",
        lambda: encoded(quarters(), icc_profile=b"?"),
        shows(),
    ),
    ("APNG of two pictures", lambda: several("PNG"), "it holds 2 pictures"),
    ("GIF", lambda: encoded(quarters(), "GIF"), shows()),
    ("GIF of two pictures", lambda: several("GIF"), "it holds 2 pictures"),
    ("GIF without pixels", lambda: b"GIF89a\0\0\0\0\0\0\0;", ""),
    ("WebP", lambda: encoded(quarters(), "WEBP", lossless=True), shows()),
    ("WebP of two pictures", lambda: several("WEBP"), "it holds 2 pictures"),
    ("BMP", lambda: encoded(quarters(), "BMP"), shows()),
    ("PPM", lambda: encoded(quarters(), "PPM"), shows()),
    ("PPM, cut", lambda: encoded(quarters(), "PPM")[:-9], BROKEN),
    ("TIFF", lambda: encoded(quarters(), "TIFF"), shows()),
    ("TIFF, cut", lambda: encoded(quarters(), "TIFF")[:400], ""),
    ("TIFF of two pages", lambda: several("TIFF"), "it holds 2 pictures"),
    ("TIFF, floats of 0 to 1", lambda: floats(1.0), shows(greys())),
    ("TIFF, floats of 0 to 1000", lambda: floats(1000.0), "floats outside 0..1"),
    ("TIFF, floats with a nan", lambda: floats(1.0, float("nan")), "floats outside 0..1"),
    ("TIFF, 32-bit integers", lambda: encoded(quarters("I"), "TIFF"), "32-bit integers"),
    ("TIFF, CIELAB", lambda: encoded(in_lab(), "TIFF"), shows()),
    ("100 megapixels in 12 kB", lambda: bomb(10_000, 10_000), "more than max_pixels"),
    ("400 megapixels", lambda: png(20_000, 20_000, 8, 2, b""), "more than max_pixels"),
    (
        "3.6 gigapixels by its header",
        lambda: png(60_000, 60_000, 8, 2, b""),
        "more than max_pixels",
    ),
    ("2³¹ − 1 pixels a side", lambda: png(2**31 - 1, 2**31 - 1, 8, 2, b""), ""),
    ("1×1", lambda: encoded(Pictures.new("RGB", (1, 1), RED)), is_all(RED)),
    ("1×5000", lambda: encoded(Pictures.new("RGB", (1, 5000), RED)), is_all(RED)),
    ("5000×1", lambda: encoded(Pictures.new("RGB", (5000, 1), RED)), is_all(RED)),
]


def _png_with_text(size_bytes: int) -> bytes:
    text = b"Comment\0\0" + zlib.compress(b"x" * size_bytes)
    return png(8, 8, 8, 0, zlib.compress(b"\0" * 72), chunk(b"zTXt", text))


CASES = [_case(name, content, expected) for name, content, expected in KINDS] + [
    Case("image: a file of 40 GB", _sparse, Quarantined(ODD, "more than 268435456"), OVERRIDES)
]
