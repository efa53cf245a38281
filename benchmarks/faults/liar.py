"""A tracking server that lies: names that lead out of where its artifacts are to go."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from unittest.mock import patch

from benchmarks.faults.trap import Row, Trap, counted, refusal
from runforge import bundle, places
from runforge.tracking.artifacts import download_bundle
from runforge.tracking.find import find_run
from runforge.tracking.store import open_store

RUN_ID = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Lie:
    """What the server says: the id of every run, and the name of every artifact."""

    run_id: str
    artifact: str

    def answer(self, path: str) -> bytes:
        """To a request, by the end of its path."""
        if "/mlflow-artifacts/artifacts/" in path:
            return b"evil"
        experiment = {"experiment_id": "1", "name": "x", "lifecycle_stage": "active"}
        known = {
            "experiments/get-by-name": {"experiment": experiment},
            "runs/get": {"run": self._run()},
            "runs/search": {"runs": [self._run()]},
            "artifacts": {"files": [{"path": self.artifact, "is_dir": False, "file_size": 4}]},
        }
        ends = (found for end, found in known.items() if path.endswith(end))
        return json.dumps(next(ends, {})).encode()

    def _run(self) -> dict[str, object]:
        info = {"run_id": self.run_id, "run_uuid": self.run_id, "experiment_id": "1"}
        where = {"artifact_uri": "mlflow-artifacts:/1/x/artifacts", "lifecycle_stage": "active"}
        return {"info": {**info, **where, "start_time": 1, "status": "FINISHED"}, "data": {}}


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, lie: Lie, *given: object) -> None:
        self.lie = lie
        super().__init__(*given)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        content = self.lie.answer(self.path.partition("?")[0])
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *given: object) -> None:  # noqa: A002 - as its parent has it
        """Nothing: the rows tell."""


@contextmanager
def server(lie: Lie) -> Iterator[str]:
    """The server's address."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, lie))
    thread = Thread(target=http.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def lies(folder: Path) -> dict[str, Lie]:
    """Each leads out of its folder, were it believed."""
    evil = ("../evil", "../../../evil", f"{folder}/evil", "bundle/../../../evil", "..\\evil")
    encoded = ("%2e%2e/%2e%2e/evil", "bundle/%2e%2e/%2e%2e/evil", "file:///tmp/evil")
    artifacts = {f"artifact {name}": Lie(RUN_ID, name) for name in (*evil, *encoded)}
    runs = ("../../../evil", f"{folder}/evil", "..", ".", "a/b", "", "a\nb", "%2e%2e", "x" * 300)
    return {**artifacts, **{f"run {name!r:.40}": Lie(name, "bundle") for name in runs}}


def _fetch(project: Path) -> object:
    """As a run does whose `init_from` names another's."""
    store = open_store(project, "x")
    found = find_run(store, RUN_ID)
    return bundle.load(
        download_bundle(store, found.run_id, places.run_folder(project, found.run_id))
    )


def _files(folder: Path) -> set[Path]:
    return {p for p in folder.rglob("*") if p.is_file()}


def server_rows(trap: Trap, quick: bool) -> Iterator[Row]:
    """Bundles fetched from it: refused, and no file is left anywhere; quick: of a third."""
    project, found = trap.folder / "deep" / "project", {}
    before = _files(trap.folder)
    told = list(lies(trap.folder).items())
    for name, lie in told[:: 3 if quick else 1]:
        with server(lie) as address, patch.dict(os.environ, MLFLOW_TRACKING_URI=address):
            refused = bool(refusal(lambda: _fetch(project)))
        written = _files(trap.folder) - before
        found[name] = refused and not written
    yield counted("names from a lying server", found, trap)
