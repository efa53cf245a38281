"""The sample sets: the same bytes everywhere, and what scikit-learn holds."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars
import pytest
from PIL import Image as Pictures
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from runforge.errors import DataError
from runforge.sample_sets import check_unmixed, png, write_sample_set

HASHES = {
    "digits": "fdd31506623192466d83eb16595bcdbce97d6d8d3b82311a6953a87803463c73",
    "breast_cancer": "3a6431cf06b0df2ac06fa3f350a071e9909f5407201296b746a35329d2b2f86d",
    "diabetes": "83c1c08cb8681339687f1140ecdf90cbc056d6df8c76039091948183833a0291",
}
"""Over names and bytes of all files: what the committed `data.dvc` rests on."""


def tree_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets")
    for name in HASHES:
        write_sample_set(name, root / name)
    return root


@pytest.mark.parametrize("name", HASHES)
def test_the_bytes_are_the_same_everywhere(written: Path, name: str) -> None:
    assert tree_hash(written / name) == HASHES[name]


def test_digits_are_the_pictures_of_scikit_learn(written: Path) -> None:
    data = load_digits()
    paths = sorted((written / "digits").rglob("*.png"), key=lambda path: path.name)
    assert len(paths) == 1797
    assert [int(path.parent.name) for path in paths] == data.target.tolist()
    for path, image in zip(paths, data.images, strict=True):
        with Pictures.open(path) as picture:
            assert picture.mode == "L"
            np.testing.assert_array_equal(np.asarray(picture), np.floor(image * 255 / 16 + 0.5))


def test_breast_cancer_is_the_table_of_scikit_learn(written: Path) -> None:
    data = load_breast_cancer()
    frame = polars.read_csv(written / "breast_cancer" / "data.csv")
    assert frame.columns == [*data.feature_names, "diagnosis"]
    np.testing.assert_array_equal(frame.drop("diagnosis").to_numpy(), data.data)
    assert frame["diagnosis"].to_list() == data.target_names[data.target].tolist()


def test_diabetes_is_unscaled(written: Path) -> None:
    data = load_diabetes(scaled=False)
    frame = polars.read_csv(written / "diabetes" / "data.csv")
    np.testing.assert_array_equal(frame.drop("progression").to_numpy(), data.data)
    np.testing.assert_array_equal(frame["progression"].to_numpy(), data.target)
    assert frame["age"].min() == 19


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (3, 5), (200, 300)])
def test_png_is_read_back_by_another_program(shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with Pictures.open(io.BytesIO(png(grey))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), grey)


def test_png_refuses_what_one_block_can_not_hold() -> None:
    with pytest.raises(ValueError, match="65,535"):
        png(np.zeros((300, 300), np.uint8))


def test_writing_again_changes_nothing(written: Path) -> None:
    path = written / "diabetes" / "data.csv"
    before = path.stat()
    assert write_sample_set("diabetes", written / "diabetes") == 1
    after = path.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert write_sample_set("diabetes", tmp_path / "data") == 1
    assert names(tmp_path) == ["data"]


def test_a_folder_with_anything_else_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("precious")
    with pytest.raises(DataError, match="something in it already"):
        write_sample_set("diabetes", tmp_path)
    assert names(tmp_path) == ["mine.txt"] and mine.read_text() == "precious"
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is no folder"):
        write_sample_set("diabetes", tmp_path / "file")


def test_an_unknown_name() -> None:
    with pytest.raises(DataError, match="digits, breast_cancer, diabetes"):
        write_sample_set("iris", Path("nowhere"))


def test_importing_imports_no_scikit_learn() -> None:
    code = "import sys, runforge.sample_sets; print('sklearn' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_other_classes_beside_the_digits_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_sample_set("digits", root)
    check_unmixed(root)
    (root / "cat").mkdir()
    with pytest.raises(DataError, match=r"digits and other class folders \(cat\).*rm -r"):
        check_unmixed(root)
    for digit in range(10):
        shutil.rmtree(root / str(digit))
    check_unmixed(root)
    (root / "0").mkdir()
    (root / "0" / "0000.png").write_bytes(b"my own")
    check_unmixed(root)
