"""How a CSV file is written: encoding, separator and quote, as given or as its beginning shows."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from runforge.errors import ConfigError

SEPARATORS = (",", ";", "\t", "|", " ")
QUOTES = ('"', "'")

NAMED = {"\\t": "\t", "tab": "\t"}
"""A tab, as it can be typed; a shell and Hydra take a real one away, or make two characters."""

MOST_LINES = 200
"""Of the beginning of a file, from which its form is told."""

BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
UTF8, WESTERN = "utf-8", "cp1252"


@dataclass(frozen=True, slots=True)
class Dialect:
    """One character each; an empty quote: cells are not quoted."""

    separator: str
    quote: str
    padded: bool = False
    """A blank follows each separator, for the eye: it is no part of a cell. Only where the
    separator is found out: one that is given leaves cells as they are."""

    def rows(self, text: str) -> Iterator[tuple[int, list[str]]]:
        """Every row that is not blank with the line it ends on; raises `csv.Error`."""
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=self.separator,
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            skipinitialspace=self.padded,
            strict=True,
        )
        try:
            for cells in reader:
                if cells:  # A blank line is no row.
                    yield reader.line_num, cells
        except csv.Error as error:
            raise csv.Error(f"line {reader.line_num} is no CSV ({error})") from error


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is known of a table before its form is."""

    names: Sequence[str]
    """Columns that it must have."""
    columns: Sequence[str] | None
    """All of its columns, where its first line does not name them."""


def character(given: str | None, key: str) -> str | None:
    """The one character that a key of the configuration names; raises `ConfigError`."""
    found = given if given is None else NAMED.get(given, given)
    if found is not None and (len(found) > 1 or found in ("\r", "\n")):
        mend = f"give one, or {key}=null: it is found out"
        raise ConfigError(f"{given!r} is not one character", where=key, mend=mend)
    return found


def check_encoding(given: str | None) -> None:
    """Raises `ConfigError` for a name of no encoding of texts."""
    try:
        if given is not None:
            "".encode(given)
    except (LookupError, ValueError) as error:
        mend = "give a name such as utf-8, cp1252 or gb18030, or null: it is found out"
        what = f"{given!r} is no encoding that Python knows"
        raise ConfigError(what, where="data.source.encoding", mend=mend) from error


def find(beginning: str, separator: str | None, quote: str | None, wanted: Wanted) -> Dialect:
    """The form of a file whose first lines these are; what is given stays as it is."""
    lines = "".join(itertools.islice(io.StringIO(beginning, newline=""), MOST_LINES))
    separators = SEPARATORS if separator is None else (separator,)
    quotes = _quotes(lines) if quote is None else (quote,)
    plain = [Dialect(one, mark) for mark in quotes for one in separators]
    ways = [replace(way, padded=separator is None and _padded(lines, way)) for way in plain]
    # The first of the best: a comma before others, and plain before odd.
    return max(ways, key=lambda way: _fit(lines, way, wanted))


def _padded(lines: str, way: Dialect) -> bool:
    """Whether every cell but the first of a row begins with a blank, in every row."""
    later = list[str]()
    with suppress(csv.Error):
        later.extend(cell for _, cells in way.rows(lines) for cell in cells[1:] if cell)
    return way.separator.strip() != "" and bool(later) and all(c[0] == " " for c in later)


def _quotes(lines: str) -> tuple[str, ...]:
    """Single quotes too where nothing is in double ones; first where whole cells are in them."""
    if '"' in lines or "'" not in lines:
        return QUOTES[:1]
    cells = [cell.strip() for line in lines.splitlines() for cell in re.split(r"[,;\t|]", line)]
    marked = [cell for cell in cells if cell.startswith("'")]
    whole = [cell for cell in marked if len(cell) > 1 and cell.endswith("'")]
    ended = sum(cell.endswith("'") for cell in cells)
    return QUOTES[::-1] if whole and ended == len(marked) else QUOTES


def _fit(lines: str, way: Dialect, wanted: Wanted) -> tuple[int, float]:
    """How many of the wanted columns it gives, and the share of rows that are as wide as the
    first; half of that where a line is no CSV in this way."""
    rows, whole = list[list[str]](), 1.0
    try:
        rows.extend(cells for _, cells in way.rows(lines))
    except csv.Error:
        whole = 0.5
    if not rows:
        return 0, 0.0
    first = rows[0]
    width, alike = len(first), whole * sum(len(row) == len(first) for row in rows) / len(rows)
    if wanted.columns is not None:
        return int(0 <= len(wanted.columns) - width <= 1), alike if width > 1 else 0.0
    return sum(name in first for name in wanted.names), alike if width > 1 else 0.0


def encoding_of(raw: bytes) -> str | None:
    """UTF-8, UTF-16 with its mark, or Western; None where nothing of it is likely."""
    for mark, name in BYTE_ORDER_MARKS.items():
        if raw.startswith(mark):
            return name
    try:
        raw.decode(UTF8)
    except UnicodeDecodeError as error:
        # The beginning of a file may end within a character.
        if error.reason == "unexpected end of data":
            return UTF8
    else:
        return UTF8
    return WESTERN if _looks_western(raw) else None


def _looks_western(raw: bytes) -> bool:
    """Letters with accents stand alone among plain ones; other alphabets are runs of them."""
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", raw)]
    try:
        text = raw.decode(WESTERN)
    except UnicodeDecodeError:
        return False
    # Soft hyphens and hard blanks are of a text, control characters are not.
    plain = text.translate(dict.fromkeys(map(ord, "\t\r\n\xa0\xad")))
    return plain.isprintable() and sum(run == 1 for run in runs) >= 0.9 * len(runs)
