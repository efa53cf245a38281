"""The verdict on a run that was made again, and the first cause of a difference that is proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from runforge.reproduction.comparison import Check
from runforge.reproduction.data import Brought
from runforge.reproduction.recorded import Recorded

Word = Literal["identical", "equal within tolerance", "different"]
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """What may have made a difference, each part as one finds it."""

    recorded: Recorded
    brought: Brought
    code: Mapping[str, str] | None
    """A hash for each source file of what ran; None: nothing told."""
    environment: Sequence[str]
    """What is another than it was."""
    fingerprint: str | None
    """Of the prepared set that was made; None: there is none."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of a run, and of the one that was made after it."""

    run_id: str
    made_again: str | None
    """The id of the run that was made; None where it came to none."""
    verdict: Word
    cause: str | None
    """data, configuration, code or environment; None: nothing recorded explains a difference."""
    because: str
    """The verdict in words."""
    checks: tuple[Check, ...]
    environment: tuple[str, ...]
    """What is another than it was, whether or not it made a difference."""
    data_from: str

    @property
    def is_identical(self) -> bool:
        """Bit for bit."""
        return self.verdict == "identical"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def judge(
    run_id: str, made_again: str | None, checks: Sequence[Check], evidence: Evidence
) -> Verdict:
    """`identical` only where everything was compared and is; a failed run has no checks."""
    states = {check.state for check in checks}
    word: Word = "different"
    if checks and states == {"identical"}:
        word = "identical"
    elif checks and states <= {"identical", "near"}:
        word = "equal within tolerance"
    cause, why = (None, "") if word == "identical" else first_cause(evidence)
    return Verdict(
        run_id=run_id,
        made_again=made_again,
        verdict=word,
        cause=cause,
        because=_said(word, checks, why),
        checks=tuple(checks),
        environment=tuple(evidence.environment),
        data_from=evidence.brought.origin,
    )


def first_cause(evidence: Evidence) -> tuple[str | None, str]:
    """Which of the four is proven to be another, in the order in which they act, and how so.

    A prepared set comes of the data, the configuration and the code: that its fingerprint is
    another is a proof against the data only where the other two are the same, and where DVC did
    not vouch for every file.
    """
    was = evidence.recorded.lineage
    if evidence.brought.odd:
        return "data", f"{evidence.brought.odd} is not the file that DVC's hash names"
    altered = evidence.recorded.altered_keys
    if altered:
        return "configuration", _listed(altered)
    files = _other_files(was.code, evidence.code)
    if files:
        left = f"; the run's patch: {was.patch}" if was.patch not in (None, "none", "whole") else ""
        return "code", f"{_listed(files)}{left}"
    fingerprint_differs = evidence.fingerprint not in (None, was.data_fingerprint)
    if fingerprint_differs and not evidence.brought.verified:
        return "data", "the prepared set has another fingerprint"
    if evidence.environment:
        return "environment", _listed(evidence.environment)
    if not evidence.recorded.configuration["trainer"]["deterministic"]:
        return None, "nothing recorded is another, and trainer.deterministic was false"
    return None, "nothing recorded is another"


def _other_files(was: Mapping[str, str], now: Mapping[str, str] | None) -> tuple[str, ...]:
    if now is None:
        return ()
    names = sorted(was.keys() | now.keys())
    return tuple(f"runforge/{name}" for name in names if was.get(name) != now.get(name))


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def _said(word: Word, checks: Sequence[Check], why: str) -> str:
    if word == "identical":
        return "everything that was compared is the same, bit for bit"
    if not checks:
        return f"it could not be made again to its end: {why}"
    odd = next(check for check in checks if check.state != "identical")
    sizes = [check.largest for check in checks if check.largest is not None]
    first = next((check.first for check in checks if check.first), None)
    told = [f"{odd.name}: {odd.text or odd.state}"]
    told += [f"largest difference {max(sizes):.3g}"] if sizes else []
    told += [f"first at {first}"] if first else []
    return "; ".join([*told, why])
