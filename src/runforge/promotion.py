"""Promoting a run: it is held against every gate, and its model becomes the champion or not."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from runforge import evidence
from runforge.errors import ConfigError, StoreError
from runforge.gates import Evidence, Gate, Lost, Origin, judge
from runforge.report.card import Subject, card
from runforge.schema import Schema
from runforge.settings import PromotionSettings
from runforge.tracking import champion
from runforge.tracking.find import find_run
from runforge.tracking.registry import ModelVersion, with_alias
from runforge.tracking.run import Run
from runforge.tracking.search import RunInfo
from runforge.tracking.store import Store
from runforge.tracking.values import facts

CARD = "model_card.md"
_NAME = re.compile(r"[^/:@'\"]+")


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a run that was to be promoted."""

    model: str
    version: str
    run_id: str
    champion: str | None
    """Run id of the champion that it was held against."""
    gates: tuple[Gate, ...]

    @property
    def promoted(self) -> bool:
        """Whether it is the champion now."""
        return all(gate.holds for gate in self.gates)

    def to_json(self) -> str:
        """One object."""
        return json.dumps({**asdict(self), "promoted": self.promoted})


def promote(
    store: Store,
    project: Path,
    reference: str,
    settings: PromotionSettings,
    *,
    replace: bool = False,
) -> Decision:
    """Holds the run that `reference` means against every gate; makes it the champion if all hold.

    `replace`: also where the champion's run is gone, so that nothing can tell which is better.
    Raises `UserError` where it can't be judged: it did not finish, is the champion already, or what
    it takes is not there. Nothing is changed then.
    """
    run = _finished(store, reference)
    model = model_name(settings.model or run.parameters.get("data.name", ""))
    with champion.one_at_a_time(store):
        holder = with_alias(store, model, champion.CHAMPION)
        if holder and holder.run_id == run.run_id:
            mend = "promote another run: `runforge promote RUN`"
            raise StoreError(f"it is {model}@champion already", where=f"run {run}", mend=mend)
        found = _judged(store, project, run, holder, settings, replace)
        version = champion.register(store, model, run.run_id)
        other = holder.run_id if holder else None
        decision = Decision(model, version.version, run.run_id, other, found.gates)
        # First the alias, then what says so: what was cut off in between says too little.
        if decision.promoted:
            champion.move(store, version, holder)
        _record(store, run, version, found, decision)
    return decision


def model_name(name: str) -> str:
    """The name that a model is registered by; raises `ConfigError` where MLflow takes no such."""
    if not _NAME.fullmatch(name):
        mend = "letters, digits, blanks, dots and dashes: promotion.model=NAME"
        raise ConfigError(f"{name!r} can't be a model's name", where="promotion.model", mend=mend)
    return name


def _finished(store: Store, reference: str) -> RunInfo:
    run = find_run(store, reference)
    if run.status != "FINISHED":
        mend = "name a run that finished: `runforge runs --status finished`"
        raise StoreError(f"it is {run.status.lower()}", where=f"run {run}", mend=mend)
    return run


@dataclass(frozen=True, slots=True)
class _Judged:
    candidate: Evidence
    schema: Schema
    gates: tuple[Gate, ...]


def _judged(
    store: Store,
    project: Path,
    run: RunInfo,
    holder: ModelVersion | None,
    settings: PromotionSettings,
    replace: bool,
) -> _Judged:
    candidate, data = evidence.evidence_of(store, run), evidence.set_of(project, run)
    folder = evidence.bundle_of(store, project, run.run_id)
    difference = evidence.export_difference(candidate, folder, data)
    other: Evidence | Lost | None = None
    if holder is not None:
        other = evidence.evidence_of_champion(store, holder.run_id, candidate, data)
        other = other or Lost(holder.run_id, replace)
    gates = judge(candidate, other, _origin(run), difference, settings)
    return _Judged(candidate, data.schema, gates)


def _origin(run: RunInfo) -> Origin:
    tags = run.tags
    clean = tags.get("runforge.git_dirty") == "false"
    return Origin(
        git_commit=tags.get("runforge.git_commit"),
        changes_kept=clean or tags.get("runforge.patch") in ("none", "whole"),
        data_hash=tags.get("runforge.data_dvc_hash"),
        reproduction=tags.get("runforge.reproduction"),
    )


def _record(
    store: Store, run: RunInfo, version: ModelVersion, found: _Judged, decision: Decision
) -> None:
    """On the version: decision, gates and card; of one that is promoted the card on its run too."""
    numbers, predictions = found.candidate.numbers, found.candidate.predictions
    with TemporaryDirectory() as folder:
        origin = facts(store, run, Path(folder))
    subject = Subject(run.run_id, run.name, origin, numbers, predictions, found.schema)
    text = card(subject, decision)
    said = "promoted" if decision.promoted else "refused"
    gates = json.dumps([asdict(gate) for gate in decision.gates])
    champion.note(store, version, {champion.DECISION: said, champion.GATES: gates}, text)
    if decision.promoted:
        Run(store, run.run_id).log_text(text, CARD)
