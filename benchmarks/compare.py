"""Whether `runforge compare` says "better" when it should, and how long it takes.

`python benchmarks/compare.py [--pairs 200] [--resamples 500] [--quick] [--json] [PART…]`, from the
project's folder, with the parts equal, apart, values (simulated models) and time, which needs
--project FOLDER, a project with two finished runs.

The simulated classifiers: 10 classes; the logits of a sample are its class's lead plus noise of
variance 1, of which the share `correlation` is the same for both models: what makes a sample hard
makes it hard for both. The lead sets the accuracy. `equal`: both have the same lead. `apart`: the
leads give accuracies 3 points apart. `values`: regressors, whose errors are normal and correlated
alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from runforge.metrics.common import common_samples  # noqa: E402
from runforge.metrics.paired import pairs  # noqa: E402
from runforge.predictions import Predictions  # noqa: E402

CLASSES = tuple(f"class {number}" for number in range(10))


def lead(accuracy: float) -> float:
    """The lead of the true class's logit that gives this accuracy."""
    noise = np.random.default_rng(0).normal(size=(200_000, len(CLASSES)))
    needed = noise[:, 1:].max(axis=1) - noise[:, 0]
    return float(np.quantile(needed, accuracy))


def classifiers(
    generator: np.random.Generator, count: int, correlation: float, leads: tuple[float, float]
) -> list[Predictions]:
    """Two models on the same samples."""
    targets = generator.integers(0, len(CLASSES), count)
    shared = generator.normal(size=(count, len(CLASSES)))
    made = []
    for own_lead in leads:
        own = generator.normal(size=shared.shape)
        logits = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
        logits[np.arange(count), targets] += own_lead
        values = np.exp(3 * (logits - logits.max(axis=1, keepdims=True)))
        values /= values.sum(axis=1, keepdims=True)
        ids = np.arange(count).astype(str)
        made.append(Predictions(ids, "test", targets, values.astype(np.float32), CLASSES))
    return made


def regressors(generator: np.random.Generator, count: int, correlation: float) -> list[Predictions]:
    """Two models with errors of the same size."""
    targets, shared = generator.normal(size=(2, count))
    made = []
    for _ in range(2):
        own = generator.normal(size=count)
        errors = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
        ids = np.arange(count).astype(str)
        made.append(Predictions(ids, "test", targets, (targets + errors / 2)[:, None], ()))
    return made


def shares(models: Iterator[list[Predictions]], resamples: int) -> dict[str, float]:
    """By metric: in how many of the pairs it says that one is better, in per cent."""
    said: Counter[str] = Counter()
    count = 0
    for number, pair in enumerate(models):
        (found,) = pairs(common_samples(pair), resamples=resamples, seed=number)
        said.update({one.metric: int(one.winner is not None) for one in found.differences})
        count += 1
    return {name: round(100 * told / count, 1) for name, told in said.items()}


def simulated(parts: list[str], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row for each setting."""
    equal = [(500, 0.9, 0.6), (2000, 0.9, 0.6)] if "equal" in parts else []
    for count, accuracy, correlation in equal:
        generator, leads = np.random.default_rng(1), (lead(accuracy),) * 2
        models = (classifiers(generator, count, correlation, leads) for _ in range(options.pairs))
        found = shares(models, options.resamples)
        yield {"part": "equal", "samples": count, "accuracy": accuracy, "said": found}
    apart = [(a, c) for a in (0.9, 0.8, 0.7) for c in (0.0, 0.6, 0.9)] if "apart" in parts else []
    for accuracy, correlation in apart:
        generator, leads = np.random.default_rng(2), (lead(accuracy), lead(accuracy + 0.03))
        models = (classifiers(generator, 2000, correlation, leads) for _ in range(options.pairs))
        found = shares(models, 2)  # McNemar's test draws none
        row = {"part": "apart", "accuracy": accuracy, "correlation": correlation}
        yield {**row, "said": {"accuracy": found["accuracy"]}}
    for count in (100, 300) if "values" in parts else ():
        generator = np.random.default_rng(7)
        # Ten times as many: they cost little, and 5% of 200 may as well be 9%.
        models = (regressors(generator, count, 0.6) for _ in range(10 * options.pairs))
        yield {"part": "values", "samples": count, "said": shares(models, options.resamples)}


def timed(project: Path, times: int) -> dict[str, Any]:
    """Seconds of `runforge compare` of the last two finished runs, as whole processes."""
    from tests.conftest import clean_environment

    command = [sys.executable, "-m", "runforge"]
    environment = clean_environment()
    listing = subprocess.run(
        [*command, "runs", "--status", "finished", "--json"],
        cwd=project,
        env=environment,
        capture_output=True,
        check=True,
    )
    runs = [run["id"] for run in json.loads(listing.stdout) if run["kind"] != "comparison"][:2]
    walls, works = [], []
    for _ in range(times + 1):
        begin, before = time.perf_counter(), _children_s()
        subprocess.run(
            [*command, "compare", *runs],
            cwd=project,
            env=environment,
            capture_output=True,
            check=True,
        )
        walls.append(time.perf_counter() - begin)
        works.append(_children_s() - before)
    medians = (round(statistics.median(values[1:]), 2) for values in (walls, works))
    return {"part": "time", **dict(zip(("wall_s", "processor_s"), medians, strict=True))}


def _children_s() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Prints a row for each setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], metavar="PART")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--project", type=Path, help="with two finished runs, for the part time")
    parser.add_argument("--quick", action="store_true", help="10 pairs, 100 resamples")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.resamples, options.times = 10, 100, 2
    parts = options.parts or ["equal", "apart", "values", *(["time"] if options.project else [])]
    rows = []
    for row in simulated(parts, options):
        rows.append(row)
        print(row, file=sys.stderr)
    if "time" in parts:
        rows.append(timed(options.project, options.times))
    print(json.dumps(rows) if options.json else "\n".join(map(str, rows)))


if __name__ == "__main__":
    main()
