"""prepare: raw data → manifest, packed arrays and schema in `out/prepared/`."""

from __future__ import annotations

import argparse

from runforge import config, places, preparation


def run(_: argparse.Namespace) -> None:
    """Prepares the data that `params.yaml` names."""
    project = config.find_project()
    settings = config.read_params(project).settings
    preparation.prepare(project, settings, places.prepared(project))
