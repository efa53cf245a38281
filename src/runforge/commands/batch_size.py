"""`runforge batch-size`: the largest batch that a training has memory for."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from runforge import config
from runforge.batch_sizes import COLUMNS, HANDED_OVER, MARGIN, BatchSizes
from runforge.config import Composed
from runforge.driver import assist
from runforge.errors import ConfigError
from runforge.job import Job
from runforge.launch import launched
from runforge.overrides import quoted
from runforge.preparation import shared_set
from runforge.terminal import print_table


def run(options: argparse.Namespace) -> None:
    """Prints the override to standard output, the table to standard error."""
    project = config.find_project()
    composed = config.compose(project, quoted(options.overrides))
    _refuse_several(composed)
    with launched(composed.settings, "size") as started:
        prepared = shared_set(project, composed.settings)
        job = Job.probe(
            "size",
            composed.values,
            folder=started.folder / "probes",
            prepared=prepared,
            memory_bytes=options.memory,
        )
        found = BatchSizes.from_text(assist(job, started)[HANDED_OVER])
    _tell(found)
    if found.largest is None:
        what = f"not even {found.tried[0].size} samples fit into {found.limit_bytes / 1e9:.3g} GB"
        mend = "take a smaller network or smaller samples (data.modality)"
        raise ConfigError(what, where="data.batch_size", mend=mend)
    if options.json:
        print(json.dumps({"batch_size": found.largest, **asdict(found)}))
    else:
        print(f"data.batch_size={found.largest}")


def _refuse_several(composed: Composed) -> None:
    machine = composed.settings.machine
    if machine.devices != 1 or machine.nodes > 1 or machine.strategy == "fsdp":
        mend = "find it for one (machine=auto), and take so many times as much for several"
        what = "the batch size is found on one device"
        raise ConfigError(what, where="machine.devices", mend=mend)


def _tell(found: BatchSizes) -> None:
    print_table(COLUMNS, [one.cells() for one in found.tried], right=COLUMNS[:4], to=sys.stderr)
    limit = f"{found.limit_bytes / 1e9:.3g} GB"
    print(f"of {limit}, of which {MARGIN:.0%} are left", file=sys.stderr)
    if found.largest == found.samples:
        print(f"the training split has no more than {found.samples} samples", file=sys.stderr)
    if found.fastest is not None:
        rate = f"{found.fastest.rate:,.0f} samples/s"
        print(f"fastest: data.batch_size={found.fastest.size}, {rate}", file=sys.stderr)
