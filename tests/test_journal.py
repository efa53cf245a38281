"""The journal: what one process writes, another reads, whole and once."""

from __future__ import annotations

import math
import subprocess
import sys
import threading

import pytest

from runforge.errors import RunforgeError
from runforge.journal import Journal, JournalReader, MetricPoint, check_metric_name
from runforge.journal_logger import JournalLogger


def test_reads_what_was_written_and_each_entry_once(tmp_path):
    reader = JournalReader(tmp_path / "run" / "journal.jsonl")
    assert reader.read() == []
    with Journal(tmp_path / "run" / "journal.jsonl") as journal:
        journal.append({"loss": 0.1, "größe": 2}, step=7, epoch=1)
        first = reader.read()
        journal.append({"loss": 0.05}, step=8)
        second = reader.read()
    assert [(e.metrics, e.step, e.epoch) for e in first] == [({"loss": 0.1, "größe": 2.0}, 7, 1)]
    assert [(e.metrics, e.step, e.epoch) for e in second] == [({"loss": 0.05}, 8, None)]
    assert second[0].timestamp_ms >= first[0].timestamp_ms > 1_700_000_000_000
    assert reader.read() == []
    stamp = first[0].timestamp_ms
    assert first[0].points() == [
        MetricPoint("loss", 0.1, 7, stamp),
        MetricPoint("größe", 2.0, 7, stamp),
        MetricPoint("epoch", 1.0, 7, stamp),
    ]


def test_values_that_are_not_finite_are_kept(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.append({"a": math.nan, "b": math.inf, "c": -math.inf}, step=0)
    (entry,) = JournalReader(tmp_path / "j").read()
    assert math.isnan(entry.metrics["a"])
    assert (entry.metrics["b"], entry.metrics["c"]) == (math.inf, -math.inf)


def test_a_half_written_line_waits_until_it_is_whole(tmp_path):
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.append({"loss": 0.5}, step=0)
        journal.append({"loss": 0.4}, step=1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    reader = JournalReader(path)
    assert [e.step for e in reader.read()] == [0]
    path.write_bytes(whole)
    assert [e.step for e in reader.read()] == [1]


def test_a_killed_writers_half_line_is_cut_before_the_next(tmp_path):
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.append({"loss": 0.5}, step=0)
    with path.open("a") as file:
        file.write('{"metrics": {"lo')
    reader = JournalReader(path)
    assert [e.step for e in reader.read()] == [0]
    with Journal(path) as journal:
        journal.append({"loss": 0.3}, step=2)
    assert [e.step for e in reader.read()] == [2]


@pytest.mark.parametrize("line", ["nonsense\n", "[1]\n", '{"metrics": {}, "odd": 1}\n'])
def test_a_line_that_is_no_entry_is_refused(tmp_path, line):
    (tmp_path / "j").write_text(line)
    with pytest.raises(RunforgeError, match="no entry of a journal"):
        JournalReader(tmp_path / "j").read()


def test_every_append_is_in_the_file_when_the_process_is_killed(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from runforge.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for step in range(20): journal.append({'loss': 1.0}, step=step)\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "j")], check=False)
    assert [e.step for e in JournalReader(tmp_path / "j").read()] == list(range(20))


def test_reading_beside_a_fast_writer_misses_and_doubles_nothing(tmp_path):
    path = tmp_path / "j"

    def write():
        with Journal(path) as journal:
            for step in range(2000):
                journal.append({"loss": step / 7}, step=step)

    writer = threading.Thread(target=write)
    writer.start()
    reader, seen = JournalReader(path), []
    while writer.is_alive():
        seen += reader.read()
    seen += reader.read()
    assert [(e.step, e.metrics["loss"]) for e in seen] == [(s, s / 7) for s in range(2000)]


@pytest.mark.parametrize("name", ["loss", "val/accuracy", "f1 of cat", "a.b-c_d", "f1/größe"])
def test_names_that_mlflow_keeps(name):
    assert check_metric_name(name) == name


@pytest.mark.parametrize(
    "name", ["b@c", "b?c", "", ".", "/a", "a/", "a//b", "../a", "a:b", "x" * 251]
)
def test_names_that_mlflow_would_change_or_refuse(name, tmp_path):
    with Journal(tmp_path / "j") as journal, pytest.raises(ValueError, match="can't name"):
        journal.append({name: 1.0}, step=0)
    assert (tmp_path / "j").read_bytes() == b""


def test_neither_mlflow_nor_torch_is_imported():
    program = "import sys, runforge.journal; print({'mlflow', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_the_logger_writes_entries(tmp_path):
    logger = JournalLogger(tmp_path / "journal.jsonl", name="run", run_id="abc")
    assert (logger.name, logger.version, logger.save_dir) == ("run", "abc", str(tmp_path))
    logger.log_hyperparams({"a": 1})
    logger.log_metrics({"loss": 0.5, "epoch": 2.0}, step=10)
    logger.log_metrics({"epoch": 2.0}, step=11)
    logger.finalize("success")
    logger.log_metrics({"test/loss": 0.25}, step=12)
    logger.finalize("success")
    entries = JournalReader(tmp_path / "journal.jsonl").read()
    assert [(e.metrics, e.step, e.epoch) for e in entries] == [
        ({"loss": 0.5}, 10, 2),
        ({"test/loss": 0.25}, 12, None),
    ]
