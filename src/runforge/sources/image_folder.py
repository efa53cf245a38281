"""Folders of files, one folder for each class.

Either `<root>/<class>/**`, which runforge splits, or `<root>/<split folder>/<class>/**`, whose
splits are taken as given. Files of any kind are listed: whether one can be used, the modality says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runforge.errors import ConfigError, DataError
from runforge.files import Found, entries, link_problem, text, walk
from runforge.ordering import look_alikes
from runforge.sample import SPLITS, Sample


class ImageFolder:
    """Class folders; `splits` maps split names to the names of their folders under the root.

    Splits are taken as given where the training folder of that map is there.
    """

    def __init__(self, *, splits: dict[str, str]) -> None:
        for name in splits:
            if name not in SPLITS:
                raise ConfigError(
                    f"there is no split {name!r}",
                    where="data.source.splits",
                    mend=f"use {', '.join(SPLITS)}",
                )
        self.splits = {name: splits[name] for name in SPLITS if name in splits}

    def samples(self, root: Path) -> Sequence[Sample]:
        """Lists every file under the class folders; raises `DataError` on a layout of no use."""
        folders = _folders(root)
        present = {s: root / f for s, f in self.splits.items() if root / f in folders}
        if not present:
            return _Listing(root, None, root).samples()
        self._check_folders(root, folders, present)
        found = [s for name, path in present.items() for s in _Listing(root, name, path).samples()]
        _check_splits(root, found)
        return found + list(_strays(root, root, None))

    def _check_folders(self, root: Path, folders: list[Path], present: dict[str, Path]) -> None:
        if "train" not in present:
            raise DataError(
                f"there is {next(iter(present.values())).name}/ but no folder to train on",
                where=str(root),
                mend="name the folders of the splits in data.source.splits",
            )
        for folder in folders:
            if folder not in present.values():
                raise DataError(
                    f"{folder.name}/ lies beside {present['train'].name}/ and is no split",
                    where=str(root),
                    mend="name it in data.source.splits or move it away",
                )


@dataclass(frozen=True, slots=True)
class _Listing:
    """The class folders under one folder."""

    root: Path
    split: str | None
    folder: Path

    def samples(self) -> list[Sample]:
        self._check_link()
        classes = _folders(self.folder)
        _check_classes(self.folder, [path.name for path in classes])
        found = [sample for path in classes for sample in self._of_class(path)]
        return found + list(_strays(self.root, self.folder, self.split))

    def _check_link(self) -> None:
        reason = link_problem(self.folder, (self.root.resolve(),)) if self.split else None
        if reason is not None:
            mend = "put the folder itself there"
            raise DataError(f"it is {reason}", where=str(self.folder), mend=mend)

    def _of_class(self, folder: Path) -> list[Sample]:
        found = [
            _sample(self.root, item, text(folder.name), self.split)
            for item in walk(folder, (self.root.resolve(), self.folder.resolve()))
        ]
        if not found:
            raise DataError(
                "the class folder is empty", where=str(folder), mend="fill it or remove it"
            )
        return found


def _folders(root: Path) -> list[Path]:
    if not root.exists():
        raise DataError(
            "there is no such folder",
            where=str(root),
            mend="put the data there (`dvc pull`, `runforge sample`) or set data.root",
        )
    if not root.is_dir():
        raise DataError("is no folder", where=str(root), mend="set data.root to a folder")
    return [path for path in entries(root) if path.is_dir()]


def _strays(root: Path, folder: Path, split: str | None) -> Iterator[Sample]:
    """Files that lie beside the class folders: no class, so they go to quarantine."""
    for path in entries(folder):
        if not path.is_dir():
            yield _sample(root, Found(path, "it lies in no class folder"), "", split)


def _sample(root: Path, found: Found, label: str, split: str | None) -> Sample:
    return Sample(text(found.path.relative_to(root).as_posix()), label, split, found.read)


def _check_classes(folder: Path, names: list[str]) -> None:
    if not names:
        raise DataError(
            "there are no class folders", where=str(folder), mend="lay it out as <class>/<files>"
        )
    if len(names) == 1:
        raise DataError(
            f"there is one class only ({names[0]})", where=str(folder), mend="add another class"
        )
    for group in look_alikes(names):
        listed = ", ".join(map(repr, group))
        raise DataError(
            f"these class folders look the same: {listed}", where=str(folder), mend="merge them"
        )


def _check_splits(root: Path, found: list[Sample]) -> None:
    known = {sample.label for sample in found if sample.split == "train"}
    for sample in found:
        if sample.label not in known:
            raise DataError(
                f"the {sample.split} split has the class {sample.label!r}, training has not",
                where=str(root),
                mend="add training samples of it or remove it",
            )
