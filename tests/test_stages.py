"""`dvc.yaml` names exactly the code that each stage runs."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TypeGuard

import pytest
import yaml

from runforge.handover import STEP_MODULES
from runforge.job import Step
from runforge.targets import ROLES

SOURCE = Path(__file__).parents[1] / "src"
PIPELINE = yaml.safe_load((SOURCE.parent / "dvc.yaml").read_text())["stages"]

LEAVES = {
    "prepare": ("sources", "modalities"),
    "train": ("modalities", "networks", "augmentations", "tasks"),
    "evaluate": ("modalities", "networks", "tasks"),
}
"""Packages whose classes a stage reaches through `_target_`."""

# As wholes: each entry of its lock costs DVC time, even when there is nothing to do.
FOLDERS = {"runforge.tracking", "runforge.metrics", "runforge.report"}
"""Packages that are a dependency as soon as one of their modules is imported."""

PROCESSES = ("runforge.worker", "runforge.node")
STARTED = {"train": PROCESSES, "evaluate": PROCESSES}
"""What a stage starts as processes of their own: `launch` names them, and nothing imports them."""

STEPS: dict[str, tuple[Step, ...]] = {"train": ("choose", "train"), "evaluate": ("evaluate",)}
"""What they do there."""


def path_of(module: str) -> Path | None:
    base = SOURCE.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@cache
def imports(module: str) -> frozenset[str]:
    """The modules of runforge that a module names in an import, wherever it stands."""
    path = path_of(module)
    assert path is not None, module
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(m for m in found if m.startswith("runforge.") and path_of(m))


def closure(starts: set[str]) -> set[str]:
    """Everything that is imported from `starts` on."""
    seen: set[str] = set()
    waiting = set(starts)
    while waiting:
        module = waiting.pop()
        seen.add(module)
        waiting |= imports(module) - seen
    return seen


def expected(stage: str) -> set[str]:
    """The code dependencies of a stage: files, and whole folders of leaves."""
    starts = {f"runforge.stages.{stage}"}
    if stage in STARTED:
        starts |= {*STARTED[stage], *(STEP_MODULES[step] for step in STEPS[stage])}
    leaves = {f"runforge.{name}" for name in LEAVES.get(stage, ())}
    for leaf in leaves:
        starts |= {f"{leaf}.{p.stem}" for p in SOURCE.joinpath(*leaf.split(".")).glob("[!_]*.py")}
    reached = closure(starts)
    whole = leaves | {f for f in FOLDERS if any(m.startswith(f"{f}.") for m in reached)}
    modules = {m for m in reached - whole if m.rpartition(".")[0] not in whole}
    files = {str(p.relative_to(SOURCE.parent)) for m in modules if (p := path_of(m))}
    own = {f for f in files if not f.endswith("__init__.py")}
    return own | {f"src/{leaf.replace('.', '/')}" for leaf in whole}


@pytest.mark.parametrize("stage", PIPELINE)
def test_the_dependencies_are_the_import_closure(stage: str) -> None:
    named = {d for d in PIPELINE[stage]["deps"] if d.startswith("src/")}
    wanted = expected(stage)
    assert named == wanted, "dvc.yaml should say:\n" + "\n".join(
        f"      - {d}" for d in sorted(wanted)
    )


def test_the_processes_are_those_that_are_started() -> None:
    """As `launch`, which knows them by name alone, and the agent say."""
    named = set()
    for module in ("launch", "agent"):
        path = path_of(f"runforge.{module}")
        assert path is not None
        texts = (n.value for n in ast.walk(ast.parse(path.read_text())) if _is_text(n))
        named |= {text for text in texts if text.startswith("runforge.") and path_of(text)}
    assert named - set(STEP_MODULES.values()) == set(PROCESSES)


def _is_text(node: ast.AST) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_no_stage_reads_the_machine() -> None:
    for stage in PIPELINE.values():
        assert not any(str(p).startswith("machine") for p in stage.get("params", ()))


def test_no_command_hides_a_failure() -> None:
    for stage in PIPELINE.values():
        assert not set("|;&") & set(stage["cmd"])


def test_every_leaf_package_is_a_dependency_of_some_stage() -> None:
    named = {name for names in LEAVES.values() for name in names}
    ours = {p.split(".")[1] for p in ROLES.values() if p.startswith("runforge.")}
    ours.remove("schedules")  # a module, which is found as an import
    assert ours == named
