"""compare.html: what one model finds and another misses, on the same pictures, side by side."""

import dataclasses
from collections.abc import Callable
from string import Template

import numpy as np

from defect_jax import atomic
from defect_jax.paths import AnyPath
from defect_jax.report import compare_gallery, compare_tables
from defect_jax.report.compare_gallery import ComparedPicture
from defect_jax.report.compare_tables import DifferenceRow
from defect_jax.report.document import FILES, document, warnings
from defect_jax.report.words import split_name

LoadCompared = Callable[[str], tuple[np.ndarray, np.ndarray, list[np.ndarray]]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Everything that the page shows.

    Attributes:
      title: of the page.
      split: of these pictures.
      names: of the models, unique; the first one is what the others are compared with.
      differences: metrics of all models, in the order of the table.
      rows: every picture of the split with what each model made of it.
      warnings: what makes the comparison worth less than it looks.
      load_picture: id -> image [h w c] of 8 or 16 bits, true mask [h w], decided mask [h w] of each
        model; called for the pictures that are shown.
    """

    title: str
    split: str
    names: list[str]
    differences: list[DifferenceRow]
    rows: list[ComparedPicture]
    warnings: list[str]
    load_picture: LoadCompared

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names) or len(self.names) < 2:
            raise ValueError(f"at least two models with names of their own, not {self.names}")


def write_comparison(path: AnyPath | str, comparison: Comparison) -> None:
    """Writes the page, whole or not at all."""
    atomic.write_text(path, render_comparison(comparison))


def render_comparison(comparison: Comparison) -> str:
    """The page as one HTML text."""
    names, rows = comparison.names, comparison.rows
    defective = sum(row.label for row in rows)
    body = Template(FILES.joinpath("compare.html").read_text("utf-8")).substitute(
        warnings=warnings(comparison.warnings),
        counts=f"{len(rows):,} {split_name(comparison.split)} pictures, {defective:,} of them "
        f"defective and {len(rows) - defective:,} good, decided by {len(names)} models.",
        differences=compare_tables.difference_table(names, comparison.differences),
        agreement=compare_tables.agreement(names, rows),
        gallery=compare_gallery.gallery(names, rows, comparison.load_picture),
    )
    styles = ("page.css", "tables.css", "controls.css", "gallery.css", "compare.css")
    return document(comparison.title, body, ("viewer.js",), styles)
