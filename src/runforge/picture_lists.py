"""A CSV file that lists pictures with their labels, read and held against the files there are.

A cell may be a path relative to the root or to the CSV file's folder, a path of which the first
folders differ (`train/x.png` where `images/train/x.png` lies), a name, or a name without ending.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from runforge import dialect
from runforge.cells import Row, check_header, checked, decoded, some
from runforge.dialect import Wanted
from runforge.errors import DataError
from runforge.files import Found, entries, walk
from runforge.notices import notice
from runforge.overrides import typed
from runforge.picture_files import Chooser, Listed, counted, is_picture, listed, matches, names
from runforge.sample import Sample
from runforge.split_folders import split_of

LABELS = ("label", "class", "target", "category", "labels", "class_name", "class_label", "y")
SPLIT_COLUMNS = ("split", "subset", "partition", "set")
TRIED_ROWS = 200
"""Of which the columns are guessed."""


class PictureList:
    """The rows of one file, and the pictures under the root; columns that are None are found."""

    def __init__(
        self,
        root: Path,
        file: Path,
        *,
        path: str | None = None,
        label: str | None = None,
        split: str | None = None,
    ) -> None:
        self.root, self.file = root, file
        self.header, self.rows = _read(file)
        self.given = {"path": path, "label": label, "split_column": split}
        for key, column in self.given.items():
            if column is not None and column not in self.header:
                raise DataError(
                    f"there is no column {column!r}, only {some(self.header)}",
                    where=str(file),
                    mend=f"set data.source.{key}",
                )

    @cached_property
    def pictures(self) -> _Pictures:
        """Every file under the root that may be one."""
        above = self.root.resolve()
        found = [listed(self.root, item, "", None) for item in walk(self.root, (above,))]
        return _Pictures([item for item in found if is_picture(item.found.path)])

    @cached_property
    def path(self) -> str | None:
        """The column of the pictures: the one that names most files."""
        if self.given["path"] is not None:
            return self.given["path"]
        counts = {name: self._named(number) for number, name in enumerate(self.header)}
        best = max(counts, key=lambda name: counts[name], default=None)
        enough = best is not None and 2 * counts[best] > len(self.rows[:TRIED_ROWS])
        return best if enough else None

    def _named(self, column: int) -> int:
        """How many different files a column's first cells name."""
        place = self.file.parent.relative_to(self.root).as_posix()
        cells = [row[column] for row in self.rows[:TRIED_ROWS]]
        return len({str(f) for c in cells if len(f := self.pictures.find(c, place)) == 1})

    @cached_property
    def split(self) -> str | None:
        """The column that says train, validation or test in every row."""
        if self.given["split_column"] is not None:
            return self.given["split_column"]
        for number, name in enumerate(self.header):
            cells = [row[number] for row in self.rows]
            if name.casefold() in SPLIT_COLUMNS and all(map(split_of, cells)):
                return name
        return None

    @cached_property
    def label(self) -> str | None:
        """The only other column, or the one that has a label's name."""
        if self.given["label"] is not None:
            return self.given["label"]
        others = [name for name in self.header if name not in ("", self.path, self.split)]
        named = [name for name in others if name.casefold() in LABELS]
        found = others if len(others) == 1 else named
        return found[0] if len(found) == 1 else None

    def samples(self, chooser: Chooser) -> list[Sample]:
        """A sample for each row whose picture is not excluded; raises `DataError`.

        A row without a picture is one that is refused.
        """
        if self.path is None or self.label is None:
            key, what = ("path", "names pictures") if self.path is None else ("label", "is a label")
            raise DataError(
                f"no column certainly {what}; there are {some(self.header)}",
                where=str(self.file),
                mend=f"name it: data.source.{key}=COLUMN",
            )
        self._tell(self.path, self.label)
        numbers = [self.header.index(name) for name in (self.path, self.label)]
        split = self.header.index(self.split) if self.split else None
        items = [
            self._item(
                line, row[numbers[0]], row[numbers[1]], None if split is None else row[split]
            )
            for line, row in enumerate(self.rows, 1)
        ]
        self._tell_unlisted(items)
        chosen = chooser.chosen(items)
        return [Sample(item.where, item.label, item.split, item.found.read) for item in chosen]

    def _item(self, number: int, cell: str, label: str, split: str | None) -> Listed:
        place = self.file.parent.relative_to(self.root)
        found = self.pictures.find(cell, place.as_posix())
        given = None if split is None else split_of(split)
        if split and given is None:
            raise DataError(
                f"{split!r} in column {self.split!r} is no split",
                where=f"{self.file}#{number}",
                mend="use train, validation, test, or leave it empty",
            )
        if len(found) == 1:
            return Listed(found[0].found, found[0].where, label, given)
        why = "no picture" if not found else f"{len(found)} pictures, such as {names(found)}"
        where = f"{(place / self.file.name).as_posix()}#{number}"
        return Listed(Found(self.file, f"{cell!r} names {why}"), where, label, given)

    def _tell(self, path: str, label: str) -> None:
        guessed = {k: c for k, c in self._columns(path, label).items() if c and not self.given[k]}
        if guessed:
            told = ", ".join(f"{key} {column!r}" for key, column in guessed.items())
            keys = ", ".join(f".{key}" for key in guessed)
            hint = f"with data=image_list, data.source{keys} name other columns"
            what = f"the samples are what it lists; columns found: {told}"
            notice(what, where=self.file.name, hint=hint)

    def _columns(self, path: str, label: str) -> dict[str, str | None]:
        return {"path": path, "label": label, "split_column": self.split}

    def _tell_unlisted(self, items: Sequence[Listed]) -> None:
        named = {item.where for item in items}
        if left := [item for item in self.pictures.items if item.where not in named]:
            notice(f"{counted(left)} left out, as not listed: {names(left)}", where=self.file.name)


@dataclass(frozen=True)
class _Pictures:
    """Files by path, by name and by name without ending."""

    items: list[Listed]

    @cached_property
    def _by_path(self) -> dict[str, Listed]:
        return {item.where: item for item in self.items}

    @cached_property
    def _by_name(self) -> dict[str, list[Listed]]:
        found: defaultdict[str, list[Listed]] = defaultdict(list)
        for item in self.items:
            place = PurePosixPath(item.where)
            for name in {place.name, place.stem}:
                found[name].append(item)
        return found

    def find(self, cell: str, place: str) -> list[Listed]:
        """The files that a cell may name: one where it is clear."""
        plain = cell.strip().replace("\\", "/").removeprefix("./").lstrip("/")
        if not plain:
            return []
        for path in (plain, (PurePosixPath(place) / plain).as_posix()):
            if path in self._by_path:
                return [self._by_path[path]]
        parts = PurePosixPath(plain)
        near = self._by_name.get(parts.name, [])
        ends = (f"/{plain}", f"/{plain}.")
        exact = [i for i in near if f"/{i.where}".endswith(ends[0]) or ends[1] in f"/{i.where}"]
        return exact or (near if len(near) == 1 else [])


def found(root: Path) -> PictureList | None:
    """The only CSV file in the root that lists pictures with labels; None where there is none."""
    files = [
        p for p in entries(root) if p.is_file() and matches(p.name.lower(), ("*.csv", "*.tsv"))
    ]
    lists = list[PictureList]()
    for file in files:
        try:
            made = PictureList(root, file)
        except DataError:
            continue
        if made.path is not None:
            lists.append(made)
    if len(lists) > 1:
        raise DataError(
            f"{lists[0].file.name} and {lists[1].file.name} both list pictures",
            where=str(root),
            mend=f"name one: data=image_list {typed('data.source.file', lists[0].file.name)}",
        )
    return lists[0] if lists else None


def _read(file: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows."""
    content, _ = decoded(file, None)
    form = dialect.find(content, None, None, Wanted([], None))
    try:
        rows = [Row(line, cells) for line, cells in form.rows(content)]
    except csv.Error as error:
        raise DataError(str(error), where=str(file), mend="check its quotes") from error
    if len(rows) < 2:
        raise DataError("has no rows", where=str(file), mend="it must have a header and rows")
    header = rows[0].cells
    check_header(file, header, [""])
    return header, list(checked(file, iter(rows[1:]), len(header)))
