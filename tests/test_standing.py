"""Areas and curves of one class against scikit-learn, with and without equal probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from runforge.metrics import standing
from runforge.metrics.curves import thin
from runforge.metrics.figures import Series


def made(digits: int | None, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    targets = draw.integers(0, 40, 900)
    values = draw.random((900, 40)).astype(dtype)
    values[np.arange(900), targets] += 0.4
    values[5, 2], values[6, 2] = 1.0001, -0.0  # rounding errors
    values = np.minimum(values, 1.0001)
    return (values if digits is None else values.round(digits)), targets


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("digits", [None, 1])
@pytest.mark.parametrize("rows", [100, 4096])
def test_areas_and_curves_are_scikit_learns(
    digits: int | None, dtype: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "CACHED_ROWS", rows)
    values, targets = made(digits, dtype)
    before = values.copy()
    classes = [0, 1, 2, 5, *range(7, 40)]
    for code, one in zip(classes, standing.standings(values, targets, classes), strict=True):
        true, scores = targets == code, np.clip(values[:, code], 0, 1)
        assert one.roc_auc() == pytest.approx(sk.roc_auc_score(true, scores), abs=1e-12)
        average = sk.average_precision_score(true, scores)
        assert one.average_precision() == pytest.approx(average, abs=1e-12)
        x, y, _ = sk.roc_curve(true, scores, drop_intermediate=False)
        _same(one.roc("c"), Series("c", x, y))
        precision, recall, _ = sk.precision_recall_curve(true, scores)
        _same(one.precision_recall("c"), Series("c", recall, precision))
    np.testing.assert_array_equal(values, before)


def _same(mine: Series, theirs: Series) -> None:
    few, wanted = thin(mine), thin(theirs)
    np.testing.assert_allclose(few.x, wanted.x, atol=1e-12)
    np.testing.assert_allclose(few.y, wanted.y, atol=1e-12)
