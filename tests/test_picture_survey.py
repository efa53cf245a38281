"""Size, mode and grey levels as they are found in the data, from the files to a prepared set."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pictures
from sklearn.datasets import load_sample_image

from runforge import targets
from runforge.modalities.image import Image
from runforge.notices import collected
from runforge.packing import PackingSettings, pack
from runforge.picture_survey import has_colour
from runforge.prepared import PreparedSet
from runforge.reading import Samples
from runforge.request_body import Decoder
from runforge.sample import Sample
from runforge.schema import Schema
from runforge.sources.image_folder import ImageFolder

NODE = {
    "_target_": "runforge.modalities.image.Image",
    **{"height": None, "width": None, "mode": None, "levels": None},
    **{"max_pixels": 10**7, "background": 255},
}
SETTINGS = PackingSettings("class", "thing", 0.2, 0.2, "s", 0.1, False)
DRAW = np.random.default_rng(0)


def encoded(array: np.ndarray, kind: str = "PNG", mode: str | None = None, **keys: Any) -> bytes:
    buffer = io.BytesIO()
    picture = Pictures.fromarray(array)
    (picture.convert(mode) if mode else picture).save(buffer, kind, **keys)
    return buffer.getvalue()


def noise(height: int, width: int, *more: int) -> np.ndarray:
    return DRAW.integers(0, 256, (height, width, *more), dtype=np.uint8)


def layout(contents: Sequence[bytes], **keys: Any) -> tuple[dict[str, Any], list[str]]:
    """What is found in files, all of them of the training split, and what is told."""
    with collected() as told:
        found = Image(**{k: v for k, v in (NODE | keys).items() if k != "_target_"}).layout(
            Samples([Sample("x", "a", None, lambda c=c: c) for c in contents], lambda *_: True)
        )
    return found, told


def test_pictures_of_one_small_size_are_packed_as_they_are() -> None:
    found, told = layout([encoded(noise(8, 12)) for _ in range(3)])
    assert found == {"height": 8, "width": 12, "mode": "L"} and told == []
    found, told = layout([encoded(noise(64, 33, 3)) for _ in range(3)])
    assert found == {"height": 64, "width": 33, "mode": "RGB"} and told == []


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(300, 400)], (48, 64)),
        ([(400, 300)], (64, 48)),
        ([(128, 128)], (64, 64)),
        ([(20, 30), (24, 33), (100, 40)], (24, 32)),
        ([(40, 40), (41, 44), (39, 36)], (40, 40)),
        ([(5, 5), (6, 6)], (8, 8)),
        ([(20, 2000)], (8, 64)),
    ],
)
def test_other_sizes_become_a_usual_one_that_is_told(sizes, expected) -> None:
    found, told = layout([encoded(noise(*size)) for size in sizes])
    assert (found["height"], found["width"]) == expected
    assert len(told) == 1 and f"packed at {expected[1]}×{expected[0]} L" in told[0]
    assert "data.modality.height=" in told[0]
    small = max(size / to for size, to in zip(sizes[0], expected, strict=True))
    assert ("times smaller" in told[0]) == (small > 4)


def test_a_photograph_taken_sideways_counts_upright() -> None:
    exif = Pictures.Exif()
    exif[0x0112] = 6
    found, _ = layout([encoded(noise(300, 400, 3), "JPEG", exif=exif)])
    assert (found["height"], found["width"]) == (64, 48)


def test_what_is_given_is_taken_and_the_rest_found() -> None:
    pictures = [encoded(noise(100, 200, 3))]
    assert layout(pictures, height=50)[0] == {"width": 100, "mode": "RGB"}
    assert layout(pictures, width=50)[0] == {"height": 25, "mode": "RGB"}
    assert layout(pictures, height=9, width=9, mode="L") == ({}, [])


def test_files_that_can_not_be_read_are_passed_over() -> None:
    found, _ = layout([b"no", encoded(noise(9, 9)), encoded(noise(30, 30))[:60], b""])
    assert (found["height"], found["width"]) in {(9, 9), (8, 8)}
    assert set(layout([b"no"] * 3)[0]) == {"height", "width", "mode"}


GREY = noise(40, 40)
PHOTO = np.asarray(Pictures.fromarray(load_sample_image("flower.jpg")).resize((200, 150)))
LUMA = np.asarray(Pictures.fromarray(PHOTO).convert("L"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(GREY), False),
        (encoded(GREY, mode="RGB"), False),
        (encoded(LUMA, "JPEG", mode="RGB", quality=30), False),
        (encoded(GREY, mode="P"), False),
        (encoded(GREY, mode="RGBA"), False),
        (encoded(GREY, mode="LA"), False),
        (encoded(GREY.astype(np.uint16) * 200), False),
        (encoded(PHOTO), True),
        (encoded(PHOTO, "JPEG", quality=30), True),
        (encoded(PHOTO, mode="P"), True),
        (encoded(PHOTO, "GIF"), True),
        (encoded(PHOTO, "TIFF", mode="CMYK"), True),
        (encoded(np.dstack([PHOTO, np.zeros_like(PHOTO[:, :, :1])])), False),
    ],
)
def test_colour_is_told_by_pixels_not_by_the_mode(content: bytes, expected: bool) -> None:
    with Pictures.open(io.BytesIO(content)) as picture:
        assert has_colour(picture) == expected
    mixed = [encoded(LUMA), content]
    assert layout(mixed)[0]["mode"] == ("RGB" if expected else "L")


def wide(low: int, high: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.integers(low, high + 1, (12, 12)).astype(np.uint16)


def put(root: Path, name: str, content: bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)


def prepared(root: Path, folder: Path, **keys: Any) -> Schema:
    node = NODE | keys
    return pack(
        ImageFolder(),
        targets.build(node),
        modality_node=node,
        source_node={},
        root=root,
        folder=folder,
        settings=SETTINGS,
        workers=2,
        progress=False,
    )


@pytest.mark.parametrize(
    ("least", "most", "levels"),
    [(3, 4090, (0, 4095)), (200, 2600, (0, 4095)), (30_000, 34_000, None), (5, 65_000, (0, 65535))],
)
def test_sixteen_bits_are_scaled_by_the_levels_of_the_training_split(
    tmp_path: Path, least: int, most: int, levels: tuple[int, int] | None
) -> None:
    root = tmp_path / "data"
    for number in range(40):
        # Two levels that every picture has, so that training has them.
        values = wide(least, most, number)
        values[0, :2] = least, most
        put(root, f"{'ab'[number % 2]}/{number}.png", encoded(values))
    schema = prepared(root, tmp_path / "out")
    low, high = levels or (least, most)
    opened = PreparedSet.open(tmp_path / "out")
    for row, where in enumerate(opened.where):
        values = np.asarray(Pictures.open(root / where)).astype(np.float64)
        expected = np.rint((values - low) / (high - low) * 255)
        np.testing.assert_array_equal(opened.inputs[row, :, :, 0], expected)
    assert schema.layout.get("levels", [0, 65535]) == [low, high]
    told = [line for line in schema.notices if "16-bit" in line]
    assert len(told) == (levels != (0, 65535)) and all(f"{low} to {high} become" in t for t in told)
    given = prepared(root, tmp_path / "out2", levels=[0.0, 65535.0])
    assert "levels" not in given.layout and not any("16-bit" in n for n in given.notices)


def test_levels_come_from_training_alone_and_what_lies_beyond_is_told(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for split, count, most in (("train", 12, 1000), ("test", 4, 4000)):
        for number in range(count):
            values = wide(100, most, number + len(split) * 100)
            values[0, :2] = 100, most
            put(root, f"{split}/{'ab'[number % 2]}/{number}.png", encoded(values))
    schema = prepared(root, tmp_path / "out")
    assert schema.layout["levels"] == [0, 1023]
    opened = PreparedSet.open(tmp_path / "out")
    assert opened.inputs[opened.rows("test")].max() == 255
    assert any(line.startswith("4 of 16 samples: levels beyond") for line in schema.notices)


def test_given_levels_read_numbers_of_unknown_range() -> None:
    values = np.linspace(-3, 5, 64).reshape(8, 8)
    keys = {k: v for k, v in NODE.items() if k != "_target_"}
    keys |= {"height": 8, "width": 8, "mode": "L", "levels": [-3.0, 5.0]}
    for kind in (np.float32, np.int32):
        array = values.astype(kind)
        row = Image(**keys).decode(encoded(array, "TIFF"), {})[:, :, 0]
        np.testing.assert_array_equal(row, np.rint((array.astype(np.float64) + 3) / 8 * 255))


def test_a_server_decodes_by_what_was_found(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(40):
        put(root, f"{'ab'[number % 2]}/{number}.png", encoded(wide(0, 4095, number)))
    prepared(root, tmp_path / "out")
    opened = PreparedSet.open(tmp_path / "out")
    schema = Schema.from_dict(json.loads(json.dumps(opened.schema.to_dict())))
    decoder = Decoder.of(schema, None)
    for row, where in enumerate(opened.where):
        packed, _ = decoder.packed("image/png", (root / where).read_bytes())
        np.testing.assert_array_equal(packed[0], opened.inputs[row])


def three_colours(root: Path, side: int) -> None:
    for label, colour in {"r": (200, 40, 40), "g": (20, 110, 40)}.items():
        for number in range(20):
            array = np.clip(noise(side, side, 1) // 8 + np.array(colour), 0, 255)
            put(root, f"{label}/{number}.png", encoded(array.astype(np.uint8)))


def lines(schema: Schema, part: str) -> Iterable[str]:
    return [line for line in schema.notices if part in line]


def test_a_given_form_that_loses_much_is_told_with_its_keys(tmp_path: Path) -> None:
    three_colours(tmp_path / "data", 40)
    found = prepared(tmp_path / "data", tmp_path / "found")
    assert found.layout == {"height": 40, "width": 40, "mode": "RGB"} and found.notices == ()
    assert (found.packed_shape, found.input_shape) == ((40, 40, 3), (3, 40, 40))
    poor = prepared(tmp_path / "data", tmp_path / "poor", height=8, width=8, mode="L")
    assert poor.layout == {} and len(poor.notices) == 2
    assert lines(poor, "40 of 40 samples: colour made grey; data.modality.mode=RGB keeps it")
    assert lines(poor, "40 of 40 samples: more than 4 times smaller a side")
    half = prepared(tmp_path / "data", tmp_path / "half", height=10, width=10, mode="RGB")
    assert half.notices == ()
