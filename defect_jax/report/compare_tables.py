"""Metrics of several models with their differences, and who finds what the other misses."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from defect_jax.metrics.summary import MEANINGS
from defect_jax.report.compare_gallery import ComparedPicture
from defect_jax.report.words import number


class DifferenceRow(NamedTuple):
    """One metric of every model; the last three lists leave out the first model."""

    key: str
    values: list[float | None]
    difference: list[float | None]  # to the first model
    low: list[float | None]  # its 95 % interval, paired over the same redrawn parts
    high: list[float | None]


def difference_table(names: Sequence[str], rows: Sequence[DifferenceRow]) -> str:
    """A row a metric; a difference whose interval excludes 0 is called higher or lower."""
    columns = [*names, *(f"{name} less {names[0]}" for name in names[1:])]
    head = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in columns)
    body = "\n".join(_difference_row(row) for row in rows)
    return (
        '<table class="metrics compared"><caption>Differences with their 95 % intervals</caption>'
        f'<thead><tr><th scope="col">Name</th>{head}<th scope="col">Meaning</th></tr></thead>'
        f"<tbody>\n{body}\n</tbody></table>"
    )


def agreement(names: Sequence[str], rows: Sequence[ComparedPicture]) -> str:
    """Two matrices: defects that the row finds and the column misses, and the same of good ones."""
    tables, texts = [], []
    kinds = (
        (1, "defective", "reject", "Defects that the row finds and the column misses"),
        (0, "good", "accept", "Good pictures that the row accepts and the column rejects"),
    )
    for label, kind, does, caption in kinds:
        decisions = [[d == label for d in row.decisions] for row in rows if row.label == label]
        right = np.array(decisions, bool).reshape(-1, len(names))
        tables.append(_matrix(caption, names, right))
        everyone, nobody = right.all(axis=1).sum(), (~right).all(axis=1).sum()
        texts.append(
            f"All models {does} {everyone:,} of {len(right):,} {kind} pictures, "
            f"none does {nobody:,}."
        )
    return f'<p>{" ".join(texts)}</p>\n<div class="tables">{"".join(tables)}</div>'


def change(difference: float | None, low: float | None, high: float | None) -> str:
    """The difference in figures and in words.

    >>> change(0.042, 0.01, 0.071), change(-0.1, -0.2, 0.01), change(0.1, None, None)
    ('+0.042 (+0.010 to +0.071), higher', '−0.100 (−0.200 to +0.010)', '+0.100 (no interval)')
    """
    if difference is None:
        return "not defined"
    if low is None or high is None:
        return f"{_signed(difference)} (no interval)"
    word = ", higher" if low > 0 else ", lower" if high < 0 else ""
    return f"{_signed(difference)} ({_signed(low)} to {_signed(high)}){word}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _difference_row(row: DifferenceRow) -> str:
    values = "".join(f'<td class="number">{number(value)}</td>' for value in row.values)
    changes = ""
    for text in map(change, row.difference, row.low, row.high):
        shown = f"<strong>{text}</strong>" if text.endswith("er") else text
        changes += f'<td class="number">{shown}</td>'
    return (
        f'<tr><th scope="row"><code>{escape(row.key)}</code></th>{values}{changes}'
        f"<td>{escape(MEANINGS.get(row.key, ''))}</td></tr>"
    )


def _matrix(caption: str, names: Sequence[str], right: np.ndarray) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = ""
    for i, name in enumerate(names):
        counts = ((right[:, i] & ~right[:, j]).sum() for j in range(len(names)))
        cells = "".join(f"<td>{'–' if j == i else f'{n:,}'}</td>" for j, n in enumerate(counts))
        body += f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>\n'
    return (
        f'<table class="confusion"><caption>{caption}</caption><thead><tr><th scope="col">Model'
        f"</th>{head}</tr></thead><tbody>\n{body}</tbody></table>"
    )
