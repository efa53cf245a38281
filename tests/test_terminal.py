"""Tables and sentences at any width: nothing is broken within a word, a number or a date."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from rich.cells import cell_len

from runforge import terminal
from runforge.terminal import print_table, print_text, wrapped

COLUMNS = ("id", "name", "status", "started", "duration", "main metric (95% interval)", "kind")
ROWS = [
    (
        "f595a9ed",
        "breast_cancer-mlp",
        "finished",
        "2026-11-28 23:08",
        "4 s",
        "test/accuracy 0.9474 (0.8947 – 0.9895)",
        "run",
    ),
    (
        "b136bcce",
        "心房細動 rhythm",
        "failed",
        "2026-11-28 23:08",
        "–",
        "test/r2 -0.36 (-0.033 – 0.549)",
        "trial of f595a9ed",
    ),
]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def printed(width: int | None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width or 80))
    to = io.StringIO() if width is None else Terminal()
    print_table(COLUMNS, ROWS, right=("duration",), to=to)
    return to.getvalue().split("\n")


@pytest.mark.parametrize("width", [200, 120, 100, 90, 80, 72, 60, 40, 30])
def test_no_word_is_broken(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(width, monkeypatch)
    assert all(cell_len(line) <= width for line in lines)
    assert all(line == line.rstrip() for line in lines)
    words = {word for line in lines for word in line.split()}
    for wanted in ("f595a9ed", "finished", "2026-11-28", "23:08", "心房細動", "0.9474", "-0.36"):
        assert wanted in words, (width, wanted)
    # A hyphen, slash or dot may end a line, and nothing else that is no end of a word.
    whole = {part for row in (COLUMNS, *ROWS) for cell in row for part in re.split(r"[ ]", cell)}
    ends = {word for one in whole for word in (one, *re.findall(r".*?[-/.]|[^-/.]+$", one))}
    assert {word for word in words if not set(word) <= {"─"}} <= ends


def test_what_is_piped_is_a_line_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(None, monkeypatch)
    assert [line for line in lines if "breast" in line] == [
        "f595a9ed  breast_cancer-mlp  finished  2026-11-28 23:08       4 s  "
        "test/accuracy 0.9474 (0.8947 – 0.9895)  run"
    ]
    assert len([line for line in lines if line]) == 4


def test_a_narrow_terminal_gets_a_block_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(60, monkeypatch)
    assert "status                finished" in lines
    assert "kind                  trial of f595a9ed" in lines


def test_the_interval_stays_together_where_it_fits() -> None:
    assert wrapped("accuracy 0.95 (0.89 – 0.99)", 15) == ["accuracy 0.95", "(0.89 – 0.99)"]
    assert wrapped("p < 0.001 or so", 8) == ["p", "< 0.001", "or so"]
    assert wrapped("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]


def test_sentences_wrap_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = "accuracy 0.9628 and 0.9009 (difference -0.0619, exact McNemar, p < 0.001)."
    to, pipe = Terminal(), io.StringIO()
    print_text(text, to=to)
    print_text(text, to=pipe)
    lines = to.getvalue().splitlines()
    assert " ".join(lines) == text and all(len(line) <= 40 for line in lines) and len(lines) == 2
    assert pipe.getvalue() == text + "\n"


def test_names_steer_no_terminal() -> None:
    to = io.StringIO()
    print_table(("a",), [("\x1b[31mred\n",)], to=to)
    assert "\\x1b[31mred\\n" in to.getvalue()


def test_a_table_that_stays_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert not terminal.fits(COLUMNS, ROWS, to=Terminal())
    assert terminal.fits(COLUMNS, ROWS, to=io.StringIO())


BAR = """
import time
from types import SimpleNamespace
from runforge.progress import MovingLine, EpochLines, can_move
assert can_move()
data = SimpleNamespace(steps_in_epoch=40, steps_done=lambda: trainer.global_step % 40)
trainer = SimpleNamespace(
    current_epoch=0, max_epochs=2, global_step=0, datamodule=data,
    callback_metrics={"validation/loss": 0.5, "validation/accuracy": 0.75},
)
line = MovingLine()
line.on_train_start(trainer, None)
for epoch in range(2):
    trainer.current_epoch = epoch
    line.on_train_epoch_start(trainer, None)
    for step in range(40):
        trainer.global_step += 1
        line.on_train_batch_end(trainer, None, None, None, step)
        time.sleep(0.025)
    line.on_train_epoch_end(trainer, None)
"""


def test_a_training_moves_one_line(tmp_path: Path) -> None:
    """On a real terminal of 50 columns: epochs from 1, one line of each that stays."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 50))
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-c", BAR], stderr=slave, stdout=slave, env=environment
    )
    os.close(slave)
    raw, until = b"", time.monotonic() + 60
    while time.monotonic() < until:
        try:
            part = os.read(master, 4096)
        except OSError:  # its other end is closed
            break
        if not part:
            break
        raw += part
    os.close(master)
    assert process.wait(10) == 0, raw
    text = raw.decode()
    lines = [line.rpartition("\r\x1b[K")[2] for line in text.split("\r\n")]
    kept = " ".join(" ".join(lines).split())
    measured = r"validation loss 0.5, accuracy 0.75 \S+ steps/s"
    assert re.fullmatch(f"epoch 1/2 {measured} epoch 2/2 {measured}", kept), text
    moved = re.findall(r"epoch 1/2  step \d+/40", text)
    assert 3 <= len(moved) <= 12 and "\x1b[?25l" not in text
