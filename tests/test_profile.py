"""`runforge profile`: where the time of a step goes, told, drawn, traced, and at no other cost."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file

from runforge.profile_file import Profile
from runforge.profiling import ENOUGH, PARTS, StepProfiler
from tests.conftest import Project
from tests.jobs import digits_project, fit, make_job, prepare_digits

QUICK = ("network=mlp", "data.batch_size=20", "machine=cpu")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return digits_project(tmp_path_factory.mktemp("profile"))


def test_a_profile_is_told_drawn_and_traced(project: Project) -> None:
    done = project.runforge("profile", *QUICK)
    for part in (*PARTS.values(), "other", "a step"):
        assert f"\n{part} " in done.stdout
    assert "20 samples" in done.stdout
    assert "first: it takes" in done.stderr or "nothing around it is worth" in done.stderr
    assert "Traceback" not in done.stderr and "USDT" not in done.stderr
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("runforge-profiles")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name.startswith("profile-")
    kept = {file.path for file in client.list_artifacts(run.info.run_id, "profile")}
    names = {"profile.json", "profile.png", "trace.json.gz"}
    assert kept == {f"profile/{name}" for name in names}
    trace = client.download_artifacts(run.info.run_id, "profile/trace.json.gz")
    events = json.loads(gzip.decompress(Path(trace).read_bytes()))["traceEvents"]
    assert {"augmentation", "forward", "backward", "optimizer"} <= {e.get("name") for e in events}


def test_a_profile_as_json(project: Project) -> None:
    found = json.loads(project.runforge("profile", *QUICK, "--json").stdout)
    assert list(found["parts_ms"]) == [*PARTS.values(), "other"]
    assert found["step_ms"] == pytest.approx(sum(found["parts_ms"].values()))
    assert all(ms >= 0 for ms in found["parts_ms"].values())
    assert found["parts_ms"]["backward"] > 0 and found["steps"] >= 50


def test_too_few_steps_are_told(project: Project) -> None:
    done = project.runforge("profile", *QUICK, "trainer.steps_per_epoch=8", code=2)
    line = "trainer.steps_per_epoch: too few steps to measure; let it take 20 or more"
    assert done.stderr.splitlines()[-1].endswith(line)
    assert done.stdout == ""


@pytest.mark.parametrize("steps", [5, 30, 90, 200])
def test_a_profiled_training_gives_the_same_weights(tmp_path: Path, steps: int) -> None:
    prepare_digits(tmp_path, each=20)
    given = (*QUICK, "trainer.max_epochs=1", f"trainer.steps_per_epoch={steps}")
    plain = make_job(tmp_path, *given)
    profiled = make_job(tmp_path, *given, "trainer.profile=true")
    weights = []
    for job in (plain, profiled):
        job.write()
        fit(0, 1, job)
        weights.append(load_file(Path(job.model) / "weights.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not plain.profile.exists()
    assert (profiled.profile / "profile.json").is_file() == (steps > 10)


def test_advice_names_what_costs_most_besides_the_network() -> None:
    parts = dict.fromkeys([*PARTS.values(), "other"], 0.1)
    busy = Profile({**parts, "forward": 4.0, "backward": 8.0}, 50, 32, "CPU")
    assert "nothing around it is worth mending" in busy.advice()
    for part in ("loading", "copy", "augmentation", "optimizer", "logging", "other"):
        slow = Profile({**parts, "backward": 2.0, part: 5.0}, 50, 32, "CPU")
        assert slow.advice().startswith(f"Mend {part} first: it takes 6")


def test_a_profile_round_trips(tmp_path: Path) -> None:
    profile = Profile({"loading": 0.5, "forward": 1.5, "backward": 2.0}, 50, 32, "a GPU")
    profile.write(tmp_path)
    assert Profile.read(tmp_path) == profile
    assert profile.step_ms == 4.0 and profile.network_share == 0.875


def test_what_the_metrics_take_the_first_time_is_not_counted(tmp_path: Path) -> None:
    profiler = StepProfiler(tmp_path, batch_size=1, device=torch.device("cpu"))
    for step in range(1 + ENOUGH["warm"] + ENOUGH["early"] + ENOUGH["timed"]):
        for action in ("train_dataloader_next", "logging", "optimizer_step"):
            profiler.start(action)
            time.sleep(0.5 if (action, step) == ("logging", 40) else 0)
            profiler.stop(action)
    profiler.teardown(None)
    assert Profile.read(tmp_path).parts_ms["logging"] < 4
