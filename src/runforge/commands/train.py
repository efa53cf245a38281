"""`runforge train`: one run, or with `-m` a sweep."""

from __future__ import annotations

import argparse
import sys

from runforge import config, places
from runforge.auto import Chooser
from runforge.job import Step
from runforge.launch import launched
from runforge.overrides import quoted
from runforge.preparation import check as check_data

STEPS: tuple[Step, ...] = ("train", "evaluate")


def run(options: argparse.Namespace) -> None:
    """Prints the run's id to standard output, all else to standard error."""
    project, overrides = config.find_project(), quoted(options.overrides)
    if options.multirun:
        from runforge.warm import warmth

        with warmth():  # imports torch once for all trials, while this imports MLflow
            from runforge import sweep

            sweep.run(project, overrides)
        return
    composed = config.compose(project, overrides)
    check_data(project, composed.settings.data)
    chosen = Chooser(project).chosen(composed)
    settings = chosen.composed.settings
    with launched(settings, *STEPS) as started:
        # Imported only now: a mistaken override is told seconds earlier without MLflow, and the
        # workers import torch meanwhile.
        from runforge.one_run import Plan, execute

        plan = Plan(project, chosen.composed, settings.title, STEPS, choices=chosen.choices)
        run_id = execute(plan, started)
    if run_id is None:
        return
    from runforge.summary import print_figures

    evaluation = places.run_folder(project, run_id) / "evaluation"
    print_figures(evaluation)
    print(f"report: {evaluation / 'report.html'}", file=sys.stderr)
    print(run_id)
