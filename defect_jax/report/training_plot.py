"""Losses and validation scores over the steps of a run."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from defect_jax.metrics.class_counts import ACCURACY, IOU
from defect_jax.report.number_table import sampled, table
from defect_jax.report.svg import DASHES, SERIES, log_scale, svg

CLASSES = ("class_", IOU, ACCURACY)
Curves = dict[str, tuple[list[int], list[float]]]  # name -> steps and values


def training_plot(history: Sequence[dict]) -> tuple[str, str]:
    """Losses of the training batches above, scores of the validation split below, those of classes
    in a panel of their own.

    Returns:
        The plot and the tables of its numbers; both "" without any.
    """
    losses = curves_of(history, "train", lambda name: name.startswith("loss"))
    scores = curves_of(history, "val", lambda name: not name.startswith(("loss", *CLASSES)))
    of_classes = curves_of(history, "val", lambda name: name.startswith(CLASSES))
    panels = [("Loss, training", losses), ("Score, validation", scores)]
    panels.append(("Classes, validation", of_classes))
    panels = [(title, curves) for title, curves in panels if curves]

    def draw(figure: Figure) -> None:
        all_axes = np.atleast_1d(figure.subplots(len(panels), sharex=True))
        for axes, (title, curves) in zip(all_axes, panels, strict=True):
            for index, (name, (steps, values)) in enumerate(curves.items()):
                style = {"color": SERIES[index], "linestyle": DASHES[index]}
                marker = "o" if len(steps) == 1 else None
                axes.plot(steps, values, **style, label=name, marker=marker)
            axes.set_title(title)
            if curves is not losses:
                axes.set_ylim(0.0, 1.04)
            # Beside the panel, where it covers no curve.
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
            if curves is losses and all(min(values) > 0 for _, values in curves.values()):
                log_scale(axes)
        all_axes[-1].set_xlabel("Training step")
        all_axes[-1].xaxis.set_major_locator(MaxNLocator(5, integer=True))

    if not panels:
        return "", ""
    tables = "".join(curves_table(title, curves) for title, curves in panels)
    return svg(draw, "training", 0.2 + 1.7 * len(panels)), tables


def curves_of(history: Sequence[dict], split: str, wanted: Callable[[str], bool]) -> Curves:
    """Name -> steps and finite values of up to six numbers, in the order in which they appear."""
    curves: Curves = {}
    for row in history:
        for name, value in row.items() if row.get("split") == split else ():
            number = isinstance(value, int | float) and np.isfinite(value)
            if name not in ("step", "split") and number and wanted(name):
                steps, values = curves.setdefault(name.replace("_", " "), ([], []))
                steps.append(row["step"])
                values.append(float(value))
    return dict(list(curves.items())[: len(SERIES)])


def curves_table(caption: str, curves: Curves) -> str:
    """One row a step, one column a curve; evenly spread steps of a long run."""
    steps = sorted({step for of_curve, _ in curves.values() for step in of_curve})
    at = [dict(zip(*curve, strict=True)) for curve in curves.values()]
    rows = [(steps[i], *(values.get(steps[i]) for values in at)) for i in sampled(len(steps))]
    return table(caption, ("Step", *curves), rows)
