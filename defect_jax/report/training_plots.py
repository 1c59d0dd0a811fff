"""The run: losses and validation scores by step, and how its tasks were balanced."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from defect_jax.metrics.class_counts import ACCURACY, IOU
from defect_jax.report.svg import DASHES, MUTED, SERIES, Drawn, log_scale, svg
from defect_jax.report.tables import NumberTable, sampled

CLASSES = ("class_", IOU, ACCURACY)
Curves = dict[str, tuple[list[int], list[float]]]  # name -> steps and values
# Beginning of the names in metrics.jsonl, title of the panel, and the value of "all alike".
PANELS = (
    ("weight_", "Weight", None),
    ("gradient_norm_", "Gradient norm over the shared parameters, log scale", None),
    ("inverse_rate_", "Inverse training rate: above 1 lags", 1.0),
    ("gradient_cosine_", "Cosine of the gradients: below 0 they are in conflict", 0.0),
)
PANEL_HEIGHT_IN = 1.45
WORDS = {"selection": "chooses the checkpoint"}  # for a name that says nothing to a reader


def training_plot(history: Sequence[dict]) -> Drawn:
    """Draw losses of the training batches above, scores of the validation split below, and those
    of classes in a panel of their own.

    Returns:
        The plot and the tables of its numbers; both empty without any.
    """
    losses = _curves_of(history, "train", lambda name: name.startswith("loss"))
    scores = _curves_of(history, "val", lambda name: not name.startswith(("loss", *CLASSES)))
    of_classes = _curves_of(history, "val", lambda name: name.startswith(CLASSES))
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
        return "", []
    tables = [_curves_table(title, curves) for title, curves in panels]
    return svg(draw, "training", 0.2 + 1.7 * len(panels)), tables


def balance_plot(history: Sequence[dict]) -> Drawn:
    """Draw one panel a kind of number, one line a task.

    Returns:
        The plot and the tables of its numbers; both empty for a single task.
    """
    panels = [
        (title, level, _curves_of(history, "train", lambda name, p=prefix: name.startswith(p)))
        for prefix, title, level in PANELS
    ]
    panels = [panel for panel in panels if panel[2]]
    if len(panels) < len(PANELS):
        return "", []

    def draw(figure: Figure) -> None:
        all_axes = figure.subplots(len(panels), sharex=True)
        for axes, (title, level, curves) in zip(all_axes, panels, strict=True):
            _draw_panel(axes, title, level, curves)
        handles, names = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=len(names), frameon=False)
        all_axes[-1].set_xlabel("Training step")
        all_axes[-1].xaxis.set_major_locator(MaxNLocator(5, integer=True))

    tables = [_curves_table(title, curves) for title, _, curves in panels]
    return svg(draw, "balance", 0.5 + PANEL_HEIGHT_IN * len(panels)), tables


def _curves_of(history: Sequence[dict], split: str, wanted: Callable[[str], bool]) -> Curves:
    """Return the name -> steps and finite values of the first six numbers, in their order."""
    curves: Curves = {}
    for row in history:
        for name, value in row.items() if row.get("split") == split else ():
            number = isinstance(value, int | float) and np.isfinite(value)
            if name not in ("step", "split") and number and wanted(name):
                steps, values = curves.setdefault(WORDS.get(name, name.replace("_", " ")), ([], []))
                steps.append(row["step"])
                values.append(float(value))
    return dict(list(curves.items())[: len(SERIES)])


def _curves_table(caption: str, curves: Curves) -> NumberTable:
    """Return one row a step, one column a curve; evenly spread steps of a long run."""
    steps = sorted({step for of_curve, _ in curves.values() for step in of_curve})
    at = [dict(zip(*curve, strict=True)) for curve in curves.values()]
    rows = [(steps[i], *(values.get(steps[i]) for values in at)) for i in sampled(len(steps))]
    return NumberTable(caption, ("Step", *curves), rows)


def _draw_panel(axes: Axes, title: str, level: float | None, curves: Curves) -> None:
    for index, (name, (steps, values)) in enumerate(curves.items()):
        style = {"color": SERIES[index], "linestyle": DASHES[index], "label": name.split()[-1]}
        if len(curves) == 1:
            style |= {"color": MUTED, "linestyle": "solid"}  # of a pair, so of no task's colour
        axes.plot(steps, values, marker="o" if len(steps) == 1 else None, **style)
    values = np.concatenate([values for _, values in curves.values()])
    if title.endswith("log scale") and values.min() > 0.0:
        log_scale(axes)
    elif level is None:
        axes.set_ylim(bottom=0.0)
    else:
        axes.axhline(level, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    axes.set_title(title)
