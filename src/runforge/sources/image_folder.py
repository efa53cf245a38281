"""Folders of pictures, one folder for each class.

Either `<root>/<class>/**`, which runforge splits, or `<root>/<split folder>/<class>/**`, whose
splits are taken as given. Whether a picture can be used, the modality says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runforge import picture_lists
from runforge.errors import ConfigError, DataError
from runforge.files import Found, entries, link_problem, text, walk
from runforge.notices import notice
from runforge.ordering import look_alikes
from runforge.overrides import typed
from runforge.picture_files import Chooser, Listed, counted, is_picture, listed, names
from runforge.sample import SPLITS, Sample
from runforge.split_folders import split_of


class ImageFolder:
    """Class folders; `splits` maps split names to the names of their folders under the root.

    Null: the usual names (`train`, `val`, `test_set`, …) where all folders have such. Splits are
    taken as given where the training folder is there. `include` and `exclude`: see
    `picture_files.Chooser`. A root with fewer than two folders and one CSV file that lists pictures
    with labels is taken as `ImageList` takes it.
    """

    def __init__(
        self,
        *,
        splits: dict[str, str] | None = None,
        include: list[str] | None = None,
        exclude: list[str] | None = None,
    ) -> None:
        for name in splits or ():
            if name not in SPLITS:
                raise ConfigError(
                    f"there is no split {name!r}",
                    where="data.source.splits",
                    mend=f"use {', '.join(SPLITS)}",
                )
        self.splits = splits
        self.chooser = Chooser(include, exclude)

    def samples(self, root: Path) -> Sequence[Sample]:
        """Lists every picture under the class folders; raises `DataError` on a layout of no use."""
        folders = _folders(root)
        present = self._split_folders(root, folders)
        if len(folders) < 2 and not present:
            by_list = picture_lists.found(root)
            if by_list is not None:
                return by_list.samples(self.chooser)
        if not present:
            return [_sample(item) for item in _Listing(root, None, root, self.chooser).items()]
        self._check_folders(root, folders, present)
        found = [
            item
            for name in SPLITS
            if name in present
            for item in _Listing(root, name, present[name], self.chooser).items()
        ]
        _check_splits(root, found)
        return [_sample(item) for item in [*found, *_strays(root, root, None)]]

    def _split_folders(self, root: Path, folders: list[Path]) -> dict[str, Path]:
        """The folders of the splits that are there, by split."""
        if self.splits is not None:
            return {s: root / f for s, f in self.splits.items() if root / f in folders}
        known = {folder: split_of(folder.name) for folder in folders}
        if not any(split and _folders(folder) for folder, split in known.items()):
            return {}
        found = dict[str, Path]()
        for folder, split in known.items():
            if split in found:
                raise DataError(
                    f"{found[split].name}/ and {folder.name}/ both mean the {split} split",
                    where=str(root),
                    mend=f"name the right one: data.source.splits.{split}=FOLDER",
                )
            if split is not None:
                found[split] = folder
        for split, folder in found.items():
            if folder.name.casefold() != split:
                hint = "data.source.splits may say otherwise"
                notice(f"{folder.name}/ is taken as the {split} split", hint=hint)
        return found

    def _check_folders(self, root: Path, folders: list[Path], present: dict[str, Path]) -> None:
        if "train" not in present:
            raise DataError(
                f"there is {next(iter(present.values())).name}/ but no folder to train on",
                where=str(root),
                mend="name it: 'data.source.splits={train: FOLDER, test: FOLDER}'",
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
    chooser: Chooser

    def items(self) -> list[Listed]:
        self._check_link()
        classes = _folders(self.folder)
        _check_classes(self.folder, classes, self.split)
        every = [item for path in classes for item in self._of_class(path)]
        found = self.chooser.chosen(every)
        _check_filled(classes, found)
        return found + _strays(self.root, self.folder, self.split)

    def _check_link(self) -> None:
        reason = link_problem(self.folder, (self.root.resolve(),)) if self.split else None
        if reason is not None:
            mend = "put the folder itself there"
            raise DataError(f"it is {reason}", where=str(self.folder), mend=mend)

    def _of_class(self, folder: Path) -> list[Listed]:
        above = (self.root.resolve(), self.folder.resolve())
        label = text(folder.name)
        return [listed(self.root, item, label, self.split) for item in walk(folder, above)]


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


def _strays(root: Path, folder: Path, split: str | None) -> list[Listed]:
    """Pictures that lie beside the class folders: no class, so they go to quarantine.

    Other files there are no samples; they are told.
    """
    reason = "it lies in no class folder"
    files = [path for path in entries(folder) if not path.is_dir()]
    items = [listed(root, Found(path, reason), "", split) for path in files]
    pictures = [item for item in items if is_picture(item.found.path)]
    if others := [item for item in items if item not in pictures]:
        notice(f"{counted(others)} in no class folder, so no sample: {names(others)}")
    return pictures


def _sample(item: Listed) -> Sample:
    return Sample(item.where, item.label, item.split, item.found.read)


def _check_classes(folder: Path, classes: list[Path], split: str | None) -> None:
    found = [path.name for path in classes]
    if not found:
        mend = "lay it out as <class>/<files>, or list the pictures in a CSV file: data=image_list"
        if split not in (None, "train"):
            mend = "lay it out as <class>/<files>; without labels, move it out of data.root"
        raise DataError("there are no class folders", where=str(folder), mend=mend)
    if len(found) == 1:
        mend = "add another class"
        if len(inner := _folders(classes[0])) > 1:
            deeper = typed("data.root", str(classes[0]))
            mend = f"if {inner[0].name} and {inner[1].name} are classes: {deeper}"
        raise DataError(f"there is one class only ({found[0]})", where=str(folder), mend=mend)
    for group in look_alikes(found):
        same = ", ".join(map(repr, group))
        raise DataError(
            f"these class folders look the same: {same}", where=str(folder), mend="merge them"
        )


def _check_filled(classes: list[Path], found: list[Listed]) -> None:
    filled = {item.label for item in found}
    for folder in classes:
        if text(folder.name) not in filled:
            empty = next(walk(folder, (folder.parent.resolve(),)), None) is None
            what = "the class folder is empty" if empty else "no picture of it is left"
            mend = "fill it or remove it" if empty else "see data.source.include and .exclude"
            raise DataError(what, where=str(folder), mend=mend)


def _check_splits(root: Path, found: list[Listed]) -> None:
    known = {item.label for item in found if item.split == "train"}
    for item in found:
        if item.label not in known:
            raise DataError(
                f"the {item.split} split has the class {item.label!r}, training has not",
                where=str(root),
                mend="add training samples of it or remove it",
            )
