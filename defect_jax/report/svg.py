"""Plots as inline SVG that follows the colours, the font and the width of the page around it."""

import io
import re
from collections.abc import Callable

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from defect_jax.report.tables import NumberTable

Drawn = tuple[str, list[NumberTable]]  # a plot and its numbers; ("", []) without any

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
STYLE = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    **{"grid.color": LINE, "axes.grid": True, "axes.axisbelow": True, "grid.linewidth": 0.6},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"},
    **{"font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10, "legend.fontsize": 9},
    **{"legend.facecolor": PAGE, "legend.edgecolor": "none", "legend.framealpha": 0.8},
    **{"lines.linewidth": 1.8, "figure.constrained_layout.use": True},
    **{"svg.fonttype": "none", "savefig.transparent": True},
    # A matplotlibrc in the folder that a program is started from could have LaTeX run.
    **{"text.usetex": False},
}


def log_scale(axes: Axes) -> None:
    """Label 1, 2 and 5 of each decade as plain numbers; a narrow panel has no room for more."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def svg(draw: Callable[[Figure], None], name: str, height_in: float) -> Markup:
    """Render to an <svg> element without addresses, fixed sizes, fonts or colours of its own."""
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
    used = set(re.findall(r"""(?:url\(|href=")#([^)"]+)""", svg))
    svg = re.sub(r'\sid="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    for colour, variable in COLOURS.items():
        svg = svg.replace(colour, variable)
    return Markup(svg)
