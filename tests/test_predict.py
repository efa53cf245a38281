"""`runforge predict`: raw files in, the same predictions out as of the prepared set."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars
import pytest
from PIL import Image

from runforge import bundle, cli
from runforge.reading import CHUNK_SAMPLES, Reader
from runforge.sample import Sample
from runforge.sample_sets import write_sample_set
from tests.made_bundles import Made, make_bundle, said


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("digits"), "digits")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Breast cancer with a separator of its own and `?` for missing cells."""
    folder = tmp_path_factory.mktemp("table")
    write_sample_set("breast_cancer", folder / "data")
    path = folder / "data" / "data.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    for number in range(1, 60):
        rows[number][number % 3] = "?"
    path.write_text("\n".join(";".join(row) for row in rows))
    odd = ("data.source.separator=';'", "data.source.missing_values=['?']")
    return make_bundle(folder, "breast_cancer", *odd)


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("values"), "diabetes")


def predict(made: Made, *arguments: object) -> int:
    return cli.main(["predict", "--model", str(made.bundle), *map(str, arguments)])


def check(frame: polars.DataFrame, made: Made, columns: list[str]) -> None:
    """Each row is what torch says of the prepared sample of the same id."""
    prepared, expected = said(made)
    rows = {identity: row for row, identity in enumerate(prepared.ids)}
    wanted = expected.numpy()[[rows[identity] for identity in frame["id"]]]
    np.testing.assert_allclose(frame.select(columns).to_numpy(), wanted, rtol=1e-5, atol=1e-7)
    classes = prepared.schema.classes
    if classes:
        assert frame["predicted"].to_list() == [classes[code] for code in wanted.argmax(1)]


def test_a_folder_of_pictures(digits: Made, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out.parquet"
    assert predict(digits, "--output", output, "--batch-size", 7, digits.data) == 0
    frame = polars.read_parquet(output)
    names = [f"probability_{c}" for c in range(10)]
    assert frame.columns == ["where", "id", "predicted", *names]
    check(frame, digits, names)
    every = sorted(str(p) for p in digits.data.rglob("*.png"))
    assert sorted(frame["where"]) == every and len(every) == 80
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == [output]


def test_the_three_formats_hold_the_same(digits: Made, tmp_path: Path, capsys) -> None:
    folder = digits.data / "3"
    for name in ("a.parquet", "a.jsonl", "a.csv"):
        assert predict(digits, "--output", tmp_path / name, folder) == 0
    binary = polars.read_parquet(tmp_path / "a.parquet")
    assert binary.schema["probability_3"] == polars.Float32
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    sheet = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    for row, line, cells in zip(binary.iter_rows(named=True), lines, sheet, strict=True):
        assert list(line) == list(cells) == binary.columns
        for column, value in row.items():
            for other in (line[column], cells[column]):
                same = np.float32(other) == np.float32(value) if "_" in column else other == value
                assert same
    capsys.readouterr()
    assert predict(digits, folder) == 0
    assert capsys.readouterr().out == (tmp_path / "a.csv").read_text()


def test_what_cannot_be_read_goes_to_quarantine(digits: Made, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "in"
    shutil.copytree(digits.data / "0", folder / "deep")
    (folder / "=cmd.png").write_bytes(b"no picture")
    (folder / "Thumbs.db").touch()
    (folder / ".hidden.png").touch()
    (folder / "outside.png").symlink_to("/etc/hostname")
    Image.new("L", (9000, 9000)).save(folder / "wide.png")
    output = tmp_path / "out.csv"
    assert predict(digits, "--output", output, folder) == 0
    assert len(output.read_text().splitlines()) == 1 + 8
    refused = dict(csv.reader((tmp_path / "out.csv.quarantine.csv").read_text().splitlines()))
    assert refused.pop("where") == "reason"
    found = {Path(where).name: reason for where, reason in refused.items()}
    assert set(found) == {"=cmd.png", "outside.png", "wide.png"}
    assert "no picture of a known format" in found["=cmd.png"]
    assert "leaves the data folder" in found["outside.png"]
    assert "81" not in found["outside.png"] and "9000×9000" in found["wide.png"]
    assert "8 predicted, 3 refused" in capsys.readouterr().err
    # Without --output the reasons go to standard error; a second run leaves no old quarantine.
    assert predict(digits, folder) == 0
    assert capsys.readouterr().err.count("refused: ") == 3
    assert predict(digits, "--output", output, folder / "deep") == 0
    assert not (tmp_path / "out.csv.quarantine.csv").exists()


def test_a_list_of_paths_on_standard_input(digits: Made, capsys, monkeypatch) -> None:
    paths = [digits.data / "1" / "gone.png", *sorted((digits.data / "1").iterdir())[:2]]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(map(str, paths)) + "\n\n"))
    assert predict(digits, "--format", "jsonl", "-") == 0
    told = capsys.readouterr()
    assert [json.loads(line)["where"] for line in told.out.splitlines()] == list(
        map(str, paths[1:])
    )
    assert "there is no such file" in told.err and "2 predicted, 1 refused" in told.err


@pytest.mark.parametrize("with_target", [True, False])
def test_a_table_is_read_as_its_training_data_was(
    table: Made, tmp_path: Path, capsys, with_target: bool
) -> None:
    given = polars.read_csv(table.data / "data.csv", separator=";", infer_schema=False)
    if not with_target:
        given = given.drop("diagnosis")
    given = given.select(given.columns[::-1]).with_columns(polars.lit("x").alias("more"))
    path = tmp_path / "rows.csv"
    given.write_csv(path, separator=";")
    assert predict(table, "--output", tmp_path / "out.parquet", path) == 0
    frame = polars.read_parquet(tmp_path / "out.parquet")
    assert frame["where"][0] == f"{path}#1" and len(frame) == len(given)
    check(frame, table, ["probability_benign", "probability_malignant"])


def test_tables_from_parquet_a_folder_and_standard_input(
    table: Made, tmp_path: Path, capsys, monkeypatch
) -> None:
    text = (table.data / "data.csv").read_text()
    rows = polars.read_csv(io.StringIO(text), separator=";", infer_schema=False)
    rows[:5].write_parquet(tmp_path / "b.parquet")
    (tmp_path / "a.csv").write_text("\n".join(text.splitlines()[:4]))
    assert predict(table, tmp_path) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1 + 3 + 5 and f"{tmp_path}/a.csv#3" in out

    class Standard:
        buffer = io.BytesIO(text.encode())

    monkeypatch.setattr(sys, "stdin", Standard())
    assert predict(table, "-") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(rows)


def test_a_cell_that_is_no_number_and_a_column_that_is_not_there(
    table: Made, tmp_path: Path, capsys
) -> None:
    rows = [line.split(";") for line in (table.data / "data.csv").read_text().splitlines()[:4]]
    rows[2][5] = "many"
    (tmp_path / "rows.csv").write_text("\n".join(";".join(row) for row in rows))
    assert predict(table, tmp_path / "rows.csv") == 0
    assert "holds 'many', no finite number" in capsys.readouterr().err
    (tmp_path / "less.csv").write_text("\n".join(";".join(row[1:]) for row in rows))
    assert predict(table, tmp_path / "less.csv") == 2
    assert f"there is no column {rows[0][0]!r}" in capsys.readouterr().err


def test_values(values: Made, tmp_path: Path, capsys) -> None:
    assert predict(values, "--output", tmp_path / "out.parquet", values.data / "data.csv") == 0
    frame = polars.read_parquet(tmp_path / "out.parquet")
    assert frame.columns == ["where", "id", "predicted", "value", "remark"]
    assert frame["remark"].null_count() == len(frame)
    check(frame, values, ["value"])


def test_an_output_that_is_no_number_is_no_prediction(digits: Made, tmp_path: Path, capsys) -> None:
    # float32 weights so large that their product overflows: finite in the file, not in the output.
    shutil.copytree(digits.bundle, tmp_path / "model")
    model = bundle.load(digits.bundle)
    weights = {n: t * 1e30 for n, t in model.network.state_dict().items()}
    of = model.bundle
    bundle.write(
        tmp_path / "model",
        weights=weights,
        network_node=of.network,
        task_node=of.task,
        schema=of.schema,
        run_id="abc",
        lineage={},
    )
    made = Made(digits.data, digits.prepared, tmp_path / "model")
    output = tmp_path / "out.csv"
    assert predict(made, "--output", output, digits.data / "0") == 2
    line = capsys.readouterr().err
    assert "none of 8 could be predicted" in line and "nan or infinite" in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["gone.png"], "gone.png: there is no such file or folder"),
        (["-", "-"], "standard input is named twice"),
        (["--format", "parquet", "."], "Parquet is not written to standard output"),
        (["--output", "out.txt", "."], "its name says no format"),
        (["--output", "gone/out.csv", "."], "gone: there is no such folder"),
        (["--output", "a.csv", "a.csv"], "a.csv: it is an input too"),
        (["empty"], "there was no sample to predict"),
    ],
)
def test_mistakes(
    digits: Made, tmp_path: Path, capsys, monkeypatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.csv").write_text("a")
    assert predict(digits, *arguments) == 2
    said_ = capsys.readouterr()
    lines = said_.err.strip().splitlines()
    assert len(lines) == 1 and told in lines[0] and said_.out == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "empty"]


def test_a_damaged_bundle_is_refused(digits: Made, tmp_path: Path, capsys) -> None:
    made = Made(digits.data, digits.prepared, tmp_path / "model")
    for name in ("weights.safetensors", "bundle.json"):
        shutil.copytree(digits.bundle, made.bundle, dirs_exist_ok=True)
        content = bytearray((made.bundle / name).read_bytes())
        content[-30] ^= 1
        (made.bundle / name).write_bytes(content)
        assert predict(made, digits.data) == 2
        assert "its hash does not fit" in capsys.readouterr().err
    text = (digits.bundle / "bundle.json").read_text().replace('"format": 1', '"format": 2', 1)
    (made.bundle / "bundle.json").write_text(text)
    assert predict(made, digits.data) == 2
    assert "take the version that wrote it" in capsys.readouterr().err


def test_what_is_named_may_be_a_link_or_lie_at_home(
    digits: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pictures").symlink_to(digits.data)
    (tmp_path / "model").symlink_to(digits.bundle)
    (tmp_path / "kept").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "kept")
    assert predict(digits, digits.data) == 0
    shown = capsys.readouterr().out.replace(str(digits.data), str(tmp_path / "pictures"))
    given = ["--model=~/model", "~/pictures", "--output=~/results/all.csv"]
    assert cli.main(["predict", *given]) == 0
    assert (tmp_path / "kept" / "all.csv").read_text() == shown
    assert len(shown.splitlines()) == 1 + len(list(digits.data.glob("*/*")))


def test_a_link_inside_what_is_named_is_judged(
    digits: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "out.png").symlink_to(next(digits.data.glob("*/*.png")))
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert predict(digits, tmp_path / "link") == 2
    assert "none of 2 could be predicted" in capsys.readouterr().err


def test_who_reads_may_have_enough(digits: Made) -> None:
    code = "import sys; from runforge.cli import main; sys.exit(main())"
    given = ["predict", "--model", str(digits.bundle), *[str(digits.data)] * 40]
    command = [sys.executable, "-c", code, *given]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 141


def test_samples_are_listed_as_they_are_needed(digits: Made) -> None:
    listed = 0

    def endless():
        nonlocal listed
        while True:
            listed += 1
            yield Sample(str(listed), "", None, lambda: b"no picture")

    model = bundle.load(digits.bundle)
    reader = Reader(model.modality, {}, lambda label: None, workers=2, remarked=False)
    stream = reader.stream(endless(), None, progress=False, title="predict")
    for _ in range(1000):
        next(stream)
    stream.close()
    assert listed <= 1000 + 10 * CHUNK_SAMPLES


def test_what_is_unlike_training_is_told(table: Made, tmp_path: Path, capsys) -> None:
    """A number far outside, a little outside, and nothing odd."""
    given = polars.read_csv(table.data / "data.csv", separator=";", infer_schema=False)[60:63]
    name = given.columns[4]
    seen = [float(v) for v in polars.read_csv(table.data / "data.csv", separator=";")[name]]
    cells = ["1e9", repr(max(seen) * 1.01), given[name][2]]
    given.with_columns(polars.Series(name, cells)).write_csv(tmp_path / "rows.csv", separator=";")
    assert predict(table, "--output", tmp_path / "out.csv", tmp_path / "rows.csv") == 0
    said = capsys.readouterr().err
    sheet = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    first = sheet[0]["remark"]
    assert f"'{name}' is 1e+09, far outside of training's" in first
    assert [row["remark"] for row in sheet[1:]] == ["", ""]
    assert "predict: warning: 1 sample is unlike training, see the column remark" in said
    assert f"the first: {tmp_path}" in said


def test_an_unseen_category_is_told(tmp_path: Path, capsys) -> None:
    (tmp_path / "data").mkdir()
    rows = [f"{'female' if i % 3 else 'male'},{i},{i % 2}\n" for i in range(120)]
    (tmp_path / "data" / "data.csv").write_text("sex,x,target\n" + "".join(rows))
    made = make_bundle(tmp_path, "breast_cancer", "data.source.target=target")
    (tmp_path / "new.csv").write_text("x,sex\n5,FEMALE\n7,\n8,male\n")
    assert predict(made, "--format", "jsonl", tmp_path / "new.csv") == 0
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    told = "'sex' is 'FEMALE', which training never saw"
    assert [line["remark"] for line in lines] == [told, None, None]
    assert told in said.err
