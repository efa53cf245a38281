"""What a driver hands to its workers (`job.json`), and what comes back (a `Result`)."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from runforge.redaction import HIDDEN, redact

Step = Literal["train", "evaluate"]


@dataclass(frozen=True, slots=True)
class Job:
    """Everything one worker needs; paths are absolute."""

    steps: tuple[Step, ...]
    configuration: dict[str, Any]
    run_id: str
    run_name: str
    run_folder: str
    """Journal, checkpoints, job and result of this run; outlives the outputs."""
    prepared: str
    model: str
    """The bundle: written by `train`, read by `evaluate`."""
    evaluation: str
    tracking_uri: str = ""
    """Empty on a node that does not record."""
    lineage: dict[str, Any] = field(default_factory=dict)
    initial_bundle: str | None = None
    """The bundle whose weights training starts from."""
    quiet: bool = False
    """No progress bar, as for the trials of a sweep that share a terminal."""

    @property
    def journal(self) -> Path:
        """Metrics on their way to the store."""
        return Path(self.run_folder) / "journal.jsonl"

    @property
    def file(self) -> Path:
        """Where the driver writes the job."""
        return Path(self.run_folder) / "job.json"

    @property
    def checkpoints(self) -> Path:
        """What training goes on from after a restart, and the best weights so far."""
        return Path(self.run_folder) / "checkpoints"

    def write(self) -> None:
        """Writes `job.json`; what an earlier job of this run noted as done is to be done again.

        No credential is written: a worker has them where its driver had them.
        """
        Path(self.run_folder).mkdir(parents=True, exist_ok=True)
        for step in self.steps:
            self._note(step).unlink(missing_ok=True)
        values = {**asdict(self), "tracking_uri": redact(self.tracking_uri)}
        self.file.write_text(json.dumps(values, indent=2), encoding="utf-8")

    def done(self, step: Step) -> dict[str, str] | None:
        """What a step noted when it was done; None where it is to be done."""
        note = self._note(step)
        return dict(json.loads(note.read_text(encoding="utf-8"))) if note.is_file() else None

    def note_done(self, step: Step, tags: dict[str, str]) -> None:
        """Says that a step is done: workers that are started again need not repeat it."""
        _write_whole(self._note(step), tags)

    def _note(self, step: Step) -> Path:
        return Path(self.run_folder) / f"{step}-done.json"

    @classmethod
    def read(cls, path: Path) -> Job:
        """Reads what `write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        if HIDDEN in values["tracking_uri"]:
            values["tracking_uri"] = os.environ["MLFLOW_TRACKING_URI"].strip()
        return cls(**{**values, "steps": tuple(values["steps"])})


@dataclass(frozen=True, slots=True)
class Result:
    """How a worker ended: exit code 0 and no cause, or why not."""

    exit_code: int
    cause: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    """What the steps noted about the run."""
    final: bool = False
    """Doing it again would end the same way."""
    lost_contact: bool = False
    """It failed only because another rank did not answer."""
    trace: str = ""
    """The traceback of a fault of ours."""

    def write(self, path: Path) -> None:
        """Writes whole or not at all: a worker that was killed leaves no result."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Result | None:
        """What the worker wrote; None where it ended without a word."""
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _write_whole(path: Path, values: dict[str, Any]) -> None:
    beside = path.with_suffix(".partial")
    beside.write_text(json.dumps(values), encoding="utf-8")
    beside.replace(path)
