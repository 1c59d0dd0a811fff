"""Misses and false alarms of one kind of disturbance, grade by grade, with their limits."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defect_jax.data.distortions.kinds import Kind
from defect_jax.decision.limits import JudgedGrade, Limit, Limits
from defect_jax.metrics.stress import Rate
from defect_jax.report.svg import SERIES, Drawn, svg
from defect_jax.report.tables import NumberTable

HEIGHT_IN = 2.7
MARKERS = ("o", "s")
NAMES = ("misses", "false alarms")
BAND = {"alpha": 0.16, "linewidth": 0}
LEAST_TOP = 25.0  # %, of the axis: noise of small rates shall look small


def stress_plot(
    kind: Kind, undisturbed: JudgedGrade, grades: Sequence[JudgedGrade], limits: Limits
) -> Drawn:
    """Return the plot and the table of its numbers; the first point is without a disturbance."""
    points = [undisturbed, *grades]
    names = ["as it is", *(kind.in_words(judged.grade) for judged in grades)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        highest = [
            _line(axes, number, [judged.rates[number] for judged in points], limit)
            for number, limit in enumerate(limits)
        ]
        if any(judged.of_images != judged.rates for judged in points):
            highest += [
                _thin_line(axes, number, [judged.of_images[number] for judged in points])
                for number in range(len(NAMES))
            ]
        axes.set_xticks(range(len(points)), names)
        axes.set_ylim(-2.0, min(102.0, 1.15 * max(LEAST_TOP, *highest)))
        axes.set_ylabel("Decided wrongly, %")
        axes.grid(axis="x", visible=False)
        figure.legend(loc="outside upper left", ncols=2, frameon=False)

    return svg(draw, f"stress-{kind.name}".replace(" ", "-"), HEIGHT_IN), [_table(names, points)]


def _line(axes: Axes, number: int, rates: Sequence[Rate], limit: Limit) -> float:
    """Draw the rates of one kind of mistake, their intervals and their limit; return the highest
    rate or limit, in percent."""
    x = [place for place, rate in enumerate(rates) if rate.share is not None]
    if not x or limit.rate is None:
        return 0.0
    ends = [(rates[place].low, rates[place].share, rates[place].high) for place in x]
    low, share, high = 100.0 * np.array(ends).T
    colour = SERIES[number]
    axes.fill_between(x, low, high, color=colour, **BAND)
    axes.axhline(100.0 * limit.rate, color=colour, linewidth=1, linestyle=(0, (5, 3)))
    axes.plot(x, share, marker=MARKERS[number], color=colour, markersize=5, label=NAMES[number])
    return max(float(share.max()), 100.0 * limit.rate)


def _thin_line(axes: Axes, number: int, rates: Sequence[Rate]) -> float:
    """Draw the rates of images, where parts are decided on; return the highest, in percent."""
    x = [place for place, rate in enumerate(rates) if rate.share is not None]
    share = [100.0 * rates[place].share for place in x]
    style = {"color": SERIES[number], "linewidth": 1.2, "linestyle": (0, (1, 1.5))}
    axes.plot(x, share, label=f"{NAMES[number]}, images", **style)
    return max(share, default=0.0)


def _table(names: Sequence[str], points: Sequence[JudgedGrade]) -> NumberTable:
    columns = ("Grade", "Misses", "of", "rate", "95 % low", "high", "")
    columns += ("False alarms", "of", "rate", "95 % low", "high", "", "Left out")
    rows = [
        (
            name,
            *_cells(judged.rates.misses),
            judged.misses,
            *_cells(judged.rates.alarms),
            judged.alarms,
            judged.left_out,
        )
        for name, judged in zip(names, points, strict=True)
    ]
    return NumberTable("Misses and false alarms by grade", columns, rows)


def _cells(rate: Rate) -> tuple:
    return rate.count, rate.of, rate.share, rate.low, rate.high
