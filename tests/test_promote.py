"""Promotion in a real project: versions, aliases, decisions, cards, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from mlflow.tracking import MlflowClient

from tests.conftest import Project, clean_environment
from tests.jobs import digits_project

SHORT = ("machine=cpu", "network=mlp", "network.hidden=[32]", "evaluation.resamples=100")
MODEL = "images"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = digits_project(tmp_path_factory.mktemp("promote"))
    made.run("dvc", "add", "--quiet", "data")
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message=data")
    return made


@pytest.fixture(scope="module")
def good(project: Project) -> str:
    return train(project, "trainer.max_epochs=12")


@pytest.fixture(scope="module")
def bad(project: Project) -> str:
    return train(project, "trainer.max_epochs=1", "optimizer.learning_rate=1e-6")


def train(project: Project, *overrides: str) -> str:
    return project.runforge("train", *SHORT, *overrides).stdout.strip()


def client(project: Project) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project.folder}/mlflow.db")


def aliases(project: Project) -> dict[str, str]:
    """The run of each alias."""
    mlflow = client(project)
    found = mlflow.get_registered_model(MODEL).aliases
    return {a: mlflow.get_model_version(MODEL, number).run_id for a, number in found.items()}


def clear(project: Project) -> None:
    mlflow = client(project)
    for model in mlflow.search_registered_models():
        mlflow.delete_registered_model(model.name)


def test_the_first_becomes_the_champion(project: Project, good: str) -> None:
    clear(project)
    done = project.runforge("promote", good[:8], "--json")
    decision = json.loads(done.stdout)
    assert decision["promoted"] and decision["champion"] is None
    assert "images@champion is version 1 now" in done.stderr
    assert aliases(project) == {"champion": good}
    version = client(project).get_model_version(MODEL, "1")
    assert version.tags["runforge.promotion"] == "promoted"
    gates = json.loads(version.tags["runforge.promotion_gates"])
    assert gates == decision["gates"] and all(gate["holds"] for gate in gates)
    card = version.description
    assert f"`runforge reproduce {good}`" in card and "## Where it fails" in card
    assert "model_card.md" in {f.path for f in client(project).list_artifacts(good)}


def test_one_that_is_worse_is_refused_and_noted(project: Project, good: str, bad: str) -> None:
    clear(project)
    project.runforge("promote", good)
    done = project.runforge("promote", bad, code=3)
    assert "is refused by the gate" in done.stderr
    assert '"not worse than the champion": accuracy' in done.stderr
    assert "not worse than the champion" in done.stdout
    assert aliases(project) == {"champion": good}
    version = client(project).get_model_version(MODEL, "2")
    assert (version.run_id, version.tags["runforge.promotion"]) == (bad, "refused")
    again = json.loads(project.runforge("promote", bad, "--json", code=3).stdout)
    assert again["version"] == "2"


def test_there_and_back(project: Project, good: str, bad: str) -> None:
    clear(project)
    project.runforge("promote", bad)
    project.runforge("promote", good)
    assert aliases(project) == {"champion": good, "previous": bad}
    assert project.runforge("promote", "--rollback").stdout.strip() == bad
    assert aliases(project) == {"champion": bad, "previous": good}
    assert json.loads(project.runforge("promote", "--rollback", "--json").stdout) == {
        "champion": good,
        "previous": bad,
    }


def test_back_to_none(project: Project, good: str) -> None:
    clear(project)
    project.runforge("promote", good)
    line = project.runforge("promote", "--rollback", code=2).stderr
    assert "images@champion is version 1, with none before it; promote another run" in line


def test_a_champion_whose_run_is_gone(project: Project, good: str) -> None:
    """First its copy in `out/` will do; without it only who asks for it replaces the champion."""
    clear(project)
    lost = train(project, "trainer.max_epochs=12", "seed=2")
    project.runforge("promote", lost)
    project.run("mlflow", "runs", "delete", "--run-id", lost)
    uri = f"sqlite:///{project.folder}/mlflow.db"
    project.run("mlflow", "gc", "--backend-store-uri", uri, "--tracking-uri", uri)
    champion = ("predict", "--model", "models:/images@champion", "data/3", "--output", "p.csv")
    assert f"run {lost} is gone from the store; the copy in" in project.runforge(*champion).stderr
    gates = json.loads(project.runforge("promote", good, "--json", code=None).stdout)["gates"]
    found = {gate["name"]: gate["told"] for gate in gates}
    assert "exact McNemar" in found["not worse than the champion"]
    champion_of(project, lost)
    for place in ("models", "runs"):
        shutil.rmtree(project.folder / "out" / place / lost)
    assert f"is gone with run {lost}" in project.runforge(*champion, code=2).stderr
    refused = project.runforge("promote", good, code=3).stderr
    assert f"the champion's run {lost[:8]} is gone: --replace-champion takes its place" in refused
    assert aliases(project) == {"champion": lost}
    project.runforge("promote", good, "--replace-champion")
    assert aliases(project) == {"champion": good, "previous": lost}
    assert "bundle is gone" in project.runforge("promote", "--rollback").stderr
    project.runforge("promote", "--rollback")


def champion_of(project: Project, run_id: str) -> None:
    """As it was before a promotion."""
    mlflow = client(project)
    (found,) = [v for v in mlflow.search_model_versions("name = 'images'") if v.run_id == run_id]
    mlflow.set_registered_model_alias(MODEL, "champion", found.version)
    mlflow.delete_registered_model_alias(MODEL, "previous")


def test_artifacts_that_were_removed(project: Project, bad: str) -> None:
    artifacts = next((project.folder / "mlruns").glob(f"*/{bad}/artifacts"))
    away = artifacts.rename(artifacts.with_name("away"))
    try:
        for command in (("promote", bad), ("reproduce", bad), ("compare", bad, "best")):
            line = project.runforge(*command, code=2).stderr
            assert f"its artifacts are gone, there is no {artifacts}" in line
    finally:
        away.rename(artifacts)


def test_two_at_once_leave_one_champion(project: Project, good: str, bad: str) -> None:
    clear(project)
    command = (sys.executable, "-m", "runforge", "promote")
    both = [
        subprocess.Popen(
            (*command, run),
            cwd=project.folder,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for run in (good, bad)
    ]
    said = [process.communicate(timeout=120)[1].decode() for process in both]
    codes = [process.returncode for process in both]
    assert codes in ([0, 0], [0, 3]), said
    assert aliases(project)["champion"] == good


def test_other_data_the_champion_is_evaluated_on_them(project: Project, good: str) -> None:
    """The data lost some test samples meanwhile."""
    clear(project)
    project.runforge("promote", good)
    for path in sorted((project.folder / "data" / "3").iterdir())[:20]:
        path.unlink()
    try:
        project.run("dvc", "add", "--quiet", "data")
        other = train(project, "trainer.max_epochs=12")
        done = project.runforge("promote", other, "--json", code=None)
        gates = {gate["name"]: gate for gate in json.loads(done.stdout)["gates"]}
        assert gates["same test set"]["holds"], gates
    finally:
        project.git("checkout", "--quiet", "--", "data.dvc")
        project.run("dvc", "checkout", "--quiet", "--force", "data.dvc")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name a run, or --rollback"),
        (("latest", "--rollback"), "name a run, or --rollback"),
        (("abcdef12",), "no run is called"),
        (("latest", "promotion.recall_drop=2"), "promotion.recall_drop"),
        (("latest", "promotion.beauty=2"), "promotion.beauty"),
        (("latest", "promotion.model=a/b"), "promotion.model"),
        (("--rollback", "promotion.model=unknown"), "there is no unknown@champion"),
    ],
)
def test_mistakes(project: Project, good: str, arguments: tuple[str, ...], told: str) -> None:
    line = project.runforge("promote", *arguments, code=2).stderr.strip()
    assert told in line and line.startswith("runforge: ") and "\n" not in line


def test_what_is_no_candidate(project: Project, good: str) -> None:
    clear(project)
    project.runforge("promote", good)
    line = project.runforge("promote", good, code=2).stderr
    assert "it is images@champion already" in line
    project.runforge("train", *SHORT, "optimizer=sgd", "optimizer.learning_rate=1e30", code=1)
    failed = client(project).search_runs(["1", "2"], "attributes.status = 'FAILED'")[0]
    line = project.runforge("promote", failed.info.run_id, code=2).stderr
    assert "it is failed" in line
    assert len(client(project).search_model_versions(f"name = '{MODEL}'")) == 1


def test_a_changed_bundle_is_no_candidate(project: Project, bad: str) -> None:
    clear(project)
    cached = project.folder / "out" / "models" / bad
    artifacts = next((project.folder / "mlruns").glob(f"*/{bad}/artifacts/bundle"))
    weights = artifacts / "weights.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        if cached.is_dir():
            for file in cached.iterdir():
                file.unlink()
            cached.rmdir()
        line = project.runforge("promote", bad, code=2).stderr
        assert "it was altered" in line
    finally:
        weights.write_bytes(before)
    assert not client(project).search_registered_models()
