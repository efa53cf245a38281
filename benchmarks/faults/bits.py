"""One bit turned over in a file that is kept: noticed before it is used, and the file named.

Data in DVC's cache, prepared sets, bundles and checkpoints.
"""

from __future__ import annotations

import random
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from benchmarks.faults.spoiled import make_bundle
from runforge import bundle, dvc_files, preparation
from runforge.checkpoint_files import DAMAGED, CheckpointFiles, last_name, newest_whole
from runforge.config import compose
from runforge.errors import UserError
from runforge.prepared import FILES, check_whole
from tests.conftest import REPOSITORY, Project
from tests.jobs import digits_project, prepare_digits

FLIPS = 25
"""Of each kind of file."""
LISTINGS = 5

Row = tuple[str, str, bool]


def flip(path: Path, chance: random.Random) -> None:
    """Turns one bit over; permissions stay as they are, as with a disk that does it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode | stat.S_IWUSR)
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(content))
    path.chmod(mode)


def named(use: Callable[[], object], *names: str) -> bool:
    """Whether using the file is refused with one line that names it."""
    try:
        use()
    except UserError as error:
        return any(name in str(error) for name in names) and "\n" not in str(error)
    return False


def flipped(files: list[Path], use: Callable[[], object], chance: random.Random) -> str:
    """The row's words on how many flips, each of one of the files in turn, are named."""
    use()
    found = 0
    for index in range(FLIPS):
        path = files[index % len(files)]
        whole = path.read_bytes()
        flip(path, chance)
        found += named(use, path.name)
        path.write_bytes(whole)
    use()
    return f"{found} of {FLIPS} named"


def data(folder: Path, chance: random.Random) -> Iterator[Row]:
    """Objects of DVC's cache, which DVC itself restores without a word."""
    project = digits_project(folder)
    project.run("dvc", "add", "--quiet", "data")
    files = chance.sample(sorted((project.folder / "data").rglob("*.png")), FLIPS)
    for path in files:
        flip(_object(project, path), chance)
    shutil.rmtree(project.folder / "data")
    project.run("dvc", "checkout", "--quiet", "data.dvc")
    said = project.run("dvc", "status", "data.dvc").stdout.strip()
    yield "what DVC says of data restored from damaged objects", said, True
    settings = compose(REPOSITORY).settings
    refused = named(
        lambda: preparation.prepare(project.folder, settings, folder / "set", quiet=True),
        str(min(files)),
    )
    odd = dvc_files.altered(_listed(project), 2)
    what = f"{len(set(odd) & set(files))} of {FLIPS} named, {len(set(odd) - set(files))} others"
    fine = refused and not (folder / "set").exists() and set(odd) == set(files)
    yield "data in DVC's cache", what, fine
    yield _listings(project, chance)


def _object(project: Project, path: Path) -> Path:
    md5 = _listed(project)[path]
    return project.folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def _listed(project: Project) -> dict[Path, str]:
    found = dvc_files.listed(project.folder, project.folder / "data")
    assert found is not None
    return found


def _listings(project: Project, chance: random.Random) -> Row:
    hash_ = dvc_files.dvc_hash(project.folder, project.folder / "data")
    assert hash_ is not None
    path = project.folder / ".dvc" / "cache" / "files" / "md5" / hash_[:2] / hash_[2:]
    whole, found = path.read_bytes(), 0
    for _ in range(LISTINGS):
        flip(path, chance)
        found += named(lambda: _listed(project), path.name)
        path.write_bytes(whole)
    return "DVC's listing of the data", f"{found} of {LISTINGS} named", found == LISTINGS


def prepared_set(folder: Path, chance: random.Random) -> Iterator[Row]:
    """Arrays, manifest, schema and quarantine."""
    prepare_digits(folder, each=30)
    files = [folder / "prepared" / name for name in FILES]
    found = flipped(files, lambda: check_whole(folder / "prepared"), chance)
    yield "prepared sets", found, found.startswith(f"{FLIPS} of")
    files = [folder / "prepared" / "checksums.txt"]
    found = flipped(files, lambda: check_whole(folder / "prepared"), chance)
    yield "the checksums of prepared sets", found, found.startswith(f"{FLIPS} of")


def bundles(folder: Path, chance: random.Random) -> Iterator[Row]:
    """Weights and description."""
    make_bundle(folder)
    files = [folder / "weights.safetensors", folder / "bundle.json"]
    found = flipped(files, lambda: bundle.load(folder), chance)
    yield "bundles", found, found.startswith(f"{FLIPS} of")


def checkpoints(folder: Path, chance: random.Random) -> Iterator[Row]:
    """Every other time with an older one, which training then goes on from."""
    fine = sum(_put_aside(folder / str(i), chance, older=bool(i % 2)) for i in range(FLIPS))
    yield "checkpoints", f"{fine} of {FLIPS} named and put aside", fine == FLIPS


def _put_aside(folder: Path, chance: random.Random, *, older: bool) -> bool:
    """Whether the newest checkpoint, damaged, is named and renamed, and the one before is taken."""
    files = CheckpointFiles(folder, folder / "journal.jsonl")
    content = chance.randbytes(10_000)
    for epoch in range(1 + older):
        files.write(last_name(epoch, 0, -1), lambda path: path.write_bytes(content))
        files.finish()
    newest = newest_whole(folder)
    assert newest is not None
    others = [path for path in folder.iterdir() if path != newest]
    flip(newest, chance)
    with redirect_stderr(StringIO()) as said:
        found = newest_whole(folder)
    aside = newest.with_name(f"{DAMAGED}{newest.name}")
    # That training begins anew is another line.
    told = said.getvalue().count("\n") == 2 - older and newest.name in said.getvalue()
    return told and found == (others[0] if older else None) and aside.exists()


PARTS: tuple[Callable[[Path, random.Random], Iterator[Row]], ...] = (
    *(data, prepared_set, bundles, checkpoints),
)
"""Each makes its files in an empty folder and turns `FLIPS` bits over; a new kind is added here."""


def rows(quick: bool) -> Iterator[Row]:
    """What was tried, what was found, whether it holds; quick: the same bits each time."""
    chance = random.Random(0) if quick else random.Random()
    for part in PARTS:
        with tempfile.TemporaryDirectory() as name:
            yield from part(Path(name), chance)
