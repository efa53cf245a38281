"""Preparing the data of a configuration, for the stage and for `runforge train` alike."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

from filelock import FileLock

from runforge import places, targets
from runforge.atomic import clear_what_was_left
from runforge.dvc_files import check_data
from runforge.errors import DataError
from runforge.overrides import typed
from runforge.packing import PackingSettings, pack
from runforge.prepared import check_whole
from runforge.sample_sets import check_unmixed
from runforge.schema import Schema
from runforge.settings import DataSettings, Settings, plain
from runforge.terminal import print_text
from runforge.unchanged import snapshot

TOLD = {
    "conflicting": "of the same inputs but different targets",
    "leaking": "contents in more than one split",
    "near_duplicates": "nearly the same as one of another split",
}
"""What the terminal is told beside the counts, where there is any; the schema holds all of it."""


RULES = 2
"""Raise it where the same data and keys give another set than before: older ones are not used."""


def prepare(project: Path, settings: Settings, folder: Path, *, quiet: bool = False) -> Schema:
    """Packs the data into `folder`, whole or not at all; raises `DataError`.

    Data that DVC tracks must be what it tracked: the run's lineage says so. The caller sees to it
    that nobody else prepares the same folder.
    """
    clear_what_was_left(folder)
    data, threads = settings.data, settings.machine.threads or os.cpu_count() or 1
    source_node, modality_node = plain(data.source), plain(data.modality)
    check_unmixed(data_root(project, data))
    check_data(project, data_root(project, data), threads)
    schema = pack(
        targets.build(source_node),
        targets.build(modality_node),
        modality_node=modality_node,
        source_node=source_node,
        root=data_root(project, data),
        folder=folder,
        settings=packing_settings(data),
        workers=threads,
        progress=not quiet,
        kept=places.kept_rows(project),
        say=_say,
    )
    _tell(schema)
    return schema


def check(project: Path, data: DataSettings) -> None:
    """Raises `DataError` for what can be told of the raw data without reading them.

    Called before anything heavy starts; what it looks at is imported for preparing anyway.
    """
    root, source = data_root(project, data), targets.build(plain(data.source))
    told = getattr(source, "check", None)
    if told is not None:
        told(root)


def shared_set(project: Path, settings: Settings, *, quiet: bool = False) -> Path:
    """The prepared set of this configuration's data as they lie there now, made if needed.

    Found by the keys that preparing reads and the names, sizes and times of the files, so that
    a sweep prepares once; processes that want the same set wait for the first.
    """
    folder = places.sets(project) / _key(project, settings.data)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        made = not (folder / "schema.json").is_file()
        if made:
            prepare(project, settings, folder, quiet=quiet)
    check_whole(folder)
    if not made:
        _tell(Schema.read(folder / "schema.json"))
    return folder


def data_root(project: Path, data: DataSettings) -> Path:
    """The folder of the raw data; raises `DataError` where there is none."""
    root, where = project / data.root, f"data.root={data.root}"
    try:
        there = root.is_dir()
    except OSError as error:
        mend = "set data.root to a folder"
        raise DataError(f"can't be a folder ({error.strerror})", where=where, mend=mend) from error
    if root.is_file():
        folder = os.path.relpath(root.parent, project)
        mend = f"set it to the folder that the file lies in: {typed('data.root', folder)}"
        raise DataError("it is a file", where=where, mend=mend)
    if not there:
        mend = "put data there, set data.root=FOLDER, or write samples: `runforge sample digits`"
        if data.root.startswith("~/"):
            mend = f"write the folder out: data.root={Path.home() / data.root[2:]}"
        raise DataError("there is no such folder", where=where, mend=mend)
    return root


def packing_settings(data: DataSettings) -> PackingSettings:
    """What packing reads of the configuration."""
    return PackingSettings(
        target_kind=data.target.kind,
        target_name=data.target_name,
        split_validation=data.split.validation,
        split_test=data.split.test,
        split_salt=data.split.salt,
        max_refused=data.max_refused,
        allow_leakage=data.allow_leakage,
        conflicting=data.conflicting,
    )


def _key(project: Path, data: DataSettings) -> str:
    digest = hashlib.blake2b(digest_size=10)
    read = data.model_dump(by_alias=True, exclude={"name", "batch_size"})
    digest.update(json.dumps([RULES, read], sort_keys=True).encode())
    for path, about in sorted(snapshot(data_root(project, data)).items()):
        digest.update(f"{path}\0{about}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _say(text: str) -> None:
    print_text(f"prepare: {text}", to=sys.stderr)


def _tell(schema: Schema) -> None:
    for noticed in schema.notices:
        _say(f"warning: {noticed}")
    _say(_summary(schema))


def _summary(schema: Schema) -> str:
    counts = ", ".join(f"{schema.count(split)} {split}" for split in schema.split_counts)
    found = schema.quality
    told = [f"{found[name]} {text}" for name, text in TOLD.items() if found[name]]
    told += [f"look alike: {' and '.join(map(repr, g))}" for g in found["look_alike_classes"]]
    return "; ".join(
        [counts, f"{found['refused']} refused", *told, f"fingerprint {schema.fingerprint[:12]}"]
    )
