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
from runforge.arrays import RowWriter, Selected, keep_rows, open_rows
from runforge.atomic import new_folder
from runforge.checksums import file_hash, write_checksums
from runforge.errors import ConfigError, DataError
from runforge.kept_rows import Keeper, Seen
from runforge.manifest import Entry, write_manifest, write_quarantine
from runforge.notices import collected, notice
from runforge.quality import Noticed, Used
from runforge.reading import Reader, Samples
from runforge.sample import SPLITS, Examined, Modality, Sample, Source, parse_number
from runforge.schema import Conflicting, Schema, TargetKind
from runforge.single_precision import packed_targets
from runforge.splitting import Shares, assign, unique_ids
from runforge.twins import mark, twins
from runforge.unchanged import unchanged

CONTRADICTS = "target is another (data.conflicting=drop)"
"""Why a sample is left out; it is none of those that count as refused."""

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
    conflicting: Conflicting = "keep"
    """What becomes of samples with the same inputs and different targets."""

    def __post_init__(self) -> None:
        if self.split_validation + self.split_test >= 1:
            raise ConfigError(
                "validation and test share leave nothing to train on",
                where="data.split",
                mend="make their sum less than 1",
            )

    @property
    def shares(self) -> Shares:
        """Of the data, those that become splits."""
        return Shares(self.split_validation, self.split_test, self.split_salt)

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
        collected(say) as notices,
    ):
        samples = _listed(source, root)
        if not samples:
            raise DataError("there are no samples", where=str(root), mend="add data")
        layout = modality.layout(Samples(samples, _in_training(samples, settings)))
        # The row of a table is decoded as fast as it is read.
        files = modality.columns(layout) is None
        keeper = Keeper(kept if files else None, _decoding(modality, modality_node, layout))
        before = keeper.open()
        reader = Reader(modality, layout, settings.label_problem, workers, kept=before)
        packing = _Packing(root, temporary, settings, samples, keeper, say, notices)
        return packing.run(reader, dict(modality_node), dict(source_node), progress)


def _in_training(
    samples: Sequence[Sample], settings: PackingSettings
) -> Callable[[str | None, str], bool]:
    """Whether a sample of a given split and content falls into the training split."""
    shares = settings.shares.without({s.split for s in samples if s.split is not None})
    return lambda split, content: split in (None, "train") and shares.split(content) == "train"


def _decoding(modality: Modality, node: Mapping[str, Any], layout: Mapping[str, Any]) -> str:
    """Stands for everything but its content that a decoded row is a function of."""
    module = sys.modules[type(modality).__module__]
    names = {getattr(value, "__module__", None) for value in vars(module).values()}
    own = sorted(str(name) for name in names if str(name).startswith("runforge."))
    code = (near_duplicates, module, *(sys.modules[name] for name in own))
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

    ids: Sequence[str | None]
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
    marks: Sequence[int]
    """Of each sample that can be used: the checksum of its row."""
    dropped: int = 0
    """How many that could be used are left out, because their targets contradict one another."""


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
        listing = self._without_conflicts(listing)
        with ThreadPoolExecutor(1) as beside:
            inputs_hash = beside.submit(file_hash, self.folder / prepared.INPUTS)
            used = self._used(listing)
            quality.tell(used, self._values(used), listing.dropped)
            classes = quality.class_names(self.samples) if self._is_class else []
            self._check(used, classes)
            targets = self._targets(used, classes)
            entries = list(_entries(self.samples, listing, used))
            self._examine(reader, used, targets, classes)
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
        for remark, number in listing.remarks.items():
            what, named, hint = remark.partition("; ")
            if named:
                notice(f"{number} of {len(self.samples)} samples: {what}", hint=hint)

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
        refused = [None if r and r.endswith(CONTRADICTS) else r for r in listing.reasons]
        noticed = Noticed(refused, listing.remarks, near, listing.dropped)
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
        ids: list[str | None] = []
        contents: list[str | None] = []
        reasons: list[str | None] = []
        remarks = Counter[str]()
        seen, kept, marks = Seen(), 0, list[int]()
        with RowWriter(self.folder / prepared.INPUTS) as writer:
            for decoded in reader.read(self.samples, progress=progress):
                ids.append(decoded.id)
                contents.append(decoded.content)
                reasons.append(decoded.refused)
                remarks.update(decoded.remarks)
                if decoded.row is not None and decoded.id is not None:
                    writer.append(decoded.row)
                    marks.append(mark(decoded.row))
                    seen.add(decoded.id, decoded.remarks, decoded.gist)
                kept += decoded.kept
        shape, dtype = writer.shape, str(writer.dtype)
        return _Listing(ids, contents, reasons, shape, dtype, remarks, seen, kept, marks)

    def _without_conflicts(self, listing: _Listing) -> _Listing:
        """Where asked for, samples whose targets contradict one another are refused after all."""
        if self.settings.conflicting == "keep":
            return listing
        used = self._used(listing)
        dropped = quality.contradicting(used, self._values(used))
        if not dropped:
            return listing
        if self.settings.conflicting == "refuse":
            raise quality.conflict(self.root, used, dropped)
        kept = [row for row in range(len(used.samples)) if row not in dropped]
        keep_rows(self.folder / prepared.INPUTS, kept)
        reasons = list(listing.reasons)
        places = [place for place, reason in enumerate(reasons) if reason is None]
        for row, other in dropped.items():
            reasons[places[row]] = f"its inputs are those of {other}, its {CONTRADICTS}"
        return replace(
            listing,
            reasons=reasons,
            seen=listing.seen.of(kept),
            marks=[listing.marks[row] for row in kept],
            dropped=len(dropped),
        )

    def _values(self, used: Used) -> list[object]:
        """The targets as they are told apart."""
        labels = (sample.label for sample in used.samples)
        return list(labels) if self._is_class else [float(label) for label in labels]

    def _used(self, listing: _Listing) -> Used:
        found = zip(self.samples, listing.ids, listing.contents, listing.reasons, strict=True)
        used = [(s, i, c) for s, i, c, reason in found if reason is None and i and c]
        samples = [sample for sample, _, _ in used]
        ids, contents = [identity for _, identity, _ in used], [content for *_, content in used]
        splits = assign(ids, contents, [s.split for s in samples], self.settings.shares)
        rows = open_rows(self.folder / prepared.INPUTS) if contents else np.empty(0)
        alike = [contents[first] for first in twins(rows, listing.marks)]
        return Used(samples, contents, splits, alike, ids)

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

    def _examine(
        self, reader: Reader, used: Used, targets: np.ndarray, classes: Sequence[str]
    ) -> None:
        examine = getattr(reader.modality, "examine", None)
        if examine is None:
            return
        rows, splits = open_rows(self.folder / prepared.INPUTS), np.array(used.splits)
        examined = Examined(
            *(rows, targets, self.settings.target_name, classes, splits),
            lambda: ((sample.whole or sample.read)() for sample in used.samples),
        )
        examine(examined, reader.layout)

    def _statistics(self, reader: Reader, training: np.ndarray) -> dict[str, list[float]]:
        rows = Selected(open_rows(self.folder / prepared.INPUTS), training)
        return reader.modality.statistics(rows, reader.layout)


def _entries(samples: Sequence[Sample], listing: _Listing, used: Used) -> Iterator[Entry]:
    ids = zip(unique_ids(used.ids), used.splits, count(), strict=False)
    for sample, found, reason in zip(samples, listing.ids, listing.reasons, strict=True):
        if reason is not None:
            yield Entry(found, sample.where, sample.label, None, None, reason)
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
