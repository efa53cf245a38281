"""An output that is nan or infinite: evaluation fails, names the samples and writes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from runforge import bundle, evaluating
from runforge.bundle import build_network
from runforge.errors import DataError, TrainingError
from runforge.job import Job
from runforge.prepared import PreparedSet
from runforge.targets import build
from tests.jobs import make_job, prepare_digits


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The evaluation of a network that was never trained, on thirty of each digit."""
    folder = tmp_path_factory.mktemp("finite")
    prepare_digits(folder, each=30)
    made = make_job(folder, "network=mlp", "evaluation.resamples=100")
    return replace(made, evaluation=str(folder / "evaluation"))


def write_bundle(job: Job, poison: float) -> None:
    """A bundle; `poison` is one weight of its first layer."""
    schema = PreparedSet.open(Path(job.prepared)).schema
    values = job.configuration
    torch.manual_seed(0)
    task = build(values["task"], schema=schema)
    network = build_network(values["network"], task, schema)
    # The pixel that it weighs is the same in most digits, so that some outputs stay finite.
    next(network.parameters()).data[0, 3] = poison
    bundle.write(
        Path(job.model),
        weights=network.state_dict(),
        network_node=values["network"],
        task_node=values["task"],
        schema=schema,
        run_id=job.run_id,
        lineage={},
    )


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_no_model(job: Job, poison: float) -> None:
    write_bundle(job, poison)
    with pytest.raises(DataError, match="weight is not finite"):
        evaluating.run(job)
    assert not Path(job.evaluation).exists()


def test_outputs_that_are_not_finite_fail_the_evaluation(job: Job) -> None:
    write_bundle(job, 3e38)
    prepared = PreparedSet.open(Path(job.prepared))
    rows = prepared.rows("test")
    values = evaluating.predict(bundle.load(Path(job.model)), prepared, rows)
    lost = np.array(prepared.ids)[rows][~np.isfinite(values).all(axis=1)]
    assert len(lost) > 0
    with pytest.raises(TrainingError) as caught:
        evaluating.run(job)
    line = str(caught.value)
    assert line.startswith(f"{len(lost)} of {len(rows)} samples have an output that is nan")
    assert ", ".join(lost[:5]) in line and "\n" not in line
    assert caught.value.exit_code == 1
    assert not Path(job.evaluation).exists()
