"""What came of a sweep's trials: a table, and the best by validation with its test figure."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runforge import selection
from runforge.errors import RunforgeError
from runforge.terminal import print_table, print_text, with_interval
from runforge.tracking.best import Group, groups, score
from runforge.tracking.find import children
from runforge.tracking.run import Run
from runforge.tracking.search import PRIMARY_METRIC, RunInfo
from runforge.tracking.store import Store
from runforge.wording import counted


class TrialsFailed(RunforgeError):
    """Some trials of a sweep failed; the others are recorded all the same."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the trials."""

    trials: tuple[RunInfo, ...]
    """Those on the same data together, the best first; then those with nothing to go by."""
    groups: tuple[Group, ...]
    """The finished ones, by data and metric."""

    @classmethod
    def of(cls, trials: Sequence[RunInfo]) -> Outcome:
        """Chosen by the validation figure of each."""
        found = groups(trial for trial in trials if trial.status == "FINISHED")
        ranked = [trial for group in found for trial in group.runs]
        return cls((*ranked, *(t for t in trials if t not in ranked)), tuple(found))

    @property
    def best(self) -> RunInfo | None:
        """None where there is no single one: no figure to go by, or figures of different kinds."""
        return self.groups[0].best if len(self.groups) == 1 else None


def record(store: Store, parent: Run) -> Outcome:
    """Writes the table of trials to the parent run, and the figures of the best."""
    found = Outcome.of(children(store, parent.run_id))
    parent.log_table("trials.json", [_row(trial) for trial in found.trials])
    best = found.best
    if best is not None:
        measured = f"{best.tags.get(PRIMARY_METRIC, '').partition('/')[0]}/"
        shown = (measured, selection.PREFIX)  # what it learned on the way is on its own page
        parent.log_figures({k: v for k, v in best.metrics.items() if k.startswith(shown)})
        tags = (PRIMARY_METRIC, selection.METRIC, selection.HELD_OUT)
        own = {"runforge.best_trial": best.name, "runforge.best_run_id": best.run_id}
        parent.set_tags({**own, **{tag: best.tags[tag] for tag in tags if tag in best.tags}})
    return found


def _row(trial: RunInfo) -> dict[str, str | float]:
    """Test figures are none of it: they choose nothing, and each trial's run has its own."""
    by = score(trial)
    chosen_by = {} if by is None else {by.metric: by.value}
    cause = {"error": trial.tags["runforge.error"]} if "runforge.error" in trial.tags else {}
    known = {"trial": trial.name, "status": trial.status}
    return {**known, **chosen_by, "run_id": trial.run_id, **cause}


def tell(found: Outcome) -> None:
    """Prints the table of trials, the best first; raises where one did not finish."""
    scores = {trial.run_id: score(trial) for trial in found.trials}
    metrics = {by.metric for by in scores.values() if by is not None}
    rows = []
    for trial in found.trials:
        by = scores[trial.run_id]
        told = "–" if by is None else f"{by.value:.4g}" if len(metrics) == 1 else str(by)
        rows.append((trial.name, told, trial.status, trial.run_id[:8]))
    columns = ("trial", f"{' or '.join(sorted(metrics))} (chosen by)", "status", "run")
    print_table(columns, rows, to=sys.stderr)
    for line in _winners(found):
        print_text(line, to=sys.stderr)
    lost = [trial for trial in found.trials if trial.status != "FINISHED"]
    if lost:
        names = "; ".join(trial.name for trial in lost)
        count = counted(len(found.trials), "trial")
        raise TrialsFailed(f"{len(lost)} of {count} did not finish: {names}")


def _winners(found: Outcome) -> Iterator[str]:
    if not found.groups:
        yield "no trial has a validation figure to be chosen by"
    if len(found.groups) > 1:
        yield "no single best: the trials differ in their data or their metric; of each:"
    for group in found.groups:
        best = group.best
        yield f"best trial {best.name}: {group.score}; {_headline(best)}; run {best.run_id[:8]}"


def _headline(trial: RunInfo) -> str:
    """What the chosen one is worth, by samples that did not choose it."""
    name = trial.tags.get(PRIMARY_METRIC, "").rpartition(":")[0]
    ends = (trial.metrics.get(f"{name}_{end}") for end in ("low", "high"))
    return f"{name} {with_interval(trial.metrics.get(name), *ends)}"
