"""Predicting raw samples by a bundle: decoded in threads while the device works on the last block.

B samples, C columns of predictions. Decoded rows wait in bounded number, whatever is given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from runforge.bundle import Model
from runforge.prediction_files import PredictedBlock, Quarantine
from runforge.reading import Reader
from runforge.sample import Rows

NOT_FINITE = "the model's output for it is nan or infinite"


@dataclass(frozen=True, slots=True)
class _Read:
    """A sample that was decoded."""

    where: str
    id: str
    row: np.ndarray
    remark: str


@dataclass(frozen=True, slots=True)
class Predictor:
    """A model on its device; `batch_size` samples are predicted at once."""

    model: Model
    device: torch.device
    batch_size: int
    progress: bool = False

    def blocks(self, given: Rows, quarantine: Quarantine) -> Iterator[PredictedBlock]:
        """What the model says of the samples, in their order; the rest goes into quarantine."""
        waiting: list[_Read] = []
        for read in self._read(given, quarantine):
            waiting.append(read)
            if len(waiting) == self.batch_size:
                yield from self._predicted(waiting, quarantine)
                waiting = []
        if waiting:
            yield from self._predicted(waiting, quarantine)

    def _read(self, given: Rows, quarantine: Quarantine) -> Iterator[_Read]:
        schema = self.model.schema
        reader = Reader(
            *(self.model.modality, schema.layout, _any_label, threads()),
            remarked=False,
            statistics=schema.statistics,
        )
        stream = reader.stream(given.samples, given.count, progress=self.progress, title="predict")
        for sample, decoded in stream:
            if decoded.row is None or decoded.id is None:
                quarantine.add(sample.where, decoded.refused or "")
            else:
                yield _Read(sample.where, decoded.id, decoded.row, "; ".join(decoded.remarks))

    def _predicted(self, read: list[_Read], quarantine: Quarantine) -> Iterator[PredictedBlock]:
        values = predict_rows(self.model, np.stack([one.row for one in read]), self.device)
        finite = np.isfinite(values).all(axis=1)
        for lost in np.flatnonzero(~finite):
            quarantine.add(read[lost].where, NOT_FINITE)
        kept = [one for one, whole in zip(read, finite, strict=True) if whole]
        if kept:
            where, ids = [one.where for one in kept], [one.id for one in kept]
            says = hasattr(self.model.modality, "strange")
            remarks = [one.remark for one in kept] if says else None
            yield PredictedBlock(where, ids, values[finite], self.model.schema.classes, remarks)


def predict_rows(model: Model, packed: np.ndarray, device: torch.device) -> np.ndarray:
    """Packed rows [B, ...] → predictions, float32 [B, C]."""
    with torch.inference_mode():
        outputs: torch.Tensor = model(torch.from_numpy(packed).to(device))
    return outputs.float().cpu().numpy()


def threads() -> int:
    """As many as this process may use cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _any_label(label: str) -> None:
    """What is only predicted needs no label."""
