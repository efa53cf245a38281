"""The README's commands are ones that there are."""

from __future__ import annotations

import re
import shlex

import pytest

from runforge import arguments, config
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "README.md").read_text()
COMMANDS = [
    part.strip()
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    for part in line.split("#")[0].split("&&")
]
TRAININGS = [c for c in COMMANDS if c.startswith("runforge train")]
EXPERIMENTS = [c for c in COMMANDS if c.startswith("dvc exp run")]
COMMANDS_OF_OURS = [c for c in COMMANDS if c.startswith("runforge ") and c not in TRAININGS]
MADE = [c for c in COMMANDS if c.startswith("make ")]


@pytest.mark.parametrize("command", TRAININGS)
def test_trainings_compose(command: str) -> None:
    overrides = [word for word in shlex.split(command)[2:] if word != "-m"]
    trials = config.trials(REPOSITORY, overrides)
    assert len(trials) == 1 or " -m " in command
    for trial in trials:
        config.compose(REPOSITORY, trial)


@pytest.mark.parametrize("command", EXPERIMENTS)
def test_experiments_compose(command: str) -> None:
    words = shlex.split(command)
    overrides = [words[i + 1] for i, word in enumerate(words) if word == "-S"]
    for trial in config.trials(REPOSITORY, overrides):
        config.compose(REPOSITORY, trial)


@pytest.mark.parametrize("command", MADE)
def test_made_targets_are_there(command: str) -> None:
    target = command.split()[1]
    assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS_OF_OURS)
def test_commands_parse(command: str) -> None:
    options = arguments.parser().parse_args(shlex.split(command)[1:])
    assert options.module or options.stage


def test_every_recipe_is_listed() -> None:
    for path in (REPOSITORY / "conf" / "experiment").glob("*.yaml"):
        assert f"| `{path.stem}` |" in PAGE


def test_the_commands_were_found() -> None:
    assert TRAININGS and EXPERIMENTS and MADE
