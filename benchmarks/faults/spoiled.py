"""Bundles that somebody else made or changed, by hand or in a store."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.faults.trap import Row, Trap, counted, refusal
from runforge import bundle, targets
from runforge.foreign import JSON_LIMIT_BYTES
from runforge.tracking.artifacts import download_bundle
from runforge.tracking.run import Run
from runforge.tracking.store import Store, open_store
from tests.made_sets import CNN, CROSS_ENTROPY, IMAGE, MULTICLASS, image_set


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


def bundle_rows(trap: Trap) -> Iterator[Row]:
    """Each spoiled copy of a good bundle."""
    found, good = {}, trap.folder / "good"
    make_bundle(good)
    bundle.load(good)
    for name, spoil in bundles(trap).items():
        folder = trap.folder / "bundles" / str(len(found)) / "model"
        shutil.copytree(good, folder)
        spoil(folder)
        found[name] = bool(refusal(lambda f=folder: bundle.load(f)))
    yield counted("hostile bundles", found, trap)


def _stored(trap: Trap, store: Store, spoil: Callable[[Path], object]) -> bool:
    """Whether a bundle in a store is refused and leaves nothing at its destination."""
    folder = trap.folder / "recorded"
    make_bundle(folder)
    run = Run.start(store, "somebody's", {})
    run.log_folder(folder, "bundle")
    spoil(trap.folder / "mlruns" / store.experiment_id / run.run_id / "artifacts" / "bundle")
    out = trap.folder / "fetched" / run.run_id
    refused = bool(refusal(lambda: bundle.load(download_bundle(store, run.run_id, out))))
    return refused and not (out / "secret").exists()


def _folder_by_a_link(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(folder.with_name("moved"))


def store_rows(trap: Trap) -> Iterator[Row]:
    """Bundles fetched from a store that somebody else could write to."""
    store = open_store(trap.folder, "hostile")
    spoils: dict[str, Callable[[Path], object]] = {
        "weights by a link": lambda f: _link(f, "weights.safetensors"),
        "a description by a link": lambda f: _link(f, "bundle.json"),
        "the folder by a link": _folder_by_a_link,
        "no weights": lambda f: (f / "weights.safetensors").unlink(),
        "other weights": lambda f: (f / "weights.safetensors").write_bytes(b"x"),
    }
    found = {name: _stored(trap, store, spoil) for name, spoil in spoils.items()}
    yield counted("hostile bundles in a store", found, trap)
