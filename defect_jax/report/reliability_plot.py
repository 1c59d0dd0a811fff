"""Whether a score of 0.9 means nine defects in ten, before and after temperature scaling."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from defect_jax.metrics.calibration import (
    ReliabilityBin,
    expected_calibration_error,
    reliability,
    temperature_scale,
)
from defect_jax.metrics.picture import Picture
from defect_jax.report.number_table import table
from defect_jax.report.svg import DASHES, HEIGHT_IN, INK, MUTED, SERIES, svg

MARKERS = ("o", "s")
LARGEST_MARKER_PT2 = 160.0


def reliability_plot(pictures: Sequence[Picture], temperature: float) -> tuple[str, str]:
    """The plot and the tables of its numbers; one curve where the temperature is 1."""
    label = np.array([picture.label for picture in pictures])
    score = np.array([picture.score for picture in pictures])
    kinds = [("score as it is", score)]
    if temperature != 1.0:
        kinds.append((f"temperature {temperature:.2f}", temperature_scale(score, temperature)))
    curves = [
        (f"{name}, ECE {expected_calibration_error(label, value):.3f}", reliability(label, value))
        for name, value in kinds
    ]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        level = {"color": MUTED, "linewidth": 1, "linestyle": (0, (1, 2))}
        axes.plot((0, 1), (0, 1), label="the score is the share", **level)
        for index, (name, bins) in enumerate(curves):
            x, y = [b.mean_probability for b in bins], [b.defective_share for b in bins]
            axes.plot(x, y, color=SERIES[index], linestyle=DASHES[index], linewidth=1.2, label=name)
            points = {"color": SERIES[index], "edgecolor": INK, "linewidth": 0.6, "zorder": 3}
            axes.scatter(x, y, _areas(bins), marker=MARKERS[index], **points)
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xlabel="Mean score of the pictures")
        axes.set_ylabel("Share that is defective")
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=1, frameon=False)

    columns = ("Score", "Pictures", "Mean score", "Share defective")
    tables = "".join(table(name.capitalize(), columns, _rows(bins)) for name, bins in curves)
    return svg(draw, "reliability", HEIGHT_IN + 0.4), tables


def _areas(bins: Sequence[ReliabilityBin]) -> list[float]:
    """Of the markers: by number of pictures, and large enough to be seen for one."""
    most = max(b.count for b in bins)
    return [12.0 + LARGEST_MARKER_PT2 * b.count / most for b in bins]


def _rows(bins: Sequence[ReliabilityBin]) -> list[tuple]:
    return [
        (f"{b.low:.2f} to {b.high:.2f}", b.count, b.mean_probability, b.defective_share)
        for b in bins
    ]
