"""`runforge compare RUN RUN [RUN…]`: what differs, and whether it is more than chance."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from runforge import config
from runforge.console import json_text
from runforge.errors import UserError


def run(options: argparse.Namespace) -> None:
    """Prints and records what was found; `--json`: one object in place of tables."""
    page = _page(options.html)
    project = config.find_project()
    experiment = config.experiment_name(project)
    from runforge.comparing import told  # Only now: mistakes are told without MLflow.
    from runforge.comparing.files import PAGE, write_comparison
    from runforge.comparing.found import check_references, compare
    from runforge.comparing.recorded import record
    from runforge.tracking.store import open_store

    check_references(options.runs)
    store = open_store(project, experiment)
    with TemporaryDirectory(prefix="runforge-compare-") as temporary:
        folder = Path(temporary, "comparison")
        comparison, found = compare(store, options.runs, Path(temporary), diff=options.diff)
        write_comparison(folder, comparison, store.project, [one.fingerprint for one in found])
        if not options.json:
            told.print_comparison(comparison)
            sys.stdout.flush()  # what can't be shown is not recorded at each try
        run_id = record(store, comparison, folder, shlex.join(["runforge", *sys.argv[1:]]))
        if page is not None:
            shutil.copy(folder / PAGE, page)
    if options.json:
        print(json_text({"run_id": run_id, **comparison.to_dict()}))
    print(f"comparison: recorded as run {run_id}", file=sys.stderr)


def _page(given: str | None) -> Path | None:
    if given is None:
        return None
    path = Path(given)
    if path.is_dir() or not path.parent.is_dir():
        mend = "name a file in a folder that is there"
        raise UserError("no page can be written there", where=f"--html {given}", mend=mend)
    return path
