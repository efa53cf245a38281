"""Every benchmark says what it measures and takes the same options."""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path

import pytest

from benchmarks.pipeline import WATCHED

FOLDER = Path(__file__).parents[1] / "benchmarks"
SHARED = ("table", "turns", "bare", "bare_gpu")
"""What several of them use, and what one of them starts."""

BENCHMARKS = sorted(path for path in FOLDER.glob("*.py") if path.stem not in SHARED)


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_is_described_with_its_command(path: Path) -> None:
    described = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert f"`python benchmarks/{path.name}" in described
    assert "--json" in described


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_takes_the_short_form_and_json(path: Path) -> None:
    text = path.read_text()
    shared = "table.options(" in text  # takes both
    assert shared or ('"--quick"' in text and '"--json"' in text)


@pytest.mark.parametrize(
    "watched", [f"{module}:{name}" for module, names in WATCHED.items() for name in names]
)
def test_what_the_pipeline_watches_is_there(watched: str) -> None:
    assert callable(pkgutil.resolve_name(watched))
