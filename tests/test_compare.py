"""`runforge compare`: only what differs, counted again by hand; recorded; refused in one line."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from runforge.comparing.found import check_references, compare
from runforge.comparison import Comparison
from runforge.config import flatten
from runforge.errors import UserError
from runforge.lineage_file import LineageFile
from runforge.manifest import Entry, write_manifest
from runforge.metrics.classification import classification_figures
from runforge.metrics.regression import regression_figures
from runforge.predictions import Predictions
from runforge.prepared import PreparedSet
from runforge.tracking.find import find_run, list_runs
from runforge.tracking.run import Run
from runforge.tracking.store import Store, open_store
from tests.conftest import Project, make_project
from tests.jobs import prepare_digits
from tests.test_cli import one_line

CONFIGURATION = {"seed": 1, "network": {"_target_": "x.Cnn", "channels": [8, 16]}}
PINS = ("numpy==2.4.6", "torch==2.13.0")
HOSTILE = "<script>alert(1)</script> \x1b[31m"


@dataclass(frozen=True, slots=True)
class Place:
    """A project with a store and a prepared set."""

    project: Project
    store: Store
    prepared: PreparedSet


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("compare")
    project = make_project(folder / "project")
    prepare_digits(folder, each=40)
    (project.folder / "out").mkdir()
    shutil.move(folder / "prepared", project.folder / "out" / "prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store = open_store(project.folder, "digits")
    return Place(project, store, PreparedSet.open(project.folder / "out" / "prepared"))


def answers(place: Place, seed: int, sharp: float = 3.0) -> Predictions:
    """Of the test split's digits; the sharper, the more of them right."""
    rows = place.prepared.rows("test")
    targets = np.asarray(place.prepared.targets[rows])
    values = np.random.default_rng(seed).normal(size=(len(rows), 10))
    values[np.arange(len(rows)), targets] += sharp
    values = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    ids = np.array(place.prepared.ids)[rows]
    names = place.prepared.schema.classes
    return Predictions(ids, "test", targets, values.astype(np.float32), names)


def entries(place: Place) -> list[Entry]:
    """The manifest of the prepared set, with one sample that was refused."""
    found = [
        Entry(identity, where, "a", split, row, None)
        for row, (identity, where, split) in enumerate(
            zip(place.prepared.ids, place.prepared.where, place.prepared.splits, strict=True)
        )
    ]
    return [*found, Entry("bad", "bad.png", "a", None, None, "it is broken")]


def recorded(  # noqa: PLR0913 - what a run is made of
    place: Place,
    folder: Path,
    predictions: Predictions | None,
    *,
    name: str = "run",
    status: Any = "FINISHED",
    values: dict[str, Any] = CONFIGURATION,
    pins: Sequence[str] = PINS,
    tags: dict[str, str] | None = None,
    manifest: list[Entry] | None = None,
    patch: bytes = b"",
    code: dict[str, str] | None = None,
) -> str:
    """A run with everything that a training records of itself."""
    fingerprint = place.prepared.schema.fingerprint
    main = "accuracy:max" if predictions is None or predictions.classes else "r2:max"
    known = {
        "runforge.primary_metric": f"test/{main}",
        "runforge.data_fingerprint": fingerprint,
        "runforge.python": "3.11.7",
        **(tags or {}),
    }
    run = Run.start(place.store, name, known)
    run.log_parameters({key: json.dumps(value) for key, value in flatten(values).items()})
    run.log_text(yaml.safe_dump(values), "configuration.yaml")
    run.log_text("\n".join(pins), "requirements.txt")
    own = folder / run.run_id
    (own / "lineage").mkdir(parents=True)
    file = LineageFile({}, None, "", "data", fingerprint, code or {"a.py": "1"}, ("train",))
    (own / "lineage" / "lineage.json").write_text(json.dumps(asdict(file)))
    if patch:
        (own / "lineage" / "changes.patch").write_bytes(patch)
    run.log_folder(own / "lineage", "lineage")
    if manifest is not None:
        write_manifest(manifest, own / "manifest.parquet")
        run.log_file(own / "manifest.parquet", "data")
    if predictions is not None:
        figures = classification_figures if predictions.classes else regression_figures
        numbers = figures(predictions, resamples=50, seed=0).numbers()
        run.log_figures({f"{predictions.split}/{n}": v for n, v in numbers.items()})
        predictions.write(own / "predictions.parquet")
        run.log_file(own / "predictions.parquet", "evaluation")
    run.end(status, None if status == "FINISHED" else "loss is nan")
    return run.run_id


def compared(place: Place, folder: Path, *ids: str, diff: bool = False) -> Comparison:
    return compare(place.store, ids, folder / "copies", diff=diff)[0]


@pytest.fixture(scope="module")
def two(place: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A worse and a better run; names that would do harm."""
    folder = tmp_path_factory.mktemp("two")
    other = {"seed": 1, "network": {"_target_": "x.Mlp", "width": 64}}
    first = recorded(place, folder, answers(place, 1, 1.0), name=HOSTILE)
    second = recorded(
        place,
        folder,
        answers(place, 2, 6.0),
        name="better",
        values=other,
        pins=("numpy==2.5.0", "torch==2.13.0", "onnx==1.20"),
        tags={"runforge.python": "3.12.1"},
    )
    return first, second


def test_only_what_differs(place, two, tmp_path) -> None:
    found = compared(place, tmp_path, *two)
    assert {one.name: one.values for one in found.configuration} == {
        "network._target_": ("x.Cnn", "x.Mlp"),
        "network.channels": ("[8, 16]", None),
        "network.width": (None, "64"),
    }
    assert [(one.name, one.values) for one in found.environment] == [
        ("python", ("3.11.7", "3.12.1")),
        ("numpy", ("2.4.6", "2.5.0")),
        ("onnx", (None, "1.20")),
    ]
    (data,), (code,) = found.data, found.code
    assert data.same and not data.added
    assert code.files == () and code.notes == () and code.diff == ""


def test_figures_flips_and_cells_are_those_of_the_predictions(place, two, tmp_path) -> None:
    found = compared(place, tmp_path, *two)
    was, now = answers(place, 1, 1.0), answers(place, 2, 6.0)
    rows = zip(was.ids, was.targets, was.predicted, now.predicted, strict=True)
    lost, won, cells = [], [], Counter()
    for identity, target, first, second in rows:
        cells[target, first] -= 1
        cells[target, second] += 1
        if first == target != second:
            lost.append(identity)
        if second == target != first:
            won.append(identity)
    (move,) = found.moves
    assert [flip.sample_id for flip in move.lost] == lost
    assert [flip.sample_id for flip in move.won] == won and won
    assert {tuple(at): int(move.change[tuple(at)]) for at in np.argwhere(move.change)} == {
        at: change for at, change in cells.items() if change
    }
    accuracy = found.pairs[0].differences[0]
    assert accuracy.difference * len(was.ids) == pytest.approx(len(won) - len(lost))
    stored = next(one for one in found.metrics if one.name == "accuracy")
    assert stored.numbers[1].value == pytest.approx(accuracy.second)
    assert stored.numbers[1].low < accuracy.second <= stored.numbers[1].high
    assert found.winner == 1 and "B is better than A by more than chance" in found.verdicts[0]
    assert found.samples.notes == ()


def test_runs_that_are_no_more_apart_than_chance(place, tmp_path) -> None:
    ids = [recorded(place, tmp_path, answers(place, seed, 3.0)) for seed in (5, 6)]
    found = compared(place, tmp_path, *ids)
    assert found.winner is None and "no more than chance makes" in found.verdicts[0]


def test_ids_that_were_taken_in_another_way_are_no_other_samples(place, tmp_path) -> None:
    """A run of an older version: the same rows of a table under other ids."""
    was = entries(place)
    now = [replace(e, id=f"{e.id}0") for e in was]
    tags = {"runforge.data_fingerprint": "f" * 32}
    given = answers(place, 0)
    a = recorded(place, tmp_path, given, manifest=was)
    renamed = replace(given, ids=np.array([f"{one}0" for one in given.ids]))
    b = recorded(place, tmp_path, renamed, manifest=now, tags=tags)
    comparison = compared(place, tmp_path, a, b)
    (data,) = comparison.data
    assert not data.added and not data.removed
    assert f"{len(was) - 1} of {len(was) - 1} samples have the same place and label" in data.note
    assert "train it again" in data.note
    assert "no sample in common" in comparison.samples.notes[0]
    half = [e if i % 2 else n for i, (e, n) in enumerate(zip(was, now, strict=True))]
    c = recorded(place, tmp_path, given, manifest=half[: len(was) // 2], tags=tags)
    assert compared(place, tmp_path, a, c).data[0].note == ""


def test_samples_added_removed_relabelled_and_moved(place, tmp_path) -> None:
    was = entries(place)
    now = [replace(was[0], id="new"), *was[2:]]
    now[2] = replace(was[3], label="b")
    now[3] = replace(was[4], split="other")
    other = {"runforge.data_fingerprint": "1" * 32}
    ids = [
        recorded(place, tmp_path, answers(place, 1), manifest=was),
        recorded(place, tmp_path, answers(place, 1), manifest=now, tags=other),
        recorded(place, tmp_path, answers(place, 1), tags=other),
    ]
    data, without = compared(place, tmp_path, *ids).data
    assert data.places == {one.id: one.where for one in (now[0], was[0], was[1], now[2], now[3])}
    assert data.added == ("new",) and data.removed == (was[0].id, was[1].id)
    assert [(one.sample_id, one.was, one.now) for one in data.relabelled] == [(was[3].id, "a", "b")]
    moved = [(one.sample_id, one.was, one.now) for one in data.moved]
    assert moved == [(was[4].id, was[4].split, "other")]
    assert without.note == f"run {ids[2][:8]} recorded no list of its samples"


def test_code_with_uncommitted_changes_and_the_diff(place, tmp_path) -> None:
    project = place.project
    commit = {"runforge.git_commit": head(project)}
    project.edit("src/runforge/places.py", "Where things lie", "Where THINGS lie")
    project.edit("params.yaml", "seed", "seed ")
    patch = project.run("git", "diff", "src").stdout.encode()
    project.run("git", "checkout", "--quiet", ".")
    project.edit("conf/config.yaml", "seed", "# a line\nseed")
    project.git("commit", "--quiet", "--all", "--message=more")
    before = project.run("git", "count-objects", "-v").stdout, status(project)
    later = {"runforge.git_commit": head(project), "runforge.git_dirty": "true"}
    ids = [
        recorded(place, tmp_path, answers(place, 1), tags=commit),
        recorded(place, tmp_path, answers(place, 1), tags=commit, patch=patch),
        recorded(place, tmp_path, answers(place, 1), tags=later),
    ]
    patched, committed = compared(place, tmp_path, *ids, diff=True).code
    (file,) = patched.files
    assert (file.path, file.added, file.removed) == ("src/runforge/places.py", 1, 1)
    assert '-"""Where things lie' in patched.diff and '+"""Where THINGS lie' in patched.diff
    assert patched.states[1].endswith("with uncommitted changes")
    assert [one.path for one in committed.files] == ["conf/config.yaml"]
    assert committed.notes == (f"the uncommitted changes of {ids[2][:8]} were not recorded",)
    assert compared(place, tmp_path / "again", *ids).code[0].diff == ""
    assert (project.run("git", "count-objects", "-v").stdout, status(project)) == before


def head(project: Project) -> str:
    return project.run("git", "rev-parse", "HEAD").stdout.strip()


def status(project: Project) -> str:
    return project.run("git", "status", "--porcelain").stdout


def test_a_commit_that_is_not_here_leaves_the_hashes_of_the_files(place, tmp_path) -> None:
    gone = {"runforge.git_commit": "1" * 40}
    ids = [
        recorded(place, tmp_path, answers(place, 1), code={"a.py": "1", "b.py": "1"}),
        recorded(place, tmp_path, answers(place, 1), code={"a.py": "2", "b.py": "1"}, tags=gone),
    ]
    (code,) = compared(place, tmp_path, *ids).code
    assert [one.path for one in code.files] == ["runforge/a.py"]
    assert "git can't say what changed" in code.notes[0]


def test_samples_that_differ_are_said_to(place, tmp_path) -> None:
    whole = answers(place, 1)
    keep = np.arange(5, len(whole.ids))
    part = replace(
        whole, ids=whole.ids[keep], targets=whole.targets[keep], values=whole.values[keep]
    )
    ids = [recorded(place, tmp_path, one) for one in (whole, part)]
    found = compared(place, tmp_path, *ids).samples
    count = len(whole.ids)
    assert found.compared == count - 5
    assert (
        f"The samples differ (A {count}, B {count - 5}); {count - 5} are common" in found.notes[0]
    )


def test_no_sample_in_common_leaves_the_figures_side_by_side(place, tmp_path) -> None:
    whole = answers(place, 1)
    moved = replace(whole, ids=np.array([f"new{n}" for n in range(len(whole.ids))]))
    ids = [recorded(place, tmp_path, one) for one in (whole, moved)]
    found = compared(place, tmp_path, *ids)
    assert found.pairs == () and found.verdicts == () and found.metrics
    assert "no sample in common" in found.samples.notes[0]
    json.dumps(found.to_dict(), allow_nan=False)


def test_other_classes_are_said_and_compared_as_far_as_they_go(place, tmp_path) -> None:
    whole = answers(place, 1)
    renamed = replace(whole, classes=("zero", *whole.classes[1:]))
    ids = [recorded(place, tmp_path, one) for one in (whole, renamed)]
    found = compared(place, tmp_path, *ids)
    assert any("The classes differ" in note for note in found.samples.notes)
    assert found.samples.compared == (whole.targets != 0).sum()
    assert found.pairs[0].differences[0].metric == "accuracy"


def test_three_runs_have_a_winner_only_if_one_beats_all(place, two, tmp_path) -> None:
    third = recorded(place, tmp_path, answers(place, 9, 1.0))
    found = compared(place, tmp_path, *two, third)
    assert found.winner == 1 and found.verdicts[-1].startswith("The winner is B")
    assert [found.letters(pair) for pair in found.pairs] == [("A", "B"), ("A", "C"), ("B", "C")]
    same = compared(
        place, tmp_path / "same", two[0], third, recorded(place, tmp_path, answers(place, 8, 1))
    )
    assert same.winner is None and same.verdicts[-1].startswith("There is no winner")


def values(seed: int, noise: float, *, shift: float = 0.0) -> Predictions:
    targets = np.random.default_rng(0).normal(100, 5, 120)
    said = targets + shift + noise * np.random.default_rng(seed).normal(size=120)
    return Predictions(np.array([f"id{n}" for n in range(120)]), "test", targets, said[:, None], ())


def test_runs_that_predict_values(place, tmp_path) -> None:
    was, now = values(1, 3.0), values(2, 1.0)
    ids = [recorded(place, tmp_path, one) for one in (was, now)]
    found = compared(place, tmp_path, *ids)
    assert found.winner == 1 and "r2" in found.verdicts[0]
    (move,) = found.moves
    grown = np.abs(now.targets - now.predicted) - np.abs(was.targets - was.predicted)
    assert move.lost[0].sample_id == was.ids[grown.argmax()]
    assert move.won[0].sample_id == was.ids[grown.argmin()]


def test_what_the_command_records_prints_and_writes(place, two, tmp_path) -> None:
    page = tmp_path / "page.html"
    before = len(list_runs(place.store, count=1000))
    done = place.project.runforge("compare", *two, "--json", "--html", str(page))
    told = json.loads(done.stdout)
    assert told["winner"] == "B" and told["runs"][0]["run_id"] == two[0]
    assert len(list_runs(place.store, count=1000)) == before + 1
    run = find_run(place.store, told["run_id"])
    assert run.tags["runforge.kind"] == "comparison" and run.status == "FINISHED"
    assert run.tags["runforge.compared"] == ",".join(two)
    assert find_run(place.store, "latest").run_id != run.run_id
    rows = {row["metric"]: row for row in told["pairs"][0]["differences"]}
    assert run.metrics["difference/accuracy"] == pytest.approx(rows["accuracy"]["difference"])
    assert run.metrics.keys() == {f"difference/{metric}" for metric in rows}
    assert run.experiment_id != place.store.experiment_id
    beside = place.store.client.get_experiment(run.experiment_id)
    assert beside.name == "runforge-comparisons"
    assert Path(beside.artifact_location.removeprefix("file://")).is_relative_to(
        place.project.folder / "mlruns"
    )
    table = place.store.client.download_artifacts(
        run.run_id, "comparison_table.json", str(tmp_path)
    )
    columns, cells = json.loads(Path(table).read_text()).values()
    told_too = {row[columns.index("metric")]: row[columns.index("p_value")] for row in cells}
    assert told_too == {metric: row["p_value"] for metric, row in rows.items()}
    artifacts = place.store.client.list_artifacts(run.run_id, "comparison")
    assert {Path(one.path).name for one in artifacts} == {
        *("comparison.json", "comparison.html", "confusion_change.csv", "flips.csv"),
        *("metrics.csv", "confusion_change_B.png"),
    }
    copies = place.store.client.download_artifacts(run.run_id, "comparison", str(tmp_path))
    with Path(copies, "confusion_change.csv").open(newline="") as file:
        changes = sum(
            int(row["change"]) for row in csv.DictReader(file) if row["actual"] == row["predicted"]
        )
    assert changes == len(told["flips"][0]["won"]) - len(told["flips"][0]["lost"])
    html = page.read_text()
    flips = sum(len(told["flips"][0][kind]) for kind in ("won", "lost"))
    assert html.count('class="exact"') == flips > 0
    places = {entry.id: entry.where for entry in entries(place)}
    named = {places[flip["sample_id"]] for flip in told["flips"][0]["won"]}
    assert all(f'<div class="where">{where}</div>' in html for where in named)
    assert "<script" not in html and not re.search(r'(src|href)="(?!data:)', html)


def test_the_terminal_is_told_what_differs(place, two) -> None:
    text = place.project.runforge("compare", two[0][:12], "better").stdout
    assert "\x1b" not in text
    for part in (
        "network.width",
        "numpy",
        "exact McNemar",
        "confusion, B less A",
        "data (A → B): no",
    ):
        assert part in text
    assert "seed" not in text.partition("environment")[0]
    assert text.rstrip().splitlines()[-1].startswith("B is better than A by more than chance")


def test_what_can_t_be_shown_is_not_recorded(place, two) -> None:
    before = len(list_runs(place.store, count=1000))
    command = f'"{sys.executable}" -m runforge compare {two[0]} {two[1]} > /dev/full'
    done = place.project.run("bash", "-c", command, code=1)
    assert done.stderr.splitlines()[-1].endswith("can't be written: no space left on the disk")
    assert len(list_runs(place.store, count=1000)) == before
    shown = place.project.runforge("compare", *two, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert shown.stdout.isascii() and "->" in shown.stdout
    assert len(list_runs(place.store, count=1000)) == before + 1


def test_without_the_prepared_set_the_page_says_so(place, two, tmp_path) -> None:
    from runforge.comparing.files import write_comparison

    found = compared(place, tmp_path, *two)
    write_comparison(tmp_path / "files", found, tmp_path, [place.prepared.schema.fingerprint])
    html = (tmp_path / "files" / "comparison.html").read_text()
    assert "The pictures are left out" in html and found.moves[0].won[0].sample_id in html


def test_what_can_t_be_compared_is_refused_and_nothing_recorded(place, two, tmp_path) -> None:
    failed = recorded(place, tmp_path, answers(place, 1), status="FAILED")
    unmeasured = recorded(place, tmp_path, None)
    valued = recorded(place, tmp_path, values(1, 1.0))
    sweep = recorded(place, tmp_path, None, tags={"runforge.kind": "sweep"})
    running = Run.start(place.store, "going on", {}).run_id
    for name in ("twin", "twin"):
        recorded(place, tmp_path, answers(place, 1), name=name)
    before = len(list_runs(place.store, count=1000))
    for references, told in (
        ((two[0], "nobody"), "no run is called 'nobody'; candidates: "),
        ((two[0], "twin"), "'twin' means 2 runs; candidates: "),
        ((two[0], two[0][:10]), "are the same run"),
        ((two[0], failed), r"has not finished \(loss is nan\)"),
        ((two[0], running), "has not finished"),
        ((two[0], unmeasured), "has no evaluation"),
        ((two[0], sweep), "is a sweep and has no model"),
        ((two[0], valued), "different kinds of target: .* a class, .* a value"),
    ):
        with pytest.raises(UserError, match=told):
            compare(place.store, references, tmp_path / "copies", diff=False)
    with pytest.raises(UserError, match="1 run can't be compared"):
        check_references(two[:1])
    done = place.project.runforge("compare", two[0], unmeasured, code=2)
    assert "has no evaluation" in one_line(done.stderr) and done.stdout == ""
    assert len(list_runs(place.store, count=1000)) == before
