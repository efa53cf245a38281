"""Tables as spreadsheets, databases and people write them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars

from runforge.prepared import PreparedSet
from tests.odd.cases import Accepted, Case, Expected, Quarantined, refused

BASE = ("data=breast_cancer", "data.source.target=y", "data.max_refused=0.5")
OVERRIDES = (*BASE, "data.source.file=t.csv")
PARQUET = (*BASE, "data.source.file=t.parquet")
VALUES = (*OVERRIDES, "data.target.kind=value", "task=regression")
ROWS = 60


def rows(**columns: Callable[[int], object]) -> list[list[str]]:
    """A header and sixty rows: a number, a category, a label; `columns` replaces or adds some."""
    made: dict[str, Callable[[int], object]] = {
        "n": lambda i: i * 0.5,
        "c": lambda i: "uvw"[i % 3],
        "y": lambda i: "pq"[i % 2],
    }
    made.update(columns)
    return [list(made), *([str(f(i)) for f in made.values()] for i in range(ROWS))]


def text(table: list[list[str]], separator: str = ",") -> str:
    """As it is written when nobody quotes."""
    return "".join(separator.join(row) + "\n" for row in table)


def at(row: int, cell: object, otherwise: Callable[[int], object]) -> Callable[[int], object]:
    """One cell is another."""
    return lambda i: cell if i == row else otherwise(i)


def number(i: int) -> object:
    """The ordinary number of a row."""
    return i * 0.5


def label(i: int) -> object:
    """The ordinary label of a row."""
    return "pq"[i % 2]


def cells(column: int, wanted: Callable[[int], float], count: int = ROWS) -> Accepted:
    """A packed column holds these numbers, NaN for missing."""

    def right(prepared: PreparedSet) -> bool:
        given = np.array([wanted(i) for i in range(count)], np.float32)
        return np.array_equal(prepared.inputs[:, column], given, equal_nan=True)

    return Accepted(right)


def classes(*names: str) -> Accepted:
    """The classes, in this order, and no sample lost."""
    return Accepted(lambda s: s.schema.classes == names and len(s.ids) == ROWS)


def labels_of(*names: str) -> tuple[str, Expected]:
    """Labels that other readers take for missing, or for one another."""
    table = text(rows(y=lambda i: names[i % len(names)]))
    return table, classes(*names)


def _put(content: str | bytes, name: str = "t.csv") -> Callable[[Path], None]:
    raw = content.encode() if isinstance(content, str) else content
    return lambda root: (root / name).write_bytes(raw) and None


PLAIN = text(rows())
LINES = PLAIN.splitlines(keepends=True)


def with_line(line: str) -> str:
    """A further row, the third."""
    return "".join([*LINES[:3], line + "\n", *LINES[3:]])


def same_as_plain() -> Accepted:
    """All sixty rows with their numbers."""
    return cells(0, lambda i: i * 0.5)


def _sparse(root: Path) -> None:
    with (root / "t.csv").open("wb") as file:
        file.truncate(40 * 2**30)


def _outside(root: Path) -> None:
    (root.parent / "elsewhere.csv").write_text(PLAIN)
    (root / "t.csv").symlink_to(root.parent / "elsewhere.csv")


def _remarks(prepared: PreparedSet) -> bool:
    return bool(prepared.schema.quality["remarks"] == {"'n' missing": 1}) and math.isnan(
        prepared.inputs[3, 0]
    )


def _look_alike(prepared: PreparedSet) -> bool:
    return bool(prepared.schema.quality["look_alike_classes"] == [["p", "p "]])


MISTAKEN = refused("data.modality", "holds numbers and")

KINDS: list[tuple[str, str | bytes, Expected]] = [
    ("plain", PLAIN, same_as_plain()),
    ("labels NA and None", *labels_of("NA", "None")),
    ("labels null and nan", *labels_of("nan", "null")),
    ("labels 01 and 1", *labels_of("01", "1")),
    ("labels 1 and 1.0", *labels_of("1", "1.0")),
    ("labels true and TRUE.", *labels_of("true", "TRUE.")),
    ("labels of 5,000 digits", *labels_of("1" * 5000, "2" * 5000)),
    ("labels like formulas", *labels_of("=cmd|' /C calc'!A0", "@SUM(1)")),
    ("labels of markup", *labels_of("<b>x</b>", "<script>alert(1)</script>")),
    (
        "labels that look alike",
        text(rows(y=lambda i: ["p", "p ", "q"][i % 3])),
        Accepted(_look_alike),
    ),
    ("a missing label", text(rows(y=at(3, "", label))), Quarantined("t.csv#4", "it has no label")),
    ("one label", text(rows(y=lambda i: "p")), refused("one class only")),
    ("a long row", with_line("1,u,p,more"), refused("t.csv#3: has 4 cells where the header has 3")),
    ("a short row", with_line("1,u"), refused("t.csv#3: has 2 cells where the header has 3")),
    (
        "a longer first row",
        text([*rows()[:1], ["1", "2", "u", "p"]]),
        refused("t.csv#1: has 4 cells"),
    ),
    ("semicolons", text(rows(), ";"), same_as_plain()),
    ("tabs", text(rows(), "\t"), same_as_plain()),
    ("pipes", text(rows(), "|"), same_as_plain()),
    ("decimal commas", text(rows(n=lambda i: f'"{i},5"')), cells(0, lambda i: i + 0.5)),
    (
        "semicolons and decimal commas",
        text(rows(n=lambda i: f"{i},5"), ";"),
        cells(0, lambda i: i + 0.5),
    ),
    ("single quotes", text(rows(c=lambda i: f"'{'uvw'[i % 3]},'")), same_as_plain()),
    ("thousands in groups", text(rows(n=lambda i: f'"{i},000"')), MISTAKEN),
    ("per cent signs", text(rows(n=lambda i: f"{i}%")), MISTAKEN),
    ("numbers with a question mark", text(rows(n=at(3, "?", number))), MISTAKEN),
    ("numbers with an inf", text(rows(n=at(3, "inf", number))), MISTAKEN),
    ("numbers with 1e999", text(rows(n=at(3, "1e999", number))), MISTAKEN),
    ("numbers with a nan", text(rows(n=at(3, "NaN", number))), MISTAKEN),
    ("numbers with a formula", text(rows(n=at(3, "=A1", number))), MISTAKEN),
    ("a missing number", text(rows(n=at(3, "", number))), Accepted(_remarks)),
    (
        "an integer of more than 64 bits",
        text(rows(n=at(3, "1" + "0" * 25, number))),
        cells(0, lambda i: 1e25 if i == 3 else i * 0.5),
    ),
    ("numbers with blanks", text(rows(n=lambda i: f" {i * 0.5} ")), same_as_plain()),
    ("2e+05", text(rows(n=at(3, "2e+05", number))), cells(0, lambda i: 2e5 if i == 3 else i * 0.5)),
    ("latin-1", text(rows(c=lambda i: "éüw"[i % 3])).encode("latin-1"), same_as_plain()),
    ("Chinese of Windows", text(rows(c=lambda i: "中文")).encode("gb18030"), refused("not UTF-8")),
    ("UTF-16", PLAIN.encode("utf-16"), same_as_plain()),
    ("a NUL", PLAIN.replace("u", "\0", 1), refused("holds a NUL at byte")),
    ("a byte order mark", "\ufeff" + PLAIN, same_as_plain()),
    ("line ends of Windows", PLAIN.replace("\n", "\r\n"), same_as_plain()),
    ("line ends of old Macs", PLAIN.replace("\n", "\r"), same_as_plain()),
    ("no line end at the end", PLAIN.rstrip(), same_as_plain()),
    ("blank lines", PLAIN.replace("\n", "\n\n"), same_as_plain()),
    ("empty", "", refused("is empty")),
    ("a header only", LINES[0], refused("has no rows")),
    ("blank lines only", "\n\n\n", refused("is empty")),
    ("an unclosed quote", PLAIN.replace("v", '"v', 1), refused("is no CSV")),
    ("a quote too many", PLAIN.replace("v", '"v"w', 1), refused("is no CSV")),
    ("a column twice", PLAIN.replace("c", "n", 1), refused("more than once: 'n'")),
    ("a column without a name", PLAIN.replace("n", "", 1), refused("column 1 has no name")),
    ("no such target", PLAIN.replace("y", "z", 1), refused("there is no column 'y'")),
    ("another file of a spreadsheet", b"PK\x03\x04" + bytes(range(128, 200)), refused("not UTF-8")),
    ("a cell of 50 MB", with_line("x" * 50_000_000 + ",u,p"), refused("is no CSV (field larger")),
    (
        "2,000 categories",
        _many_categories := text([["c", "y"], *([f"k{i}x", "pq"[i % 2]] for i in range(2000))]),
        refused("no column is left to learn from: 'c' (text)"),
    ),
    ("a line break in a cell", PLAIN.replace("u", '"u\nu"'), same_as_plain()),
    (
        "only the target",
        text([["y"], *([label(i)] for i in range(ROWS))]),
        refused("no column is left"),
    ),
]


def _parquet(**columns: object) -> Callable[[Path], None]:
    base = {"n": [i * 0.5 for i in range(ROWS)], "y": ["pq"[i % 2] for i in range(ROWS)]}
    return lambda root: polars.DataFrame({**base, **columns}).write_parquet(root / "t.parquet")


def _rows_promised(root: Path) -> None:
    # One value, thirty million times: a few kilobytes.
    frame = polars.DataFrame({"n": polars.repeat(1.0, 30_000_000, eager=True)})
    frame.with_columns(y=polars.lit("p")).write_parquet(root / "t.parquet")


HOLES = [None if i == 3 else float("nan") if i == 4 else i * 0.5 for i in range(ROWS)]

CASES = [Case(f"table: {n}", _put(content), e, OVERRIDES) for n, content, e in KINDS] + [
    Case("table: a file of 40 GB", _sparse, refused("write it as Parquet"), OVERRIDES),
    Case("table: a link out of the root", _outside, refused("leaves the data folder"), OVERRIDES),
    Case("table: no file", lambda root: None, refused("there is no such file"), OVERRIDES),
    Case(
        "table: a value of inf",
        _put(text(rows(y=at(3, "inf", number)))),
        Quarantined("t.csv#4", "no finite number"),
        VALUES,
    ),
    Case(
        "table: a value of text",
        _put(text(rows(y=at(3, "high", number)))),
        Quarantined("t.csv#4", "no finite number"),
        VALUES,
    ),
    Case("table: Parquet", _parquet(), same_as_plain(), PARQUET),
    Case("table: Parquet with a nan", _parquet(n=HOLES), MISTAKEN, PARQUET),
    Case("table: Parquet with nested cells", _parquet(n=[[1]] * ROWS), refused("nested"), PARQUET),
    Case(
        "table: Parquet, cut",
        _put(b"PAR1" + bytes(50), "t.parquet"),
        refused("can't be read"),
        PARQUET,
    ),
    Case("table: Parquet of 30 million rows", _rows_promised, refused("30000000 rows"), PARQUET),
]
