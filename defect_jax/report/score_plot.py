"""Histograms of the scores, good pictures above and defective ones below."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from defect_jax.metrics.picture import Picture
from defect_jax.report.number_table import table
from defect_jax.report.svg import HEIGHT_IN, INK, SERIES, svg

SCORE_BINS, TABLE_BINS = 40, 20
TRUTHS = ((0, "Good pictures"), (1, "Defective pictures"))


def score_plot(pictures: Sequence[Picture], field: str, threshold: float) -> tuple[str, str]:
    """The plot of `score` or `mask_score`, and the table of its numbers."""
    by_truth = [[getattr(p, field) for p in pictures if p.label == truth] for truth, _ in TRUTHS]

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, sharex=True)
        for axes, score, (truth, name) in zip((upper, lower), by_truth, TRUTHS, strict=True):
            count, edges = np.histogram(score, SCORE_BINS, (0.0, 1.0))
            style = {"align": "edge", "color": SERIES[truth], "linewidth": 0}
            axes.bar(edges[:-1], count, 1 / SCORE_BINS, **style)
            axes.axvline(threshold, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
            # From one picture on: a single false alarm beside a thousand good parts must show.
            if score:
                axes.set_yscale("log")
            axes.set_ylim(0.7, max(10, 1.6 * count.max()))
            axes.set_title(f"{name} ({len(score)})")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.minorticks_off()
        lower.set(xlim=(-0.01, 1.01), xlabel="Score; rejected from the dashed line upwards")
        figure.supylabel("Pictures, log scale", fontsize=10)

    return svg(draw, f"{field}-histogram", HEIGHT_IN), _table(by_truth)


def _table(by_truth: Sequence[Sequence[float]]) -> str:
    edges = np.linspace(0.0, 1.0, TABLE_BINS + 1)
    counts = [np.histogram(score, edges)[0].tolist() for score in by_truth]
    rows = [
        (f"{low:.2f} to {high:.2f}", *both)
        for low, high, *both in zip(edges[:-1], edges[1:], *counts, strict=True)
        if any(both)
    ]
    return table("Pictures by score", ("Score", *(name for _, name in TRUTHS)), rows)
