"""Secrets in the environment, in addresses and in overrides: found in nothing that is written.

The canary is a made-up secret. After whole commands every file of the project and of the tracking
server, and all that was printed, is searched for it.
"""

from __future__ import annotations

import base64
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from benchmarks.faults.processes import Server
from tests.conftest import Project
from tests.jobs import digits_project

CANARY = "cAn4ry/s3cret+w0rd"
"""With letters that addresses write in another way."""
ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": f"aws-{CANARY}",
    "MLFLOW_TRACKING_PASSWORD": f"mlflow-{CANARY}",
    "XYZ_TOKEN": f"xyz-{CANARY}",
}
SHORT = ("machine=cpu", "trainer.max_epochs=1", "evaluation.resamples=100")
REFUSED = (
    f"experiment_name={ENVIRONMENT['XYZ_TOKEN']}",
    f"data.root=s3://key:{CANARY}@bucket/data",
    f"data.name=https://example.org/?token={CANARY}",
    "experiment_name=${oc.env:XYZ_TOKEN}",
)
"""Overrides that hold a secret: told, not recorded."""

Row = tuple[str, str, bool]


@dataclass(slots=True)
class Watch:
    """A project, the secrets of its user's shell, and all that its commands printed."""

    project: Project
    environment: dict[str, str]
    printed: list[str] = field(default_factory=list)

    def run(self, *command: str, code: int) -> str:
        """Runs a command; keeps what it prints."""
        program = command if command[0] == "dvc" else (sys.executable, "-m", *command)
        done = self.project.run(*program, code=code, **self.environment)
        self.printed += [done.stdout, done.stderr]
        return done.stdout.strip()


def forms(secret: str) -> list[bytes]:
    """A secret as it may stand in a file."""
    written = {secret, quote(secret), quote(secret, safe="")}
    encoded = base64.b64encode(secret.encode())
    return [*(text.encode() for text in written), encoded]


def hits(folder: Path, besides: tuple[str, ...] = ()) -> list[Path]:
    """Files under a folder that hold the canary; what the user wrote is left out by its name."""
    files = (p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    mine = (p for p in files if not set(besides) & set(p.relative_to(folder).parts))
    return [p for p in mine if any(form in p.read_bytes() for form in forms(CANARY))]


def watch(folder: Path, host: str) -> Watch:
    """A project whose user has secrets everywhere where people have them."""
    project = digits_project(folder)
    project.git("remote", "add", "origin", f"https://user:{CANARY}@example.org/project.git")
    (folder / "tmp").mkdir()
    uri = f"http://user:{quote(CANARY, safe='')}@{host}"
    environment = {**ENVIRONMENT, "MLFLOW_TRACKING_URI": uri, "TMPDIR": str(folder / "tmp")}
    return Watch(project, environment)


def _refused(watched: Watch, overrides: tuple[str, ...]) -> Row:
    before = len(watched.printed)
    for override in overrides:
        watched.run("runforge", "train", override, code=2)
    lines = [text.strip() for text in watched.printed[before:] if text.strip()]
    fine = len(lines) == len(overrides) and not any("\n" in line for line in lines)
    return f"{len(overrides)} overrides that hold a secret", f"{len(lines)} lines", fine


def rows(quick: bool) -> Iterator[Row]:
    """What was tried, what was found, whether it holds; quick: one run alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Server(folder / "server")
        try:
            yield from _searched(folder, watch(folder, f"127.0.0.1:{server.port}"), quick)
        finally:
            server.kill()


def _searched(folder: Path, watched: Watch, quick: bool) -> Iterator[Row]:
    watched.run("runforge", "train", *SHORT, code=0)
    yield _refused(watched, REFUSED[:1] if quick else REFUSED)
    if not quick:
        bad = ("optimizer=sgd", "optimizer.learning_rate=1e38")
        watched.run("runforge", "train", *SHORT, *bad, code=1)
        watched.run("dvc", "add", "data", code=0)
        watched.run("dvc", "repro", code=0)
    found = hits(folder, besides=(".git",))
    printed = sum(form.decode() in text for text in watched.printed for form in forms(CANARY))
    names = ", ".join(str(p.relative_to(folder)) for p in found)
    told = f"{len(found)} files, {printed} outputs {names}".strip()
    count = sum(p.is_file() for p in folder.rglob("*"))
    done = "a run" if quick else "a run, a failed one and `dvc repro`"
    yield f"the canary in {count} files after {done}", told, not found and not printed
