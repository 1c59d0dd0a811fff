"""The confusion matrix of classes as a table whose cells are the darker, the more they hold."""

from html import escape

from defect_jax.metrics.class_counts import ClassPixels
from defect_jax.report.number_table import folded, table
from defect_jax.report.words import pixel_share

DARKEST = 55  # per cent of the colour: the text has to stand out from a full cell


def class_matrix(classes: ClassPixels) -> str:
    """Shares of the pixels of each true class by decided class, and folded below the counts."""
    columns = "".join(f'<th scope="col">{breakable_class(name)}</th>' for name in classes.names)
    rows = [
        _row(classes.names[index], index, pixels)
        for index, pixels in enumerate(classes.pixels.tolist())
    ]
    size = len(classes.names)
    return (
        '<table class="heat"><caption>Share of the pixels of each true class</caption><thead>'
        f'<tr><td></td><th scope="colgroup" colspan="{size}">Decided as</th></tr>'
        f'<tr><th scope="col">True class</th>{columns}</tr></thead>'
        "<tbody>\n" + "\n".join(rows) + f"\n</tbody></table>\n{_counts(classes)}"
    )


def breakable_class(name: str) -> str:
    """The escaped name, which a narrow column may break after each underscore.

    >>> breakable_class("MT_Fray")
    'MT_<wbr>Fray'
    """
    return escape(name).replace("_", "_<wbr>")


def _row(name: str, index: int, pixels: list[int]) -> str:
    true = sum(pixels)
    cells = "".join(
        _cell(count, true, right=column == index) for column, count in enumerate(pixels)
    )
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'


def _cell(count: int, true: int, right: bool) -> str:
    """The colour is mixed by the sheet, from the page's own, so that it suits a dark page too."""
    text = escape(pixel_share(count, true))
    if not count and not (right and true):  # a class of which nothing is right must stand out
        return f'<td class="none">{text}</td>'
    kind = "right" if right else "wrong"
    return f'<td class="{kind}" style="--mix: {DARKEST * count / true:.1f}%">{text}</td>'


def _counts(classes: ClassPixels) -> str:
    rows = [
        (name, *pixels) for name, pixels in zip(classes.names, classes.pixels.tolist(), strict=True)
    ]
    caption = "Pixels, true class by decided class"
    return folded(table(caption, ("True class", *classes.names), rows))
