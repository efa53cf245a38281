"""What a driver hands to its worker (`job.json`), and what comes back (`result.json`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Step = Literal["train", "evaluate"]


@dataclass(frozen=True, slots=True)
class Job:
    """Everything one worker needs; paths are absolute."""

    steps: tuple[Step, ...]
    configuration: dict[str, Any]
    run_id: str
    run_name: str
    tracking_uri: str
    run_folder: str
    """Journal, checkpoints, job and result of this run; outlives the outputs."""
    prepared: str
    model: str
    """The bundle: written by `train`, read by `evaluate`."""
    evaluation: str
    lineage: dict[str, Any]
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
    def result(self) -> Path:
        """Where the worker says how it ended."""
        return Path(self.run_folder) / "result.json"

    def write(self) -> None:
        """Writes `job.json` and clears away an earlier result."""
        Path(self.run_folder).mkdir(parents=True, exist_ok=True)
        self.result.unlink(missing_ok=True)
        self.file.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Job:
        """Reads what `write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**values, "steps": tuple(values["steps"])})


@dataclass(frozen=True, slots=True)
class Result:
    """How a worker ended: exit code 0 and no cause, or why not."""

    exit_code: int
    cause: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    """What the steps noted about the run."""

    def write(self, path: Path) -> None:
        """Writes whole or not at all: a worker that was killed leaves no result."""
        beside = path.with_suffix(".partial")
        beside.write_text(json.dumps(asdict(self)), encoding="utf-8")
        beside.replace(path)

    @classmethod
    def read(cls, path: Path) -> Result | None:
        """What the worker wrote; None where it ended without a word."""
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
