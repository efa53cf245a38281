"""Eight small trials as a sweep, against eight commands and a bare loop in one process.

`python benchmarks/sweep.py [--quick] [--json]`, from the project's folder. Whole processes, in
turns: `runforge train -m seed=1,…` (workers forked from one that has done the imports), the same by
`runforge train seed=…` one after the other, and a script that imports torch once and trains the
same network on the same prepared set eight times, without tracking, evaluation or model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402
from tests.conftest import Project, clean_environment, make_project, thin_out  # noqa: E402

SHORT = ("trainer.max_epochs=1", "fresh=true")
BARE = """
import sys, torch, numpy as np
from runforge.networks.mlp import Mlp
from runforge.prepared import PreparedSet
from pathlib import Path
prepared = PreparedSet.open(Path(sys.argv[1]))
rows = prepared.rows("train")
inputs = torch.from_numpy(prepared.inputs[rows]).permute(0, 3, 1, 2).float() / 255
targets = torch.from_numpy(np.asarray(prepared.targets[rows])).long()
for seed in range(int(sys.argv[2])):
    torch.manual_seed(seed)
    sizes = {"input_shape": (1, 8, 8), "output_count": 10}
    network = Mlp(hidden=[64], activation="relu", dropout=0.0, **sizes)
    optimizer = torch.optim.Adam(network.parameters())
    for block in torch.randperm(len(rows)).split(64):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(inputs[block]), targets[block])
        loss.backward()
        optimizer.step()
"""


def main() -> int:
    """Prints the table, or with --json one object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="three trials, two rounds")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    given = parser.parse_args()
    trials = 3 if given.quick else 8
    with tempfile.TemporaryDirectory() as folder:
        found = _measure(_project(Path(folder)), trials, 1 if given.quick else 5)
    turns.show(f"{trials} trials of digits, mlp, one epoch", found, "seconds", "sweep")
    ratio = turns.ratio(found, "commands", "sweep")
    if given.json:
        print(json.dumps({"ratio": ratio, "seconds": found}))
    return 0


def _project(folder: Path) -> Project:
    project = make_project(folder / "project")
    project.runforge("sample", "digits")
    thin_out(project.folder / "data", 60)
    project.runforge("train", "network=mlp", *SHORT)
    return project


def _measure(project: Project, trials: int, rounds: int) -> turns.Found:
    seeds = [str(seed) for seed in range(1, trials + 1)]
    (prepared,) = (path for path in (project.folder / "out" / "sets").iterdir() if path.is_dir())
    one = ("runforge", "train", "network=mlp", *SHORT)
    works = {
        "sweep": lambda: _run(project, *one, "-m", f"seed={','.join(seeds)}"),
        "commands": lambda: [_run(project, *one, f"seed={seed}") for seed in seeds],
        "bare loop": lambda: _run(
            project, sys.executable, "-c", BARE, str(prepared), str(trials)
        ),
    }  # fmt: skip
    return turns.in_turns(works, rounds)


def _run(project: Project, *command: str) -> None:
    silent = subprocess.DEVNULL
    subprocess.run(
        command,
        cwd=project.folder,
        env=clean_environment(),
        stdout=silent,
        stderr=silent,
        check=True,
    )


if __name__ == "__main__":
    sys.exit(main())
