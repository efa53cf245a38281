"""A bit turned over and a file changed meanwhile: noticed, and the file named."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image as Picture

from benchmarks.faults import bits
from runforge.checksums import check_checksums, file_hash, write_checksums
from runforge.dvc_files import check_data, listed
from runforge.errors import DataError
from runforge.modalities.image import Image
from runforge.packing import PackingSettings, pack
from runforge.sources.image_folder import ImageFolder
from runforge.unchanged import snapshot, unchanged
from tests.made_sets import IMAGE


def test_flipped_bits_are_named() -> None:
    for what, found, holds in bits.rows(quick=True):
        assert holds, f"{what}: {found}"


def test_checksums_are_those_of_others(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0" * 1000)
    (tmp_path / "b").write_bytes(b"")
    write_checksums(tmp_path, ["a", "b"], {"a": file_hash(tmp_path / "a")})
    check_checksums(tmp_path, ["a", "b"], "mend")
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "checksums.txt"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0
    (tmp_path / "b").write_bytes(b"x")
    with pytest.raises(DataError, match=r"/b: it is not as it was written .*; mend"):
        check_checksums(tmp_path, ["a", "b"], "mend")
    (tmp_path / "a").unlink()
    with pytest.raises(DataError, match="there is no a; mend"):
        check_checksums(tmp_path, ["a", "b"], "mend")


def _append(path: Path) -> None:
    path.write_text(path.read_text() + "x")


def _same_size(path: Path) -> None:
    before = path.stat()
    path.write_text("y")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def _replace(path: Path) -> None:
    """Another file of the same size and time."""
    before = path.stat()
    path.with_name("new").write_text("z")
    os.utime(path.with_name("new"), ns=(before.st_atime_ns, before.st_mtime_ns))
    path.with_name("new").replace(path)


@pytest.mark.parametrize(
    "change", [_append, _same_size, _replace, Path.unlink, lambda p: p.with_name("b").touch()]
)
def test_inputs_that_change_meanwhile(tmp_path: Path, change) -> None:
    path = tmp_path / "deep" / "a"
    path.parent.mkdir()
    path.write_text("x")
    line = r"deep/[ab]: it changed while it was being read"
    with pytest.raises(DataError, match=line), unchanged(tmp_path):
        change(path)
    with unchanged(tmp_path):
        path.parent.joinpath("a").exists()


def test_an_error_in_the_block_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), unchanged(tmp_path):
        (tmp_path / "a").touch()
        raise ZeroDivisionError


def test_what_the_block_writes_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with unchanged(tmp_path, besides=tmp_path / "out"):
        (tmp_path / "out" / "deep").mkdir(parents=True)
        (tmp_path / "out" / "deep" / "b").touch()
    assert len(snapshot(tmp_path)) == 2


class _Writing(ImageFolder):
    """A source that changes what it lists, as a stage with a fault would."""

    def samples(self, root: Path):
        found = super().samples(root)
        (root / "a" / "0.png").touch()
        return found


def test_preparing_data_that_change_makes_nothing(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        for index in range(20):
            shade = index * 2 + (label == "b")
            Picture.new("L", (8, 8), shade).save(tmp_path / "data" / label / f"{index}.png")
    with pytest.raises(DataError, match=r"a/0.png: it changed while"):
        pack(
            _Writing(splits={}),
            Image(**{k: v for k, v in IMAGE.items() if k != "_target_"}),
            modality_node=IMAGE,
            source_node={},
            root=tmp_path / "data",
            folder=tmp_path / "prepared",
            settings=PackingSettings("class", "y", 0.2, 0.2, "s", 0.0, False),
            workers=1,
            progress=False,
        )
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_cache_elsewhere(tmp_path: Path) -> None:
    """As `dvc cache dir` writes it; the copy's own settings win over the project's."""
    listing = b'[{"md5": "0cc175b9c0f1b6a831c399e269772661", "relpath": "x/a"}]'
    name = hashlib.md5(listing).hexdigest()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(
        "[core]\n    analytics = false\n[cache]\n    dir = no\n"
    )
    (tmp_path / ".dvc" / "config.local").write_text("[cache]\n    dir = ../away\n")
    (tmp_path / "data.dvc").write_text(f"outs:\n- md5: {name}.dir\n  hash: md5\n  path: data\n")
    cached = tmp_path / "away" / "files" / "md5" / name[:2] / f"{name[2:]}.dir"
    assert listed(tmp_path, tmp_path / "data") is None
    check_data(tmp_path, tmp_path / "data", 1)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(listing)
    data = tmp_path / "data" / "x"
    data.mkdir(parents=True)
    (data / "a").write_text("a")
    (data / "not tracked").write_text("b")
    check_data(tmp_path, tmp_path / "data", 1)
    (data / "a").write_text("b")
    with pytest.raises(DataError, match=r"data/x/a: this file is not as DVC tracked it"):
        check_data(tmp_path, tmp_path / "data", 1)
    (data / "a").unlink()
    with pytest.raises(DataError, match=r"data/x/a: this file is not"):
        check_data(tmp_path, data, 1)
