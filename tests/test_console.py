"""Standard streams of real processes: closed, full, without a reader, of few letters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import clean_environment

TAKE = "import sys; from runforge import console; console.take_over(); "
GONE = 141


def python(text: str, how: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """What a Python ends with that took its streams over, started by a shell with `how`."""
    command = f'"{sys.executable}" -c "$TEXT" {how}'
    return shell(command, TEXT=TAKE + text, **environment)


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        env={**clean_environment(), **environment},
        capture_output=True,
        timeout=120,
    )


RUNFORGE = f'"{sys.executable}" -m runforge'


@pytest.mark.parametrize("command", ["--help", "train --help"])
def test_a_reader_that_has_enough_ends_a_command_in_silence(command: str) -> None:
    done = shell(f"{RUNFORGE} {command} | true")
    assert (done.returncode, done.stderr) == (GONE, b"")


def test_a_full_disk_behind_the_output_is_one_line() -> None:
    done = shell(f"{RUNFORGE} --help > /dev/full")
    told = b"runforge: standard output can't be written: no space left on the disk\n"
    assert (done.returncode, done.stderr) == (1, told)


@pytest.mark.parametrize("how", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_stream_that_was_closed_is_one_to_nowhere(how: str, tmp_path: Path) -> None:
    # The lowest free number goes to the next file that is opened: not to this one.
    text = "f = open('held', 'w'); print('out'); print('err', file=sys.stderr); "
    text += "assert f.fileno() > 2; sys.stdin.read(); console.flushed(0)"
    done = shell(f'cd {tmp_path}; "{sys.executable}" -c "$TEXT" {how}', TEXT=TAKE + text)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "held").read_text() == ""
    assert done.stdout == (b"" if ">&-" in how.split() else b"out\n")


@pytest.mark.parametrize("how", ["2> >(true)", "2>/dev/full"])
def test_nobody_who_reads_progress_is_no_reason_to_end(how: str) -> None:
    text = "import time\nfor _ in range(20): print('x' * 9999, file=sys.stderr); time.sleep(0.02)\n"
    done = python(f"{text}print('done'); sys.exit(console.flushed(0))", how)
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_the_result_without_a_reader_ends_in_the_midst() -> None:
    text = "\nwhile True: print('x' * 9999)"
    done = python(text, "| head -c 10")
    assert (done.returncode, done.stdout) == (1, b"x" * 10)
    assert done.stderr.decode().splitlines()[-1].startswith("runforge.errors.ReaderGone")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", b"0.8 - 0.9 \\u4e2d \\u00e9 \\ud83d\\ude00 \\udcff\n"),
        ("latin-1", b"0.8 - 0.9 \\u4e2d \xe9 \\ud83d\\ude00 \\udcff\n"),
        ("utf-8", "0.8 – 0.9 中 é 😀 \\udcff\n".encode()),
    ],
)
def test_what_an_encoding_lacks_is_written_in_other_letters(encoding: str, shown: bytes) -> None:
    shown_in_full = "0.8 – 0.9 中 é 😀 \udcff"
    text = f"print({shown_in_full!a}); console.flushed(0)"
    done = python(text, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (done.returncode, done.stdout) == (0, shown), done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "utf-16"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "POSIX"},
    ],
    ids=str,
)
def test_json_is_the_same_in_every_encoding(environment: dict[str, str]) -> None:
    value = "a – b 中 é 😀"
    done = python(f"print(console.json_text({value!a}))", **{"PYTHONUTF8": "1", **environment})
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    assert json.loads(done.stdout.decode(encoding)) == value, done.stderr


def test_an_unknown_word_in_an_error_is_shown_in_few_letters() -> None:
    done = shell(f"{RUNFORGE} sample 中", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 2 and b"Traceback" not in done.stderr
    assert b"\\u4e2d" in done.stderr
