"""Reading and decoding of many samples: parallel, in order, in bounded memory, with progress."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from runforge.errors import Refused
from runforge.kept_rows import KeptRows
from runforge.near_duplicates import hash_of
from runforge.sample import Modality, Raw, Sample, content_id

CHUNK_SAMPLES = 32
"""Samples of one task of a thread: few, so that little waits in memory."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of one sample: a packed row, or the reason why not."""

    id: str | None
    """Of the sample as it lies there; None: it could not be read."""
    content: str | None
    """Equal where what is learned from is equal; None where it is refused."""
    row: np.ndarray | None
    refused: str | None
    remarks: Sequence[str] = ()
    """What the modality says of a sample that it decoded."""
    gist: int | None = None
    """Of a picture: the hash by which near-duplicates are found; None where it has none."""
    kept: bool = False
    """Whether it was decoded before, not now."""


def readable(samples: Sequence[Sample]) -> Iterator[Raw]:
    """What can be read of the samples, lazily."""
    for sample in samples:
        try:
            yield sample.read()
        except Refused:
            continue


def identity_of(sample: Sample, raw: Raw) -> str:
    """Of the sample as it lies there, whatever was read of it."""
    return content_id(raw if sample.whole is None else sample.whole())


@dataclass(frozen=True, slots=True)
class Samples:
    """`sample.Raws` of samples; `in_training` tells by the split that is given, and the content."""

    samples: Sequence[Sample]
    in_training: Callable[[str | None, str], bool]

    def __iter__(self) -> Iterator[Raw]:
        """All that can be read."""
        return readable(self.samples)

    def spread(self, most: int) -> Iterator[Raw]:
        """At most so many, spread evenly over their listing."""
        total = len(self.samples)
        count = min(most, total)
        return readable([self.samples[number * total // count] for number in range(count)])

    def training(self) -> Iterator[Raw]:
        """Those of the training split."""
        for sample in self.samples:
            for raw in readable([sample]):
                if self.in_training(sample.split, identity_of(sample, raw)):
                    yield raw


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads and decodes samples with `workers` threads; `label_problem` may refuse a label."""

    modality: Modality
    layout: Mapping[str, Any]
    label_problem: Callable[[str], str | None]
    workers: int
    remarked: bool = True
    """Whether remarks and gists are taken."""
    kept: KeptRows = field(default_factory=KeptRows)
    statistics: Mapping[str, Sequence[float]] | None = None
    """Of training; what is unlike it is remarked on where nothing else is."""

    def read(
        self, samples: Sequence[Sample], *, progress: bool, title: str = "prepare"
    ) -> Iterator[Decoded]:
        """What became of each sample, in their order, whatever thread was first."""
        for _, decoded in self.stream(samples, len(samples), progress=progress, title=title):
            yield decoded

    def stream(
        self, samples: Iterable[Sample], total: int | None, *, progress: bool, title: str
    ) -> Iterator[tuple[Sample, Decoded]]:
        """Each sample with what became of it, in their order; they are listed as they are needed.

        `total` is for the bar; None: not known.
        """
        with warnings.catch_warnings(), _bar(progress) as bar:
            # Set once, outside the threads, which share it: a file that can't be decoded is told
            # as refused; Pillow's remarks on odd metadata concern nobody.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            task = bar.add_task(title, total=total)
            for chunk in self._chunks(iter(samples)):
                yield from chunk
                bar.advance(task, len(chunk))

    def _chunks(self, samples: Iterator[Sample]) -> Iterator[list[tuple[Sample, Decoded]]]:
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: deque[Future[list[tuple[Sample, Decoded]]]] = deque()

            def submit(count: int) -> None:
                for _ in range(count):
                    if chunk := list(islice(samples, CHUNK_SAMPLES)):
                        waiting.append(pool.submit(self._all, chunk))

            submit(4 * self.workers)
            try:
                while waiting:
                    yield waiting.popleft().result()
                    submit(1)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _all(self, samples: Sequence[Sample]) -> list[tuple[Sample, Decoded]]:
        of_a_table = self.modality.columns(self.layout) is not None
        return [(sample, self._one(sample, of_a_table)) for sample in samples]

    def _one(self, sample: Sample, of_a_table: bool) -> Decoded:
        identity: str | None = None
        try:
            raw = sample.read()
            identity = identity_of(sample, raw)
            problem = self.label_problem(sample.label)
            if problem is not None:
                raise Refused(problem)
            if (before := self.kept.find(identity)) is not None:
                seen = before.remarks, before.gist
                return Decoded(identity, identity, before.row, None, *seen, kept=True)
            return self._decoded(identity, raw, of_a_table)
        except Refused as refused:
            return Decoded(identity, None, None, str(refused))

    def _decoded(self, identity: str, raw: Raw, of_a_table: bool) -> Decoded:
        remarks = list[str]()
        row = self.modality.decode(raw, self.layout, remarks if self.remarked else None)
        # Of a table's row some columns may be left out, and what is left be written in two ways.
        content = content_id(row) if of_a_table else identity
        if self.remarked:
            # Showing the row of a table costs more than packing it, and gives no picture.
            gist = None if of_a_table else self._gist(row)
            return Decoded(identity, content, row, None, remarks, gist)
        strange = getattr(self.modality, "strange", None)
        if self.statistics is not None and strange is not None:
            remarks = strange(raw, row, self.layout, self.statistics)
        return Decoded(identity, content, row, None, remarks)

    def _gist(self, row: np.ndarray) -> int | None:
        picture = self.modality.show(row, self.layout).picture
        return None if picture is None else hash_of(picture)


class _Rate(ProgressColumn):
    """Samples a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{math.ceil(speed):,} samples/s")


def _bar(progress: bool) -> Progress:
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate()),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not progress)
