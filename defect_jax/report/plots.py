"""Plots as inline SVG that follows the colours, the font and the width of the page around it."""

import io
import re
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from defect_jax.decision import Decision
from defect_jax.metrics import ranking
from defect_jax.metrics.picture import Picture

# Colours that stand for variables of the style sheet: a light and a dark page differ in them only.
COLOURS = {
    "#0000a0": "var(--ink)",
    "#0000a1": "var(--muted)",
    "#0000a2": "var(--line)",
    "#0000a3": "var(--page)",
    "#0000b0": "var(--series-1)",
    "#0000b1": "var(--series-2)",
    "#0000b2": "var(--series-3)",
    "#0000b3": "var(--series-4)",
    "#0000b4": "var(--series-5)",
    "#0000b5": "var(--series-6)",
}
INK, MUTED, LINE, PAGE, *SERIES = COLOURS
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 2, 1, 2)), (0, (9, 3)), (0, (3, 3)))
WIDTH_IN, HEIGHT_IN = 4.6, 3.3
SCORE_BINS = 40
STYLE = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    **{"grid.color": LINE, "axes.grid": True, "axes.axisbelow": True, "grid.linewidth": 0.6},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"},
    **{"font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10, "legend.fontsize": 9},
    **{"legend.facecolor": PAGE, "legend.edgecolor": "none", "legend.framealpha": 0.8},
    **{"lines.linewidth": 1.8, "figure.constrained_layout.use": True},
    **{"svg.fonttype": "none", "savefig.transparent": True},
}


def precision_recall_plot(pictures: Sequence[Picture], decision: Decision, has_head: bool) -> str:
    """Curves of head and mask with the point that each works at; "" without defective pictures."""
    label = [picture.label for picture in pictures]
    curves = [("Mask", "mask_score", decision.mask_threshold, "s")]
    if has_head:
        curves.insert(0, ("Head", "score", decision.threshold, "o"))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for index, (name, field, threshold, marker) in enumerate(curves):
            score = [getattr(picture, field) for picture in pictures]
            _draw_curve(axes, index, name, label, score, threshold, marker)
        chance = sum(label) / len(label)
        axes.axhline(chance, color=MUTED, linewidth=1, linestyle=(0, (1, 2)), label="by chance")
        axes.set(xlim=(-0.02, 1.02), ylim=(0, 1.04), xlabel="Recall: defective pictures rejected")
        axes.set_ylabel("Precision: rejected ones defective")
        axes.legend(loc="lower left")

    return svg(draw, "precision-recall", HEIGHT_IN) if any(label) else ""


def score_plot(pictures: Sequence[Picture], field: str, threshold: float) -> str:
    """Histogram of `score` or `mask_score`: good pictures above, defective ones below."""

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, sharex=True)
        for axes, truth, name in ((upper, 0, "Good pictures"), (lower, 1, "Defective pictures")):
            score = [getattr(picture, field) for picture in pictures if picture.label == truth]
            count, edges = np.histogram(score, SCORE_BINS, (0.0, 1.0))
            colour = SERIES[truth]
            axes.bar(edges[:-1], count, 1 / SCORE_BINS, align="edge", color=colour, linewidth=0)
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

    return svg(draw, f"{field}-histogram", HEIGHT_IN)


def training_plot(history: Sequence[dict]) -> str:
    """Losses of the training batches above, scores of the validation split below; "" if none."""
    losses = curves_of(history, "train", lambda name: name.startswith("loss"))
    scores = curves_of(history, "val", lambda name: not name.startswith("loss"))
    panels = [("Loss, training", losses), ("Score, validation", scores)]
    panels = [(title, curves) for title, curves in panels if curves]

    def draw(figure: Figure) -> None:
        all_axes = np.atleast_1d(figure.subplots(len(panels), sharex=True))
        for axes, (title, curves) in zip(all_axes, panels, strict=True):
            for index, (name, (steps, values)) in enumerate(curves.items()):
                style = {"color": SERIES[index], "linestyle": DASHES[index]}
                marker = "o" if len(steps) == 1 else None
                axes.plot(steps, values, **style, label=name, marker=marker)
            axes.set_title(title)
            if curves is scores:
                axes.set_ylim(0.0, 1.04)
            axes.legend(loc="best", ncols=2)
            if curves is losses and all(min(values) > 0 for _, values in curves.values()):
                log_scale(axes)
        all_axes[-1].set_xlabel("Training step")
        all_axes[-1].xaxis.set_major_locator(MaxNLocator(5, integer=True))

    return svg(draw, "training", 0.2 + 1.7 * len(panels)) if panels else ""


def _draw_curve(
    axes: Axes,
    index: int,
    name: str,
    label: Sequence[int],
    score: Sequence[float],
    threshold: float,
    marker: str,
) -> None:
    curve = ranking.precision_recall_curve(label, score)
    ap = ranking.average_precision(label, score)
    recall = np.append(0.0, curve.recall)
    precision = np.append(curve.precision[0], curve.precision)
    style = {"color": SERIES[index], "linestyle": DASHES[index]}
    axes.plot(recall, precision, drawstyle="steps-pre", label=f"{name}, AP {ap:.3f}", **style)
    rejecting = np.flatnonzero(curve.threshold >= threshold)
    if rejecting.size:  # a threshold above every score rejects nothing: there is no precision
        at = rejecting[-1]
        point = {"color": SERIES[index], "markeredgecolor": INK, "markersize": 8, "zorder": 3}
        text = f"{name} at its threshold"
        axes.plot(curve.recall[at], curve.precision[at], marker, linestyle="", label=text, **point)


def log_scale(axes: Axes) -> None:
    """Labels 1, 2 and 5 of each decade as plain numbers; a narrow panel has no room for more."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def curves_of(
    history: Sequence[dict], split: str, wanted: Callable[[str], bool]
) -> dict[str, tuple[list[int], list[float]]]:
    """Name -> steps and finite values of up to six numbers, in the order in which they appear."""
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for row in history:
        for name, value in row.items() if row.get("split") == split else ():
            number = isinstance(value, int | float) and np.isfinite(value)
            if name not in ("step", "split") and number and wanted(name):
                steps, values = curves.setdefault(name.replace("_", " "), ([], []))
                steps.append(row["step"])
                values.append(float(value))
    return dict(list(curves.items())[: len(SERIES)])


def svg(draw: Callable[[Figure], None], name: str, height_in: float) -> str:
    """Renders to an <svg> element without addresses, fixed sizes, fonts or colours of its own."""
    text = io.StringIO()
    with rc_context(STYLE | {"svg.hashsalt": name}):  # the salt keeps ids of two plots apart
        figure = Figure(figsize=(WIDTH_IN, height_in))
        draw(figure)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg)
    svg = re.sub(r"font:\s*([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r'\s*font-family:[^;"]*;?', "", svg)
    svg = re.sub(
        r'id="((?:figure|axes|legend|patch|text|line2d|xtick|ytick|matplotlib)[\w.]*)"', "", svg
    )
    svg = svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    for colour, variable in COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg
