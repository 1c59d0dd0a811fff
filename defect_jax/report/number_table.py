"""The numbers behind a plot, folded below it: for screen readers, and to copy."""

from collections.abc import Sequence
from html import escape

import numpy as np

from defect_jax.report.words import number

MOST_ROWS = 25
Cell = str | int | float | None


def folded(*tables: str) -> str:
    """Tables behind a line to click; "" without any."""
    inside = "".join(tables)
    return (
        f'<details class="numbers"><summary>The numbers</summary>\n<div class="wide">{inside}</div>'
        "</details>"
        if inside
        else ""
    )


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table whose first column names the row; "" without rows."""
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "\n".join(
        f'<tr><th scope="row">{_cell(first)}</th>'
        + "".join(f"<td>{_cell(value)}</td>" for value in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<table class="behind"><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table>"
    )


def sampled(count: int) -> list[int]:
    """At most `MOST_ROWS` of `count` indices, evenly spread, the first and the last among them.

    >>> sampled(3), len(sampled(1000)), sampled(1000)[-1]
    ([0, 1, 2], 25, 999)
    """
    if count <= MOST_ROWS:
        return list(range(count))
    return np.linspace(0, count - 1, MOST_ROWS).round().astype(int).tolist()


def _cell(value: Cell) -> str:
    return escape(value) if isinstance(value, str) else "–" if value is None else number(value)
