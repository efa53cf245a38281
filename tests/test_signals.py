"""Real signals to real processes: which of them count, and what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runforge.signals import APART_S

CLEAN_END = """
import sys, time
from runforge import signals
from runforge.errors import Interrupted

def say(text): print(text, flush=True)

try:
    with signals.as_interrupts():
        try:
            say("ready")
            time.sleep(60)
        finally:
            with signals.hurried_by(lambda: say("hurried")):
                say("ending")
                begun = time.monotonic()
                while time.monotonic() - begun < 4:
                    time.sleep(0.05)
            say("whole")
except Interrupted as error:
    sys.exit(error.exit_code)
"""


@contextmanager
def command() -> Iterator[subprocess.Popen[str]]:
    """A command that takes four seconds to end well."""
    with subprocess.Popen(
        [sys.executable, "-c", CLEAN_END], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> list[str]:
    return process.communicate(timeout=30)[0].splitlines()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_that_come_together_are_one(number: int) -> None:
    with command() as process:
        for _ in range(6):
            os.kill(process.pid, number)
            time.sleep(0.002)
        assert ended(process) == ["ending", "whole"]
    assert process.returncode == 128 + number


def test_a_second_press_hurries_and_its_echoes_do_not_end_it() -> None:
    with command() as process:
        os.kill(process.pid, signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "ending\n"
        time.sleep(APART_S + 0.2)
        for _ in range(3):
            os.kill(process.pid, signal.SIGINT)
            time.sleep(0.002)
        assert ended(process) == ["hurried", "whole"]
    assert process.returncode == 130


def test_a_third_press_ends_it_at_once() -> None:
    with command() as process:
        for _ in range(3):
            os.kill(process.pid, signal.SIGINT)
            time.sleep(APART_S + 0.2)
        assert ended(process) == ["ending", "hurried"]
    assert process.returncode == 130


def test_a_terminal_and_timeout_send_one_press_twice() -> None:
    """`timeout` passes a signal on to the group that has it already, itself included."""
    stop = [sys.executable, "-c", CLEAN_END]
    with subprocess.Popen(
        ["timeout", "--signal=INT", "60", *stop],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            os.killpg(process.pid, signal.SIGINT)
            assert ended(process) == ["ending", "whole"]
        finally:
            process.kill()
