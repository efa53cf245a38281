"""What a driver hands to its workers (`job.json`), and what comes back (a `Result`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from runforge import profile_file
from runforge.atomic import write_whole

Step = Literal["choose", "size", "train", "evaluate"]


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
    lineage: dict[str, Any] = field(default_factory=dict)
    initial_bundle: str | None = None
    """The bundle whose weights training starts from."""
    quiet: bool = False
    """No progress bar, as for the trials of a sweep that share a terminal."""
    memory_bytes: int | None = None
    """What the step `size` may take; None: what there is."""

    @classmethod
    def probe(
        cls,
        step: Step,
        configuration: dict[str, Any],
        *,
        folder: Path,
        prepared: Path,
        memory_bytes: int | None = None,
    ) -> Job:
        """A step that belongs to no run and leaves nothing but what it hands over."""
        return cls(
            steps=(step,),
            configuration=configuration,
            run_id="",
            run_name=step,
            run_folder=str(folder),
            prepared=str(prepared),
            model="",
            evaluation="",
            quiet=True,
            memory_bytes=memory_bytes,
        )

    @property
    def journal(self) -> Path:
        """Metrics on their way to the store."""
        return Path(self.run_folder) / "journal.jsonl"

    @property
    def system_journal(self) -> Path:
        """The machine's load on its way to the store."""
        return Path(self.run_folder) / "system-journal.jsonl"

    @property
    def mlflow_model(self) -> Path:
        """The model as MLflow has it, on its way to the store."""
        return Path(self.run_folder) / "mlflow-model"

    @property
    def file(self) -> Path:
        """Where the driver writes the job."""
        return Path(self.run_folder) / "job.json"

    @property
    def profile(self) -> Path:
        """Where the time of a step goes, measured where `trainer.profile` asks for it."""
        return Path(self.run_folder) / profile_file.FOLDER

    @property
    def checkpoints(self) -> Path:
        """What training goes on from after a restart, and the best weights so far."""
        return Path(self.run_folder) / "checkpoints"

    def write(self) -> None:
        """Writes `job.json`."""
        Path(self.run_folder).mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")

    def done(self, step: Step) -> dict[str, str] | None:
        """What a step noted when it was done; None where it is to be done."""
        note, written = self._note(step), Path(self.model if step == "train" else self.evaluation)
        if not note.is_file() or not written.is_dir():  # DVC takes a stage's outputs away
            return None
        return dict(json.loads(note.read_text(encoding="utf-8")))

    def repeat(self, step: Step) -> None:
        """Says that a step is to be done again, as if it had not been."""
        self._note(step).unlink(missing_ok=True)

    def note_done(self, step: Step, tags: dict[str, str]) -> None:
        """Says that a step is done: workers that are started again need not repeat it."""
        write_whole(self._note(step), json.dumps(tags))

    def _note(self, step: Step) -> Path:
        return _note(Path(self.run_folder), step)

    @classmethod
    def read(cls, path: Path) -> Job:
        """Reads what `write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**values, "steps": tuple(values["steps"])})


def is_done(run_folder: Path, step: Step) -> bool:
    """Whether a run has noted that a step is done."""
    return _note(run_folder, step).is_file()


def _note(run_folder: Path, step: Step) -> Path:
    return run_folder / f"{step}-done.json"


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
        write_whole(path, json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Result | None:
        """What the worker wrote; None where it ended without a word."""
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
