"""`comparison.html`: what two or more runs differ in, as one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from runforge.comparison import Comparison, Flip, Moves
from runforge.metrics.paired import Difference
from runforge.report.embedding import address, encoded
from runforge.report.template import number, template
from runforge.sample import Shown


class Located(Protocol):
    """A sample as a person sees it."""

    @property
    def shown(self) -> Shown: ...
    @property
    def where(self) -> str: ...


MOST_TILES = 60
"""Samples of each kind that the page shows; the rest is counted."""

MOST_LISTED = 50
"""Ids, files and changed keys that a list of the page names."""


@dataclass(frozen=True, slots=True)
class FlipTile:
    """One sample that flipped."""

    flip: Flip
    address: str
    """Of its picture; empty where there is none."""
    exact: bool
    """Small enough that its pixels are to be seen as squares."""
    lines: tuple[str, ...]
    where: str
    """Where it comes from; empty: not known."""


@dataclass(frozen=True, slots=True)
class FlipSection:
    """The samples that flipped between the first run and another."""

    letter: str
    picture: str
    """Address of the picture of the confusion matrix's change; empty where there is none."""
    of_classes: bool
    lost: tuple[FlipTile, ...]
    lost_count: int
    won: tuple[FlipTile, ...]
    won_count: int


@dataclass(frozen=True, slots=True)
class TestRow:
    """One metric of a pair, as text."""

    name: str
    first: str
    second: str
    difference: str
    interval: str
    p_value: float | None
    test: str
    better: str
    """Letter of the run that is better by more than chance; empty: none is."""


def comparison_page(
    comparison: Comparison,
    *,
    pictures: Mapping[int, bytes],
    shown: Callable[[str], Located | None],
    note: str,
) -> str:
    """The page's HTML. `pictures`: by number of the run; `shown`: a sample by id.

    `note`: what a reader must know of the samples' pictures.
    """
    sections = [_section(comparison, move, pictures, shown) for move in comparison.moves]
    return template("comparison.html.j2").render(
        comparison=comparison,
        first=comparison.runs[0],
        sections=sections,
        tests=[
            (
                comparison.letters(pair),
                [_row(comparison.letters(pair), d) for d in pair.differences],
            )
            for pair in comparison.pairs
        ],
        note=note,
        number=number,
        most=MOST_LISTED,
    )


def _section(
    comparison: Comparison,
    move: Moves,
    pictures: Mapping[int, bytes],
    shown: Callable[[str], Located | None],
) -> FlipSection:
    picture = pictures.get(move.second)
    return FlipSection(
        letter=comparison.runs[move.second].letter,
        picture=address("image/png", picture) if picture else "",
        of_classes=bool(move.classes),
        lost=_tiles(move.lost, shown),
        lost_count=len(move.lost),
        won=_tiles(move.won, shown),
        won_count=len(move.won),
    )


def _tiles(flips: Sequence[Flip], shown: Callable[[str], Located | None]) -> tuple[FlipTile, ...]:
    return tuple(_tile(flip, shown(flip.sample_id)) for flip in flips[:MOST_TILES])


def _tile(flip: Flip, located: Located | None) -> FlipTile:
    if located is None:
        return FlipTile(flip, "", False, (), "")
    shown = located.shown
    if shown.picture is None:
        return FlipTile(flip, "", False, shown.lines, located.where)
    picture = encoded(shown.picture)
    at = address(picture.media_type, picture.content)
    return FlipTile(flip, at, picture.exact, (), located.where)


def _row(letters: tuple[str, str], found: Difference) -> TestRow:
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f"{found.low:+.4g} – {found.high:+.4g}"
    better = {"first": letters[0], "second": letters[1], None: ""}[found.winner]
    difference = "–" if found.difference is None else f"{found.difference:+.4g}"
    return TestRow(
        found.metric,
        number(found.first),
        number(found.second),
        difference,
        interval,
        found.p_value,
        found.test,
        better,
    )
