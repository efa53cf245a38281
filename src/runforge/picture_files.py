"""Which files under a folder are pictures to learn from: by their names and first bytes.

A list of pictures is what a source found, before anything is decoded: what is left out is told.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from runforge.files import Found, text
from runforge.notices import notice
from runforge.overrides import typed

READ = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif"),
    *(".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
)
NOT_READ = (
    *(".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".svg", ".ico", ".tga", ".psd", ".eps"),
    *(".pdf", ".dcm", ".exr", ".hdr", ".raw", ".dng", ".cr2", ".nef", ".arw"),
)
"""Pictures too: each is refused and counted, not passed over."""

ENDINGS = frozenset((*READ, *NOT_READ))

SIGNATURES = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*"),
    *(b"P%d%c" % (kind, blank) for kind in range(1, 7) for blank in b" \t\r\n#"),
)
"""How files of the formats that are read begin; WebP has its name behind the length."""

MASK = "masks?|seg|segmentations?|gt|ground_?truth|labels?|annotations?|annotated"
MASK_STEM = re.compile(rf"(.+?)[ ._-]+(?:{MASK})(?:[ ._-]?\d+)?", re.IGNORECASE)
MASK_FOLDER = re.compile(MASK, re.IGNORECASE)
IMAGE_FOLDER = re.compile(
    "images?|imgs?|pictures?|photos?|originals?|inputs?|raw|scans?", re.IGNORECASE
)
"""Beside such a folder one of masks holds no class: `mask/` beside `no_mask/` does."""

VIEW_STEM = re.compile(r"(.+)([ ._-][A-Za-z][A-Za-z0-9]*)")
"""Such as `x_flip` beside `x`: another view of the same thing."""

FEWEST_VIEWS, LEAST_VIEWS = 5, 0.1
"""From so many files and from this share of them on they are told."""

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that a source found, with what its place says of it."""

    found: Found
    where: str
    """Relative to the root, as text."""
    label: str
    split: str | None


@dataclass(frozen=True, slots=True)
class Chooser:
    """Tells pictures from what lies beside them.

    `include`: patterns of the files to take, whatever they are; None: pictures. `exclude`: patterns
    of files to leave out; None: masks that are named after a picture. A pattern is held against the
    path relative to the root, and against the file's name.
    """

    include: Sequence[str] | None = None
    exclude: Sequence[str] | None = None

    def chosen(self, listed: Sequence[Listed]) -> list[Listed]:
        """Those to learn from, in their order; the others are told by number, kind and example."""
        pictures = [item for item in listed if self._is_included(item)]
        self._tell_others(listed, pictures)
        kept = self._without_excluded(pictures)
        _tell_views(kept)
        return kept

    def _is_included(self, item: Listed) -> bool:
        if item.found.refused is not None:
            return True
        if self.include is not None:
            return matches(item.where, self.include)
        return is_picture(item.found.path)

    def _tell_others(self, listed: Sequence[Listed], kept: Sequence[Listed]) -> None:
        left = _missing(listed, kept)
        if not left:
            return
        if self.include is not None:
            notice(f"{counted(left)} left out by data.source.include: {names(left)}")
            return
        endings = Counter(PurePosixPath(item.where).suffix or "no ending" for item in left)
        kinds = ", ".join(f"{count} of {ending}" for ending, count in endings.most_common(SHOWN))
        notice(
            f"{counted(left)} left out, as no picture ({kinds}): {names(left)}",
            hint="""'data.source.include=["*"]' takes every file""",
        )

    def _without_excluded(self, pictures: list[Listed]) -> list[Listed]:
        if self.exclude is not None:
            kept = [item for item in pictures if not matches(item.where, self.exclude)]
            if left := _missing(pictures, kept):
                notice(f"{counted(left)} left out by data.source.exclude: {names(left)}")
            return kept
        masks = companions([item.where for item in pictures])
        if left := [item for item in pictures if item.where in masks]:
            notice(
                f"{counted(left)} left out, as the mask of a picture that it is named after:"
                f" {names(left)}",
                hint="'data.source.exclude=[]' takes every picture as a sample",
            )
        return [item for item in pictures if item.where not in masks]


def is_picture(path: Path) -> bool:
    """By its ending; where that is none of a picture's, by its first bytes.

    What is no regular file counts as one: reading it says why it can't be used.
    """
    if path.suffix.lower() in ENDINGS or not path.is_file():
        return True
    try:
        with path.open("rb") as file:
            begin = file.read(16)
    except OSError:
        return True
    return begin.startswith(SIGNATURES) or begin[:4] + begin[8:12] == b"RIFFWEBP"


def matches(where: str, patterns: Iterable[str]) -> bool:
    """Whether a path, or the name it ends with, fits one of the patterns."""
    name = PurePosixPath(where).name
    return any(fnmatchcase(where, p) or fnmatchcase(name, p) for p in patterns)


def companions(paths: Sequence[str]) -> set[str]:
    """Those that are a mask of another one: `x_mask.png` of `x.png`, `masks/x` of `images/x`."""
    places = [(path, PurePosixPath(path)) for path in paths]
    stems = {(place.parent, place.stem) for _, place in places}
    beside: defaultdict[tuple[PurePosixPath, str], set[str]] = defaultdict(set)
    for _, place in places:
        beside[place.parent.parent, place.stem].add(place.parent.name)
    found = set[str]()
    for path, place in places:
        named = MASK_STEM.fullmatch(place.stem)
        if named and (place.parent, named[1]) in stems:
            found.add(path)
        elif MASK_FOLDER.fullmatch(place.parent.name):
            stem = named[1] if named else place.stem
            others = beside[place.parent.parent, stem]
            if any(IMAGE_FOLDER.fullmatch(name) for name in others):
                found.add(path)
    return found


def names(items: Sequence[Listed]) -> str:
    """The first few of them."""
    shown = ", ".join(item.where for item in items[:SHOWN])
    return shown if len(items) <= SHOWN else f"{shown}, …"


def _tell_views(items: Sequence[Listed]) -> None:
    """Files named after another one by the same word: two views of one thing in two splits leak."""
    places = [PurePosixPath(item.where) for item in items]
    stems = {(place.parent, place.stem) for place in places}
    views: defaultdict[str, list[Listed]] = defaultdict(list)
    for item, place in zip(items, places, strict=True):
        named = VIEW_STEM.fullmatch(place.stem)
        if named and (place.parent, named[1]) in stems:
            views[named[2]].append(item)
    for word, found in views.items():
        if len(found) >= max(FEWEST_VIEWS, LEAST_VIEWS * len(items)):
            notice(
                f"{counted(found)} named after another one and {word!r} ({names(found)}): what"
                " shows the same thing may fall into two splits",
                hint=f"{typed('data.source.exclude', [f'*{word}.*'])} leaves them out",
            )


def counted(items: Sequence[Listed]) -> str:
    """How many files."""
    return f"{len(items)} file{'s' if len(items) != 1 else ''}"


def _missing(every: Sequence[Listed], kept: Sequence[Listed]) -> list[Listed]:
    there = {id(item) for item in kept}
    return [item for item in every if id(item) not in there]


def listed(root: Path, found: Found, label: str, split: str | None) -> Listed:
    """A file as it lies under the root."""
    return Listed(found, text(found.path.relative_to(root).as_posix()), label, split)
