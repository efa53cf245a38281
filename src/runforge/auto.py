"""`trainer.auto`: has the choices measured before a training, and puts them into what it does.

The run that then starts is configured as if they had been given by hand, so that it can be gone on
with and made again like any other. What was chosen is kept under `out/auto/`, so that the same
command chooses the same.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runforge import environment, places
from runforge.choices import COLUMNS, HANDED_OVER, Choices
from runforge.config import Composed, flatten
from runforge.errors import Interrupted
from runforge.identity import code_hashes, joint
from runforge.job import Job, Result
from runforge.launch import Start, launched, new_interpreter
from runforge.settings import Settings
from runforge.signals import ENDING

NEITHER = (
    *("experiment_name", "seed", "init_from", "fresh", "schedule", "evaluation", "promotion"),
    *("data.name", "data.root", "data.source", "data.target", "data.split"),
    *("data.max_refused", "data.allow_leakage", "optimizer.learning_rate", "trainer.auto"),
    *("trainer.profile", "trainer.monitor", "trainer.monitor_mode", "trainer.keep"),
    *("trainer.patience", "machine.restarts", "machine.checkpoint_interval_s"),
    *("machine.timeout_s", "machine.stop_s"),
)
"""Keys that change nothing about how long a step takes, or how many there are."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a training is really configured with."""

    composed: Composed
    choices: Choices | None = None
    """None: nothing was to be chosen."""


class Chooser:
    """The choices of one command; of the trials of a sweep, which are alike share one."""

    def __init__(self, project: Path, *, start: Start = new_interpreter) -> None:
        self._project, self._start = project, start
        self._known: dict[str, Choices] = {}

    def chosen(self, composed: Composed, prepared: Path | None = None) -> Chosen:
        """Where `trainer.auto` asks for it, the configuration with what was chosen, now or before.

        `prepared` None: the shared set of this configuration, made if needed. Raises what stands in
        the way of preparing, and `Interrupted`; where nothing can be measured, it says so.
        """
        if not composed.settings.trainer.auto:
            return Chosen(composed)
        prepared = prepared or _shared_set(self._project, composed.settings)
        key = _key(composed, prepared)
        if key not in self._known:
            self._known[key] = self._found(composed, prepared, key)
        return _with(composed, self._known[key])

    def _found(self, composed: Composed, prepared: Path, key: str) -> Choices:
        from filelock import FileLock

        file = _file(self._project, key)
        file.parent.mkdir(parents=True, exist_ok=True)
        # One at a time: two that measure beside one another measure one another.
        with FileLock(file.parent / ".lock"):
            if composed.settings.fresh:
                file.unlink(missing_ok=True)
            kept = Choices.read(file)
            if kept is not None:
                _say(f"{kept.words}, as measured before (fresh=true measures again)")
                return kept
            found = self._measured(composed, prepared)
            if found is None:
                return Choices({}, ())
            found.write(file)
        return found

    def _measured(self, composed: Composed, prepared: Path) -> Choices | None:
        _say("measuring what makes this training shortest")
        machine = composed.settings.machine.model_copy(update={"restarts": 0})
        settings = composed.settings.model_copy(update={"machine": machine})
        with launched(settings, "choose", start=self._start) as started:
            folder = started.folder / "probes"
            job = Job.probe("choose", composed.values, folder=folder, prepared=prepared)
            result = started.do(job)
        if result.exit_code - 128 in ENDING:
            raise Interrupted(result.exit_code - 128)
        if result.exit_code:
            _say(f"nothing could be measured ({result.cause}); training as it was given")
            return None
        return _tell(result)


def kept(project: Path, composed: Composed, prepared: Path) -> Chosen:
    """The configuration with what was chosen for it before; as it is where nothing was."""
    if not composed.settings.trainer.auto:
        return Chosen(composed)
    choices = Choices.read(_file(project, _key(composed, prepared)))
    return _with(composed, choices or Choices({}, ()))


def _with(composed: Composed, choices: Choices) -> Chosen:
    values = choices.put_into(composed.values)
    return Chosen(
        replace(composed, values=values, settings=Settings.model_validate(values)), choices
    )


def _shared_set(project: Path, settings: Settings) -> Path:
    # Imported here: most commands start sooner without it.
    from runforge.preparation import shared_set

    return shared_set(project, settings)


def _file(project: Path, key: str) -> Path:
    return places.choices(project) / f"{key}.json"


def _key(composed: Composed, prepared: Path) -> str:
    """What the choices depend on: configuration, shape of the data, machine, and code."""
    from runforge.schema import Schema

    schema = Schema.read(prepared / "schema.json")
    counts = {split: schema.count(split) for split in schema.split_counts}
    data = [schema.packed_shape, schema.packed_dtype, schema.input_shape, len(schema.classes)]
    machine = [environment.cpu(), os.cpu_count(), environment.gpus(), os.getenv("OMP_NUM_THREADS")]
    return joint([_deciding(composed.values), counts, data, machine, code_hashes()])


def _deciding(values: dict[str, Any]) -> dict[str, Any]:
    def decides(key: str) -> bool:
        return not any(key == one or key.startswith(f"{one}.") for one in NEITHER)

    return {key: value for key, value in flatten(values).items() if decides(key)}


def _tell(result: Result) -> Choices:
    from runforge.terminal import print_table

    choices = Choices.from_text(result.tags[HANDED_OVER])
    cells = [tried.cells() for tried in choices.tried]
    print_table(COLUMNS, cells, right=COLUMNS[1:4], to=sys.stderr)
    for tried in choices.tried:
        if tried.cause:
            _say(f"{tried.choice} {tried.verdict}: {tried.cause}")
    _say(choices.words)
    return choices


def _say(text: str) -> None:
    print(f"auto: {text}", file=sys.stderr)
