"""`runforge sync`: delivers what waited on disk while the MLflow store was away."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from runforge import config
from runforge.errors import StoreError
from runforge.redaction import redact
from runforge.tracking.outbox import Delivery
from runforge.tracking.store import store_uri, sync
from runforge.wording import counted


def run(options: argparse.Namespace) -> None:
    """Prints each run with what it was given; raises `StoreError` where something still waits."""
    project = config.find_project()
    deliveries = sync(project)
    if options.json:
        print(json.dumps([asdict(delivery) for delivery in deliveries]))
    else:
        _tell(deliveries)
    left = next((delivery for delivery in deliveries if delivery.problem), None)
    if left is not None:
        raise StoreError(
            f"it does not take what waits for run {left.run_id}: {left.problem}",
            where=redact(store_uri(project)),
            mend=f"restore the run, or remove out/runs/{left.run_id}/outbox to give it up",
        )


def _tell(deliveries: Sequence[Delivery]) -> None:
    for delivery in deliveries:
        if delivery.problem is None:
            print(f"{delivery.run_id}: {counted(delivery.writes, 'write')} delivered")
    if not deliveries:
        print("nothing waits")
