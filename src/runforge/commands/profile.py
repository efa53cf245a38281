"""`runforge profile`: where the time of a training's steps goes, and what to mend first."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from runforge import config, places, profile_file
from runforge.auto import Chooser
from runforge.errors import ConfigError
from runforge.launch import launched
from runforge.meanings import key_of
from runforge.overrides import quoted
from runforge.profile_file import Profile

SHORT = (
    "trainer.profile=true",
    "trainer.max_epochs=1",
    "trainer.steps_per_epoch=400",
    "trainer.validation_steps=1",
    "experiment_name=runforge-profiles",
)
"""What is different from the training that is profiled, unless the user gives it."""


def run(options: argparse.Namespace) -> None:
    """Prints the table to standard output; the run keeps it with a picture and a trace."""
    project = config.find_project()
    given = quoted(options.overrides)
    chosen = {key_of(override) for override in given}
    short = [override for override in SHORT if key_of(override) not in chosen]
    ready = Chooser(project).chosen(config.compose(project, [*short, *given]))
    settings = ready.composed.settings
    with launched(settings, "train") as started:
        from runforge.one_run import Plan, execute

        title = f"profile-{settings.title}"
        plan = Plan(project, ready.composed, title, ("train",), quiet=True, choices=ready.choices)
        run_id = execute(plan, started)
    if run_id is not None:
        _show(places.run_folder(project, run_id) / profile_file.FOLDER, as_json=options.json)


def _show(folder: Path, *, as_json: bool) -> None:
    if not (folder / profile_file.FILE).is_file():
        mend = "let it take 20 or more"
        raise ConfigError("too few steps to measure", where="trainer.steps_per_epoch", mend=mend)
    profile = Profile.read(folder)
    if as_json:
        print(json.dumps({**asdict(profile), "step_ms": profile.step_ms}))
    else:
        _print(profile)
    print(profile.advice(), file=sys.stderr)
    trace = folder / profile_file.TRACE
    if trace.is_file():
        print(f"trace: {trace} (open it in https://ui.perfetto.dev)", file=sys.stderr)


def _print(profile: Profile) -> None:
    from runforge.terminal import print_table

    rows = [
        (name, f"{ms:.3f}", f"{profile.share(name):.1%}") for name, ms in profile.parts_ms.items()
    ]
    rows.append(("a step", f"{profile.step_ms:.3f}", f"{profile.batch_size} samples"))
    print_table(("part", "ms", "share"), rows, right=("ms", "share"))
