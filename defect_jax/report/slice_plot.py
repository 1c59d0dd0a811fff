"""Recall by class of defect or by its size, each with its interval."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from defect_jax.metrics.slices import Slice
from defect_jax.report.svg import INK, MUTED, SERIES, Drawn, svg
from defect_jax.report.tables import NumberTable

MOST_SLICES = 30  # in the plot; the table holds all
LONGEST_NAME = 34  # characters; a path of folders would leave no room for the plot


def slice_plot(slices: Sequence[Slice], kind: str) -> Drawn:
    """Return the plot of one kind of slice and the table of its numbers; both empty without any."""
    of_kind = [piece for piece in slices if piece.kind == kind]
    drawn = [piece for piece in of_kind if piece.recall is not None][:MOST_SLICES]
    if not drawn:
        return "", []

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row, piece in enumerate(drawn):
            if None not in (piece.recall_low, piece.recall_high):
                ends = (piece.recall_low, piece.recall_high)
                axes.plot(ends, (row, row), color=MUTED, linewidth=2.5, solid_capstyle="butt")
            point = {"color": SERIES[0], "markeredgecolor": INK, "markersize": 8}
            axes.plot(piece.recall, row, "o", **point)
        axes.set_yticks(range(len(drawn)), [_name(piece) for piece in drawn])
        axes.set(xlim=(-0.03, 1.03), ylim=(len(drawn) - 0.5, -0.5))
        axes.set_xlabel("Recall, with its 95 % interval")
        axes.grid(axis="y", visible=False)

    columns = ("Defects", "Images", "Recall", "95 % low", "high", "Mask touches", "Mean overlap")
    rows = [(piece.name, *piece[2:]) for piece in of_kind]
    drawing = svg(draw, f"recall-by-{kind}", 0.7 + 0.42 * len(drawn))
    return drawing, [NumberTable(f"Recall by {kind}", columns, rows)]


def _name(piece: Slice) -> str:
    """Return two lines: the name, and how many images stand behind the dot."""
    name, _, detail = piece.name.partition(": ")
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    return f"{short}\n{detail + ', ' if detail else ''}n = {piece.defective}"
