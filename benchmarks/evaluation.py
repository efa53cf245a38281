"""All figures and intervals of very many predictions: how long they take, and how much memory.

`python benchmarks/evaluation.py [--quick] [--json]`, from the project's folder. A million samples
(`--quick`: a hundred thousand) of 10 and of 1,000 classes, float32. In turns, each in a process of
its own:

* runforge: what an evaluation computes: the predictions checked, every metric, 1,000 resamples for
  the intervals, the confusion matrix, the curves, the rates of each class;
* by hand: the same figures by scikit-learn, without intervals, from the bare arrays. Of many
  classes it does the areas and curves of 20 and the time is scaled up, for it takes minutes.

Memory is the peak of the process above what it held once everything was imported, as a multiple of
the predictions' own size (outputs, targets, ids). `ratio` is by hand's time over runforge's, of 10
classes. Exit code 1 where a million samples take longer than 5 and 20 seconds, or more than three
times the predictions' memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks import turns  # noqa: E402

MOST_S = {10: 5.0, 1000: 20.0}
MOST_MEMORY = 3.0
RESAMPLES = 1000
MEASURED = ("seconds", "memory")
BLOCK = 20_000
BY_HAND_CLASSES = 20


def made(count: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, targets and probabilities of a classifier that is right about 8 times of 10."""
    draw = np.random.default_rng(0)
    targets = draw.integers(0, classes, count)
    values = np.empty((count, classes), np.float32)
    for start in range(0, count, BLOCK):
        block = draw.standard_normal((min(BLOCK, count - start), classes), dtype=np.float32)
        rows = np.arange(len(block))
        block[rows, targets[start : start + BLOCK]] += 2.5 if classes < 100 else 4
        np.exp(block, out=block)
        values[start : start + BLOCK] = block / block.sum(axis=1, keepdims=True)
    ids = np.array([f"{number:032x}" for number in range(count)])
    return ids, targets, values


def by_runforge(ids: np.ndarray, targets: np.ndarray, values: np.ndarray) -> float:
    """Seconds for everything that an evaluation computes."""
    from runforge import allocator
    from runforge.metrics.classification import classification_figures
    from runforge.predictions import Predictions

    allocator.keep_freed_memory()  # as a worker does
    began = time.perf_counter()
    classes = tuple(f"class {code}" for code in range(values.shape[1]))
    predictions = Predictions(ids, "test", targets, values, classes)
    classification_figures(predictions, resamples=RESAMPLES, seed=0)
    return time.perf_counter() - began


def by_hand(ids: np.ndarray, targets: np.ndarray, values: np.ndarray) -> float:
    """Seconds for the same figures by scikit-learn, scaled where it does a part of the classes."""
    from sklearn import metrics

    began, count = time.perf_counter(), values.shape[1]
    predicted = values.argmax(axis=1)
    metrics.confusion_matrix(targets, predicted)
    metrics.precision_recall_fscore_support(targets, predicted, zero_division=0)
    for average in ("macro", "weighted"):
        metrics.precision_recall_fscore_support(
            targets, predicted, average=average, zero_division=0
        )
    np.log(np.clip(values[np.arange(len(values)), targets], 1e-7, None)).mean()
    fixed = time.perf_counter() - began
    done = min(count, BY_HAND_CLASSES)
    for code in range(done):
        true, scores = targets == code, values[:, code]
        metrics.roc_auc_score(true, scores)
        metrics.average_precision_score(true, scores)
        metrics.roc_curve(true, scores)
        metrics.precision_recall_curve(true, scores)
    return fixed + (time.perf_counter() - began - fixed) * count / done


WORKS = {"runforge": by_runforge, "by hand": by_hand}


def memory_bytes(name: str) -> int:
    """`VmRSS`: what this process holds; `VmHWM`: the most that it held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def child(name: str, count: int, classes: int) -> None:
    """Measures one work in this process and prints what it found."""
    WORKS[name](*made(2000, 10))  # imports everything
    before = memory_bytes("VmRSS")
    given = made(count, classes)
    seconds = WORKS[name](*given)
    memory = (memory_bytes("VmHWM") - before) / sum(array.nbytes for array in given)
    print(json.dumps({"seconds": seconds, "memory": memory}))


def measure(name: str, count: int, classes: int) -> dict[str, float]:
    """One work in a process of its own."""
    command = [sys.executable, __file__, "--child", name, str(count), str(classes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compare(count: int, classes: int, rounds: int) -> dict[str, Any]:
    """Both in turns; prints a table."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WORKS}
    for _ in range(rounds):
        for name, rows in found.items():
            rows.append(measure(name, count, classes))
    of = {key: {n: [row[key] for row in rows] for n, rows in found.items()} for key in MEASURED}
    title = f"{count:,} predictions of {classes:,} classes"
    turns.show(f"{title}, time", of["seconds"], "seconds", "runforge")
    turns.show(f"{title}, memory", of["memory"], "multiple of the predictions", "runforge")
    ratio = turns.ratio(of["seconds"], "by hand", "runforge")
    return {"count": count, "classes": classes, "ratio": ratio, **of}


def reached(row: dict[str, Any]) -> bool:
    """Whether a row of a million samples is as fast and small as it must be."""
    took = statistics.median(row["seconds"]["runforge"])
    return took <= MOST_S[row["classes"]] and max(row["memory"]["runforge"]) <= MOST_MEMORY


def main() -> int:
    """Prints the tables, or with --json one object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a hundred thousand samples, twice")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], int(given.child[1]), int(given.child[2]))
        return 0
    count, rounds = (100_000, 2) if given.quick else (1_000_000, 3)
    rows = [compare(count, classes, rounds) for classes in MOST_S]
    if given.json:
        print(json.dumps({"ratio": rows[0]["ratio"], "rows": rows}))
    return 0 if given.quick or all(reached(row) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
