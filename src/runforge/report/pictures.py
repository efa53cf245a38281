"""Pictures of an evaluation, each as the bytes of a PNG file.

The same figures give the same bytes. C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from runforge.history import History
from runforge.metrics.at_bound import share
from runforge.metrics.figures import Confusion, Curve, Figures, Scatter, Series
from runforge.report.canvas import COLOURS, PALE, colour, dashes, drawn, shortened

MOST_CELL_TEXTS = 20
"""Classes up to which each cell of a confusion matrix holds its number."""

MOST_CLASS_NAMES = 60
"""Classes up to which each row and column is named."""

LEAST_BIN = 5
"""Samples from which on a bin of confidence is drawn: of fewer, the share right is noise."""

MOST_LINES = 12
"""Lines of a curve that are told apart; more are drawn in one colour."""


def pictures(figures: Figures, history: History) -> dict[str, bytes]:
    """All pictures that the figures and the history have the parts for, by name."""
    made: dict[str, bytes] = {}
    if figures.confusion is not None:
        made["confusion"] = confusion_picture(figures.confusion)
    if figures.scatter is not None:
        made["residuals"] = residual_picture(figures.scatter)
    made.update({curve.name: curve_picture(curve) for curve in figures.curves})
    if history.names():
        made["learning_curves"] = learning_picture(history)
    return made


def confusion_picture(confusion: Confusion) -> bytes:
    """Counts, and beside them the shares of each row; rows are the truth.

    Of so many classes that no number has room: the shares alone, twice as large.
    """
    side = float(np.clip(0.36 * len(confusion.classes) + 1.9, 3.9, 9.0))
    width = side if _is_large(confusion) else 2 * side
    return drawn(width, side + 0.1, partial(_draw_confusion, confusion))


def _is_large(confusion: Confusion) -> bool:
    return len(confusion.classes) > MOST_CELL_TEXTS


def _draw_confusion(confusion: Confusion, picture: Picture) -> None:
    counts = confusion.counts
    support = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    if _is_large(confusion):
        right = picture.subplots()
    else:
        left, right = picture.subplots(1, 2)
        _matrix(left, counts, confusion.classes, lambda cell: f"{cell:d}")
        left.set_title("Number of samples")
    _matrix(right, shares, confusion.classes, _share_text)
    right.set_title("Share of each true class")


def _share_text(share: float) -> str:
    return "1" if share == 1 else f"{share:.2f}".removeprefix("0")


def _matrix(
    axes: Axes, cells: np.ndarray, classes: tuple[str, ...], text: Callable[[float], str]
) -> None:
    axes.grid(False)
    axes.imshow(cells, cmap="Blues", vmin=0, vmax=max(cells.max(), 1e-9), aspect="equal")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.tick_params(length=0)
    if len(classes) <= MOST_CLASS_NAMES:
        _name_classes(axes, classes)
    if len(classes) <= MOST_CELL_TEXTS:
        _write_cells(axes, cells, text)


def _name_classes(axes: Axes, classes: tuple[str, ...]) -> None:
    names = [shortened(name) for name in classes]
    places = range(len(classes))
    long = max(map(len, names)) > 3 and len(classes) > 2
    size = 8.0 if len(classes) <= MOST_CELL_TEXTS else 6.0
    axes.set_xticks(places, names, rotation=90 if long else 0, fontsize=size)
    axes.set_yticks(places, names, fontsize=size)


def _write_cells(axes: Axes, cells: np.ndarray, text: Callable[[float], str]) -> None:
    middle = cells.max() / 2
    for (row, column), cell in np.ndenumerate(cells):
        if cell:
            ink = "white" if cell > middle else "#1f2933"
            axes.text(column, row, text(cell), ha="center", va="center", color=ink, fontsize=8)


def curve_picture(curve: Curve) -> bytes:
    """Lines over the unit square, or points with the number of samples behind each."""
    return drawn(3.7, 3.9, partial(_draw_curve, curve))


def _draw_curve(curve: Curve, picture: Picture) -> None:
    axes = picture.subplots()
    if curve.diagonal:
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=1, linestyle=(0, (4, 3)))
    many = len(curve.series) > MOST_LINES
    for number, series in enumerate(curve.series):
        if series.weights is not None:
            _draw_bins(axes, series, series.weights)
        else:
            _draw_series(axes, series, number, many)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title=curve.title)
    axes.set_xlabel(curve.x_name.replace("_", " "))
    axes.set_ylabel(curve.y_name.replace("_", " "))
    if 1 < len(curve.series) <= MOST_LINES:
        axes.legend(loc="best", ncols=1 + (len(curve.series) - 1) // 5, fontsize=7)


def _draw_series(axes: Axes, series: Series, number: int, many: bool) -> None:
    if many:
        axes.plot(series.x, series.y, color=COLOURS[0], alpha=0.25, linewidth=0.8)
        return
    label = shortened(series.name)
    axes.plot(series.x, series.y, color=colour(number), linestyle=dashes(number), label=label)


def _draw_bins(axes: Axes, series: Series, counts: np.ndarray) -> None:
    """Shares of bins, each with its interval and its number of samples; not joined: between two
    bins there is nothing.
    """
    drawn_ones = counts >= LEAST_BIN
    for x, y, count in zip(*(c[drawn_ones] for c in (series.x, series.y, counts)), strict=True):
        ends = share(round(float(y * count)), int(count))
        axes.plot(
            [x, x],
            np.array([ends.low, ends.high], np.float64),
            color=COLOURS[0],
            linewidth=1,
            alpha=0.6,
        )
        axes.annotate(
            str(count),
            (x, y),
            (4, -1),
            textcoords="offset points",
            fontsize=7,
            ha="left",
            va="top",
            annotation_clip=False,
        )
    axes.scatter(series.x[drawn_ones], series.y[drawn_ones], s=22, color=COLOURS[0], zorder=3)
    left = int(counts[~drawn_ones].sum())
    if left:
        text = f"{left} in bins of fewer than {LEAST_BIN}: not drawn"
        axes.text(1, 0.01, text, fontsize=7, color=PALE, ha="right", va="bottom")


def residual_picture(scatter: Scatter) -> bytes:
    """Predicted over actual values, and beside it what the predictions miss."""
    return drawn(8.8, 4.0, partial(_draw_residuals, scatter))


def _draw_residuals(scatter: Scatter, picture: Picture) -> None:
    left, right = picture.subplots(1, 2)
    dots = {"s": 16, "alpha": 0.6 if len(scatter.actual) < 2000 else 0.15, "linewidths": 0}
    ends = [float(f(scatter.actual)) for f in (np.min, np.max)]
    left.plot(ends, ends, color=PALE, linewidth=1, linestyle=(0, (4, 3)))
    left.scatter(scatter.actual, scatter.predicted, color=COLOURS[0], **dots)
    left.set(title="Predicted over actual", xlabel="actual", ylabel="predicted")
    right.axhline(0, color=PALE, linewidth=1, linestyle=(0, (4, 3)))
    right.scatter(scatter.predicted, scatter.residuals, color=COLOURS[1], **dots)
    right.set(title="Residuals", xlabel="predicted", ylabel="actual − predicted")


def learning_picture(history: History) -> bytes:
    """One panel for each metric, with a line for each split that it was logged for."""
    panels = _panels(history)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    return drawn(
        max(4.4, 3.1 * columns), 2.7 * rows, partial(_draw_learning, history, panels, columns)
    )


def _panels(history: History) -> dict[str, list[str]]:
    """The metrics' names by what they measure: `loss` → `train/loss`, `validation/loss`."""
    found: dict[str, list[str]] = {}
    for name in history.names():
        found.setdefault(name.rpartition("/")[2], []).append(name)
    return found


def _draw_learning(
    history: History, panels: dict[str, list[str]], columns: int, picture: Picture
) -> None:
    grid = picture.subplots(-(-len(panels) // columns), columns, squeeze=False).ravel()
    for axes, (title, names) in zip(grid, panels.items(), strict=False):
        for number, name in enumerate(names):
            series = history.series(name)
            # A line of one point is nothing to see; of many, the points are in the way.
            marker = "o" if len(series.steps) <= 30 else ""
            label = shortened(name.rpartition("/")[0] or name, 30)
            axes.plot(
                series.steps,
                series.values,
                marker=marker,
                ms=3.5,
                color=colour(number),
                label=label,
            )
        axes.set(title=title.replace("_", " "), xlabel="step")
        if names != [title]:
            axes.legend(loc="best")
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
