"""Hostile configurations, bundles and stores: each refused in one line, and nothing of it run.

A canary shows what ran: every target would make that file, or take a victim's away.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.faults.liar import server_rows
from benchmarks.faults.spoiled import bundle_rows, make_bundle, redescribe, store_rows
from benchmarks.faults.trap import Row, Trap, counted, refusal
from runforge import bundle, config, targets
from tests.conftest import REPOSITORY
from tests.made_sets import CNN, MULTICLASS


def nodes(trap: Trap) -> dict[str, dict[str, Any]]:
    """Nodes that would do harm, were they built."""
    touch, path = f"touch {trap.canary}", str(trap.pickle)
    python = f"open({str(trap.canary)!r}, 'w')"
    return {
        "os.system": {"command": touch},
        "posix.system": {"command": touch},
        "os.popen": {"cmd": touch},
        "os.execvp": {"_args_": ["touch", ["touch", str(trap.canary)]]},
        "os.remove": {"path": str(trap.victim / "file")},
        "os.unlink": {"path": str(trap.victim / "file")},
        "subprocess.run": {"args": touch, "shell": True},
        "subprocess.Popen": {"args": touch, "shell": True},
        "subprocess.check_output": {"_args_": [touch], "shell": True},
        "subprocess.getoutput": {"cmd": touch},
        "builtins.eval": {"_args_": [python]},
        "builtins.exec": {"_args_": [python]},
        "builtins.__import__": {"name": "antigravity"},
        "builtins.open": {"file": str(trap.canary), "mode": "w"},
        "builtins.getattr": {"_args_": ["os", "system"]},
        "io.open": {"file": str(trap.canary), "mode": "w"},
        "pathlib.Path.unlink": {"_args_": [str(trap.victim / "file")]},
        "pathlib.Path.touch": {"_args_": [str(trap.canary)]},
        "shutil.rmtree": {"path": str(trap.victim)},
        "pickle.loads": {"_args_": [trap.pickle.read_bytes().decode("latin1")]},
        "torch.load": {"f": path, "weights_only": False},
        "torch.serialization.load": {"f": path, "weights_only": False},
        "torch.hub.load": {"repo_or_dir": str(trap.folder), "model": "x", "source": "local"},
        "torch.utils.cpp_extension.load": {"name": "x", "sources": [path]},
        "joblib.load": {"filename": path},
        "numpy.load": {"file": path, "allow_pickle": True},
        "pandas.read_pickle": {"filepath_or_buffer": path},
        "mlflow.pyfunc.load_model": {"model_uri": str(trap.folder)},
        "mlflow.pytorch.load_model": {"model_uri": str(trap.folder)},
        "importlib.import_module": {"name": "antigravity"},
        "functools.partial": {"_args_": ["os.system", touch]},
        "hydra.utils.call": {"config": {"_target_": "os.system", "command": touch}},
        "hydra.utils.instantiate": {"config": {"_target_": "os.system", "command": touch}},
        "hydra.utils.get_method": {"path": "os.system"},
        "runforge.targets.build": {"node": {"_target_": "os.system", "command": touch}},
        "runforge.cli.main": {"arguments": ["sample", "digits", str(trap.canary)]},
        "runforge.networks.cnn.torch.load": {"f": path, "weights_only": False},
        "runforge.networks.cnn.nn.Linear": {"in_features": 1, "out_features": 1},
        "runforge.networks.cnn.__builtins__": {},
        "runforge.networks.cnn.Cnn.__init__.__globals__": {},
        "runforge.networks.cnn._private": {},
        "runforge.networks..os.system": {"command": touch},
        "runforge.networks.cnn.Сnn": {"filters": [4]},  # the first letter is Cyrillic
        "runforge.netwοrks.cnn.Cnn": {"filters": [4]},  # an omicron
        "runforge.networks.cnn.Cnn\n": {"filters": [4]},
        "runforge.networks.cnn.Cnn;os.system": {"command": touch},
        "os:system": {"command": touch},
        "torch.optim.sgd.torch.load": {"f": path, "weights_only": False},
        "torch.optim.../os.system": {"command": touch},
    }


MODIFIERS: dict[str, dict[str, Any]] = {
    "_partial_": {"_partial_": True},
    "_args_": {"_args_": [1]},
    "_recursive_": {"_recursive_": True},
    "_convert_": {"_convert_": "all"},
    "a node in a list": {"filters": [{"_target_": "os.system", "command": "x"}]},
    "a node under a key": {"evil": {"_target_": "os.system", "command": "x"}},
    "a source for a network": {"_target_": "runforge.sources.table.Table"},
    "an optimiser for a network": {"_target_": "torch.optim.sgd.SGD"},
}
"""What is put on top of a network's own node."""

HYDRA = (
    "hydra.launcher._target_=os.system",
    "hydra.sweeper._target_=builtins.eval",
    "+hydra.callbacks.evil={_target_:os.system,command:x}",
    "+hydra.job_logging.handlers.evil.class=subprocess.Popen",
    "+hydra.job.env_set.LD_PRELOAD=/tmp/x.so",
    "experiment_name=${oc.env:HOME}",
    "experiment_name=${oc.decode:'1'}",
)
"""Overrides that steer Hydra itself."""

LOGGING = {"handlers": {"evil": {"()": "os.system", "command": "x"}}}
"""How a file of Python's logging calls any function."""

Way = Callable[[Trap, dict[str, Any]], object]


def by_override(trap: Trap, node: dict[str, Any]) -> object:
    """`runforge train network._target_=… +network.key=…`."""
    given = [f"network._target_={_quoted(node['_target_'])}", *_removed(), *_added(node)]
    return _build(config.compose(trap.folder, given).values["network"])


def by_file(trap: Trap, node: dict[str, Any]) -> object:
    """A file of `conf/network/`."""
    path = trap.folder / "conf" / "network" / "evil.yaml"
    path.write_text(yaml.safe_dump(node), encoding="utf-8")
    return _build(config.compose(trap.folder, ["network=evil"]).values["network"])


def nested(trap: Trap, node: dict[str, Any]) -> object:
    """The loss in a task's file."""
    path = trap.folder / "conf" / "task" / "evil.yaml"
    path.write_text(yaml.safe_dump({**MULTICLASS, "loss": node}), encoding="utf-8")
    values = config.compose(trap.folder, ["~experiment", "task=evil"]).values
    return _build(values["task"]["loss"])


def by_params(trap: Trap, node: dict[str, Any]) -> object:
    """`params.yaml`, as a stage reads it."""
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    text = yaml.safe_dump({**values, "network": node})
    (trap.folder / "params.yaml").write_text(text, encoding="utf-8")
    return _build(config.read_params(trap.folder).values["network"])


def by_bundle(trap: Trap, node: dict[str, Any]) -> object:
    """The network of somebody's bundle."""
    return _load(trap, network=node)


def by_task(trap: Trap, node: dict[str, Any]) -> object:
    """The loss of the task of somebody's bundle."""
    return _load(trap, task={**MULTICLASS, "loss": node})


def by_modality(trap: Trap, node: dict[str, Any]) -> object:
    """The modality of somebody's bundle, which `init_from` names."""
    make_bundle(trap.folder / "model")
    redescribe(trap.folder / "model", schema__modality=node)
    return bundle.initialise_from(torch.nn.Linear(1, 1), trap.folder / "model")


def by_source(trap: Trap, node: dict[str, Any]) -> object:
    """The source of somebody's bundle, which `predict` reads more tables by."""
    return _load(trap, schema__source=node)


def directly(trap: Trap, node: dict[str, Any]) -> object:
    """The building itself, with no check before it."""
    return _build(node)


WAYS: tuple[Way, ...] = (
    *(by_override, by_file, nested, by_params),
    *(by_bundle, by_task, by_modality, by_source, directly),
)


def _build(node: dict[str, Any]) -> object:
    """As a run does once its configuration was accepted."""
    return targets.build(node)


def _load(trap: Trap, **nodes: dict[str, Any]) -> object:
    make_bundle(trap.folder / "model")
    redescribe(trap.folder / "model", **nodes)
    return bundle.load(trap.folder / "model")


def _quoted(value: object) -> str:
    """A value in the grammar of Hydra's overrides."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{_quoted(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_quoted, value)) + "]"
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'" if isinstance(value, str) else str(value).lower()


def _removed() -> list[str]:
    own = yaml.safe_load((REPOSITORY / "conf/network/cnn.yaml").read_text(encoding="utf-8"))
    return [f"~network.{key}" for key in own if key != "_target_"]


def _added(node: dict[str, Any]) -> list[str]:
    return [f"+network.{k}={_quoted(v)}" for k, v in node.items() if k != "_target_"]


def _targets(trap: Trap, quick: bool) -> Iterator[Row]:
    """Every node by every way; quick: each by one."""
    found = {}
    for index, (name, keywords) in enumerate(nodes(trap).items()):
        ways = (WAYS[index % len(WAYS)],) if quick else WAYS
        for way in ways:
            node = {"_target_": name, **keywords}
            found[f"{name} {way.__name__}"] = bool(refusal(lambda w=way, n=node: w(trap, n)))
    yield counted("hostile targets" if quick else "hostile targets × ways", found, trap)


def _configurations(trap: Trap) -> Iterator[Row]:
    ways = (by_file, by_params, by_bundle)
    found = {
        f"{name} {way.__name__}": bool(refusal(lambda w=way, m=more: w(trap, {**CNN, **m})))
        for name, more in MODIFIERS.items()
        for way in ways
    }
    yield counted("keys of Hydra's, and classes in a place for others", found, trap)
    found = {o: bool(refusal(lambda o=o: config.compose(trap.folder, [o]))) for o in HYDRA}
    path = trap.folder / "conf" / "config.yaml"
    before = path.read_text(encoding="utf-8")
    values = yaml.safe_load(before)
    text = yaml.safe_dump({**values, "hydra": {**values["hydra"], "job_logging": LOGGING}})
    path.write_text(text, encoding="utf-8")
    found["hydra.job_logging in a file"] = bool(refusal(lambda: config.compose(trap.folder)))
    path.write_text(before, encoding="utf-8")
    yield counted("configurations that steer Hydra", found, trap)
    lifted = "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE"
    os.environ[lifted] = "os.system"
    try:
        found = {lifted: bool(refusal(lambda: config.compose(trap.folder)))}
    finally:
        del os.environ[lifted]
    yield counted("guard of Hydra's, lifted by the environment", found, trap)


def rows(quick: bool) -> Iterator[Row]:
    """What was tried, what was found, whether it holds."""
    with tempfile.TemporaryDirectory() as name:
        trap = Trap.set_up(Path(name))
        yield from _targets(trap, quick)
        yield from _configurations(trap)
        yield from bundle_rows(trap)
        yield from store_rows(trap)
        yield from server_rows(trap, quick)
