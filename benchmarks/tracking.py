"""What being tracked costs: a metric on the training's path, and in all, beside MLflow's own calls.

`python benchmarks/tracking.py [--quick] [--json] [PART…]`, from the project's folder. Parts (both
by default): `sqlite`, a store in a file, and `server`, `mlflow server` on loopback. In turns, for
the same metrics, ten at each step:

* journal: each step appended to the journal, as training does; what follows is another process's;
* forwarded: what the driver does with the same journal, until the store has all of it;
* one by one: `MlflowClient.log_metric`; by steps: `log_batch` for each step; batches: of 1000.

At last, how both grow with ten times as many metrics. Runs × 100 are `benchmarks/runs.py`'s.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import requests  # noqa: E402
from mlflow.entities import Metric  # noqa: E402

from benchmarks import turns  # noqa: E402
from runforge.journal import Journal  # noqa: E402
from runforge.tracking.forward import Forwarder  # noqa: E402
from runforge.tracking.run import Run  # noqa: E402
from runforge.tracking.store import Store, open_store  # noqa: E402

NAMES = tuple(f"train/metric_{number}" for number in range(10))
"""Of one step."""


def main() -> int:
    """Prints the tables, or with --json one object: microseconds a metric."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="sqlite, server")
    parser.add_argument("--quick", action="store_true", help="few metrics, few rounds")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    given = parser.parse_args()
    steps, rounds = (20, 2) if given.quick else (100, 7)
    found = {}
    for part in given.parts or ("sqlite", "server"):
        with tempfile.TemporaryDirectory() as folder, PLACES[part](Path(folder)) as store:
            found[part] = _measure(store, Path(folder), steps, rounds)
        turns.show(f"{part}, {10 * steps} metrics", found[part], "µs a metric", "one by one")
    first = next(iter(found.values()))
    if given.json:
        ratio = turns.ratio(first, "forwarded", "one by one")
        print(json.dumps({"ratio": ratio, "us_a_metric": found}))
    return 0


def _measure(store: Store, folder: Path, steps: int, rounds: int) -> turns.Found:
    """Microseconds a metric."""
    works: dict[str, Callable[[], float]] = {
        "journal": lambda: _journal(folder, steps)[1],
        "forwarded": lambda: _forwarded(store, folder, steps),
        "journal, × 10": lambda: _journal(folder, 10 * steps)[1],
        "forwarded, × 10": lambda: _forwarded(store, folder, 10 * steps),
        "one by one": lambda: _batched(store, steps, 1),
        "by steps": lambda: _batched(store, steps, len(NAMES)),
        "batches": lambda: _batched(store, steps, 1000),
    }
    return turns.in_turns(works, rounds, lambda work: float(str(work())))


def _journal(folder: Path, steps: int) -> tuple[Path, float]:
    path = folder / f"{uuid.uuid4().hex}.jsonl"
    began = time.perf_counter()
    with Journal(path) as journal:
        for step in range(steps):
            journal.append(dict.fromkeys(NAMES, step / (1 + step)), step=step)
    return path, _us(began, steps)


def _forwarded(store: Store, folder: Path, steps: int) -> float:
    path, _ = _journal(folder, steps)
    run = Run.start(store, "forwarded", {})
    began = time.perf_counter()
    Forwarder(run, path).close()
    took = _us(began, steps)
    run.end("FINISHED")
    return took


def _batched(store: Store, steps: int, size: int) -> float:
    run_id = store.client.create_run(store.experiment_id).info.run_id
    now = time.time_ns() // 1_000_000
    metrics = [
        Metric(name, step / (1 + step), now, step) for step in range(steps) for name in NAMES
    ]
    began = time.perf_counter()
    if size == 1:
        for one in metrics:
            store.client.log_metric(run_id, one.key, one.value, now, one.step)
    else:
        for start in range(0, len(metrics), size):
            store.client.log_batch(run_id, metrics[start : start + size])
    return _us(began, steps)


def _us(began: float, steps: int) -> float:
    return (time.perf_counter() - began) / (steps * len(NAMES)) * 1e6


@contextmanager
def _sqlite(folder: Path) -> Iterator[Store]:
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    yield open_store(folder, "metrics")


@contextmanager
def _server(folder: Path) -> Iterator[Store]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    uri, store = f"http://127.0.0.1:{port}", f"sqlite:///{folder}/server.db"
    command = [sys.executable, "-m", "mlflow", "server", "--port", port, "--workers", "1"]
    silent = subprocess.DEVNULL
    with subprocess.Popen(
        [*command, "--backend-store-uri", store], cwd=folder, stdout=silent, stderr=silent
    ) as process:
        try:
            _await_answer(uri)
            os.environ["MLFLOW_TRACKING_URI"] = uri
            yield open_store(folder, "metrics")
        finally:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
            process.terminate()


def _await_answer(uri: str) -> None:
    for _ in range(600):
        try:
            if requests.get(f"{uri}/health", timeout=1).ok:
                return
        except requests.RequestException:
            time.sleep(0.2)
    raise TimeoutError(f"{uri} does not answer")


PLACES = {"sqlite": _sqlite, "server": _server}

if __name__ == "__main__":
    sys.exit(main())
