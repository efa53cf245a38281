"""What a run's store could not take, kept on disk in order until it can.

`out/runs/<run id>/outbox/` is there while anything waits: `writes.jsonl` with one `Write` a line,
the mark of how far they are delivered, and under `files/` copies of what they take along, as DVC
may delete the originals. The process of the run, and any later command, deliver in this order.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from requests import RequestException

from runforge import places
from runforge.lines import LineReader, Mark, open_to_append
from runforge.redaction import redact
from runforge.tracking.away import is_away
from runforge.tracking.writes import Write, perform

RETRY_S = 15.0
"""After a store was found away, what follows is put with the rest for so long, untried."""


class Outbox:
    """The door through which a run is written: to the store, or to the disk while it is away."""

    def __init__(self, client: MlflowClient, project: Path, run_id: str) -> None:
        self._client = client
        self.run_id = run_id
        self.folder = places.run_folder(project, run_id) / "outbox"
        self._writes = self.folder / "writes.jsonl"
        self._again_at = 0.0

    @property
    def waits(self) -> bool:
        """True while the store lacks something."""
        return self._writes.exists()

    def give(self, write: Write, *, insist: bool = False) -> None:
        """Writes, after what waits; puts it with what waits where the store is away.

        `insist`: tries even where the store was away a moment ago. Raises where it refuses.
        """
        if (insist or time.monotonic() >= self._again_at) and self._took(write):
            return
        with self._alone():
            self._keep(write)

    def deliver(self) -> int:
        """Writes what waits; returns how many writes that were. Raises as MLflow does."""
        if not self.waits:
            return 0
        with self._alone():
            done = self._deliver()
            # This file first: without it nothing waits, whatever else is left of the folder.
            self._writes.unlink(missing_ok=True)
            shutil.rmtree(self.folder, ignore_errors=True)
        return done

    def _took(self, write: Write) -> bool:
        try:
            self.deliver()
            perform(self._client, self.run_id, write)
        except Exception as error:
            if not is_away(error):
                raise
            self._again_at = time.monotonic() + RETRY_S
            return False
        return True

    def _deliver(self) -> int:
        reader, mark = LineReader(self._writes), Mark(self._writes)
        reader.read(mark.read())
        offset, lines = reader.offset, reader.read()
        for line in lines:
            perform(self._client, self.run_id, self._read(line))
            offset += len(line) + 1
            mark.move(offset)
        return len(lines)

    def _read(self, line: bytes) -> Write:
        write = Write(**json.loads(line))
        return write if write.path is None else replace(write, path=str(self.folder / write.path))

    def _keep(self, write: Write) -> None:
        with open_to_append(self._writes) as file:
            if write.path is not None:
                source, kept = Path(write.path), Path("files", str(file.tell()))
                _copy(source, self.folder / kept / source.name)
                write = replace(write, path=str(kept / source.name))
            file.write(json.dumps(asdict(write)) + "\n")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Another command may be delivering."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder.with_suffix(".lock")):
            yield


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one run's outbox."""

    run_id: str
    writes: int
    problem: str | None = None
    """Why the rest still waits; None where nothing does."""


def deliver(client: MlflowClient, project: Path) -> list[Delivery]:
    """Delivers what waits for any run of the project; what the store does not take stays."""
    waiting = sorted(places.runs(project).glob("*/outbox/writes.jsonl"))
    return [_deliver_one(Outbox(client, project, path.parent.parent.name)) for path in waiting]


def tell_waiting(outbox: Outbox, store: str) -> None:
    """One line on standard error, where something waits."""
    if outbox.waits:
        print(
            f"runforge: {store} is away: what it lacks of run {outbox.run_id} waits in "
            f"{outbox.folder}; `runforge sync`, or the next command, delivers it",
            file=sys.stderr,
        )


def _deliver_one(outbox: Outbox) -> Delivery:
    try:
        return Delivery(outbox.run_id, outbox.deliver())
    except (MlflowException, RequestException) as error:
        return Delivery(outbox.run_id, 0, " ".join(redact(str(error)).split()))


def _copy(source: Path, target: Path) -> None:
    if target.parent.exists():
        shutil.rmtree(target.parent)  # of a process that was killed while it copied
    target.parent.mkdir(parents=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
