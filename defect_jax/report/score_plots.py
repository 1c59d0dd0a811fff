"""The scores: how they spread over good and defective images, and whether they mean what they say.

The reliability diagram shows whether a score of 0.9 means nine defects in ten, before and after
temperature scaling.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from defect_jax.metrics.calibration import (
    ReliabilityBin,
    expected_calibration_error,
    reliability,
    temperature_scale,
)
from defect_jax.metrics.images import ImageRow
from defect_jax.report.svg import DASHES, HEIGHT_IN, INK, MUTED, SERIES, Drawn, svg
from defect_jax.report.tables import NumberTable

SCORE_BINS, TABLE_BINS = 40, 20
TRUTHS = ((0, "Good images"), (1, "Defective images"))
MARKERS = ("o", "s")
LARGEST_MARKER_PT2 = 160.0


def score_plot(images: Sequence[ImageRow], field: str, threshold: float) -> Drawn:
    """Return the plot of `score` or `mask_score`, and the table of its numbers."""
    by_truth = [[getattr(p, field) for p in images if p.label == truth] for truth, _ in TRUTHS]

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, sharex=True)
        for axes, score, (truth, name) in zip((upper, lower), by_truth, TRUTHS, strict=True):
            count, edges = np.histogram(score, SCORE_BINS, (0.0, 1.0))
            style = {"align": "edge", "color": SERIES[truth], "linewidth": 0}
            axes.bar(edges[:-1], count, 1 / SCORE_BINS, **style)
            axes.axvline(threshold, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
            # From one image on: a single false alarm beside a thousand good parts must show.
            if score:
                axes.set_yscale("log")
            axes.set_ylim(0.7, max(10, 1.6 * count.max()))
            axes.set_title(f"{name} ({len(score)})")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.minorticks_off()
        lower.set(xlim=(-0.01, 1.01), xlabel="Score; rejected from the dashed line upwards")
        figure.supylabel("Images, log scale", fontsize=10)

    return svg(draw, f"{field}-histogram", HEIGHT_IN), _score_table(by_truth)


def reliability_plot(images: Sequence[ImageRow], temperature: float) -> Drawn:
    """Return the plot and the tables of its numbers; one curve where the temperature is 1."""
    label = np.array([image.label for image in images])
    probability = np.array([image.probability for image in images])
    kinds = [("probability", probability)]
    if temperature != 1.0:
        before = temperature_scale(probability, 1.0 / temperature)
        kinds.append((f"without its temperature of {temperature:.2f}", before))
    curves = [
        (f"{name}, ECE {expected_calibration_error(label, value):.3f}", reliability(label, value))
        for name, value in kinds
    ]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        level = {"color": MUTED, "linewidth": 1, "linestyle": (0, (1, 2))}
        axes.plot((0, 1), (0, 1), label="the probability is the share", **level)
        for index, (name, bins) in enumerate(curves):
            x, y = [b.mean_probability for b in bins], [b.defective_share for b in bins]
            axes.plot(x, y, color=SERIES[index], linestyle=DASHES[index], linewidth=1.2, label=name)
            points = {"color": SERIES[index], "edgecolor": INK, "linewidth": 0.6, "zorder": 3}
            axes.scatter(x, y, _areas(bins), marker=MARKERS[index], **points)
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xlabel="Mean probability of the images")
        axes.set_ylabel("Share that is defective")
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=1, frameon=False)

    columns = ("Probability", "Images", "Mean probability", "Share defective")
    tables = [NumberTable(name.capitalize(), columns, _bin_rows(bins)) for name, bins in curves]
    return svg(draw, "reliability", HEIGHT_IN + 0.4), tables


def _score_table(by_truth: Sequence[Sequence[float]]) -> list[NumberTable]:
    edges = np.linspace(0.0, 1.0, TABLE_BINS + 1)
    counts = [np.histogram(score, edges)[0].tolist() for score in by_truth]
    rows = [
        (f"{low:.2f} to {high:.2f}", *both)
        for low, high, *both in zip(edges[:-1], edges[1:], *counts, strict=True)
        if any(both)
    ]
    columns = ("Score", *(name for _, name in TRUTHS))
    return [NumberTable("Images by score", columns, rows)]


def _areas(bins: Sequence[ReliabilityBin]) -> list[float]:
    """Return areas of the markers: by number of images, and visible for a single one."""
    most = max(b.count for b in bins)
    return [12.0 + LARGEST_MARKER_PT2 * b.count / most for b in bins]


def _bin_rows(bins: Sequence[ReliabilityBin]) -> list[tuple]:
    return [
        (f"{b.low:.2f} to {b.high:.2f}", b.count, b.mean_probability, b.defective_share)
        for b in bins
    ]
