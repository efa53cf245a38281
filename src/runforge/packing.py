"""From raw data to a prepared set: list, decode, split, check, pack.

The same data give the same bytes, whatever machine, folder or number of threads.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from runforge import near_duplicates, prepared, quality
from runforge.arrays import RowWriter, Selected, open_rows
from runforge.atomic import new_folder
from runforge.checksums import file_hash, write_checksums
from runforge.errors import ConfigError, DataError
from runforge.kept_rows import Keeper, Seen
from runforge.manifest import Entry, write_manifest, write_quarantine
from runforge.notices import collected
from runforge.quality import Noticed, Used
from runforge.reading import Reader, readable
from runforge.sample import SPLITS, Modality, Sample, Source, parse_number
from runforge.schema import Schema, TargetKind
from runforge.single_precision import packed_targets
from runforge.splitting import Shares, assign, unique_ids
from runforge.unchanged import unchanged

ENTRY_FIELDS = tuple(field.name for field in fields(Entry))


@dataclass(frozen=True, slots=True)
class PackingSettings:
    """What packing reads of the configuration."""

    target_kind: TargetKind
    target_name: str
    split_validation: float
    """Share of the data, 0..1, where the data give no validation split."""
    split_test: float
    split_salt: str
    max_refused: float
    """Share of the samples, 0..1, that may be refused."""
    allow_leakage: bool

    def __post_init__(self) -> None:
        if self.split_validation + self.split_test >= 1:
            raise ConfigError(
                "validation and test share leave nothing to train on",
                where="data.split",
                mend="make their sum less than 1",
            )

    def label_problem(self, label: str) -> str | None:
        """Why a label can't be used; None where it can."""
        if label == "":
            return f"it has no label ({self.target_name})"
        if self.target_kind == "value" and parse_number(label) is None:
            return f"its label {label[:40]!r} is no finite number"
        return None


def pack(  # noqa: PLR0913 - the parts, their origin and where to, each named by the caller
    source: Source,
    modality: Modality,
    *,
    modality_node: Mapping[str, Any],
    source_node: Mapping[str, Any],
    root: Path,
    folder: Path,
    settings: PackingSettings,
    workers: int,
    progress: bool = True,
    kept: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Schema:
    """Writes the prepared set of the data under `root` to `folder`, whole or not at all.

    Rows that an earlier packing left in the folder `kept` are not decoded again; `say` is told of
    it. What is written is the same with them and without.
    Raises `DataError` where the data can't be used: too many refused, leakage, an empty split, a
    class without training samples, or a change of the data meanwhile.
    """
    with (
        new_folder(folder) as temporary,
        unchanged(root, besides=temporary),
        collected() as notices,
    ):
        samples = _listed(source, root)
        if not samples:
            raise DataError("there are no samples", where=str(root), mend="add data")
        layout = modality.layout(readable(samples))
        # The row of a table is decoded as fast as it is read.
        files = modality.columns(layout) is None
        keeper = Keeper(kept if files else None, _decoding(modality, modality_node, layout))
        before = keeper.open()
        reader = Reader(modality, layout, settings.label_problem, workers, kept=before)
        packing = _Packing(root, temporary, settings, samples, keeper, say, notices)
        return packing.run(reader, dict(modality_node), dict(source_node), progress)


def _decoding(modality: Modality, node: Mapping[str, Any], layout: Mapping[str, Any]) -> str:
    """Stands for everything but its content that a decoded row is a function of."""
    code = (sys.modules[type(modality).__module__], near_duplicates)
    parts = [Path(str(module.__file__)).read_bytes() for module in code]
    parts += [json.dumps([node, layout], sort_keys=True).encode(), PIL.__version__.encode()]
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).hexdigest()


def _listed(source: Source, root: Path) -> Sequence[Sample]:
    try:
        return source.samples(root)
    except OSError as error:
        reason, mend = error.strerror or str(error), "check its name and who may read it"
        what = f"can't be listed ({reason})"
        raise DataError(what, where=str(error.filename or root), mend=mend) from error


@dataclass(frozen=True, slots=True)
class _Listing:
    """What became of each sample, and what was written of them."""

    contents: Sequence[str | None]
    reasons: Sequence[str | None]
    packed_shape: tuple[int, ...]
    packed_dtype: str
    remarks: Mapping[str, int]
    """How often the modality remarked on something."""
    seen: Seen
    """Of each sample that can be used."""
    kept: int
    """How many were not decoded, but had been before."""


@dataclass(frozen=True, slots=True)
class _Packing:
    """One packing, in its steps."""

    root: Path
    folder: Path
    settings: PackingSettings
    samples: Sequence[Sample]
    keeper: Keeper
    say: Callable[[str], None]
    notices: list[str]
    """What a person should know of the data, as it is noticed."""

    def run(
        self,
        reader: Reader,
        modality_node: dict[str, Any],
        source_node: dict[str, Any],
        progress: bool,
    ) -> Schema:
        listing = self._decode(reader, progress)
        self._tell(reader, listing)
        quality.check_refused(self.samples, listing.reasons, self.settings.max_refused)
        with ThreadPoolExecutor(1) as beside:
            inputs_hash = beside.submit(file_hash, self.folder / prepared.INPUTS)
            used = self._used(listing)
            classes = quality.class_names(self.samples) if self._is_class else []
            self._check(used, classes)
            targets = self._targets(used, classes)
            entries = list(_entries(self.samples, listing, used))
            self._write(entries, targets)
            schema = self._schema(reader, modality_node, listing, used, classes, targets)
            hashes = {prepared.INPUTS: inputs_hash.result()}
        fingerprint = _fingerprint(schema, entries, hashes[prepared.INPUTS], targets)
        schema = replace(schema, source=source_node, fingerprint=fingerprint)
        schema.write(self.folder / prepared.SCHEMA)
        write_checksums(self.folder, prepared.FILES, hashes)
        self.keeper.keep(self.folder / prepared.INPUTS, hashes[prepared.INPUTS], listing.seen)
        return schema

    def _tell(self, reader: Reader, listing: _Listing) -> None:
        if reader.kept.damaged:
            self.say("the rows kept from before are damaged: all are decoded again")
        if listing.kept:
            decoded = len(self.samples) - listing.kept
            self.say(f"{listing.kept} samples were decoded before, {decoded} now")

    def _write(self, entries: Sequence[Entry], targets: np.ndarray) -> None:
        write_manifest(entries, self.folder / prepared.MANIFEST)
        write_quarantine(entries, self.folder / prepared.QUARANTINE)
        np.save(self.folder / prepared.TARGETS, targets)

    def _schema(
        self,
        reader: Reader,
        modality_node: dict[str, Any],
        listing: _Listing,
        used: Used,
        classes: Sequence[str],
        targets: np.ndarray,
    ) -> Schema:
        training = np.flatnonzero(np.array(used.splits) == "train")
        mean, std = (0.0, 1.0) if self._is_class else _mean_and_std(targets[training])
        near = quality.near_pairs(used, listing.seen.gists)
        noticed = Noticed(listing.reasons, listing.remarks, near)
        return Schema(
            modality=modality_node,
            layout=dict(reader.layout),
            packed_shape=listing.packed_shape,
            packed_dtype=listing.packed_dtype,
            input_shape=reader.modality.input_shape(reader.layout),
            target_kind=self.settings.target_kind,
            target_name=self.settings.target_name,
            classes=tuple(classes),
            statistics=self._statistics(reader, training),
            target_mean=mean,
            target_std=std,
            split_counts=used.counts(classes) if self._is_class else _sizes(used),
            quality=quality.report(used, targets.tolist(), classes, noticed),
            notices=tuple(self.notices),
        )

    @property
    def _is_class(self) -> bool:
        return self.settings.target_kind == "class"

    def _decode(self, reader: Reader, progress: bool) -> _Listing:
        contents: list[str | None] = []
        reasons: list[str | None] = []
        remarks = Counter[str]()
        seen, kept = Seen(), 0
        with RowWriter(self.folder / prepared.INPUTS) as writer:
            for decoded in reader.read(self.samples, progress=progress):
                contents.append(decoded.content)
                reasons.append(decoded.refused)
                remarks.update(decoded.remarks)
                if decoded.row is not None and decoded.content is not None:
                    writer.append(decoded.row)
                    seen.add(decoded.content, decoded.remarks, decoded.gist)
                kept += decoded.kept
        shape, dtype = writer.shape, str(writer.dtype)
        return _Listing(contents, reasons, shape, dtype, remarks, seen, kept)

    def _used(self, listing: _Listing) -> Used:
        found = zip(self.samples, listing.contents, listing.reasons, strict=True)
        pairs = [(sample, c) for sample, c, reason in found if reason is None and c is not None]
        samples, contents = [sample for sample, _ in pairs], [content for _, content in pairs]
        settings = self.settings
        shares = Shares(settings.split_validation, settings.split_test, settings.split_salt)
        return Used(samples, contents, assign(contents, [s.split for s in samples], shares))

    def _check(self, used: Used, classes: Sequence[str]) -> None:
        if not self.settings.allow_leakage:
            quality.check_leakage(self.root, used)
        shares = {"validation": self.settings.split_validation, "test": self.settings.split_test}
        quality.check_splits(self.root, used, shares)
        if self._is_class:
            quality.check_classes(self.root, used, classes)

    def _targets(self, used: Used, classes: Sequence[str]) -> np.ndarray:
        """int64 indices of classes, or float32 values."""
        labels = [sample.label for sample in used.samples]
        if self._is_class:
            index = {name: code for code, name in enumerate(classes)}
            return np.array([index[label] for label in labels], dtype=np.int64)
        values = np.array([float(label) for label in labels])
        return packed_targets(values, self.settings.target_name)

    def _statistics(self, reader: Reader, training: np.ndarray) -> dict[str, list[float]]:
        rows = Selected(open_rows(self.folder / prepared.INPUTS), training)
        return reader.modality.statistics(rows, reader.layout)


def _entries(samples: Sequence[Sample], listing: _Listing, used: Used) -> Iterator[Entry]:
    ids = zip(unique_ids(used.contents), used.splits, count(), strict=False)
    for sample, content, reason in zip(samples, listing.contents, listing.reasons, strict=True):
        if reason is not None:
            yield Entry(content, sample.where, sample.label, None, None, reason)
        else:
            identity, split, row = next(ids)
            yield Entry(identity, sample.where, sample.label, split, row, None)


def _sizes(used: Used) -> dict[str, dict[str, int]]:
    sizes = Counter(used.splits)
    return {split: {"": sizes[split]} for split in SPLITS}


def _mean_and_std(values: np.ndarray) -> tuple[float, float]:
    """Mean and population deviation; 1 where the values are all the same."""
    wide = values.astype(np.float64)
    return float(wide.mean()), float(wide.std()) if wide.min() < wide.max() else 1.0


def _fingerprint(
    schema: Schema, entries: Sequence[Entry], inputs_hash: str, targets: np.ndarray
) -> str:
    """Over what the set holds, never over where it lies."""
    digest = hashlib.blake2b(digest_size=16)
    held = {k: v for k, v in schema.to_dict().items() if k not in ("source", "notices")}
    digest.update(json.dumps(held, sort_keys=True).encode())
    for entry in entries:
        digest.update(json.dumps([getattr(entry, name) for name in ENTRY_FIELDS]).encode())
    digest.update(inputs_hash.encode())
    digest.update(targets.tobytes())
    return digest.hexdigest()
