"""Configurations that are mistaken, each with what the one line about it must hold."""

from __future__ import annotations

import contextlib
import io
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runforge import cli
from tests.conftest import REPOSITORY
from tests.odd.cases import Outcome


@dataclass(frozen=True, slots=True)
class Mistake:
    """`overrides` of the command line, or an `edit` of the project's files."""

    name: str
    overrides: tuple[str, ...]
    edit: Callable[[Path], object]
    parts: tuple[str, ...]
    """What the line must hold: the place, the key, the mend."""


def make_project(folder: Path, mistake: Mistake) -> None:
    """A project without data, so that nothing could be read."""
    folder.mkdir(parents=True)
    shutil.copytree(REPOSITORY / "conf", folder / "conf")
    (folder / "dvc.yaml").touch()
    mistake.edit(folder / "conf")


def train(folder: Path, mistake: Mistake) -> Outcome:
    """`runforge train` in this process; a traceback is what it said, with code -1."""
    said = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stderr(said):
        try:
            code = cli.main(["train", *mistake.overrides])
        except Exception:  # noqa: BLE001 - that is what is looked for
            return Outcome(-1, traceback.format_exc())
    return Outcome(code, said.getvalue())


def judge(mistake: Mistake, outcome: Outcome) -> str:
    """What is wrong with an outcome; empty where it is one line: where: what; mend."""
    lines = outcome.said.splitlines()
    missing = [part for part in mistake.parts if part not in outcome.said]
    placed = lines and lines[0].startswith(("runforge: override ", "runforge: conf"))
    one = len(lines) == 1 and placed and "; " in lines[0] and len(lines[0]) < 600
    return "" if outcome.code == 2 and one and not missing else f"{outcome} lacks {missing}"


def try_all(folder: Path) -> Iterator[tuple[Mistake, str]]:
    """Each mistake with what is wrong about its outcome."""
    for number, mistake in enumerate(MISTAKES):
        place = folder / str(number)
        make_project(place, mistake)
        yield mistake, judge(mistake, train(place, mistake))


def _nothing(_: Path) -> None:
    pass


def _typed(name: str, override: str, *parts: str) -> Mistake:
    where = f"override {override}"
    return Mistake(name, (override,), _nothing, (where, *parts))


def _written(name: str, file: str, before: str, after: str, *parts: str) -> Mistake:
    def edit(conf: Path) -> None:
        text = (conf / file).read_text()
        assert before in text, f"{file} has no {before!r}"
        (conf / file).write_text(text.replace(before, after))

    return Mistake(name, (), edit, (f"conf/{file}", *parts))


def _file(name: str, file: str, content: bytes, *parts: str) -> Mistake:
    return Mistake(name, (), lambda conf: (conf / file).write_bytes(content), parts)


MEND = "mend the value"
RATE = "optimizer.learning_rate"
ADAM, CNN, IMAGES, TRAINER = (
    *("optimizer/adam.yaml", "network/cnn.yaml", "data/images.yaml", "trainer/default.yaml"),
)

TYPED = [
    _typed("a rate below 0", f"{RATE}=-1", RATE, "greater than 0", MEND),
    _typed("a rate of 0", f"{RATE}=0", RATE, "greater than 0", MEND),
    _typed("a rate of nan", f"{RATE}=nan", RATE, "finite", MEND),
    _typed("an infinite rate", f"{RATE}=inf", RATE, "finite", MEND),
    _typed("a rate of 1e999", f"{RATE}=1e999", RATE, "finite", MEND),
    _typed("a rate of text", f"{RATE}=fast", RATE, "number", MEND),
    _typed("a rate in quotes", f"{RATE}='0.1'", RATE, "number", f"write `{RATE}=0.1`"),
    _typed("a decimal comma", f"{RATE}=0,1", RATE, f"write `{RATE}=0.1`, or sweep"),
    _typed("a rate of nothing", f"{RATE}=", RATE, "number", MEND),
    _typed("a list of rates", f"{RATE}=[0.1]", RATE, "number", MEND),
    _typed("torch's name of a key", "optimizer.lr=0.1", f"did you mean `{RATE}=0.1`?"),
    _typed("a key that is not there", "optimizer.speed=1", "no key optimizer.speed"),
    _typed("an added key", "+optimizer.speed=1", "optimizer.speed", "no such key"),
    _typed("an added group", "+colour.red=1", "colour", "no such key"),
    _typed("a key taken away", "~network.filters", "network.filters", "missing"),
    _typed("a group taken away", "~network", "network", "missing"),
    _typed("a key taken away that is not there", "~network.size", "network.size"),
    _typed("a misspelt choice", "network=ccn", "did you mean `network=cnn`?"),
    _typed("a choice of nothing", "network=", "network"),
    _typed("a choice by path", "network=../optimizer/adam", "network"),
    _typed("a misspelt group", "netwrk=cnn", "did you mean `network=cnn`?"),
    _typed("a misspelt experiment", "experiment=digit", "did you mean `experiment=digits`?"),
    _typed("no value", "seed", "key=value"),
    _typed("an unclosed bracket", "network.filters=[1", "write `'network.filters=[1]'`"),
    _typed("an unclosed quote", "data.name='x", "write `data.name=x`"),
    _typed("a blank before the sign", "seed =1", "seed"),
    _typed("a negative seed", "seed=-1", "seed", MEND),
    _typed("a seed of 33 bits", "seed=4294967296", "seed", MEND),
    _typed("a seed of 30 digits", f"seed={'9' * 30}", "seed", MEND),
    _typed("a seed of true", "seed=true", "seed", MEND),
    _typed(
        "a batch of half a sample",
        "data.batch_size=1.5",
        "data.batch_size",
        f"{MEND}, which is else `data.batch_size=64`",
    ),
    _typed("a batch of 01", "data.batch_size=01", "write `data.batch_size=1`"),
    _typed("a batch of none", "data.batch_size=null", "data.batch_size", MEND),
    _typed("two values without -m", "seed=1,2", "seed"),
    _typed("a range without -m", "seed=range(1,3)", "seed"),
    _typed("a share of all", "data.split.test=1.0", "data.split.test", "less than 1", MEND),
    _typed("a share below 0", "data.split.test=-0.1", "data.split.test", MEND),
    _typed("an empty name", "data.name=''", "data.name", MEND),
    _typed("an empty root", "data.root=''", "data.root", MEND),
    _typed("yes for true", "trainer.compile=yes", "write `trainer.compile=true`"),
    _typed("an unknown precision", "trainer.precision=fp8", "trainer.precision", MEND),
    _typed("no epoch", "trainer.max_epochs=0", "trainer.max_epochs", MEND),
    _typed("an unknown split", "evaluation.split=valid", "write `evaluation.split=validation`"),
    _typed("an unknown device", "machine.accelerator=tpu", "write `machine.accelerator=auto`"),
    _typed("no device", "machine.devices=0", "machine.devices", MEND),
    _typed("a share of dropout above 1", "network.dropout=1.5", "network.dropout", MEND),
    _typed("a width of 0", "network.filters=[0]", "network.filters", MEND),
    _typed("a number for a list", "network.filters=3", "list", "write `'network.filters=[3]'`"),
    _typed("an unknown padding", "network.padding=full", "network.padding", "same", MEND),
    _typed("a picture without height", "data.modality.height=0", "data.modality.height", MEND),
    _typed("an unknown mode", "data.modality.mode=CMYK", "data.modality.mode", "RGB", MEND),
    _typed("an unknown kind of target", "data.target.kind=text", "data.target.kind", MEND),
    _typed("a foreign target", "network._target_=os.system", "network._target_", "allowed"),
    _typed("a target of nothing", "network._target_=", "network._target_"),
    _typed("a target that is a number", "network._target_=3", "network._target_"),
    _typed("a misspelt class", "network._target_=runforge.networks.cnn.Cn", "no class", "Cnn"),
    _typed("a misspelt module", "network._target_=runforge.networks.cn.Cnn", "no class"),
    _typed("a text for a node", "network=mlp=3", "network"),
    _typed(
        "a network for an optimiser", "optimizer._target_=runforge.networks.mlp.Mlp", "torch.optim."
    ),
    _typed(
        "a key only the run knows", "+network.output_count=3", "network.output_count", "no such key"
    ),
    _typed("a key of Hydra's", "network._partial_=true", "network._partial_"),
    _typed("an interpolation to nowhere", "data.name=${nowhere.at.all}", "data.name"),
    _typed("an interpolation of itself", "data.name=${data.name}", "data.name"),
    _typed("an unknown resolver", "data.name=${env:HOME}", "data.name"),
    _typed("the environment", "data.name=${oc.env:NOT_THERE}", "data.name"),
    _typed("a value left open", "data.name=???", "data.name"),
]

WRITTEN = [
    Mistake(
        "no meeting point", ("machine.nodes=2",), _nothing, ("machine.rendezvous", "HOST:PORT")
    ),
    _written(
        "a rate below 0 in a file",
        ADAM,
        "weight_decay: 0.0",
        "weight_decay: -1",
        "optimizer.weight_decay",
        MEND,
    ),
    _written("a misspelt key in a file", TRAINER, "max_epochs:", "max_epoch:", "trainer.max_epoch"),
    _written("a key missing in a file", CNN, "dense: 128", "", "network.dense", "add it"),
    _written("a key twice in a file", CNN, "dense: 128", "dense: 1\ndense: 2", "dense"),
    _written("a tab in a file", CNN, "dense: 128", "\tdense: 128", "no valid YAML"),
    _written("an unclosed list in a file", CNN, "[32, 64, 128]", "[32, 64", "no valid YAML"),
    _written("a list of keys in a file", CNN, "dense: 128", "- dense", "no valid YAML"),
    _written(
        "a tag of Python in a file",
        CNN,
        "dense: 128",
        "dense: !!python/name:os.system",
        "no valid YAML",
    ),
    _written("a number for a name in a file", IMAGES, "name: images", "name: 7", "data.name", MEND),
    _written("a key that is a number", CNN, "dense: 128", "dense: 128\n7: 8", "network", "7"),
    _written("a date for a number", CNN, "dense: 128", "dense: 2024-01-01", "network.dense", MEND),
    _written("an interpolation in a file", CNN, "dense: 128", "dense: ${no.such}", "network.dense"),
    _written("an unclosed interpolation", CNN, "dense: 128", "dense: ${data.name", "key dense"),
    _written(
        "a choice of an experiment",
        "experiment/images.yaml",
        "network: cnn",
        "network: cn",
        "did you mean cnn?",
    ),
    _file("latin-1 in a file", CNN, b"# caf\xe9\ndense: 1\n", CNN, "UTF-8"),
    _file("a NUL in a file", CNN, b"dense: \0\n", CNN),
    _file("a file of a list", CNN, b"- 1\n- 2\n", "conf", "network"),
    _file("a file of a word", CNN, b"cnn\n", "conf", "network"),
    _file("an empty file", CNN, b"", "network"),
    _file("lists in lists, 600 deep", CNN, b"dense: " + b"[" * 600 + b"]" * 600, CNN),
    _file("an empty main file", "config.yaml", b"", "conf/config.yaml"),
    _file("a main file without groups", "config.yaml", b"seed: 0\n", "conf/config.yaml", "missing"),
    _file("a group that names itself", CNN, b"defaults:\n  - cnn\n", "without end", "defaults"),
]

MISTAKES = TYPED + WRITTEN
