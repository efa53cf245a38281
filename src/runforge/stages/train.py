"""train: prepared set → bundle in `out/model/`, and a run in the MLflow store."""

from __future__ import annotations

import argparse
import sys

from runforge import config, places
from runforge.one_run import Plan, execute
from runforge.prepared import PreparedSet


def run(_: argparse.Namespace) -> None:
    """Trains on `out/prepared/` as `params.yaml` says."""
    project = config.find_project()
    composed = config.read_params(project)
    prepared = places.prepared(project)
    PreparedSet.open(prepared)
    plan = Plan(
        project,
        composed,
        composed.settings.title,
        steps=("train",),
        prepared=prepared,
        model=places.model(project),
    )
    print(f"train: run {execute(plan)}", file=sys.stderr)
