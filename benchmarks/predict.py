"""`runforge predict` on a folder of pictures against the evaluation of the same pictures.

`python benchmarks/predict.py [--quick] [--json]`, from the project's folder. Three rates, in
pictures a second, taken in turns, start-up left out:

* predict: files decoded, predicted, written as CSV, as `runforge predict` does;
* evaluation: the evaluation's own loop over arrays that were packed before, no file is decoded;
* evaluation with decoding: the same files decoded by the same threads, then that loop.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image, ImageFilter  # noqa: E402

from runforge import bundle, evaluating, raw_inputs  # noqa: E402
from runforge.bundle import Model  # noqa: E402
from runforge.predicting import Predictor, threads  # noqa: E402
from runforge.prediction_files import predictions_file, quarantine_file  # noqa: E402
from runforge.prepared import PreparedSet  # noqa: E402
from runforge.reading import Reader  # noqa: E402
from tests.made_bundles import Made, make_bundle  # noqa: E402

BATCH_SIZE = 256
CASES = {
    "digits 8×8 PNG, cnn": ("digits",),
    "digits 8×8 PNG, resnet": ("digits", "network=resnet"),
    "photographs 320×240 JPEG at 64×64, resnet": (
        *("cats_vs_dogs", "network=resnet", "network.stem_stride=1"),
        *("data.modality.height=64", "data.modality.width=64"),
    ),
}


JUDGED = "photographs 320×240 JPEG at 64×64, resnet"
"""Where files and network both cost something; a digit of 64 pixels costs its file's opening."""


def photographs(folder: Path, count: int) -> None:
    """Pictures with about the detail of photographs, in two classes."""
    draw = np.random.default_rng(0)
    for number in range(count):
        path = folder / "training_set" / f"class {number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = draw.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC)
        picture.filter(ImageFilter.GaussianBlur(1)).save(path, quality=88)


def predict(model: Model, made: Made, output: Path) -> int:
    """As the command does."""
    given = raw_inputs.samples(model.schema, model.modality, [str(made.data)])
    predictor, count = Predictor(model, torch.device("cpu"), BATCH_SIZE), 0
    with quarantine_file(output) as quarantine, predictions_file(output, "csv") as file:
        for block in predictor.blocks(given, quarantine):
            file.write(block)
            count += len(block.ids)
    return count


def evaluate(model: Model, prepared: PreparedSet) -> int:
    """The evaluation's loop over every row."""
    return len(evaluating.predict(model, prepared, np.arange(len(prepared.inputs))))


def decode_and_evaluate(model: Model, made: Made, prepared: PreparedSet) -> int:
    """The same loop over rows that are decoded first."""
    given = raw_inputs.samples(model.schema, model.modality, [str(made.data)])
    reader = Reader(model.modality, {}, lambda label: None, threads(), remarked=False)
    stream = reader.stream(given.samples, None, progress=False, title="decode")
    rows = np.stack([decoded.row for _, decoded in stream if decoded.row is not None])
    fresh = PreparedSet(
        prepared.schema, rows, prepared.targets, prepared.ids, prepared.where, prepared.splits
    )
    return len(evaluating.predict(model, fresh, np.arange(len(rows))))


def rate(work: Callable[[], int], least_s: float) -> float:
    """Pictures a second, over as many calls as take so long."""
    began, count = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < least_s:
        count += work()
    return count / took


def measure(made: Made, folder: Path, rounds: int, least_s: float) -> dict[str, float]:
    """Medians over rounds of all three, in turns."""
    model, prepared = bundle.load(made.bundle), PreparedSet.open(made.prepared)
    works: dict[str, Callable[[], int]] = {
        "predict": lambda: predict(model, made, folder / "out.csv"),
        "evaluation": lambda: evaluate(model, prepared),
        "evaluation with decoding": lambda: decode_and_evaluate(model, made, prepared),
    }
    for work in works.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(rate(work, least_s))
    return {name: statistics.median(rates) for name, rates in found.items()}


def main() -> None:
    """Prints a row for each case; exit code 1 where the judged one is below 0.9 × the evaluation
    with decoding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds, not minutes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds, least_s, count = (2, 1.0, 200) if options.quick else (7, 4.0, 600)
    rows = []
    for name, overrides in CASES.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            if "photographs" in name:
                photographs(folder / "data", count)
            made = make_bundle(folder, *overrides, each=20 if options.quick else 180)
            found = measure(made, folder, rounds, least_s)
        fair = found["predict"] / found["evaluation with decoding"]
        bare = found["predict"] / found["evaluation"]
        rows.append({"case": name, **found, "to evaluation": bare, "to decoding too": fair})
        if not options.json:
            told = ", ".join(f"{key} {value:,.0f}/s" for key, value in found.items())
            print(f"{name}: {told}; {fair:.2f} × (packed before: {bare:.2f} ×)", flush=True)
    if options.json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
    sys.exit(any(row["to decoding too"] < 0.9 for row in rows if row["case"] == JUDGED))


if __name__ == "__main__":
    main()
