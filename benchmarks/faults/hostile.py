"""Hostile configurations, bundles and stores: each refused in one line, and nothing of it run.

A canary shows what ran: every target would make that file, or take a victim's away.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file

from runforge import bundle, config, targets
from runforge.errors import UserError
from runforge.foreign import JSON_LIMIT_BYTES
from runforge.tracking.find import download_bundle
from runforge.tracking.run import Run
from runforge.tracking.store import Store, open_store
from tests.conftest import REPOSITORY
from tests.made_sets import CNN, CROSS_ENTROPY, IMAGE, MULTICLASS, image_set

ONE_LINE = 600
"""Letters: a refusal that is longer is none that somebody reads."""


@dataclass(frozen=True, slots=True)
class Trap:
    """A project's configuration, a canary that must not appear and a victim that must stay."""

    folder: Path

    @classmethod
    def set_up(cls, folder: Path) -> Trap:
        """Lays out the trap in an empty folder."""
        trap = cls(folder)
        shutil.copytree(REPOSITORY / "conf", folder / "conf")
        (folder / "dvc.yaml").touch()
        trap.victim.mkdir()
        (trap.victim / "file").touch()
        trap.pickle.write_bytes(pickle.dumps(_Touch(str(trap.canary))))
        (folder / "model").mkdir()
        return trap

    @property
    def canary(self) -> Path:
        """There once anything ran."""
        return self.folder / "canary"

    @property
    def victim(self) -> Path:
        """A folder with a file."""
        return self.folder / "victim"

    @property
    def pickle(self) -> Path:
        """Makes the canary when it is unpickled."""
        return self.folder / "pickle"

    def sprung(self) -> bool:
        """Whether anything ran."""
        return self.canary.exists() or not (self.victim / "file").exists()


class _Touch:
    """An object whose pickle runs a command."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


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


def directly(trap: Trap, node: dict[str, Any]) -> object:
    """The building itself, with no check before it."""
    return _build(node)


WAYS: tuple[Way, ...] = (
    *(by_override, by_file, nested, by_params),
    *(by_bundle, by_task, by_modality, directly),
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


def make_bundle(folder: Path) -> None:
    """A bundle with nothing amiss."""
    schema = image_set([9, 3, 0]).schema
    task = targets.build(MULTICLASS, schema=schema)
    network = bundle.build_network(CNN, task, schema)
    known = {"network_node": CNN, "task_node": MULTICLASS, "schema": schema}
    bundle.write(folder, weights=network.state_dict(), run_id="abc", lineage={}, **known)


def redescribe(folder: Path, **changes: Any) -> None:
    """Changes the description as somebody does who mends its hash; `a__b` is b inside a."""
    path = folder / "bundle.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    for name, value in changes.items():
        here = values
        *above, last = name.split("__")
        for part in above:
            here = here[part]
        here[last] = value
    described = {k: v for k, v in values.items() if k not in ("format", "hash")}
    text = json.dumps(described, sort_keys=True, ensure_ascii=False)
    values["hash"] = hashlib.sha256(text.encode()).hexdigest()
    whole = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(whole + "\n", encoding="utf-8")


def reweigh(folder: Path, content: bytes) -> None:
    """Other weights, and their hash in the description."""
    (folder / "weights.safetensors").write_bytes(content)
    redescribe(folder, weights_hash=hashlib.sha256(content).hexdigest())


def _altered(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "weights.safetensors")
    change(weights)
    save_file(weights, folder / "other")
    reweigh(folder, (folder / "other").read_bytes())


def _header(text: str, length: int | None = None) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content) if length is None else length) + content + b"\0" * 64


def _offsets(first: int, last: int) -> bytes:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [first, last]}
    return _header(json.dumps({"head.4.bias": entry}))


def _zip_bomb(folder: Path) -> None:
    with zipfile.ZipFile(folder / "bomb", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data.pkl", b"\0" * 20_000_000)
    reweigh(folder, (folder / "bomb").read_bytes())


def _link(folder: Path, name: str) -> None:
    (folder / name).rename(folder.parent / "elsewhere")
    (folder / name).symlink_to(folder.parent / "elsewhere")


def _pipe(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    os.mkfifo(folder / "weights.safetensors")


def _text(folder: Path, text: str) -> None:
    (folder / "bundle.json").write_text(text, encoding="utf-8")


def _twice(folder: Path) -> None:
    path = folder / "bundle.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("{", '{"run_id": "other", ', 1), encoding="utf-8")


def _not_finite(weights: dict[str, torch.Tensor]) -> None:
    weights["head.4.bias"][0] = torch.nan


def _other_shape(weights: dict[str, torch.Tensor]) -> None:
    weights["head.4.bias"] = torch.zeros(7)


def _other_type(weights: dict[str, torch.Tensor]) -> None:
    weights["head.4.bias"] = weights["head.4.bias"].double()


def bundles(trap: Trap) -> dict[str, Callable[[Path], object]]:
    """What is done to a good bundle."""
    content = trap.pickle.read_bytes()
    return {
        "a pickle named weights.safetensors": lambda f: reweigh(f, content),
        "a checkpoint named weights.safetensors": lambda f: reweigh(f, b"PK\x03\x04" + content),
        "a zip bomb": _zip_bomb,
        "cut weights": lambda f: reweigh(f, (f / "weights.safetensors").read_bytes()[:-9]),
        "no weights": lambda f: (f / "weights.safetensors").unlink(),
        "empty weights": lambda f: reweigh(f, b""),
        "a header of 10 GB": lambda f: reweigh(f, _header("{}", 10 * 2**30)),
        "a header of 2^64 - 1 bytes": lambda f: reweigh(f, _header("{}", 2**64 - 1)),
        "a header that is no JSON": lambda f: reweigh(f, _header("{{")),
        "negative offsets": lambda f: reweigh(f, _offsets(-4, 0)),
        "offsets past the end": lambda f: reweigh(f, _offsets(0, 2**40)),
        "offsets backwards": lambda f: reweigh(f, _offsets(4, 0)),
        "another shape": lambda f: _altered(f, _other_shape),
        "another type": lambda f: _altered(f, _other_type),
        "a missing tensor": lambda f: _altered(f, lambda w: w.pop("head.4.bias")),
        "an extra tensor": lambda f: _altered(f, lambda w: w.update(evil=torch.zeros(1))),
        "a weight of nan": lambda f: _altered(f, _not_finite),
        "weights by a link": lambda f: _link(f, "weights.safetensors"),
        "a description by a link": lambda f: _link(f, "bundle.json"),
        "weights by a pipe": _pipe,
        "a run id with a path": lambda f: redescribe(f, run_id="../../evil"),
        "a run id of 10,000 letters": lambda f: redescribe(f, run_id="a" * 10_000),
        "a run id that is a number": lambda f: redescribe(f, run_id=7),
        "a huge description": lambda f: _text(f, " " * (JSON_LIMIT_BYTES + 1)),
        "a deep description": lambda f: _text(f, "[" * 100_000),
        "a deep value": lambda f: _text(f, '{"a":' * 900 + "1" + "}" * 900),
        "a key given twice": _twice,
        "a value of NaN": lambda f: _text(f, '{"format": 1, "hash": NaN}'),
        "a number of 10,000 digits": lambda f: _text(f, '{"format": ' + "9" * 10_000 + "}"),
        "no UTF-8": lambda f: (f / "bundle.json").write_bytes(b"\xff\xfe{}"),
        "an unknown key": lambda f: redescribe(f, evil="x"),
        "classes that are one text": lambda f: redescribe(f, schema__classes="abc"),
        "classes of numbers": lambda f: redescribe(f, schema__classes=[1, 2, 3]),
        "a negative shape": lambda f: redescribe(f, schema__input_shape=[-1, 8, 8]),
        "a shape of 10^18": lambda f: redescribe(f, schema__input_shape=[10**9, 10**9, 8]),
        "a shape of texts": lambda f: redescribe(f, schema__packed_shape=["8", "8", "1"]),
        "statistics of texts": lambda f: redescribe(f, schema__statistics={"mean": ["x"]}),
        "no statistics": lambda f: redescribe(f, schema__statistics={}),
        "a kind of target": lambda f: redescribe(f, schema__target_kind="code"),
        "a type of arrays": lambda f: redescribe(f, network={**CNN, "filters": "many"}),
        "a width of 10^12": lambda f: redescribe(f, network={**CNN, "dense": 10**12}),
        "a million layers": lambda f: redescribe(f, network={**CNN, "filters": [1] * 10**6}),
        "a network with a further key": lambda f: redescribe(f, network={**CNN, "evil": 1}),
        "a task for a network": lambda f: redescribe(f, network=MULTICLASS),
        "a loss for a modality": lambda f: redescribe(f, schema__modality=CROSS_ENTROPY),
        "a modality for a task": lambda f: redescribe(f, task=IMAGE),
        "another format": lambda f: redescribe(f, format=99),
    }


def refusal(attempt: Callable[[], object]) -> str | None:
    """The line that an attempt is refused with; None where it is not, or in many lines."""
    try:
        attempt()
    except UserError as error:
        line = str(error)
        return line if "\n" not in line and len(line) <= ONE_LINE else None
    return None


def _counted(what: str, found: dict[str, bool], trap: Trap) -> tuple[str, str, bool]:
    """A row: how many of the named attempts were refused, and which were not."""
    refused = sum(found.values())
    odd = [name for name, fine in found.items() if not fine]
    told = f"{refused} refused" + (f" (not: {', '.join(odd)})" if odd else "")
    ran = "something ran" if trap.sprung() else "nothing ran"
    return f"{len(found)} {what}", f"{told}, {ran}", not odd and not trap.sprung()


def _targets(trap: Trap, quick: bool) -> Iterator[tuple[str, str, bool]]:
    """Every node by every way; quick: each by one."""
    found = {}
    for index, (name, keywords) in enumerate(nodes(trap).items()):
        ways = (WAYS[index % len(WAYS)],) if quick else WAYS
        for way in ways:
            node = {"_target_": name, **keywords}
            found[f"{name} {way.__name__}"] = bool(refusal(lambda w=way, n=node: w(trap, n)))
    yield _counted("hostile targets" if quick else "hostile targets × ways", found, trap)


def _configurations(trap: Trap) -> Iterator[tuple[str, str, bool]]:
    ways = (by_file, by_params, by_bundle)
    found = {
        f"{name} {way.__name__}": bool(refusal(lambda w=way, m=more: w(trap, {**CNN, **m})))
        for name, more in MODIFIERS.items()
        for way in ways
    }
    yield _counted("keys of Hydra's, and classes in a place for others", found, trap)
    found = {o: bool(refusal(lambda o=o: config.compose(trap.folder, [o]))) for o in HYDRA}
    path = trap.folder / "conf" / "config.yaml"
    before = path.read_text(encoding="utf-8")
    values = yaml.safe_load(before)
    text = yaml.safe_dump({**values, "hydra": {**values["hydra"], "job_logging": LOGGING}})
    path.write_text(text, encoding="utf-8")
    found["hydra.job_logging in a file"] = bool(refusal(lambda: config.compose(trap.folder)))
    path.write_text(before, encoding="utf-8")
    yield _counted("configurations that steer Hydra", found, trap)
    lifted = "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE"
    os.environ[lifted] = "os.system"
    try:
        found = {lifted: bool(refusal(lambda: config.compose(trap.folder)))}
    finally:
        del os.environ[lifted]
    yield _counted("guard of Hydra's, lifted by the environment", found, trap)


def _bundles(trap: Trap) -> Iterator[tuple[str, str, bool]]:
    found, good = {}, trap.folder / "good"
    make_bundle(good)
    bundle.load(good)
    for name, spoil in bundles(trap).items():
        folder = trap.folder / "bundles" / str(len(found)) / "model"
        shutil.copytree(good, folder)
        spoil(folder)
        found[name] = bool(refusal(lambda f=folder: bundle.load(f)))
    yield _counted("hostile bundles", found, trap)


def _stored(trap: Trap, store: Store, spoil: Callable[[Path], object]) -> bool:
    """Whether a bundle in a store is refused and leaves nothing at its destination."""
    folder = trap.folder / "recorded"
    make_bundle(folder)
    run = Run.start(store, "somebody's", {})
    run.log_folder(folder, "bundle")
    spoil(trap.folder / "mlruns" / run.experiment_id / run.run_id / "artifacts" / "bundle")
    out = trap.folder / "fetched" / run.run_id
    refused = bool(refusal(lambda: bundle.load(download_bundle(store, run.run_id, out))))
    return refused and not (out / "secret").exists()


def _folder_by_a_link(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(folder.with_name("moved"))


def _stores(trap: Trap) -> Iterator[tuple[str, str, bool]]:
    store = open_store(trap.folder, "hostile")
    spoils: dict[str, Callable[[Path], object]] = {
        "weights by a link": lambda f: _link(f, "weights.safetensors"),
        "a description by a link": lambda f: _link(f, "bundle.json"),
        "the folder by a link": _folder_by_a_link,
        "no weights": lambda f: (f / "weights.safetensors").unlink(),
        "other weights": lambda f: (f / "weights.safetensors").write_bytes(b"x"),
    }
    found = {name: _stored(trap, store, spoil) for name, spoil in spoils.items()}
    yield _counted("hostile bundles in a store", found, trap)


def rows(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """What was tried, what was found, whether it holds."""
    with tempfile.TemporaryDirectory() as name:
        trap = Trap.set_up(Path(name))
        yield from _targets(trap, quick)
        yield from _configurations(trap)
        yield from _bundles(trap)
        yield from _stores(trap)
