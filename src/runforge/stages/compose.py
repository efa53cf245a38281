"""compose: `conf/` → `params.yaml`."""

from __future__ import annotations

import argparse
import sys

from runforge import config
from runforge.dvc_files import experiment
from runforge.errors import ConfigError


def run(_: argparse.Namespace) -> None:
    """Writes `params.yaml`, or only checks it where DVC has composed it for an experiment.

    `dvc exp run -S …` composes the same `conf/` with its overrides before any stage runs; writing
    the file again would lose them in silence.
    """
    project = config.find_project()
    if experiment(project) is not None:
        config.read_params(project)
        return
    composed = config.compose(project)
    before = config.params_root(project)
    config.write_params(project, composed)
    _refuse_moved_root(before, composed.settings.data.root)
    print(f"compose: {config.PARAMS} holds conf/", file=sys.stderr)


def _refuse_moved_root(before: str | None, now: str) -> None:
    """DVC has resolved what `prepare` depends on before this stage: it must begin anew."""
    if before in (None, now):
        return
    raise ConfigError(
        f"data.root is now {now}, and was {before} when `dvc repro` began",
        where=config.PARAMS,
        mend="it is written: run `dvc repro` once more",
    )
