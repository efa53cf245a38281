"""`runforge reproduce RUN`: makes a run again from its lineage, and holds the two together."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from runforge import config
from runforge.console import json_text
from runforge.errors import NotReproduced

if TYPE_CHECKING:
    from runforge.reproduction.verdict import Verdict


def run(options: argparse.Namespace) -> None:
    """Prints what was compared and the verdict; raises `NotReproduced` unless it is identical."""
    project = config.find_project()
    from runforge.reproduction.again import make_again  # Only now: MLflow takes seconds.

    verdict = make_again(project, options.run)
    if options.json:
        print(json_text(verdict.to_dict()))
    else:
        _print(verdict)
    if not verdict.is_identical:
        cause = f" ({verdict.cause})" if verdict.cause else ""
        raise NotReproduced(f"{verdict.verdict}{cause}: {verdict.because}")


def _print(verdict: Verdict) -> None:
    print(f"run {verdict.run_id}, made again as {verdict.made_again or 'none'}")
    print(f"data: {verdict.data_from}")
    for difference in verdict.environment:
        print(f"environment: {difference}")
    for check in verdict.checks:
        print(f"{check.name}: {check.state}{f' ({check.text})' if check.text else ''}")
    print(f"verdict: {verdict.verdict}")
