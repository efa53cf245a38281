"""git, as a program: the only module that starts it.

Nothing here changes the user's work tree, index, HEAD or branches, and no hook of theirs is run.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ANSWER_TIMEOUT_S = 20

# A hook of git's, from which a training may be started, tells its own repository by these.
_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
_QUIET = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_LITERAL_PATHSPECS": "0",
    "LC_ALL": "C",
}


class GitFailed(Exception):
    """What git said."""


def run(
    folder: Path,
    *arguments: str,
    given: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float | None = ANSWER_TIMEOUT_S,
) -> bytes:
    """What git prints, started in a folder with `given` as its input; raises `GitFailed`.

    Where an exception ends the wait (a signal came), git is told to end and tidies up first.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    try:
        process = subprocess.Popen(
            ["git", "-c", "core.hooksPath=/dev/null", *arguments],
            cwd=folder,
            env={**kept, **_QUIET, **(environment or {})},
            stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise GitFailed(str(error)) from error
    try:
        printed, said = process.communicate(given, timeout_s)
    except BaseException as error:
        process.terminate()
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise GitFailed(f"git {arguments[0]} does not end") from error
        raise
    if process.returncode:
        raise GitFailed(" ".join(said.decode(errors="replace").split()))
    return printed


def output(folder: Path, *arguments: str) -> str | None:
    """What git prints; None where it is not installed, fails or does not end."""
    try:
        return run(folder, *arguments).decode(errors="replace").strip("\n")
    except GitFailed:
        return None


def top(folder: Path) -> Path | None:
    """The top of the work tree that a folder lies in; None where it lies in none."""
    found = output(folder, "rev-parse", "--show-toplevel")
    return Path(found) if found else None


def names(printed: bytes) -> list[str]:
    """What git printed with `-z`."""
    return [os.fsdecode(name) for name in printed.split(b"\0") if name]


def has_commit(folder: Path, commit: str) -> bool:
    """Whether the repository has a commit, by its whole hash."""
    return output(folder, "cat-file", "-e", f"{commit}^{{commit}}") is not None


def fetch_commit(folder: Path, commit: str) -> list[str]:
    """Asks every remote for a commit until one has it; returns the names of those asked.

    Takes in objects alone: no branch, no FETCH_HEAD.
    """
    asked = []
    for remote in (output(folder, "remote") or "").split():
        asked.append(remote)
        fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", remote, commit)
        try:
            run(folder, *fetch, timeout_s=600)
        except GitFailed:
            continue
        if has_commit(folder, commit):
            break
    return asked


def add_worktree(repository: Path, folder: Path, commit: str) -> None:
    """A clean work tree of a commit at `folder`; raises `GitFailed`."""
    run(
        repository,
        *("worktree", "add", "--quiet", "--detach", "--force", str(folder), commit),
        timeout_s=None,
    )


def remove_worktree(repository: Path, folder: Path) -> None:
    """Forgets a work tree, whole or half made, whether or not its folder is still there."""
    output(repository, "worktree", "remove", "--force", "--force", str(folder))


def worktrees(repository: Path) -> list[Path]:
    """The folders of all work trees, as git knows them."""
    lines = (output(repository, "worktree", "list", "--porcelain", "-z") or "").split("\0")
    return [Path(line.removeprefix("worktree ")) for line in lines if line.startswith("worktree ")]
