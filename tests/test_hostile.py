"""What somebody else wrote runs nothing here: configurations, bundles, stores."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.faults import hostile
from benchmarks.faults.hostile import WAYS
from benchmarks.faults.spoiled import make_bundle
from benchmarks.faults.trap import Trap, refusal
from runforge import bundle
from runforge.errors import DataError
from runforge.foreign import read_json, regular
from tests.conftest import REPOSITORY
from tests.made_sets import CNN, CROSS_ENTROPY, IMAGE

PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
"""Modules that run code as they read."""


def test_nothing_hostile_is_run() -> None:
    for what, found, holds in hostile.rows(quick=True):
        assert holds, f"{what}: {found}"


def test_the_canary_sings(tmp_path: Path) -> None:
    trap = Trap.set_up(tmp_path)
    assert not trap.sprung()
    pickle.loads(trap.pickle.read_bytes())  # noqa: S301 - our own, to see that it works
    assert trap.sprung()


@pytest.mark.parametrize("way", WAYS)
def test_every_way_lets_what_is_good_pass(tmp_path: Path, way: hostile.Way) -> None:
    # Otherwise a way could refuse everything and prove nothing.
    trap = Trap.set_up(tmp_path)
    node = {
        "nested": CROSS_ENTROPY,
        "by_task": CROSS_ENTROPY,
        "by_modality": IMAGE,
        "by_source": {"_target_": "runforge.sources.image_folder.ImageFolder", "splits": {}},
    }.get(way.__name__, CNN)
    line = refusal(lambda: _built(way, trap, node))
    assert line is None or "no weights of that run fit" in line, line


def _built(way: hostile.Way, trap: Trap, node: dict[str, object]) -> None:
    try:
        way(trap, node)
    except TypeError as error:  # what only the run knows is not given here
        assert "input_shape" in str(error)


def test_nothing_is_unpickled_anywhere() -> None:
    found = [line for path in sorted((REPOSITORY / "src").rglob("*.py")) for line in _unsafe(path)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x, allow_pickle=True)",
        "mlflow.pyfunc.load_model(x)",
        "pandas.read_pickle(x)",
        "fit(weights_only=False)",
    ],
)
def test_unpickling_would_be_found(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.py"
    path.write_text(text)
    assert list(_unsafe(path))


def _unsafe(path: Path) -> Iterator[str]:
    """Each place that could run code as it reads."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            if PICKLES & {name.split(".")[0] for name in names}:
                yield where
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if not _is_safe(ast.unparse(node.func), given):
                yield where


def _is_safe(function: str, given: dict[str | None, str]) -> bool:
    loads = "save" not in function  # where `weights_only` says what is written
    if given.get("allow_pickle") == "True" or (loads and given.get("weights_only") == "False"):
        return False
    if function == "torch.load":
        return given.get("weights_only") == "True"
    return function.rpartition(".")[2] not in ("load_model", "read_pickle", "load_from_checkpoint")


def test_a_link_into_a_dvc_cache_will_do(tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "files" / "md5" / "ab" / ("c" * 30)
    make_bundle(tmp_path / "model")
    cached.parent.mkdir(parents=True)
    weights = tmp_path / "model" / "weights.safetensors"
    weights.rename(cached)
    weights.symlink_to(cached)
    bundle.load(tmp_path / "model")
    cached.rename(tmp_path / "elsewhere")
    weights.unlink()
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="it is a link"):
        bundle.load(tmp_path / "model")


def test_a_file_must_be_there_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{}")
    assert regular(tmp_path / "file", "mend") == tmp_path / "file"
    assert read_json(tmp_path / "file") == {}
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name, what in (("none", "no none"), ("link", "a link"), (".", "no regular file")):
        with pytest.raises(DataError, match=what):
            regular(tmp_path / name, "mend")
