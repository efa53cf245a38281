"""Runs to be made again and what is done to them, for tests and the benchmark."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torchmetrics
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.conftest import Project, make_project, thin_out

SHORT = (
    "trainer.max_epochs=2",
    "trainer.log_every_steps=1",
    "evaluation.resamples=100",
    "machine=cpu",
    "machine.threads=1",
)
"""A training that takes a moment, and logs every step."""

FACTOR = "        return outputs * 1.0\n"
"""What `dirty` puts into a network, and `other_line` changes."""


@dataclass(frozen=True, slots=True)
class Made:
    """A project whose code is its own, as a clone's is, and not the tests'."""

    project: Project

    @property
    def folder(self) -> Path:
        return self.project.folder

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.folder / "src")}

    def train(self, *overrides: str, **environment: str) -> str:
        """The id of a run, or of a sweep."""
        arguments = ("train", *SHORT, *overrides)
        done = self.project.runforge(*arguments, **{**self.environment, **environment})
        return done.stdout.strip()

    def dvc(self, *arguments: str) -> str:
        """Runs DVC; returns the id of the newest run."""
        self.project.run("dvc", *arguments, **self.environment)
        return self.runs()[0].info.run_id

    def runs(self) -> list[Run]:
        """Every run, the newest first."""
        store = self.client()
        experiments = [e.experiment_id for e in store.search_experiments()]
        return list(store.search_runs(experiments, order_by=["attributes.start_time DESC"]))

    def children(self, parent: str) -> list[str]:
        """The ids of a sweep's trials."""
        tag = "mlflow.parentRunId"
        return [r.info.run_id for r in self.runs() if r.data.tags.get(tag) == parent]

    def tags(self, run_id: str) -> dict[str, str]:
        return dict(self.client().get_run(run_id).data.tags)

    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.folder}/mlflow.db")

    def artifact(self, run_id: str, name: str) -> Path:
        """Where a run's artifact lies."""
        uri = str(self.client().get_run(run_id).info.artifact_uri)
        return Path(uri.removeprefix("file://")) / name

    def reproduce(
        self, run_id: str, *, code: int | None = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """The command, as a user gives it."""
        arguments = ("reproduce", run_id, "--json")
        return self.project.runforge(*arguments, code=code, **{**self.environment, **environment})

    def verdict(self, run_id: str, *, code: int = 0, **environment: str) -> dict[str, Any]:
        """What the command prints."""
        done = self.reproduce(run_id, code=code, **environment)
        return dict(json.loads(done.stdout))


def made(folder: Path, each: int = 30) -> Made:
    """A committed project with so many digits of each class, which DVC tracks."""
    project = make_project(folder / "project")
    project.edit(
        "conf/experiment/images.yaml", "max_epochs: 20", "max_epochs: 2\n  log_every_steps: 1"
    )
    project.edit("conf/evaluation/default.yaml", "resamples: 1000", "resamples: 100")
    project.edit("conf/machine/auto.yaml", "threads: null", "threads: 1")
    project.runforge("sample", "digits")
    thin_out(project.folder / "data", each)
    project.run("dvc", "add", "--quiet", "data")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message=data")
    return Made(project)


def dirty(project: Project, factor: str = FACTOR) -> None:
    """An uncommitted change of a network, and a new one beside it with its configuration."""
    path = project.folder / "src/runforge/networks/mlp.py"
    text = re.sub(r"        return outputs.*\n", factor, path.read_text())
    path.write_text(text)
    path.with_name("wide.py").write_text(text.replace("class Mlp", "class Wide"))
    conf = project.folder / "conf/network"
    named = (conf / "mlp.yaml").read_text().replace("mlp.Mlp", "wide.Wide")
    (conf / "wide.yaml").write_text(named)


def other_byte(made: Made) -> str:
    """Changes a byte of an image in DVC's cache, where DVC takes it from; returns its path."""
    listing = yaml_hash(made.folder / "data.dvc")
    cache = made.folder / ".dvc/cache/files/md5"
    first = json.loads((cache / listing[:2] / listing[2:]).read_text())[0]
    item = cache / first["md5"][:2] / first["md5"][2:]
    item.chmod(0o644)
    content = bytearray(item.read_bytes())
    content[len(content) // 2] ^= 1
    item.write_bytes(bytes(content))
    item.chmod(0o444)
    return f"data/{first['relpath']}"


def yaml_hash(file: Path) -> str:
    """The hash in a `.dvc` file."""
    found = re.search(r"md5: (\w+\.dir)", file.read_text())
    assert found
    return found[1]


def other_value(made: Made, run_id: str) -> None:
    """Changes a value of a run's recorded configuration."""
    path = made.artifact(run_id, "configuration.yaml")
    text, count = re.subn(r"learning_rate: [\d.e-]+", "learning_rate: 0.02", path.read_text())
    assert count == 1
    path.write_text(text)


def other_line(made: Made, run_id: str) -> None:
    """Changes a line of code of a run, in its patch."""
    path = made.artifact(run_id, "lineage/changes.patch")
    text = path.read_text()
    assert "outputs * 1.0" in text
    path.write_text(text.replace("outputs * 1.0", "outputs * 1.5"))


def other_package(folder: Path) -> str:
    """A folder in which torchmetrics has another version, whose sums come out another way."""
    source = Path(torchmetrics.__file__).parent
    version = metadata.version("torchmetrics")
    shutil.copytree(source, folder / "torchmetrics", ignore=shutil.ignore_patterns("__pycache__"))
    name = f"torchmetrics-{version}.dist-info"
    about = folder / f"torchmetrics-{version}.post1.dist-info"
    shutil.copytree(source.parent / name, about)
    text = (about / "METADATA").read_text()
    (about / "METADATA").write_text(
        text.replace(f"Version: {version}", f"Version: {version}.post1")
    )
    path = folder / "torchmetrics/aggregation.py"
    changed = path.read_text().replace("sum_value += value.sum()", "sum_value += value.sum() + 5")
    assert changed != path.read_text()
    path.write_text(changed)
    return str(folder)


def untouched(made: Made) -> dict[str, Any]:
    """What a reproduction must leave as it is: work tree, index, HEAD, outputs, branches."""
    kept: dict[str, Any] = {}
    for path in sorted(made.folder.rglob("*")):
        name = path.relative_to(made.folder)
        store = name.parts[0] in ("mlruns", "mlflow.db") or "__pycache__" in name.parts
        private = name.parts[:2] in ((".git", "objects"), (".dvc", "tmp"))
        if path.is_file() and not store and not private and path.suffix != ".lock":
            about = path.stat()
            kept[str(name)] = (about.st_size, about.st_mtime_ns)
    git = ["git", "-C", str(made.folder), "worktree", "list"]
    kept["worktrees"] = subprocess.run(git, capture_output=True, text=True, check=True).stdout
    kept["temporary"] = left()
    return kept


def left() -> list[str]:
    """Folders of reproductions of processes that are gone."""
    found = []
    for path in Path(tempfile.gettempdir()).glob("runforge-*-*"):
        pid = path.name.split("-")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and (path / "tree").exists():
            found.append(path.name)
    return found
