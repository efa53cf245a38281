"""Secrets stay where they are; what a configuration may not do besides holding values."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from benchmarks.faults import leaks
from benchmarks.faults.leaks import CANARY
from runforge import config
from runforge.errors import ConfigError
from runforge.redaction import redact
from tests.conftest import REPOSITORY


def test_no_secret_is_written_down() -> None:
    for what, found, holds in leaks.rows(quick=True):
        assert holds, f"{what}: {found}"


@pytest.mark.parametrize("form", sorted(leaks.forms(CANARY)))
def test_a_secret_would_be_found(tmp_path: Path, form: bytes) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"\0x" + form + b"\xff")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_bytes(form)
    assert leaks.hits(tmp_path, besides=(".git",)) == [tmp_path / "deep" / "file"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"s3://key:{CANARY}@bucket/x", "s3://***@bucket/x"),
        ("http://me:a/b@host:5000/x", "http://***@host:5000/x"),
        ("http://me@host", "http://***@host"),
        ("https://host:8080/path@v1", "https://host:8080/path@v1"),
        ("https://host/path@v1", "https://host/path@v1"),
        ("a me@host.org", "a me@host.org"),
        (f"x {CANARY} y", "x *** y"),
        (f"x {quote(CANARY, safe='')} y", "x *** y"),
        ("short", "short"),
    ],
)
def test_redaction(monkeypatch: pytest.MonkeyPatch, text: str, shown: str) -> None:
    monkeypatch.setenv("XYZ_TOKEN", CANARY)
    monkeypatch.setenv("ABC_TOKEN", "short")
    monkeypatch.setenv("NOTHING", "a me@host.org")
    assert redact(text) == shown


@pytest.mark.parametrize(
    "override",
    [
        f"experiment_name={CANARY}",
        f"data.name='my {CANARY}'",
        f"data.root=s3://key:{quote(CANARY, safe='')}@bucket",
        "data.root='https://host/?token=abc'",
        f"+data.source.classes=[a,'{CANARY}']",
    ],
)
def test_a_secret_in_the_configuration_is_refused(
    monkeypatch: pytest.MonkeyPatch, override: str
) -> None:
    monkeypatch.setenv("XYZ_TOKEN", CANARY)
    with pytest.raises(ConfigError, match=r"override .*\*\*\*.*: (experiment|data)") as caught:
        config.compose(REPOSITORY, [override])
    told = "it holds the value of XYZ_TOKEN" if "token=abc" not in override else "in an address"
    assert told in str(caught.value)
    assert CANARY not in str(caught.value)


def test_the_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIN", "harmless")
    told = r"override .*: data.name: \$\{oc.env:PLAIN\} is not accepted"
    with pytest.raises(ConfigError, match=told):
        config.compose(REPOSITORY, ["data.name=${oc.env:PLAIN}"])
    composed = config.compose(REPOSITORY, ["data.name=${experiment_name}"])
    assert composed.settings.data.name == composed.settings.experiment_name


def test_a_sweep_builds_nothing_foreign(tmp_path: Path) -> None:
    overrides = ["seed=1,2", "hydra.launcher._target_=os.system"]
    with pytest.raises(ConfigError, match=r"hydra.launcher._target_: 'os.system' may not"):
        config.multirun(REPOSITORY, overrides, [("seed=1",)], lambda _: (tmp_path / "ran").touch())
    assert not list(tmp_path.iterdir())
