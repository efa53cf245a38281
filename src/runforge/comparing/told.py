"""A comparison in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runforge.comparison import Changed, CodeChange, Comparison, DataChange, Metric, Moves
from runforge.metrics.paired import Difference, Pair, p_text
from runforge.terminal import fits, print_table, print_text, printable, rounded, with_interval

MOST = 20
"""Rows of a list; the JSON has all."""

MOST_CLASSES = 20
"""Classes up to which the change is shown as a matrix, where there is room for one."""

NAMED = 5
"""Samples on one line."""


def print_comparison(comparison: Comparison) -> None:
    """Only what differs, then the figures, the tests, and the verdict last."""
    letters = [run.letter for run in comparison.runs]
    rows = [(r.letter, r.run_id, r.name, r.started) for r in comparison.runs]
    print_table(("", "run", "name", "started"), rows)
    _print_changed("configuration", letters, comparison.configuration)
    for run, data, code in zip(comparison.runs[1:], comparison.data, comparison.code, strict=True):
        of = f" ({letters[0]} → {run.letter})"
        _print_data(f"data{of}", data)
        _print_code(f"code{of}", code)
    _print_changed("environment", letters, comparison.environment)
    _print_metrics(letters, comparison.metrics)
    for pair in comparison.pairs:
        _print_pair(comparison.letters(pair), pair, comparison)
    for move in comparison.moves:
        _print_moves(comparison, move)
    for line in (*comparison.samples.notes, *comparison.verdicts):
        print_text(line)


def _print_changed(title: str, letters: Sequence[str], changes: Sequence[Changed]) -> None:
    if not changes:
        print(f"{title}: no difference")
        return
    rows = [(c.name, *("–" if v is None else v for v in c.values)) for c in changes[:MOST]]
    print_table((title, *letters), rows)
    _print_rest(len(changes))


def _print_rest(count: int) -> None:
    if count > MOST:
        print(f"and {count - MOST} more: --json has all")


def _print_data(title: str, change: DataChange) -> None:
    if change.same:
        print(f"{title}: no difference")
        return
    was, now = (one[:12] or "unknown" for one in change.fingerprints)
    print_text(f"{title}: prepared set {was} → {now}")
    if change.note:
        print_text(f"  {change.note}")
    for name, ids in (("added", change.added), ("removed", change.removed)):
        if ids:
            print_text(f"  {len(ids)} {name}: {_first([change.places[one] for one in ids])}")
    for name, moved in (("relabelled", change.relabelled), ("in another split", change.moved)):
        if moved:
            listed = [f"{change.places[one.sample_id]} ({one.was} → {one.now})" for one in moved]
            print_text(f"  {len(moved)} {name}: {_first(listed)}")


def _first(texts: Sequence[str]) -> str:
    more = ", …" if len(texts) > NAMED else ""
    return ", ".join(texts[:NAMED]) + more


def _print_code(title: str, change: CodeChange) -> None:
    if not change.files and not change.notes and len(set(change.states)) == 1:
        print(f"{title}: no difference")
        return
    print_text(f"{title}: {' → '.join(change.states)}")
    for note in change.notes:
        print_text(f"  {note}")
    if change.files:
        rows = [(f.path, _lines("+", f.added), _lines("−", f.removed)) for f in change.files]
        print_table(("file", "added", "removed"), rows[:MOST], right=("added", "removed"))
        _print_rest(len(change.files))
    if change.diff:
        print("\n".join(printable(line) for line in change.diff.replace("\t", "    ").split("\n")))


def _lines(sign: str, count: int | None) -> str:
    return "changed" if count is None else f"{sign}{count}"


def _print_metrics(letters: Sequence[str], metrics: Sequence[Metric]) -> None:
    rows = [
        (metric.name, *(with_interval(one.value, one.low, one.high) for one in metric.numbers))
        for metric in metrics
    ]
    print_table(("figure, as recorded (95% interval)", *letters), rows)


def _print_pair(letters: tuple[str, str], pair: Pair, comparison: Comparison) -> None:
    first, second = letters
    print_text(f"{second} against {first}, the same {comparison.samples.compared} samples:")
    columns = ("metric", first, second, "difference (95% interval)", "p", "better", "test")
    print_table(columns, [_row(letters, one) for one in pair.differences], right=("p",))


def _row(letters: tuple[str, str], found: Difference) -> tuple[str, ...]:
    difference = "–" if found.difference is None else f"{found.difference:+.4f}"
    if found.low is not None and found.high is not None:
        difference += f" ({found.low:+.4f} – {found.high:+.4f})"
    better = {"first": letters[0], "second": letters[1], None: "neither"}[found.winner]
    numbers = rounded(found.first), rounded(found.second)
    return (found.metric, *numbers, difference, p_text(found.p_value), better, found.test)


def _print_moves(comparison: Comparison, move: Moves) -> None:
    first, second = comparison.runs[0].letter, comparison.runs[move.second].letter
    if not move.classes:
        print_text(f"errors of {second} against {first}: the page names those that changed most")
        return
    counts = f"{len(move.lost)} from right to wrong, {len(move.won)} from wrong to right"
    print_text(f"samples that flipped from {first} to {second}: {counts}")
    if not move.change.any():
        print("confusion matrix: no difference")
        return
    title = f"confusion, {second} less {first}: true ↓, predicted →"
    rows = zip(move.classes, move.change, strict=True)
    table = [(name, *("·" if n == 0 else f"{n:+d}" for n in row.tolist())) for name, row in rows]
    columns = (title, *move.classes)
    if len(move.classes) <= MOST_CLASSES and fits(columns, table):
        print_table(columns, table, right=move.classes)
    else:
        _print_cells(move)


def _print_cells(move: Moves) -> None:
    """The cells that changed most."""
    order = np.argsort(-np.abs(move.change).ravel(), kind="stable")
    changed = [divmod(int(at), len(move.classes)) for at in order if move.change.ravel()[at]]
    rows = [
        (move.classes[r], move.classes[c], *(str(m[r, c]) for m in _matrices(move)))
        for r, c in changed[:MOST]
    ]
    print_table(("true", "predicted", "was", "is", "change"), rows)
    _print_rest(len(changed))


def _matrices(move: Moves) -> tuple[np.ndarray, ...]:
    return move.first_counts, move.second_counts, move.change
