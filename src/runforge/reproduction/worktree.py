"""A clean work tree of a run's commit and patch, in a folder of its own that is removed again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runforge import git
from runforge.errors import DataError, Interrupted
from runforge.launch import FOLDER
from runforge.lineage_file import CHANGES

_TREE = "tree"


@contextmanager
def clean_worktree(project: Path, commit: str | None, patch: Path | None) -> Iterator[Path]:
    """The project's folder as the run found it; whatever happens inside, nothing is left of it.

    Raises `DataError` where the commit can't be had or the patch does not fit it.
    """
    top = _top(project)
    if top is None or commit is None:
        what = "the run's code was never committed, so it can't be had again"
        raise DataError(what, where="git", mend="commit, then train again")
    _require_commit(project, commit)
    _forget_dead(top)
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))
    try:
        tree = folder / _TREE
        git.add_worktree(top, tree, commit)
        _apply(tree, patch, commit)
        yield tree / project.resolve().relative_to(top.resolve())
    except git.GitFailed as error:
        what = f"git can't make a work tree of {commit[:12]} ({error})"
        raise DataError(what, where=str(top), mend="mend what git says") from error
    finally:
        try:
            _remove(top, folder)
        except Interrupted:  # it comes but once: this time to the end
            _remove(top, folder)
            raise


def _remove(top: Path, folder: Path) -> None:
    git.remove_worktree(top, folder / _TREE)
    shutil.rmtree(folder, ignore_errors=True)


def _forget_dead(top: Path) -> None:
    """What commands that were killed left of theirs; the launch of any run removes the folders."""
    for path in git.worktrees(top):
        pid = path.parent.name.removeprefix(FOLDER).partition("-")[0]
        ours = path.parent.name.startswith(FOLDER) and path.name == _TREE and pid.isdigit()
        if ours and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            _remove(top, path.parent)


def _top(project: Path) -> Path | None:
    """Raises `DataError` where git fails, as in a repository that belongs to another user."""
    try:
        git.run(project, "rev-parse")
    except git.GitFailed as error:
        if any((folder / ".git").exists() for folder in (project, *project.parents)):
            raise DataError(f"git fails ({error})", where=str(project)) from error
    return git.top(project)


def _require_commit(project: Path, commit: str) -> None:
    if git.has_commit(project, commit):
        return
    asked = git.fetch_commit(project, commit)
    if not git.has_commit(project, commit):
        place = git.output(project, "rev-parse", "--path-format=absolute", "--git-common-dir")
        remotes = f"the remotes {', '.join(asked)}" if asked else "no remote, as there is none"
        raise DataError(
            f"commit {commit} can no longer be had",
            where=f"looked in {place} and in {remotes}",
            mend="fetch it from where it is: `git fetch REPOSITORY BRANCH`",
        )


def _apply(tree: Path, patch: Path | None, commit: str) -> None:
    if patch is None:
        return
    try:
        git.run(tree, "apply", "--binary", "--whitespace=nowarn", "-", given=patch.read_bytes())
    except git.GitFailed as error:
        what = f"the run's patch does not fit its commit {commit[:12]} ({error})"
        raise DataError(what, where=CHANGES, mend="it was altered: take another run") from error
