"""`runforge predict --model REF FILE|FOLDER|- …`: what a model says of raw samples."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runforge import allocator
from runforge.errors import DataError
from runforge.model_reference import bundle_folder
from runforge.prediction_files import (
    format_of,
    predictions_file,
    quarantine_file,
    quarantine_path,
)
from runforge.raw_inputs import STDIN, check_paths, samples
from runforge.sample import Rows
from runforge.spreadsheet import inert

if TYPE_CHECKING:
    from runforge.predicting import Predictor


def run(options: argparse.Namespace) -> None:
    """Writes predictions to `--output` or standard output, and tells the counts.

    Raises `DataError` where nothing could be predicted.
    """
    output = Path(options.output) if options.output else None
    form = format_of(output, options.format)
    _check(output, options.inputs)
    folder = bundle_folder(options.model)
    allocator.keep_freed_memory()
    # Imported only now: torch takes seconds, and mistakes are told before.
    from runforge import bundle
    from runforge.devices import named_device
    from runforge.predicting import Predictor

    device = named_device(options.device)
    model = bundle.load(folder).to(device)
    progress = sys.stderr.isatty()
    given = samples(model.schema, model.modality, options.inputs, counted=progress)
    predictor = Predictor(model, device, options.batch_size, progress=progress)
    _write(predictor, given, output, form)


def _write(predictor: Predictor, given: Rows, output: Path | None, form: str) -> None:
    count, remarked, first = 0, 0, ""
    with quarantine_file(output) as quarantine, predictions_file(output, form) as file:
        for block in predictor.blocks(given, quarantine):
            file.write(block)
            count += len(block.ids)
            odd = [f"{w}: {r}" for w, r in zip(block.where, block.remarks or (), strict=False) if r]
            remarked, first = remarked + len(odd), first or next(iter(odd), "")
        if not count:
            raise _nothing(quarantine.first, quarantine.count)
    if remarked:
        rows = "1 sample is" if remarked == 1 else f"{remarked} samples are"
        line = f"{rows} unlike training, see the column remark; the first: {inert(first)}"
        print(f"predict: warning: {line}", file=sys.stderr)
    told = f"; see {quarantine_path(output)}" if output and quarantine.count else ""
    print(f"predict: {count} predicted, {quarantine.count} refused{told}", file=sys.stderr)


def _check(output: Path | None, inputs: list[str]) -> None:
    check_paths(inputs)
    if output is not None and not output.absolute().parent.is_dir():
        raise DataError("there is no such folder", where=str(output.parent), mend="make it first")
    if output is not None and output.is_dir():
        raise DataError("it is a folder", where=str(output), mend="name a file")
    if output is not None and any(i != STDIN and _same(Path(i), output) for i in inputs):
        raise DataError("it is an input too", where=str(output), mend="name another file")


def _same(one: Path, other: Path) -> bool:
    return other.exists() and one.samefile(other)


def _nothing(first: str, refused: int) -> DataError:
    if not refused:
        return DataError("there was no sample to predict", mend="name files, or a folder of them")
    what = f"none of {refused} could be predicted; the first: {first}"
    return DataError(what, mend="check that the model is one for such data")
