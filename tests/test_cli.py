"""The command line: what it imports, what it says of mistakes, and its exit codes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runforge.cli import main
from tests.conftest import REPOSITORY, Project

HEAVY = "{'torch', 'pytorch_lightning', 'mlflow', 'hydra', 'dvc', 'polars', 'matplotlib'}"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from runforge.arguments import parser; parser().format_help();"
        f"found = {HEAVY} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "module",
    [
        *("stages.prepare", "stages.train", "stages.evaluate", "commands.train", "commands.sample"),
        *("driver", "launch", "one_run", "sweep", "commands.reproduce", "reproduction.again"),
    ],
)
def test_what_does_not_train_imports_no_torch(module: str) -> None:
    code = (
        f"import sys, runforge.{module};"
        "found = {'torch', 'pytorch_lightning'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def one_line(text: str) -> str:
    """The one line of an error; fails where there is more."""
    lines = [line for line in text.splitlines() if line.startswith("runforge: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


def refused(project: Project, *arguments: str, **environment: str) -> str:
    """What a command says that must end with exit code 2 and leave nothing behind."""
    done = project.runforge(*arguments, code=2, **environment)
    left = [p for p in project.folder.glob("out/*/*") if p.suffix != ".lock"]
    assert left == []
    assert done.stdout == ""
    return one_line(done.stderr)


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def fill(folder: Path, classes: dict[str, int]) -> None:
    """Class folders with so many random pictures each."""
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture(folder / name / f"{index}.png", number * 1000 + index)


def test_missing_data(bare_project: Project) -> None:
    line = refused(bare_project, "train")
    assert "data.root=data" in line and "runforge sample digits" in line


def test_empty_class_folder(bare_project: Project) -> None:
    fill(bare_project.folder / "data", {"cat": 20, "dog": 20, "fox": 0})
    assert "fox" in refused(bare_project, "stage", "prepare")


def test_one_class_only(bare_project: Project) -> None:
    fill(bare_project.folder / "data", {"cat": 20})
    assert "cat" in refused(bare_project, "stage", "prepare")


def test_a_class_in_test_that_training_lacks(bare_project: Project) -> None:
    fill(bare_project.folder / "data" / "train", {"cat": 20, "dog": 20})
    fill(bare_project.folder / "data" / "test", {"cat": 20, "fox": 20})
    assert "fox" in refused(bare_project, "stage", "prepare")


def test_all_files_unreadable(bare_project: Project) -> None:
    for name in ("cat", "dog"):
        folder = bare_project.folder / "data" / name
        folder.mkdir(parents=True)
        for index in range(5):
            (folder / f"{index}.jpg").write_text("no picture")
    assert "10" in refused(bare_project, "stage", "prepare")


@pytest.mark.parametrize("override", ["optimizer.learning_rate=-1", "network=ccn", "optimizr=adam"])
def test_a_mistaken_override_is_told_before_any_data_is_read(
    bare_project: Project, override: str
) -> None:
    assert override.split("=")[0] in refused(bare_project, "train", override)


def test_a_mistaken_combination_of_a_sweep_stops_it_before_the_first_trial(
    bare_project: Project,
) -> None:
    line = refused(bare_project, "train", "-m", "optimizer.learning_rate=0.1,-1")
    assert "optimizer.learning_rate=-1" in line


def test_a_tracking_server_that_does_not_answer(bare_project: Project) -> None:
    bare_project.runforge("sample", "digits")
    line = refused(bare_project, "train", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in line


def test_train_without_a_prepared_set(bare_project: Project) -> None:
    assert "dvc repro prepare" in one_line(bare_project.runforge("stage", "train", code=2).stderr)


def test_outside_a_project(tmp_path: Path) -> None:
    assert "no runforge project" in one_line(Project(tmp_path).runforge("train", code=2).stderr)


def test_an_unknown_sample(bare_project: Project) -> None:
    assert "digits" in one_line(bare_project.runforge("sample", "cats", code=2).stderr)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("trian", "there is no command trian; did you mean `runforge train`?"),
        ("sweep", "did you mean `runforge train -m`?"),
        ("help", "did you mean `runforge --help`?"),
        ("", "`runforge --help` tells what it takes"),
        ("train --lr 0.1", "train: there is no option --lr; write `optimizer.learning_rate=0.1`"),
        ("train --epochs=5 network=mlp", "write `trainer.max_epochs=5`"),
        ("train --batch-size 8", "write `data.batch_size=8`"),
        ("train --trainer.max_epochs 5", "write `trainer.max_epochs=5`"),
        ("train --gpu", "write `machine=gpu`"),
        ("train --device cuda", "write `machine.accelerator=gpu`"),
        ("train --multirn seed=1,2", "did you mean `--multirun`?"),
        ("train --fast", "there is no option --fast; values are given as key=value"),
        ("predict --modle best x.png", "there is no option --modle; did you mean `--model`?"),
        (
            "predict x.png",
            "are required: --model; `runforge predict --help` tells",
        ),
        ("serve --model x --port abc", "--port: 'abc' is no whole number"),
        ("serve --model x --port 65536", "--port: 65536 is not in 0..65535"),
        (
            "serve --model x --device gpu",
            "'gpu' is not among its values; take one of auto, cpu, cuda",
        ),
        ("batch-size --memory 9e999", "--memory: 9e999 is no amount of memory"),
        ("sample digits a b", "sample: 'b' is one word too many"),
        ("runs --limt 5", "did you mean `--limit`?"),
    ],
)
def test_a_mistake_of_the_command_line_is_one_line(
    typed: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert main(typed.split()) == 2
    assert told in one_line(capsys.readouterr().err)


def test_a_mistake_of_the_command_line_ends_the_process_with_2() -> None:
    done = subprocess.run([sys.executable, "-m", "runforge", "trian"], capture_output=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"runforge {version('runforge')}\n"


def test_overrides_stand_on_both_sides_of_the_option() -> None:
    from runforge.cli import _parse

    options = _parse(["train", "network=mlp", "-m", "seed=1,2", "data=digits"])
    assert options.multirun
    assert sorted(options.overrides) == ["data=digits", "network=mlp", "seed=1,2"]


def test_the_console_script_is_installed() -> None:
    assert shutil.which("runforge", path=str(Path(sys.executable).parent))
