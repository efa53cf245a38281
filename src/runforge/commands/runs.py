"""`runforge runs`: lists runs, the newest first."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from runforge import config
from runforge.console import json_text
from runforge.errors import UserError

if TYPE_CHECKING:
    from runforge.tracking.search import RunInfo

STATUSES = ("RUNNING", "FINISHED", "FAILED", "KILLED", "SCHEDULED")
MOST = 50_000
"""As many as MLflow lists at once."""

COLUMNS = (
    *("id", "name", "status", "started", "duration"),
    *("validation", "main metric (95% interval)", "kind"),
)
"""`validation`: the main metric there, which `best` goes by."""


def run(options: argparse.Namespace) -> None:
    """Prints a table, or with `--json` one array."""
    count, status = _count(options.limit), _status(options.status)
    project = config.find_project()
    experiment = config.experiment_name(project)
    from runforge.tracking.find import list_runs  # Only now: mistakes are told without MLflow.
    from runforge.tracking.store import open_store

    store = open_store(project, experiment)
    found = list_runs(store, count=count, status=status, experiment=options.experiment)
    if options.json:
        print(json_text([described(run) for run in found]))
    elif not found:
        print("no runs")
    else:
        _print(found)


def described(run: RunInfo) -> dict[str, Any]:
    """A run as plain JSON values.

    `chosen_by` is the validation figure that `best` goes by, among runs that have the same
    `held_out`; `metrics` are the figures with an interval.
    """
    from runforge import selection
    from runforge.tracking.best import score
    from runforge.tracking.search import KIND, PRIMARY_METRIC

    primary, by = run.tags.get(PRIMARY_METRIC, "").rpartition(":")[0], score(run)
    main = [name for name in run.metrics if _interval(run, name)[0] is not None]
    return {
        "id": run.run_id,
        "name": run.name,
        "status": run.status,
        "started": run.started.isoformat(timespec="seconds"),
        "duration_s": (run.ended - run.started).total_seconds() if run.ended else None,
        "experiment_id": run.experiment_id,
        "kind": run.tags.get(KIND) or ("trial" if run.parent else "run"),
        "parent": run.parent,
        "error": run.tags.get("runforge.error"),
        "data": run.data_name or None,
        "held_out": run.tags.get(selection.HELD_OUT),
        "chosen_by": {"name": by.metric, "value": by.value} if by is not None else None,
        "primary": _figure(run, primary) if primary in run.metrics else None,
        "metrics": [_figure(run, name) for name in main],
    }


def _figure(run: RunInfo, name: str) -> dict[str, Any]:
    low, high = _interval(run, name)
    return {"name": name, "value": run.metrics[name], "low": low, "high": high}


def _interval(run: RunInfo, name: str) -> tuple[float | None, float | None]:
    return run.metrics.get(f"{name}_low"), run.metrics.get(f"{name}_high")


def _print(runs: list[RunInfo]) -> None:
    from runforge.terminal import print_table

    print_table(COLUMNS, (_row(run) for run in runs), right=("duration", "validation"))


def _row(run: RunInfo) -> tuple[str, ...]:
    from runforge.terminal import rounded, with_interval

    about = described(run)
    primary, kind, figure = about["primary"], about["kind"], ""
    if primary is not None:
        numbers = with_interval(primary["value"], primary["low"], primary["high"])
        figure = f"{primary['name']} {numbers}"
    return (
        run.run_id[:8],
        run.name,
        run.status.lower(),
        run.started.astimezone().strftime("%Y-%m-%d %H:%M"),
        _duration(about["duration_s"]),
        rounded(about["chosen_by"]["value"]) if about["chosen_by"] else "",
        figure,
        f"trial of {run.parent[:8]}" if run.parent and kind == "trial" else kind,
    )


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= MOST:
        return int(text)
    mend = f"give a whole number from 1 to {MOST}"
    raise UserError(f"{text!r} is no number of runs", where="--limit", mend=mend)


def _status(text: str | None) -> str | None:
    if text is None or text.upper() in STATUSES:
        return text and text.upper()
    mend = f"take one of {', '.join(s.lower() for s in STATUSES)}"
    raise UserError(f"there is no status {text!r}", where="--status", mend=mend)
