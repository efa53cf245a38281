"""What every run's MLflow record holds, whichever way the run was started.

Everything is read from the files that the stages wrote, so that `dvc repro` and `runforge train`
record the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from runforge import lineage_file, profile_file, selection
from runforge.choices import Choices
from runforge.config import flatten
from runforge.lineage import Lineage
from runforge.lineage_file import CONFIGURATION, EVALUATED_AS, FOLDER, REQUIREMENTS, LineageFile
from runforge.metrics.figures import MAIN_METRICS, METRICS
from runforge.patch import Patch
from runforge.prepared import MANIFEST
from runforge.profile_file import Profile
from runforge.schema import Schema
from runforge.settings import Settings
from runforge.tracking.intervals import HIGH, LOW
from runforge.tracking.run import Run
from runforge.tracking.values import ORIGIN

COUNTED = ("refused", "duplicated", "conflicting", "leaking", "near_duplicates")
"""What preparing noticed, as tags that runs can be searched by where there is any of it."""

SHOWN = (
    *("git", "git_commit", "git_branch", "git_dirty"),
    *("data_dvc_hash", "dvc_experiment", "command"),
)
"""What of the lineage is in tags too: runs are searched by it."""

MANIFEST_LIMIT_BYTES = 16 * 2**20
"""A larger list of samples, of some 300,000, is not recorded with every run."""


def record_start(run: Run, values: Mapping[str, Any], lineage: Lineage) -> None:
    """Configuration and lineage: known before anything is done."""
    run.log_parameters({key: _text(value) for key, value in flatten(values).items()})
    run.log_text(yaml.safe_dump(dict(values), sort_keys=False), CONFIGURATION)
    record_origin(run, lineage)


def record_origin(run: Run, lineage: Lineage) -> None:
    """Where a run comes from, and on what machine it began."""
    facts = lineage.to_tags()
    run.log_text(lineage.requirements, REQUIREMENTS)
    run.log_text(json.dumps(facts, indent=1, ensure_ascii=False), ORIGIN)
    run.set_tags({name: facts[name] for one in SHOWN if (name := f"runforge.{one}") in facts})


def record_lineage(run: Run, folder: Path, file: LineageFile, patch: Patch | None) -> None:
    """What the run is made again from: its description and its patch, through `folder`."""
    lineage_file.write(folder / FOLDER, file, patch)
    run.log_folder(folder / FOLDER, FOLDER)
    run.set_tags({} if file.patch is None else {"runforge.patch": file.patch})


def record_data(run: Run, settings: Settings, prepared: Path) -> None:
    """The prepared set as the run's data set, with what preparing noticed."""
    schema = Schema.read(prepared / "schema.json")
    run.log_dataset(
        name=settings.data.name,
        digest=schema.fingerprint,
        source=settings.data.root,
        schema={
            "target": schema.target_name,
            "classes": list(schema.classes),
            "input_shape": list(schema.input_shape),
        },
        profile={"split_counts": schema.split_counts, "quality": schema.quality},
        context="training",
    )
    counts = {f"runforge.{name}": schema.quality.get(name) for name in COUNTED}
    known = {name: str(count) for name, count in counts.items() if count}
    run.set_tags({"runforge.data_fingerprint": schema.fingerprint, **known})
    run.log_text(json.dumps(schema.quality, indent=2, ensure_ascii=False), "data/quality.json")
    run.log_file(prepared / "schema.json", "data")
    run.log_file(prepared / "quarantine.csv", "data")
    if (prepared / MANIFEST).stat().st_size <= MANIFEST_LIMIT_BYTES:
        run.log_file(prepared / MANIFEST, "data")


def record_choices(run: Run, choices: Choices | None) -> None:
    """What `trainer.auto` has chosen, and what it has measured."""
    if choices is None:
        return
    run.set_tags({"runforge.auto": choices.words})
    if choices.tried:
        run.log_table("auto.json", [asdict(tried) for tried in choices.tried])


def record_evaluated_as(run: Run, values: Mapping[str, Any]) -> None:
    """How a run was evaluated by itself, which may be otherwise than it was configured at first."""
    text = yaml.safe_dump({"evaluation": values["evaluation"]}, sort_keys=False)
    run.log_text(text, EVALUATED_AS)


def record_bundle(run: Run, model: Path) -> None:
    """The bundle, so that any later run or command can start from this one's weights."""
    run.log_folder(model, "bundle")


def record_model(run: Run, folder: Path, name: str) -> None:
    """The model that the worker saved in MLflow's form, which is no longer needed then.

    Of a run that goes on, it may have been recorded before.
    """
    if folder.is_dir():
        run.log_model(folder, name)
        shutil.rmtree(folder)


def record_profile(run: Run, folder: Path) -> None:
    """Where the time of a step goes, where it was measured: figures, picture and trace."""
    if not (folder / profile_file.FILE).is_file():
        return
    from runforge.report.profile_picture import profile_picture

    picture = folder / "profile.png"
    picture.write_bytes(profile_picture(Profile.read(folder)))
    run.log_folder(folder, profile_file.FOLDER)
    run.log_picture(picture, profile_file.FOLDER)


def record_evaluation(run: Run, evaluation: Path, split: str) -> None:
    """The main figures as metrics named after the split, and in the run's description.

    With the validation figure that the run may be chosen by. All figures and the rest of the
    evaluation are artifacts.
    """
    files = (METRICS, MAIN_METRICS, selection.FILE)
    every, main, chosen_by = (_numbers(evaluation / name) for name in files)
    ends = {f"{name}{end}" for name in main for end in (LOW, HIGH)}
    shown = {name: value for name, value in every.items() if name in {*main, *ends}}
    run.log_figures({f"{split}/{name}": value for name, value in shown.items()})
    run.log_figures({f"{selection.PREFIX}{name}": value for name, value in chosen_by.items()})
    run.describe(_described(split, main, every))
    run.log_folder(evaluation, "evaluation")
    for picture in sorted((evaluation / "pictures").glob("*.png")):
        run.log_picture(picture, picture.stem)


def _numbers(path: Path) -> dict[str, float]:
    values = json.loads(path.read_text(encoding="utf-8"))
    return {str(name): float(value) for name, value in values.items()}


def _described(split: str, main: Mapping[str, float], every: Mapping[str, float]) -> str:
    """Markdown: what one who opens the run wants to see first."""
    rows = [f"| {split} | value | 95% interval |", "|---|---|---|"]
    for name, value in main.items():
        ends = [every[key] for end in (LOW, HIGH) if (key := f"{name}{end}") in every]
        interval = " – ".join(f"{end:.4g}" for end in ends) or "–"
        rows.append(f"| {name} | {value:.4g} | {interval} |")
    where = "The report, every figure and the predictions: Artifacts, `evaluation/`."
    return "\n".join([*rows, "", where])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
