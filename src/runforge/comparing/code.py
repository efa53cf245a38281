"""What differs in code: asked of git, patches included, or told by the hashes of the files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from runforge import git
from runforge.comparing.contenders import Contender
from runforge.comparison import CodeChange, FileChange
from runforge.places import NOT_THE_PIPELINES
from runforge.redaction import redact

_DIFF = (
    *("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"),
    *("--src-prefix=a/", "--dst-prefix=b/"),
)


def code(project: Path, first: Contender, other: Contender, *, diff: bool) -> CodeChange:
    """The code of one run against that of the first; `diff`: with every line of it."""
    states = (_state(first), _state(other))
    notes = tuple(note for one in (first, other) if (note := _left_out(one)))
    own = _by_hash(first.code, other.code)
    if _commit(first) == _commit(other) and first.patch == other.patch:
        return CodeChange(states, own, notes)
    found = CodeChange(states, notes=notes)
    try:
        change = _by_git(project, first, other, diff=diff)
    except git.GitFailed as error:
        said = redact(str(error)) or "no more is known"
        note = f"git can't say what changed ({said}); files are told apart by their hashes"
        return replace(found, files=own, notes=(*notes, note))
    return replace(change, states=states, notes=notes)


def _state(one: Contender) -> str:
    commit = (_commit(one) or "no commit")[:12]
    dirty = one.patch or one.info.tags.get("runforge.git_dirty") == "true"
    return f"{commit} with uncommitted changes" if dirty else commit


def _commit(one: Contender) -> str | None:
    return one.info.tags.get("runforge.git_commit")


def _left_out(one: Contender) -> str:
    """What of the uncommitted changes is not known."""
    name, patch = one.info.run_id[:8], one.info.tags.get("runforge.patch")
    if patch is not None and patch.startswith("left out"):
        return f"of the uncommitted changes of {name} is not known what was {patch}"
    if patch is None and one.info.tags.get("runforge.git_dirty") == "true":
        return f"the uncommitted changes of {name} were not recorded"
    return ""


def _by_hash(first: Mapping[str, str], other: Mapping[str, str]) -> tuple[FileChange, ...]:
    if not first or not other:
        return ()
    names = sorted(n for n in {*first, *other} if first.get(n) != other.get(n))
    return tuple(FileChange(f"runforge/{name}", None, None) for name in names)


def _by_git(project: Path, first: Contender, other: Contender, *, diff: bool) -> CodeChange:
    top = git.top(project)
    if top is None:
        raise git.GitFailed("the project is in no repository")
    objects = git.run(top, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    with tempfile.TemporaryDirectory(prefix="runforge-compare-") as folder:
        # What is made goes beside the repository's objects, not among them.
        environment = {
            "GIT_OBJECT_DIRECTORY": folder,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects.decode().strip(),
        }
        trees = [_tree(top, one, Path(folder), environment) for one in (first, other)]
        between = (*trees, *NOT_THE_PIPELINES)
        counted = git.run(project, *_DIFF, "--numstat", "-z", *between, environment=environment)
        text = git.run(project, *_DIFF, *between, environment=environment) if diff else b""
    files = tuple(_file(line) for line in git.names(counted))
    return CodeChange(("", ""), files, diff=redact(text.decode(errors="replace")))


def _tree(top: Path, one: Contender, folder: Path, environment: Mapping[str, str]) -> str:
    """The tree of a run's commit with its patch, as git names it."""
    commit = _commit(one)
    if commit is None or not git.has_commit(top, commit):
        raise git.GitFailed(f"it does not know the commit {commit} of {one.info.run_id[:8]}")
    if not one.patch:
        return f"{commit}^{{tree}}"
    own = {**environment, "GIT_INDEX_FILE": str(folder / f"index-{one.info.run_id}")}
    git.run(top, "read-tree", commit, environment=own)
    git.run(top, "apply", "--cached", "--whitespace=nowarn", given=one.patch, environment=own)
    return git.run(top, "write-tree", environment=own).decode().strip()


def _file(line: str) -> FileChange:
    added, removed, path = line.split("\t", 2)
    return FileChange(path, _count(added), _count(removed))


def _count(text: str) -> int | None:
    return int(text) if text.isdigit() else None
