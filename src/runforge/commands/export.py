"""`runforge export --model REF --format onnx|pt2`: a model for other programs, checked."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from runforge import config
from runforge.errors import ConfigError, DataError
from runforge.model_reference import bundle_folder
from runforge.raw_inputs import check_paths


def run(options: argparse.Namespace) -> None:
    """Prints the model's path; raises `GateRefused` where it would predict otherwise."""
    output = Path(options.output or f"model.{options.format}")
    if not output.absolute().parent.is_dir():
        raise DataError("there is no such folder", where=str(output.parent), mend="make it first")
    if output.is_dir():
        raise DataError("it is a folder", where=str(output), mend="name a file")
    check_paths(options.samples)
    folder = bundle_folder(options.model)
    # Imported only now: torch takes seconds, and mistakes are told before.
    from runforge import bundle
    from runforge.contract import contract
    from runforge.example_rows import examples
    from runforge.exporting import BATCH_SIZES, Export, require

    require(options.format)
    model = bundle.load(folder)
    tried = examples(model.schema, model.modality, options.samples, _project())
    Export(model, tried.rows, contract(model.bundle)).write(output, options.format)
    sizes = ", ".join(map(str, BATCH_SIZES))
    print(f"export: equal within tolerance in batches of {sizes}", file=sys.stderr)
    print(f"export: samples: {tried.origin}", file=sys.stderr)
    print(output)


def _project() -> Path | None:
    """The project around, whose prepared sets have real samples; none where there is none."""
    try:
        return config.find_project()
    except ConfigError:
        return None
