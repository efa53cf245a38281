"""train: prepared set → bundle in `out/model/`, and a run in the MLflow store."""

from __future__ import annotations

import argparse
import sys

from runforge import config, places
from runforge.auto import Chooser
from runforge.launch import launched
from runforge.prepared import check_whole


def run(_: argparse.Namespace) -> None:
    """Trains on `out/prepared/` as `params.yaml` says."""
    project = config.find_project()
    given, prepared = config.read_params(project), places.prepared(project)
    chosen = Chooser(project).chosen(given, prepared)
    with launched(chosen.composed.settings, "train") as started:
        check_whole(prepared)
        # Imported only now: the workers import torch while this imports MLflow.
        from runforge.one_run import Plan, execute

        plan = Plan(
            project,
            chosen.composed,
            chosen.composed.settings.title,
            steps=("train",),
            prepared=prepared,
            model=places.model(project),
            choices=chosen.choices,
        )
        run_id = execute(plan, started)
    if run_id is not None:
        print(f"train: run {run_id}", file=sys.stderr)
