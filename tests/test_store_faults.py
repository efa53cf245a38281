"""The faults of the store that `benchmarks/faults` measures, in short."""

from __future__ import annotations

import pytest

from benchmarks.faults import store


@pytest.mark.parametrize("part", store.PARTS)
def test_nothing_is_lost(part, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    failed = [row for row in part(True) if not row[2]]
    assert failed == []
