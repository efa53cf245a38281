"""`runforge sample NAME [FOLDER]`: writes a sample data set."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from runforge import config
from runforge.sample_sets import write_sample_set


def run(options: argparse.Namespace) -> None:
    """Writes the set to FOLDER, or to where its recipe looks for it; prints the folder."""
    folder = Path(options.folder) if options.folder else _default_folder(options.name)
    write_sample_set(options.name, folder)
    print(folder)


def _default_folder(name: str) -> Path:
    project = config.find_project()
    recipe = project / "conf" / "data" / f"{name}.yaml"
    if not recipe.is_file():
        return project / "samples" / name
    return project / str(yaml.safe_load(recipe.read_text(encoding="utf-8"))["root"])
