"""What training with runforge costs beside a bare PyTorch loop, and what the path to it gains.

`python benchmarks/overhead.py [--quick] [--json] [PART…]`, from the project's folder. Whole
commands, in turns: `runforge train` with every step logged and checkpoints kept, and
`benchmarks/bare.py`. Compared is the time of a step between the end of the first and that of the
last, validation included. A third work is the bare loop in a process that keeps the memory which it
frees, as runforge's do: what is left is the difference of the loops. Not where it decodes.
Parts (default: all), the bare loop in brackets:

* digits, fashion, tiny: the same arithmetic (on arrays in memory); fashion needs `--data`;
* photographs: the origin's CNN on JPEG files (on synthetic pictures in memory);
* origin: the same CNN (written as the origin has it, on arrays in memory);
* decoding: an mlp on the same files (which decodes them every epoch with two processes);
* loading: the same with eight hidden units, whose arithmetic hides no loading.

The files are those of `--photographs`, where they are there, else made ones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402
from benchmarks.prepare import made  # noqa: E402
from runforge.sample_sets import write_sample_set  # noqa: E402
from tests.conftest import Project, make_project  # noqa: E402

DIGITS = ("experiment=digits", "augmentation=none")
FASHION = ("experiment=fashion_mnist",)
PHOTOGRAPHS = (
    *("experiment=cats_vs_dogs", "augmentation=none"),
    *("data.modality.height=150", "data.modality.width=150", "data.batch_size=32"),
    "data.allow_leakage=true",
)
KEPT = ("env", "MALLOC_MMAP_THRESHOLD_=1073741824", "MALLOC_TRIM_THRESHOLD_=1099511627776")
"""What `runforge.allocator` asks of the C library, as a user of a bare loop may."""


@dataclass(frozen=True, slots=True)
class Case:
    """A training that both do, and what is to be reached."""

    name: str
    how: str
    overrides: tuple[str, ...]
    steps: tuple[int, int]
    """In one epoch; of the quick form."""
    most_ratio: float = float("inf")
    """Of runforge's time of a step to the bare loop's."""
    most_added_ms: float = float("inf")


CASES = {
    "digits": Case(
        *("digits, cnn, batch 128", "memory", (*DIGITS, "data.batch_size=128")),
        *((1000, 200), 1.05),
    ),
    "fashion": Case(
        *("Fashion-MNIST, cnn, batch 128", "memory", (*FASHION, "data.batch_size=128")),
        *((300, 60), 1.05),
    ),
    "tiny": Case(
        "digits, one linear layer, batch 16",
        "memory",
        (*DIGITS, "network=mlp", "network.hidden=[]", "data.batch_size=16"),
        (20_000, 5_000),
        most_added_ms=0.08,
    ),
    "photographs": Case(
        "photographs 150×150, origin's cnn; bare: synthetic in memory",
        *("synthetic", (*PHOTOGRAPHS, "network=origin"), (40, 10), 1 / 0.97),
    ),
    "origin": Case(
        "photographs 150×150, origin's cnn; bare: as in the origin",
        *("origin", (*PHOTOGRAPHS, "network=origin"), (40, 10), 1 / 2.0),
    ),
    "decoding": Case(
        "photographs 150×150, mlp; bare: decoded every epoch",
        *("decoding", (*PHOTOGRAPHS, "network=mlp"), (400, 100), 1 / 10),
    ),
    "loading": Case(
        "photographs 150×150, mlp of 8 units; bare: decoded every epoch",
        *("decoding", (*PHOTOGRAPHS, "network=mlp", "network.hidden=[8]"), (400, 100), 1 / 10),
    ),
}


def main() -> int:
    """Prints a table, or with --json one object; returns 1 where a measure is not reached."""
    given = _options()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for part in given.parts or CASES:
            if part == "fashion" and not given.data.is_dir():
                print(f"fashion is left out: {given.data} is not there", file=sys.stderr)
                continue
            project = _project(part, Path(folder) / part, given)
            rows.append(_compare(CASES[part], project, given.quick))
    if given.json:
        print(json.dumps({"ratio": rows[0]["ratio"], "rows": rows}))
    return 0 if all(row["reached"] for row in rows) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(CASES))
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    shared = ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=shared / "fashion-mnist")
    parser.add_argument("--photographs", type=Path, default=shared / "cats-vs-dogs")
    return parser.parse_args()


def _project(part: str, folder: Path, given: argparse.Namespace) -> Project:
    """A project with the data of a part, prepared once, and its store made."""
    project = make_project(folder)
    case = CASES[part]
    if part == "fashion":
        (folder / "data").symlink_to(given.data.resolve())
    elif case.overrides[0] == PHOTOGRAPHS[0]:
        made(folder, given.photographs, 100 if given.quick else 800)
    else:
        write_sample_set("digits", folder / "data")
    project.runforge("train", *case.overrides, *_length(1))
    return project


def _compare(case: Case, project: Project, quick: bool) -> dict[str, object]:
    overrides = (*case.overrides, *_length(case.steps[quick]))
    works = {
        "runforge": lambda: _runforge_ms(project, overrides),
        "bare": lambda: _bare_ms(project, case.how, overrides),
    }
    if case.how != "decoding":
        works["bare, memory kept"] = lambda: _bare_ms(project, case.how, overrides, *KEPT)
    found = turns.in_turns(works, 3 if quick else 7, lambda work: float(str(work())))
    turns.show(case.name, found, "milliseconds a step", "bare")
    ratio = turns.ratio(found, "runforge", "bare")
    added_ms = statistics.median(found["runforge"]) - statistics.median(found["bare"])
    reached = ratio <= case.most_ratio and added_ms <= case.most_added_ms
    print(f"ratio {ratio:.3f}, added {added_ms:.3f} ms, reached: {reached}", file=sys.stderr)
    return {"what": case.name, "ratio": ratio, "added_ms": added_ms, "reached": reached, **found}


def _length(steps: int) -> tuple[str, ...]:
    return ("trainer.max_epochs=2", f"trainer.steps_per_epoch={steps // 2 or 1}",
            "trainer.log_every_steps=1", "evaluation.resamples=100")  # fmt: skip


def _runforge_ms(project: Project, overrides: tuple[str, ...]) -> float:
    done = project.runforge("train", *overrides)
    journal = project.folder / "out" / "runs" / done.stdout.strip() / "journal.jsonl"
    lines = (json.loads(line) for line in journal.read_text().splitlines())
    stamps = {e["step"]: e["timestamp_ms"] for e in lines if "train/step_loss" in e["metrics"]}
    first, last = min(stamps), max(stamps)
    return float(stamps[last] - stamps[first]) / (last - first)


def _bare_ms(project: Project, how: str, overrides: tuple[str, ...], *prefix: str) -> float:
    script = ROOT / "benchmarks" / "bare.py"
    command = (*prefix, sys.executable, str(script), str(project.folder), how, *overrides)
    return float(project.run(*command).stdout)


if __name__ == "__main__":
    sys.exit(main())
