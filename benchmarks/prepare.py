"""Preparing photographs beside a bare loop that only decodes them.

`python benchmarks/prepare.py [--quick] [--json] [--data FOLDER]`, from the project's folder. In
turns, everything on all cores, by threads, start-up left out:

* prepare: as the stage does it: identities, decoding, splits, checks, near-duplicates, statistics,
  rows and checksums written;
* prepare, one file added: the same after it was done before;
* decode: the same files read, decoded at reduced scale where that leaves the size, resized, put
  into an array in memory: the limit. `ratio` is its time over that of prepare;
* decode in full: the same without the reduced scale;
* simplejpeg + OpenCV: the same by those, where they are installed.

Then ten times as many pictures: how the time grows. FOLDER has class folders, perhaps under
`training_set` and `test_set`; where it is not there, pictures are made.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from benchmarks import turns  # noqa: E402
from benchmarks.predict import photographs  # noqa: E402
from runforge import config, places, preparation  # noqa: E402
from runforge.settings import Settings  # noqa: E402

SIDE = 150
LEAST_RATIO = 0.9
SETTINGS = ("data=cats_vs_dogs", f"data.modality.height={SIDE}", f"data.modality.width={SIDE}")


def prepare(project: Path, settings: Settings) -> None:
    """As the stage does, with nothing kept from before."""
    shutil.rmtree(places.kept_rows(project), ignore_errors=True)
    preparation.prepare(project, settings, places.prepared(project), quiet=True)


def grow(project: Path, settings: Settings) -> None:
    """As the stage does when one file was added."""
    newest = max((project / "data").rglob("*.jpg"), key=lambda path: path.stat().st_mtime_ns)
    # JPEG readers do not look behind the end of the picture.
    newest.write_bytes(newest.read_bytes() + os.urandom(1))
    preparation.prepare(project, settings, places.prepared(project), quiet=True)


def decode(draft: bool, path: Path) -> np.ndarray:
    """One picture by Pillow."""
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        if draft:
            picture.draft(None, (SIDE, SIDE))
        upright = picture.convert("RGB")
        return np.asarray(upright.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def decode_by_others(path: Path) -> np.ndarray:
    """One picture by simplejpeg, at the least of eight scales, and OpenCV."""
    import cv2
    import simplejpeg

    least = {"min_height": SIDE, "min_width": SIDE, "min_factor": 1}
    whole = simplejpeg.decode_jpeg(path.read_bytes(), "RGB", **least)
    return cv2.resize(whole, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def loop(project: Path, one: Callable[[Path], np.ndarray]) -> np.ndarray:
    """All pictures of a project in one array, by as many threads as there are cores."""
    files = sorted((project / "data").rglob("*.jpg"))
    rows = np.empty((len(files), SIDE, SIDE, 3), np.uint8)

    def fill(start: int) -> None:
        for number in range(start, min(start + 32, len(files))):
            rows[number] = one(files[number])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, range(0, len(files), 32)))
    return rows


def works(project: Path) -> dict[str, Callable[[], object]]:
    """What is measured."""
    wanted = [*SETTINGS, "data.root=data", "data.allow_leakage=true"]
    settings = config.compose(ROOT, wanted).settings
    found: dict[str, Callable[[], object]] = {
        "prepare": partial(prepare, project, settings),
        "prepare, one file added": partial(grow, project, settings),
        "decode": partial(loop, project, partial(decode, True)),
        "decode in full": partial(loop, project, partial(decode, False)),
    }
    if all(importlib.util.find_spec(name) for name in ("simplejpeg", "cv2")):
        found["simplejpeg + OpenCV"] = partial(loop, project, decode_by_others)
    return found


def made(folder: Path, data: Path, count: int) -> Path:
    """A project with so many of the photographs, each class in turn; repeated where too few."""
    # cat.1, dog.1, cat.10, dog.10, …
    files = sorted(data.rglob("*.jpg"), key=lambda path: (path.stem.split(".")[-1], path.parent))
    if not files:
        photographs(folder / "data", count)
    for number in range(count if files else 0):
        path = files[number % len(files)]
        target = folder / "data" / path.parent.name / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return folder


def main() -> int:
    """Prints the tables, or with --json one object; returns 1 where the limit is not reached."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few repetitions, no growth")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data/cats-vs-dogs")
    given = parser.parse_args()
    count, growth = 800, None
    with tempfile.TemporaryDirectory() as temporary:
        project = made(Path(temporary) / "one", given.data, count)
        found = turns.in_turns(works(project), 5 if given.quick else 15)
        turns.show(f"{count} photographs at {SIDE}×{SIDE}", found, "seconds", "decode")
        if not given.quick:
            more = made(Path(temporary) / "ten", given.data, 10 * count)
            both = {f"{n}": works(p)["prepare"] for n, p in ((count, project), (10 * count, more))}
            grown = turns.in_turns(both, 3)
            turns.show("prepare, as the pictures grow", grown, "seconds", f"{count}")
            growth = turns.ratio(grown, f"{10 * count}", f"{count}")
    ratio = turns.ratio(found, "decode", "prepare")
    full = turns.ratio(found, "decode in full", "prepare")
    added = turns.ratio(found, "prepare, one file added", "prepare")
    if given.json:
        told = {"ratio": ratio, "ratio_full": full, "added": added, "growth": growth}
        print(json.dumps({**told, "seconds": found}))
    return int(ratio < LEAST_RATIO)


if __name__ == "__main__":
    sys.exit(main())
