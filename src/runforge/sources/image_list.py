"""Pictures that a CSV file lists with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runforge.errors import ConfigError, DataError
from runforge.files import leaves
from runforge.picture_files import Chooser
from runforge.picture_lists import PictureList, found
from runforge.sample import Sample


class ImageList:
    """A CSV file under the root: one row for each picture.

    `file`: the CSV file; null: the only one in the root that lists pictures. `path`: the column
    that names the pictures; null: the one whose cells are files there. `label`: the column of the
    label, a class or a value; null: the only other one, or one called so. `split_column`: the one
    that says train, validation or test; null: one called `split`, else runforge splits. `exclude`:
    patterns of pictures to leave out; null: masks.
    """

    def __init__(
        self,
        *,
        file: str | None = None,
        path: str | None = None,
        label: str | None = None,
        split_column: str | None = None,
        exclude: list[str] | None = None,
    ) -> None:
        self.file = file
        self.columns = {"path": path, "label": label, "split": split_column}
        self.chooser = Chooser(None, exclude)

    def samples(self, root: Path) -> Sequence[Sample]:
        """Lists every row's picture; raises `DataError` where the file can't be used."""
        return PictureList(root, self._path(root), **self.columns).samples(self.chooser)

    def _path(self, root: Path) -> Path:
        if self.file is None:
            if (only := found(root)) is not None:
                return only.file
            raise DataError(
                "there is no CSV file that lists pictures lying here",
                where=str(root),
                mend="name it: data.source.file=labels.csv",
            )
        path = root / self.file
        if not path.is_file():
            mend = "set data.root or data.source.file"
            raise DataError("there is no such file", where=str(path), mend=mend)
        if leaves(path, root):
            what, mend = f"{self.file} leaves the data folder", "move the file into data.root"
            raise ConfigError(what, where="data.source.file", mend=mend)
        return path
