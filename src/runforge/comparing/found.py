"""The comparison of runs of a store, from their references."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path

from runforge.comparing import differences, samples, words
from runforge.comparing.code import code
from runforge.comparing.contenders import MOST_RUNS, Contender, contenders, manifest
from runforge.comparison import Compared, Comparison
from runforge.errors import UserError
from runforge.metrics.common import common_samples
from runforge.metrics.paired import pairs, winner
from runforge.tracking.store import Store
from runforge.wording import counted


def check_references(references: Sequence[str]) -> None:
    """Raises `UserError` where a comparison can't be of so many runs."""
    if not 2 <= len(references) <= MOST_RUNS:
        mend = f"name 2 to {MOST_RUNS} runs: `runforge runs` lists them"
        raise UserError(f"{counted(len(references), 'run')} can't be compared", mend=mend)


def compare(
    store: Store, references: Sequence[str], folder: Path, *, diff: bool
) -> tuple[Comparison, list[Contender]]:
    """What the runs differ in, and the runs; raises `UserError` where they can't be compared.

    Copies of what they recorded go into `folder`.
    """
    found = contenders(store, references, folder)
    first, *others = found
    runs = tuple(
        _named(letter, one) for letter, one in zip(string.ascii_uppercase, found, strict=False)
    )
    given = [one.predictions for one in found]
    common = common_samples(given)
    tested = pairs(common)
    best = winner(tested)

    def listed(one: Contender) -> Path | None:
        return manifest(store, one)

    comparison = Comparison(
        runs=runs,
        configuration=differences.configuration(found),
        data=tuple(differences.data(first, other, listed) for other in others),
        code=tuple(code(store.project, first, other, diff=diff) for other in others),
        environment=differences.environment(found),
        metrics=differences.metrics(found),
        samples=samples.described(runs, given, common),
        pairs=tested,
        moves=samples.moves(common),
        winner=best,
        verdicts=words.verdicts(runs, tested, best, common),
    )
    return comparison, found


def _named(letter: str, one: Contender) -> Compared:
    started = one.info.started.isoformat(timespec="seconds")
    info = one.info
    return Compared(letter, info.run_id, info.experiment_id, info.name, started)
