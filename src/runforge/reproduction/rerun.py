"""Runs the pipeline's stages in a run's work tree, by the work tree's own code."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from runforge import places, signals
from runforge.config import PARAMS
from runforge.launch import CHECK_S, STOP_MARGIN_S
from runforge.process import ask_to_be_told
from runforge.unfinished import IDENTITY


@dataclass(frozen=True, slots=True)
class Orders:
    """What is to be run, and how."""

    copy: Path
    """The project's folder in the work tree."""
    values: dict[str, Any]
    """The configuration."""
    stages: tuple[str, ...]
    code_root: str | None
    """Where the run's code lies in the project; None: it is an installed package."""
    store_uri: str


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it."""

    run_id: str | None
    """None where no run was begun."""
    failed: str | None = None
    """The stage that failed."""
    undelivered: bool = False
    """The store was away for a part of what was recorded."""


def rerun(orders: Orders) -> Done:
    """Runs the stages one after the other, up to the first that fails.

    Each is a process that ends when this one does, however it ends.
    """
    text = yaml.safe_dump(orders.values, sort_keys=False)
    (orders.copy / PARAMS).write_text(text, encoding="utf-8")
    for stage in orders.stages:
        print(f"reproduce: {stage}", file=sys.stderr)
        if _stage(orders, stage):
            return _done(orders, failed=stage)
    return _done(orders)


def begun(copy: Path) -> str | None:
    """The id of the run that was begun in a work tree; None: none yet."""
    # The run whose weights it begins with has a folder there, too, which holds its bundle alone.
    of_runs = (
        path for name in (IDENTITY, "job.json") for path in places.runs(copy).glob(f"*/{name}")
    )
    return next((path.parent.name for path in of_runs), None)


def _done(orders: Orders, failed: str | None = None) -> Done:
    run_id = begun(orders.copy)
    waits = places.run_folder(orders.copy, run_id) / "outbox" if run_id else None
    return Done(run_id, failed, undelivered=waits is not None and waits.exists())


def _stage(orders: Orders, stage: str) -> int:
    """Runs one stage; returns its exit code."""
    # In a session of its own: a signal to the group (Ctrl-C) comes once, here, and is passed on.
    process = subprocess.Popen(
        [sys.executable, "-m", "runforge", "stage", stage],
        cwd=orders.copy,
        env=_environment(orders),
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        stderr=subprocess.PIPE if stage == "evaluate" else None,
        start_new_session=True,
        preexec_fn=ask_to_be_told,
    )
    told = threading.Thread(target=_pass_on, args=(process.stderr,))
    told.start()
    try:
        while True:
            try:
                return process.wait(CHECK_S)
            except subprocess.TimeoutExpired:
                signals.check()
    finally:
        _end(process, float(orders.values["machine"]["stop_s"]))
        told.join()


def _pass_on(said: IO[bytes] | None) -> None:
    """All but where the stage's report lies: it goes with the work tree."""
    for line in said or ():
        text = line.decode(errors="replace")
        if not (text.startswith("evaluate: run ") and text.rstrip().endswith("report.html")):
            print(text, end="", file=sys.stderr, flush=True)


def _end(process: subprocess.Popen[bytes], stop_s: float) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    with signals.hurried_by(process.kill):
        try:
            process.wait(stop_s + 5 * STOP_MARGIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(orders: Orders) -> dict[str, str]:
    """DVC's own variables would make a stage think that DVC had started it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    kept["MLFLOW_TRACKING_URI"] = orders.store_uri
    if orders.code_root is not None and (orders.copy / orders.code_root / "runforge").is_dir():
        own = str(orders.copy / orders.code_root)
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (own, kept.get("PYTHONPATH"))))
    return kept
