"""`runforge promote RUN`: a run becomes the champion if every gate holds; `--rollback`."""

from __future__ import annotations

import argparse
import json
import sys

from runforge import config
from runforge.errors import ConfigError, GateRefused


def run(options: argparse.Namespace) -> None:
    """Prints the gates to standard output; raises `GateRefused` where one does not hold."""
    _check(options)
    project = config.find_project()
    composed = config.compose(project, options.overrides)
    from runforge.tracking.store import open_store

    store = open_store(project, composed.settings.experiment_name)
    settings = composed.settings.promotion
    if options.rollback:
        from runforge.tracking.champion import roll_back

        now, before = roll_back(store, settings.model or composed.settings.data.name)
        moved = {"champion": now.run_id, "previous": before.run_id}
        print(json.dumps(moved) if options.json else now.run_id)
        return
    from runforge.promotion import promote
    from runforge.terminal import print_table

    decision = promote(store, project, options.run, settings)
    if options.json:
        print(decision.to_json())
    else:
        rows = [(gate.name, "yes" if gate.holds else "no", gate.told) for gate in decision.gates]
        print_table(("gate", "holds", "found"), rows)
    if not decision.promoted:
        failed = next(gate for gate in decision.gates if not gate.holds)
        raise GateRefused(f"run {decision.run_id} is refused: {failed.name}: {failed.told}")
    print(f"{decision.model}@champion is version {decision.version} now", file=sys.stderr)


def _check(options: argparse.Namespace) -> None:
    given = options.run
    if given is not None and "=" in given:  # an override in the place of the run
        options.overrides.insert(0, given)
        options.run = None
    if (options.run is None) != options.rollback:
        mend = "`runforge promote RUN`, or `runforge promote --rollback`"
        raise ConfigError("name a run, or --rollback, not both", where="promote", mend=mend)
