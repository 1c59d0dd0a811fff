"""Precision against recall, and recall against false alarms, with bands and operating points."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defect_jax.metrics import ranking
from defect_jax.metrics.bootstrap import CurveBands, curve_bands
from defect_jax.metrics.images import ImageRow
from defect_jax.report.decision_heads import DecisionHead
from defect_jax.report.svg import DASHES, HEIGHT_IN, INK, MUTED, SERIES, Drawn, svg
from defect_jax.report.tables import NumberTable, sampled
from defect_jax.report.words import threshold_text

MARKERS = ("o", "s", "^")
BAND = {"alpha": 0.16, "linewidth": 0}


class Scored(NamedTuple):
    """What a curve is made of."""

    name: str
    label: np.ndarray
    score: np.ndarray
    threshold: float
    bands: CurveBands | None


class Line(NamedTuple):
    """One curve in the plane of the plot, with the operating point on it, if there is one."""

    legend: str
    x: np.ndarray
    y: np.ndarray
    threshold: np.ndarray
    band: tuple[np.ndarray, np.ndarray, np.ndarray] | None  # x, low, high
    at: int | None
    in_use: float  # threshold; the next score above it makes the operating point
    drawstyle: str  # of matplotlib


def scored(images: Sequence[ImageRow], heads: Sequence[DecisionHead]) -> list[Scored]:
    """Return the head and mask, each with the bands over the bootstrap of its curves."""
    label = np.array([image.label for image in images])
    groups = [image.group for image in images]
    found = []
    for head in heads:
        score = np.array([getattr(image, head.score) for image in images])
        bands = curve_bands(label, score, groups)
        found.append(Scored(head.name.capitalize(), label, score, head.threshold, bands))
    return found


def precision_recall_plot(curves: Sequence[Scored]) -> Drawn:
    """Return the plot and the tables of its numbers; both empty without defective images."""
    if not curves[0].label.any():
        return "", []
    lines = [_precision_recall(curve) for curve in curves]

    def draw(figure: Figure) -> None:
        axes = _axes(figure, lines)
        chance = {"color": MUTED, "linewidth": 1, "linestyle": (0, (1, 2)), "label": "by chance"}
        axes.axhline(curves[0].label.mean(), **chance)
        axes.set(xlabel="Recall: defective images rejected")
        axes.set_ylabel("Precision: rejected ones defective")
        _legend(figure, axes)

    columns = ("Threshold", "Recall", "Precision", "95 % band, low", "high")
    return svg(draw, "precision-recall", HEIGHT_IN + 0.4), _tables(lines, columns)


def roc_plot(curves: Sequence[Scored]) -> Drawn:
    """Return the same of the ROC curve; both empty unless there are both kinds of image."""
    if not 0 < curves[0].label.sum() < curves[0].label.size:
        return "", []
    lines = [_roc(curve) for curve in curves]

    def draw(figure: Figure) -> None:
        axes = _axes(figure, lines)
        chance = {"color": MUTED, "linewidth": 1, "linestyle": (0, (1, 2)), "label": "by chance"}
        axes.plot((0, 1), (0, 1), **chance)
        axes.set(xlabel="False-positive rate: good images rejected")
        axes.set_ylabel("Recall: defective images rejected")
        _legend(figure, axes)

    columns = ("Threshold", "False-positive rate", "Recall", "95 % band, low", "high")
    return svg(draw, "roc", HEIGHT_IN + 0.4), _tables(lines, columns)


def _precision_recall(curve: Scored) -> Line:
    points = ranking.precision_recall_curve(curve.label, curve.score)
    ap = ranking.average_precision(curve.label, curve.score)
    bands = curve.bands
    # A threshold above every score rejects nothing: there is no precision and no point.
    rejecting = np.flatnonzero(points.threshold >= curve.threshold)
    return Line(
        legend=f"{curve.name}, AP {ap:.3f}",
        x=np.append(0.0, points.recall),
        y=np.append(points.precision[0], points.precision),
        threshold=np.append(np.inf, points.threshold),
        band=bands and (bands.recall, bands.precision_low, bands.precision_high),
        at=int(rejecting[-1]) + 1 if rejecting.size else None,
        in_use=curve.threshold,
        drawstyle="steps-pre",
    )


def _roc(curve: Scored) -> Line:
    points = ranking.roc_curve(curve.label, curve.score)
    area = ranking.auroc(curve.label, curve.score)
    bands = curve.bands
    return Line(
        legend=f"{curve.name}, AUROC {area:.3f}",
        x=points.false_positive_rate,
        y=points.recall,
        threshold=points.threshold,
        band=bands and (bands.false_positive_rate, bands.recall_low, bands.recall_high),
        at=int(np.flatnonzero(points.threshold >= curve.threshold)[-1]),
        in_use=curve.threshold,
        drawstyle="default",  # straight across ties, as the area is counted
    )


def _axes(figure: Figure, lines: Sequence[Line]) -> Axes:
    axes = figure.subplots()
    for index, line in enumerate(lines):
        colour = SERIES[index]
        if line.band:
            axes.fill_between(*line.band, color=colour, **BAND)
        style = {"color": colour, "linestyle": DASHES[index], "drawstyle": line.drawstyle}
        axes.plot(line.x, line.y, label=line.legend, **style)
        if line.at is not None:
            point = {"color": colour, "markeredgecolor": INK, "markersize": 8, "zorder": 3}
            text = f"{line.legend.partition(',')[0]} at its threshold"
            x, y = line.x[line.at], line.y[line.at]
            axes.plot(x, y, MARKERS[index], linestyle="", label=text, **point)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
    return axes


def _legend(figure: Figure, axes: Axes) -> None:
    """Draw the legend above the plot, where it covers no curve."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=2, frameon=False)


def _tables(lines: Sequence[Line], columns: Sequence[str]) -> list[NumberTable]:
    return [NumberTable(f"{line.legend}, curve", columns, _rows(line)) for line in lines]


def _rows(line: Line) -> list[tuple]:
    """Leave out the start of the curve, where nothing is rejected, unless that is in use."""
    rows = []
    for index in sorted({*(i for i in sampled(len(line.x)) if i), *_in_use(line)}):
        x, y, threshold = line.x[index], line.y[index], line.threshold[index]
        name = threshold_text(threshold)
        if index == line.at:
            name = f"{threshold_text(line.in_use)} (in use)"
        low, high = (None, None)
        if line.band:
            low, high = (float(np.interp(x, line.band[0], end)) for end in line.band[1:])
        rows.append((name, float(x), float(y), low, high))
    return rows


def _in_use(line: Line) -> list[int]:
    return [] if line.at is None else [line.at]
