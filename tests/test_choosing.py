"""`trainer.auto`: what is measured, chosen, recorded and kept."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from mlflow.tracking import MlflowClient
from safetensors.numpy import load_file

from runforge import auto, choosing, config
from runforge.auto import Chooser
from runforge.choices import Choices, Tried, with_values
from runforge.errors import ConfigError, DataError
from runforge.job import Job
from tests.conftest import REPOSITORY, Project
from tests.jobs import digits_project, make_job, prepare_digits
from tests.processes import together
from tests.trees import everything_below, left_in, start_in

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning"),
]

QUICK = ("machine=cpu", "network=mlp", "trainer.max_epochs=2", "evaluation.resamples=100")
AUTO = (*QUICK, "trainer.auto=true")
LONG = ("trainer.max_epochs=20_000", "data.batch_size=20")
"""Long enough for compiling to be tried."""
MEASURING = "auto: measuring"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return digits_project(tmp_path_factory.mktemp("choosing"))


@pytest.fixture(scope="module")
def measured(project: Project) -> str:
    """The id of a run whose choices were measured, which is said."""
    done = project.runforge("train", *AUTO)
    assert done.stderr.count(MEASURING) == 1
    assert "\nas given " in done.stderr and "\nthreads=1 " in done.stderr
    return done.stdout.strip()


def client(project: Project) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project.folder}/mlflow.db")


def weights(folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = load_file(folder / "model" / "weights.safetensors")
    return found


def assert_same_training(project: Project, one: str, other: str) -> None:
    folders = [project.folder / "out" / "runs" / run for run in (one, other)]
    first, second = map(weights, folders)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    predictions = [f / "evaluation" / "predictions.parquet" for f in folders]
    assert predictions[0].read_bytes() == predictions[1].read_bytes()


def files(project: Project) -> set[Path]:
    return set((project.folder / "out" / "auto").glob("*.json"))


def give(project: Project, **values: Any) -> None:
    """Makes the choices that were kept others than were measured, as another machine would."""
    assert len(files(project)) == 1
    (file,) = files(project)
    choices = Choices.read(file)
    assert choices is not None and choices.tried
    named = {f"{'machine' if n == 'threads' else 'trainer'}.{n}": v for n, v in values.items()}
    Choices({**choices.values, **named}, choices.tried).write(file)


def test_the_choice_is_recorded_as_if_it_had_been_given(project: Project, measured: str) -> None:
    run = client(project).get_run(measured)
    (file,) = files(project)
    choices = Choices.read(file)
    assert choices is not None and list(choices.values) == ["machine.threads"]
    threads = choices.values["machine.threads"]
    assert threads in (1, None)
    assert run.data.tags["runforge.auto"] == f"threads={threads or 'default'}"
    assert run.data.params["trainer.auto"] == "false"
    assert run.data.params["machine.threads"] == json.dumps(threads)
    expected = threads or torch.get_num_threads()
    assert run.data.tags["runforge.threads"] == str(expected)
    table = json.loads(Path(client(project).download_artifacts(measured, "auto.json")).read_text())
    assert [row[0] for row in table["data"]] == ["as given", "threads=1"]
    by_hand = (f"machine.threads={threads}",) if threads else ()
    other = project.runforge("train", *QUICK, *by_hand).stdout.strip()
    assert other != measured
    assert_same_training(project, measured, other)


def test_the_same_command_does_not_measure_again(project: Project, measured: str) -> None:
    give(project, threads=1, compile=True)
    done = project.runforge("train", *AUTO)
    assert MEASURING not in done.stderr
    assert "auto: threads=1, compile=true, as measured before" in done.stderr
    params = client(project).get_run(done.stdout.strip()).data.params
    assert (params["machine.threads"], params["trainer.compile"]) == ("1", "true")
    again = project.runforge("train", *AUTO, "fresh=true")
    assert again.stderr.count(MEASURING) == 1
    (file,) = files(project)
    choices = Choices.read(file)
    assert choices is not None and "trainer.compile" not in choices.values


def test_a_run_is_made_again_as_it_was_chosen(project: Project, measured: str) -> None:
    give(project, threads=1)
    run_id = project.runforge("train", *AUTO).stdout.strip()
    done = project.runforge("reproduce", run_id)
    assert "identical" in done.stdout + done.stderr and "auto:" not in done.stderr


def test_a_run_that_was_killed_goes_on_with_its_choice(project: Project) -> None:
    long = ("trainer.max_epochs=300", "trainer.log_every_steps=7")
    command = ("train", *AUTO[:2], *AUTO[3:], *long, "machine.checkpoint_interval_s=0")
    runs = project.folder / "out" / "runs"
    before, kept = set(runs.glob("*")), files(project)

    def at_work() -> list[Path]:
        return [p for p in set(runs.glob("*")) - before if any((p / "checkpoints").glob("last-*"))]

    with start_in(project.folder, sys.executable, "-m", "runforge", *command) as process:
        while not at_work():
            assert process.poll() is None, "it ended before"
            time.sleep(0.005)
        for one in everything_below(process.pid):
            one.kill()
    assert left_in(project.folder) == []
    (run,), (file,) = at_work(), files(project) - kept
    done = project.runforge(*command)
    file.unlink()
    assert f"going on with run {run.name}" in done.stderr and MEASURING not in done.stderr
    assert done.stdout.strip() == run.name
    assert client(project).get_run(run.name).info.status == "FINISHED"


def test_trials_that_are_alike_share_a_choice(project: Project, measured: str) -> None:
    give(project, threads=1)
    seeds = ("seed=3,4", "optimizer.learning_rate=0.01", "fresh=true")
    done = project.runforge("train", "-m", *AUTO, *seeds)
    assert done.stderr.count(MEASURING) == 1
    query = f"tags.`mlflow.parentRunId` = '{done.stdout.strip()}'"
    store = client(project)
    trials = store.search_runs([e.experiment_id for e in store.search_experiments()], query)
    assert len(trials) == 2 and {t.info.status for t in trials} == {"FINISHED"}
    assert len({t.data.tags["runforge.auto"] for t in trials}) == 1
    assert {t.data.params["trainer.auto"] for t in trials} == {"false"}


def test_a_sweep_records_the_trial_whose_data_are_not_there(project: Project) -> None:
    roots = "data.root=data,nowhere"
    done = project.runforge("train", "-m", *AUTO, roots, "seed=9", code=1)
    query = f"tags.`mlflow.parentRunId` = '{done.stdout.strip()}'"
    store = client(project)
    trials = store.search_runs([e.experiment_id for e in store.search_experiments()], query)
    assert sorted(t.info.status for t in trials) == ["FAILED", "FINISHED"]


def test_the_stages_choose_too(project: Project) -> None:
    params = project.folder / "params.yaml"
    project.runforge("stage", "compose")
    before, kept = params.read_text(), files(project)
    values = yaml.safe_load(before)
    values["trainer"] |= {"auto": True, "max_epochs": 2}
    values["evaluation"]["resamples"] = 100
    values["machine"]["accelerator"] = "cpu"
    params.write_text(yaml.safe_dump(values, sort_keys=False))
    project.runforge("stage", "prepare")
    assert project.runforge("stage", "train").stderr.count(MEASURING) == 1
    (file,) = files(project) - kept
    choices = Choices.read(file)
    assert choices is not None
    Choices({"machine.threads": 1}, choices.tried).write(file)
    said = project.runforge("stage", "train").stderr
    evaluated = project.runforge("stage", "evaluate").stderr
    file.unlink()
    params.write_text(before)
    assert "auto: threads=1, as measured before" in said and MEASURING not in evaluated
    run_id = said.strip().rpartition(" ")[2]
    run = client(project).get_run(run_id)
    assert run.data.params["trainer.auto"] == "false" and run.data.params["machine.threads"] == "1"
    assert run.data.tags["runforge.auto"] == "threads=1"
    project.runforge("reproduce", run_id)


def test_a_training_that_can_not_be_measured_is_told_by_itself(project: Project) -> None:
    kept = files(project)
    bad = ("optimizer=sgd", "optimizer.learning_rate=1e38", "schedule=constant")
    done = project.runforge("train", *AUTO, *bad, code=1)
    assert "auto: nothing could be measured (the loss became" in done.stderr
    assert "lower optimizer.learning_rate" in done.stderr.splitlines()[-1]
    assert files(project) == kept


def test_several_machines_are_refused() -> None:
    given = ["trainer.auto=true", "machine.nodes=2", "machine.rendezvous=localhost:1234"]
    with pytest.raises(ConfigError, match=r"override trainer\.auto=true: .* on one machine alone"):
        config.compose(REPOSITORY, given)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `prepared`."""
    folder = tmp_path_factory.mktemp("digits")
    prepare_digits(folder, each=30)
    return folder


def test_a_choice_that_fails_is_told_in_one_line(
    project: Project,
    digits: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CXX", "/bin/false")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(digits / "cache"))
    composed = config.compose(REPOSITORY, [*QUICK[:2], *LONG, "trainer.auto=true"])
    chosen = Chooser(digits).chosen(composed, digits / "prepared")
    said = capfd.readouterr().err
    (line,) = (line for line in said.splitlines() if line.startswith("auto: compile=true can't be"))
    assert "/bin/false" in line and "Traceback" not in said
    assert chosen.choices is not None and chosen.choices.values["trainer.compile"] is False
    assert (
        not chosen.composed.settings.trainer.compile and not chosen.composed.settings.trainer.auto
    )
    again = Chooser(digits).chosen(composed, digits / "prepared")
    assert again == chosen and MEASURING not in capfd.readouterr().err
    kept = auto.kept(digits, composed, digits / "prepared")
    assert kept == chosen


def test_compiling_is_measured_and_counted(digits: Path) -> None:
    job = make_job(digits, *QUICK[:2], *LONG, "machine.threads=1")
    choices = Choices.from_text(choosing.run(job)["choices"])
    given, compiled = choices.tried
    assert (given.choice, compiled.choice) == ("as given", "compile=true")
    assert given.start_s == 0.0 and given.total_s is not None and given.step_ms is not None
    steps = 20_000 * 11  # 210 samples in batches of 20
    assert given.total_s == pytest.approx(given.step_ms / 1000 * steps)
    assert compiled.start_s and compiled.total_s and compiled.step_ms
    assert compiled.total_s == pytest.approx(compiled.step_ms / 1000 * steps + compiled.start_s)
    kept = compiled.total_s < 0.97 * given.total_s
    assert choices.values == {"trainer.compile": kept}
    assert compiled.verdict == ("kept" if kept else "not faster")


def choose(rank: int, count: int, job: Job) -> dict[str, str]:
    torch.set_num_threads(2)
    return choosing.run(job)


def test_ranks_choose_alike(digits: Path, tmp_path: Path) -> None:
    job = make_job(digits, *QUICK, "machine.devices=2")
    one, other = together(choose, 2, tmp_path / "ranks", job)
    assert one == other
    assert [t.choice for t in Choices.from_text(one["choices"]).tried] == ["as given", "threads=1"]


def test_what_a_choice_depends_on(digits: Path) -> None:
    def key(*given: str) -> str:
        return auto._key(config.compose(REPOSITORY, list(given)), digits / "prepared")

    plain = key()
    for same in ("seed=3", "optimizer.learning_rate=1", "fresh=true", "trainer.keep=last"):
        assert key(same) == plain, same
    others = ("network=mlp", "data.batch_size=7", "trainer.max_epochs=3", "augmentation=digits")
    assert len({plain, *map(key, others), key("machine.workers=1")}) == len(others) + 2


def test_choices_round_trip(tmp_path: Path) -> None:
    tried = (Tried("as given", "", 2.0, 0.0, 20.0), Tried("compile=true", "can't be", cause="why"))
    choices = Choices({"machine.threads": None, "trainer.compile": False}, tried)
    choices.write(tmp_path / "a" / "b.json")
    assert Choices.read(tmp_path / "a" / "b.json") == choices
    assert Choices.read(tmp_path / "none.json") is None
    assert choices.words == "threads=default, compile=false"
    assert Choices({}, ()).words == "nothing to choose"
    given = {"trainer": {"auto": True, "compile": True}, "machine": {"threads": 2}}
    put = {"trainer": {"auto": False, "compile": False}, "machine": {"threads": None}}
    assert choices.put_into(given) == put
    assert with_values(given, {}) == given and given["trainer"]["auto"] is True
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(DataError, match="holds no choices; remove it"):
        Choices.read(tmp_path / "b.json")
