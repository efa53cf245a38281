"""Every value of every metric of a run."""

from __future__ import annotations

from runforge.tracking.store import Store, errors_of_store

SYSTEM = "system/"
"""What the names of the machine's own metrics begin with."""

Values = dict[str, dict[int, float]]
"""By name and step; of several at one step, the last."""


def metric_values(store: Store, run_id: str) -> Values:
    """All that training and evaluation logged; not the machine's load."""
    found: Values = {}
    with errors_of_store(store.uri, f"the metrics of run {run_id} can't be read"):
        for name in store.client.get_run(run_id).data.metrics:
            if not name.startswith(SYSTEM):
                history = store.client.get_metric_history(run_id, name)
                ordered = sorted(history, key=lambda point: point.timestamp)
                found[name] = {point.step: float(point.value) for point in ordered}
    return found
