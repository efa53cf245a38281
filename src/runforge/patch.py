"""The uncommitted difference of a work tree, as a patch that `git apply` takes.

Tracked files, and those new ones that are code or configuration. Data, what holds a secret and
what would make the patch too large are left out, and named. The user's index stays as it is: new
files are added to a copy of it.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runforge import git
from runforge.places import NOT_THE_PIPELINES, PIPELINE_FILES
from runforge.redaction import secret_in

LIMIT_BYTES = 2**20
"""Of the whole patch. Code and configuration stay far below it; what does not is data."""

SUFFIXES = (".py", ".pyi", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".dvc", ".j2", ".sh")
"""What new files of code and configuration end with."""

PLACES = ("src", "conf")
"""Folders of a project in which every new file counts."""

_DIFF = (
    *("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"),
    "--ignore-submodules",
)
_TEXT = ("--binary", "--full-index", "--unified=3", "--src-prefix=a/", "--dst-prefix=b/")
_PIECE = re.compile(rb"^(?=diff --git )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch against HEAD; paths in it count from the repository's top."""

    content: bytes
    left_out: tuple[str, ...] = ()
    """Files whose change it lacks, each with why: `model.py (holds a secret)`."""

    @property
    def state(self) -> str:
        """`none`, `whole`, or `left out: …`."""
        if self.left_out:
            return f"left out: {', '.join(self.left_out)}"
        return "whole" if self.content else "none"


def uncommitted(project: Path, *, data_root: Path | None) -> Patch | None:
    """What the work tree of a project has that HEAD has not; None where there is no commit.

    The pipeline's own outputs are no part of it: the run's configuration is recorded besides.
    """
    top = git.top(project)
    if top is None or not git.output(top, "rev-parse", "--verify", "--quiet", "HEAD"):
        return None
    try:
        with _copied_index(top, _new_files(project, data_root)) as environment:
            return _patch(top, project, _under(top, project, data_root), environment)
    except git.GitFailed as error:
        return Patch(b"", (f"everything ({error})",))


def _under(top: Path, project: Path, data_root: Path | None) -> str | None:
    """The data's place in the repository; None where they are not in it, or all of it is data."""
    if data_root is None or project.resolve().is_relative_to(data_root.resolve()):
        return None
    place = data_root.absolute()
    return str(place.relative_to(top)) if place.is_relative_to(top) else None


def _new_files(project: Path, data_root: Path | None) -> list[Path]:
    listed = git.names(git.run(project, "ls-files", "--others", "--exclude-standard", "-z"))
    every = (project / name for name in listed if _counts(PurePosixPath(name)))
    return [path for path in every if data_root is None or not path.is_relative_to(data_root)]


def _counts(name: PurePosixPath) -> bool:
    if str(name) in PIPELINE_FILES:
        return False
    return name.suffix in SUFFIXES or (len(name.parts) > 1 and name.parts[0] in PLACES)


@contextmanager
def _copied_index(top: Path, new: Sequence[Path]) -> Iterator[dict[str, str]]:
    """An index in which the new files are, too; none of their content is written anywhere."""
    path = git.run(top, "rev-parse", "--path-format=absolute", "--git-path", "index")
    index = Path(path.decode().strip("\n"))
    with tempfile.TemporaryDirectory(prefix="runforge-index-") as folder:
        copy = Path(folder, "index")
        if index.is_file():
            # With its time, by which git knows what may have changed since, unseen.
            shutil.copy2(index, copy)
        environment = {"GIT_INDEX_FILE": str(copy)}
        if new:
            listed = "\0".join(f":(top,literal){path.relative_to(top)}" for path in new)
            add = ("add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul")
            given = listed.encode(errors="surrogateescape")
            git.run(top, *add, given=given, environment=environment)
        yield environment


def _patch(top: Path, project: Path, data: str | None, environment: dict[str, str]) -> Patch:
    left_out, specs = [], list(NOT_THE_PIPELINES)
    if data is not None:
        changed = git.run(top, *_DIFF, "--name-only", "-z", "HEAD", "--", data)
        left_out += [f"{name} (data)" for name in git.names(changed)]
        specs.append(f":(exclude,top,literal){data}")
    names = git.names(
        git.run(project, *_DIFF, "--name-only", "-z", "HEAD", *specs, environment=environment)
    )
    for name in names:
        if _size(top / name) > LIMIT_BYTES:
            left_out.append(f"{name} (too large)")
            specs.append(f":(exclude,top,literal){name}")
    rest = [name for name in names if f"{name} (too large)" not in left_out]
    text = git.run(project, *_DIFF, *_TEXT, "HEAD", *specs, environment=environment)
    pieces = [piece for piece in _PIECE.split(text) if piece.startswith(b"diff --git ")]
    if len(pieces) != len(rest):  # a merge that is not done
        return Patch(b"", (*left_out, *(f"{name} (not merged)" for name in rest)))
    return _kept(top, dict(zip(rest, pieces, strict=True)), left_out)


def _kept(top: Path, pieces: dict[str, bytes], left_out: list[str]) -> Patch:
    content = b""
    for name, piece in pieces.items():
        if len(content) + len(piece) > LIMIT_BYTES:
            left_out.append(f"{name} (too large)")
        elif _holds_secret(top / name, piece):
            left_out.append(f"{name} (holds a secret)")
        else:
            content += piece
    return Patch(content, tuple(left_out))


def _holds_secret(path: Path, piece: bytes) -> bool:
    """In the change or what stands around it; of a binary file, anywhere in it."""
    is_binary = b"\nGIT binary patch\n" in piece and path.is_file()
    content = path.read_bytes() if is_binary else piece
    return secret_in(content.decode(errors="replace")) is not None


def _size(path: Path) -> int:
    return path.lstat().st_size if path.is_symlink() or path.is_file() else 0
