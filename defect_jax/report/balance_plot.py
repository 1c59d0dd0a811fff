"""How the tasks of a run were balanced: weights, gradient norms, inverse rates and cosines."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from defect_jax.report.svg import DASHES, MUTED, SERIES, log_scale, svg
from defect_jax.report.training_plot import Curves, curves_of, curves_table

# Beginning of the names in metrics.jsonl, title of the panel, and the value of "all alike".
PANELS = (
    ("weight_", "Weight", None),
    ("gradient_norm_", "Gradient norm over the shared parameters, log scale", None),
    ("inverse_rate_", "Inverse training rate: above 1 lags", 1.0),
    ("gradient_cosine_", "Cosine of the gradients: below 0 they are in conflict", 0.0),
)
PANEL_HEIGHT_IN = 1.45


def balance_plot(history: Sequence[dict]) -> tuple[str, str]:
    """One panel a kind of number, one line a task, and the tables; both "" for a single task."""
    panels = [
        (title, level, curves_of(history, "train", lambda name, p=prefix: name.startswith(p)))
        for prefix, title, level in PANELS
    ]
    panels = [panel for panel in panels if panel[2]]
    if len(panels) < len(PANELS):
        return "", ""

    def draw(figure: Figure) -> None:
        all_axes = figure.subplots(len(panels), sharex=True)
        for axes, (title, level, curves) in zip(all_axes, panels, strict=True):
            _draw_panel(axes, title, level, curves)
        handles, names = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=len(names), frameon=False)
        all_axes[-1].set_xlabel("Training step")
        all_axes[-1].xaxis.set_major_locator(MaxNLocator(5, integer=True))

    tables = "".join(curves_table(title, curves) for title, _, curves in panels)
    return svg(draw, "balance", 0.5 + PANEL_HEIGHT_IN * len(panels)), tables


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
