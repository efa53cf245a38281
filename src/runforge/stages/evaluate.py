"""evaluate: prepared set + bundle → `out/evaluation/` and `metrics.json`, recorded in the run that
trained."""

from __future__ import annotations

import argparse
import sys

from runforge import bundle_file, config, places
from runforge.auto import kept
from runforge.handover import on_this_node
from runforge.launch import launched
from runforge.prepared import check_whole


def run(_: argparse.Namespace) -> None:
    """Evaluates `out/model/` on `out/prepared/` as `params.yaml` says, on this node alone."""
    project = config.find_project()
    # On as many threads as the training was, so that making it again gives the same.
    composed = kept(project, config.read_params(project), places.prepared(project)).composed
    trained = bundle_file.read(places.model(project))
    with launched(on_this_node(composed.settings), "evaluate") as started:
        check_whole(places.prepared(project))
        # Imported only now: the workers import torch while this imports MLflow.
        from runforge.one_run import evaluate_again

        run_id = evaluate_again(project, composed, trained, started)
    from runforge.shown_by_dvc import hand_over
    from runforge.summary import print_figures

    hand_over(project)
    print_figures(places.evaluation(project))
    report = places.evaluation(project) / "report.html"
    print(f"evaluate: run {run_id}, {report}", file=sys.stderr)
