"""Tables from CSV and Parquet: every cell literal, every odd row named."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import polars
import pytest

from runforge.errors import ConfigError, DataError
from runforge.sample import content_id
from runforge.sources.table import Table


def table(**keys: Any) -> Table:
    keywords: dict[str, Any] = {
        **{"file": "t.csv", "target": "y", "split_column": None, "missing_values": [""]},
        **{"ignore": [], "columns": None, "separator": ",", "quote": '"'},
    }
    if keys.pop("found", False):
        keywords |= dict.fromkeys(("separator", "quote", "encoding", "decimal"))
    return Table(**{**keywords, **keys})


def put(root: Path, text: str | bytes) -> Path:
    (root / "t.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return root


def refusal(root: Path, **keys: Any) -> str:
    with pytest.raises(DataError) as caught:
        table(**keys).samples(root)
    message = str(caught.value)
    assert "\n" not in message and str(root) in message
    return message


def test_labels_and_cells_are_literal(tmp_path: Path) -> None:
    labels = ["NA", "None", "01", "1", "null", "nan", " x", "1.0"]
    put(tmp_path, "a,y\n" + "".join(f"{label},{label}\n" for label in labels))
    samples = table().samples(tmp_path)
    assert [s.label for s in samples] == labels
    assert [s.read() for s in samples] == [{"a": label} for label in labels]
    assert [s.where for s in samples][:2] == ["t.csv#1", "t.csv#2"]


def test_missing_is_what_the_configuration_says(tmp_path: Path) -> None:
    put(tmp_path, "a,b,y\n?,,p\nNA,1,?\n")
    samples = table(missing_values=["?"]).samples(tmp_path)
    assert [s.read() for s in samples] == [{"a": None, "b": ""}, {"a": "NA", "b": "1"}]
    assert [s.label for s in samples] == ["p", ""]


def test_ignored_target_and_split_columns_are_no_inputs(tmp_path: Path) -> None:
    put(tmp_path, "id,a,s,y\n7,1,train,p\n8,2,test,q\n9,3,,q\n")
    samples = table(split_column="s", ignore=["id"]).samples(tmp_path)
    assert [s.read() for s in samples] == [{"a": "1"}, {"a": "2"}, {"a": "3"}]
    assert [s.split for s in samples] == ["train", "test", None]


def test_an_unknown_split_names_its_row(tmp_path: Path) -> None:
    put(tmp_path, "a,s,y\n1,train,p\n2,val,q\n")
    assert "t.csv#2: 'val' in column 's' is no split" in refusal(tmp_path, split_column="s")


def test_quotes_line_breaks_and_separators_in_cells(tmp_path: Path) -> None:
    rows = [["a", "y"], ['x, "q"', "p"], ["two\nlines", "q"], ["", "r\r\ns"]]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    samples = table(missing_values=[]).samples(tmp_path)
    assert [[s.read()["a"], s.label] for s in samples] == rows[1:]  # type: ignore[call-overload, index]


def test_another_separator_another_quote_and_no_header(tmp_path: Path) -> None:
    put(tmp_path, "'a;b';1\n'c';2\n")
    samples = table(separator=";", quote="'", columns=["y", "n"]).samples(tmp_path)
    assert [(s.label, s.read()) for s in samples] == [("a;b", {"n": "1"}), ("c", {"n": "2"})]


def test_byte_order_mark_crlf_and_blank_lines(tmp_path: Path) -> None:
    put(tmp_path, b"\xef\xbb\xbfa,y\r\n\r\n1,p\r\n\r\n")
    assert [(s.label, s.read()) for s in table().samples(tmp_path)] == [("p", {"a": "1"})]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "is empty"),
        (b"a,y\n", "has no rows"),
        (b"a,y\n1,p\n2\n", "t.csv#2: has 1 cells where the header has 2 (line 3)"),
        (b"a,y\n1,p,5\n", "t.csv#1: has 3 cells where the header has 2"),
        (b"a;y\n1;p\n", "set data.source.separator=null: it is found out"),
        (b"a;y\n1,5;p\n", "set data.source.separator=null"),
        (b"a\ty\n1\tp\n", "set data.source.separator=null"),
        (b"a,b\n1,2\n", "there is no column 'y', only 'a', 'b'"),
        (b"a,a,y\n1,2,p\n", "there more than once: 'a'"),
        (b"a,y\n1,\xd6\xd0\xce\xc4\n", "is not UTF-8 at byte 6"),
        (b"a,y\n1,\x00\n", "holds a NUL at byte 6"),
        (b'a,y\n1,"p\n', "is no CSV"),
        (b'a,y\n1,"p"q\n', "is no CSV"),
        (b"a,y\n" + b"x" * 200_000 + b",p\n", "is no CSV (field larger than field limit"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, text: bytes, what: str) -> None:
    assert what in refusal(put(tmp_path, text))


def test_no_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path)


def test_a_file_outside_the_root(tmp_path: Path) -> None:
    put(tmp_path, "a,y\n1,p\n")
    (tmp_path / "data").mkdir()
    with pytest.raises(ConfigError, match="leaves the data folder"):
        table(file="../t.csv").samples(tmp_path / "data")


def test_parquet_is_read_as_the_csv_that_says_the_same(tmp_path: Path) -> None:
    frame = polars.DataFrame(
        {"n": [1.5, None, 3.0], "i": [1, 2, 3], "c": ["NA", "x", None], "y": [True, False, None]}
    )
    frame.write_parquet(tmp_path / "t.parquet")
    samples = table(file="t.parquet").samples(tmp_path)
    assert [s.label for s in samples] == ["true", "false", ""]
    assert [s.read() for s in samples] == [
        {"n": "1.5", "i": "1", "c": "NA"},
        {"n": None, "i": "2", "c": "x"},
        {"n": "3.0", "i": "3", "c": None},
    ]


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    assert "can't be read as a table" in refusal(tmp_path, file="t.parquet")


@pytest.mark.parametrize(
    "keys", [{"separator": ""}, {"separator": "::"}, {"quote": "\n"}, {"ignore": ["y"]}]
)
def test_settings_of_no_use(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        table(**keys)


def rows_of(root: Path, **keys: Any) -> list[tuple[str, Any]]:
    return [(s.label, s.read()) for s in table(**keys).samples(root)]


PLAIN = [("p", {"a": "1.5", "b": "x y"}), ("q", {"a": "2", "b": "z"}), ("p", {"a": "3", "b": "w"})]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a,b,y\n1.5,x y,p\n2,z,q\n3,w,p\n", ""),
        (b"\xef\xbb\xbfa,b,y\r\n1.5,x y,p\r\n2,z,q\r\n3,w,p\r\n", ""),
        (b"a;b;y\n1.5;x y;p\n2;z;q\n3;w;p\n", "separator ';'"),
        (b"a\tb\ty\n1.5\tx y\tp\n2\tz\tq\n3\tw\tp\n", r"separator '\t'"),
        (b"a|b|y\n1.5|x y|p\n2|z|q\n3|w|p\n", "separator '|'"),
        (b'"a";"b";"y"\n"1,5";"x y";"p"\n"2";"z";"q"\n"3";"w";"p"\n', "decimal commas in 'a'"),
        (b'a,b,y\n"1,5",x y,p\n"2",z,q\n3,w,p\n', "decimal commas in 'a'"),
        (b"a,b,y\n1.5,'x y',p\n2,'z',q\n3,'w',p\n", 'quote "\'"'),
        (b"a, b, y\n1.5, x y, p\n2, z, q\n3,  w, p\n", "separator ', '"),
        (b'a, b, y\n1.5, "x y", p\n2, z, q\n3, w, p\n', "separator ', '"),
        ("a;b;y\n1,5;x y;p\n2;z;q\n3;w;p\n".encode("utf-16"), "encoding 'utf-16'"),
    ],
)
def test_how_a_file_is_written_is_found_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: bytes, told: str
) -> None:
    assert rows_of(put(tmp_path, text), found=True) == PLAIN
    said = capsys.readouterr().err
    assert told in said and bool(said) == bool(told)
    assert "\n" not in said.strip()


def test_a_blank_that_does_not_follow_every_separator_belongs_to_its_cell(tmp_path: Path) -> None:
    put(tmp_path, b"a,b,y\n1, x,p\n2,z,q\n")
    assert rows_of(tmp_path, found=True)[0] == ("p", {"a": "1", "b": " x"})
    put(tmp_path, b"a, b, y\n1, x, p\n")
    cells = {"target": " y", "separator": ","}
    assert rows_of(tmp_path, **cells) == [(" p", {"a": "1", " b": " x"})]


def test_western_letters_are_read_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "a,y\nCafé,p\nMüll,q\n".encode("cp1252"))
    assert rows_of(tmp_path, found=True) == [("p", {"a": "Café"}), ("q", {"a": "Müll"})]
    assert "encoding 'cp1252'" in capsys.readouterr().err
    put(tmp_path, "a,y\n中文,p\n".encode("gb18030"))
    assert "data.source.encoding=gb18030" in refusal(tmp_path, found=True)
    assert rows_of(tmp_path, encoding="gb18030") == [("p", {"a": "中文"})]


def test_decimal_commas_by_column(tmp_path: Path) -> None:
    """As in `shared/faults/comma/t.csv`: one column has points, another commas, codes stay."""
    put(tmp_path, "x;code;y\n1.5;1,2,3;3,1\n2.5;4,5;-4,2e1\n")
    assert rows_of(tmp_path, found=True) == [
        ("3.1", {"x": "1.5", "code": "1,2,3"}),
        ("-4.2e1", {"x": "2.5", "code": "4,5"}),
    ]
    assert rows_of(tmp_path, separator=";", decimal=".")[0] == (
        "3,1",
        {"x": "1.5", "code": "1,2,3"},
    )
    assert rows_of(tmp_path, separator=";", decimal=",")[1] == (
        "-4.2e1",
        {"x": "2.5", "code": "4.5"},
    )


def test_thousands_are_no_decimals(tmp_path: Path) -> None:
    put(tmp_path, 'a,y\n"1,500",p\n"2,250",q\n')
    assert rows_of(tmp_path, found=True)[0] == ("p", {"a": "1,500"})


def test_text_is_not_quoted_where_the_quote_is_empty(tmp_path: Path) -> None:
    put(tmp_path, 'y\ttext\np\tsay "hi\nq\t"no" way\n')
    found = rows_of(tmp_path, separator="\\t", quote="")
    assert found == [("p", {"text": 'say "hi'}), ("q", {"text": '"no" way'})]


def test_the_only_table_is_taken(tmp_path: Path) -> None:
    put(tmp_path, "a,y\n1,p\n")
    assert rows_of(tmp_path, file=None) == [("p", {"a": "1"})]
    (tmp_path / "u.tsv").write_text("a\ty\n")
    with pytest.raises(DataError, match=r"several tables: 't\.csv', 'u\.tsv'; name one"):
        table(file=None).samples(tmp_path)


def ids(root: Path, **keys: Any) -> list[str]:
    samples = table(**keys).samples(root)
    return [content_id(s.read() if s.whole is None else s.whole()) for s in samples]


def test_ids_are_of_the_raw_row(tmp_path: Path) -> None:
    """Whatever is chosen of it, and however it is written; never of the target."""
    put(tmp_path, "a,b,c,s,y\n1,?,,train,p\n2,v,w,test,q\n")
    split = {"split_column": "s"}
    plain = ids(tmp_path, **split)
    assert plain == [
        content_id({"a": "1", "b": "?", "c": None}),
        content_id({"a": "2", "b": "v", "c": "w"}),
    ]
    assert ids(tmp_path, ignore=["b"], **split) == plain
    assert ids(tmp_path, missing_values=["", "?"], **split) == plain
    assert ids(tmp_path, missing_values=[], **split) == plain
    put(tmp_path, "c;b;y;s;a\n;?;q;train;1\nw;v;p;test;2\n")
    assert ids(tmp_path, separator=";", **split) == plain
    columns = {"a": ["1", "2"], "b": ["?", "v"], "c": [None, "w"], "y": ["p", "q"]}
    polars.DataFrame(columns).write_parquet(tmp_path / "t.parquet")
    assert ids(tmp_path, file="t.parquet") == plain
    given = table(found=True, ignore=["c"]).unlabelled(tmp_path / "t.parquet", ["a", "b"])
    assert [content_id(s.whole()) for s in given.samples if s.whole] == plain
    put(tmp_path, "a;y\n1,5;p\n")
    assert ids(tmp_path, found=True) == [content_id({"a": "1,5"})]


def test_a_large_table_keeps_every_row(tmp_path: Path) -> None:
    put(tmp_path, "a,y\n" + "".join(f"{i},{i % 7}\n" for i in range(120_001)))
    samples = table().samples(tmp_path)
    assert len(samples) == 120_001
    assert samples[-1].read() == {"a": "120000"} and samples[-1].label == str(120_000 % 7)
