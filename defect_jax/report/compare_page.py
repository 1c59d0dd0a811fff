"""compare.html: what one model finds and another misses, on the same images, side by side."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from defect_jax.metrics.summary import MEANINGS
from defect_jax.report.cards import Fact, card, overlap_fact, verdict_fact
from defect_jax.report.outlines import frame, same_frame
from defect_jax.report.render import breakable, render_page
from defect_jax.report.thumbnails import share_out
from defect_jax.runtime import atomic_files
from defect_jax.runtime.paths import AnyPath

STYLES = ("page.css", "tables.css", "controls.css", "gallery.css", "compare.css")
MOST_ROWS = 60
LEAST_SPREAD = 0.1  # of IoU or score, below which models agree
LoadCompared = Callable[[str], tuple[np.ndarray, np.ndarray, list[np.ndarray]]]
# Truth, its name, what all models did rightly, and the caption of the matrix.
KINDS = (
    (1, "defective", "reject", "Defects that the row finds and the column misses"),
    (0, "good", "accept", "Good images that the row accepts and the column rejects"),
)


class ComparedImage(NamedTuple):
    """An image with what each model made of it."""

    id: str
    group: str
    label: int  # 1 = defective
    scores: list[float]
    decisions: list[int]  # 1 = rejected
    mask_decisions: list[int]
    ious: list[float | None]  # None where neither mask marks anything, or the true one is not known
    masked: int = 1  # 0 = a defective image without a mask


class DifferenceRow(NamedTuple):
    """One metric of every model; the last three lists leave out the first model."""

    key: str
    values: list[float | None]
    difference: list[float | None]  # to the first model
    low: list[float | None]  # its 95 % interval, paired over the same redrawn parts
    high: list[float | None]


class Agreement(NamedTuple):
    """How often models decide rightly on one kind of image, together and alone."""

    kind: str
    does: str
    caption: str
    images: int
    everyone: int  # images that all models decide rightly
    nobody: int
    only: list[list[int]]  # [row, column]: that the row's model decides rightly, the column's not


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Everything that the page shows.

    Attributes:
      title: of the page.
      split: of these images.
      names: of the models, unique; the first one is what the others are compared with.
      differences: metrics of all models, in the order of the table.
      rows: every image of the split with what each model made of it.
      warnings: what makes the comparison worth less than it looks.
      load_image: id -> image [h w c] of 8 or 16 bits, true mask [h w], decided mask [h w] of each
        model; called for the images that are shown.
    """

    title: str
    split: str
    names: list[str]
    differences: list[DifferenceRow]
    rows: list[ComparedImage]
    warnings: list[str]
    load_image: LoadCompared

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names) or len(self.names) < 2:
            raise ValueError(f"at least two models with names of their own, not {self.names}")


def write_comparison(path: AnyPath | str, comparison: Comparison) -> None:
    """Write the page, whole or not at all."""
    atomic_files.write_text(path, render_comparison(comparison))


def render_comparison(comparison: Comparison) -> str:
    """Return the page as one HTML text."""
    names, rows = comparison.names, comparison.rows
    found = disagreements(rows)
    chosen = found[:MOST_ROWS]

    def show(index: int, longer_side_px: int, limit: int) -> Markup:
        loaded = comparison.load_image(chosen[index].id)
        return _cards(index, names, chosen[index], loaded, longer_side_px, limit)

    return render_page(
        "compare.html",
        comparison.title,
        ("viewer.js",),
        STYLES,
        warnings=comparison.warnings,
        split=comparison.split,
        names=names,
        images=len(rows),
        defective=sum(row.label for row in rows),
        differences=comparison.differences,
        change=change,
        meanings=MEANINGS,
        agreements=agreements(names, rows),
        least_spread=LEAST_SPREAD,
        differing=len(found),
        shown=list(zip(chosen, share_out([True] * len(chosen), 0, show), strict=True)),
    )


def disagreements(rows: Sequence[ComparedImage]) -> list[ComparedImage]:
    """Return all that differ: other decisions first, then the largest spread of IoU or score."""
    differing = [row for row in rows if _decided_apart(row) or spread(row) >= LEAST_SPREAD]
    return sorted(differing, key=lambda row: (not _decided_apart(row), -spread(row)))


def spread(row: ComparedImage) -> float:
    """Return the larger one of the spreads of IoU and of score.

    Two empty masks agree as well as two equal ones, so they count as an overlap of 1.

    >>> spread(ComparedImage("a", "a", 0, [0.1, 0.2], [0, 0], [0, 1], [None, 0.0]))
    1.0
    """
    overlaps = [1.0 if iou is None else iou for iou in row.ious]
    return max(np.ptp(overlaps).item(), np.ptp(row.scores).item())


def agreements(names: Sequence[str], rows: Sequence[ComparedImage]) -> list[Agreement]:
    """Return who decides rightly where another does not, on defective and on good images."""
    found = []
    for label, kind, does, caption in KINDS:
        decisions = [[d == label for d in row.decisions] for row in rows if row.label == label]
        right = np.array(decisions, bool).reshape(-1, len(names))
        everyone, nobody = int(right.all(axis=1).sum()), int((~right).all(axis=1).sum())
        only = (right[:, :, None] & ~right[:, None]).sum(axis=0).tolist()
        found.append(Agreement(kind, does, caption, len(right), everyone, nobody, only))
    return found


def change(difference: float | None, low: float | None, high: float | None) -> str:
    """Return the difference in figures and in words.

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


def _decided_apart(row: ComparedImage) -> bool:
    return len(set(row.decisions)) > 1


def _cards(
    index: int,
    names: Sequence[str],
    row: ComparedImage,
    loaded: tuple[np.ndarray, np.ndarray, list[np.ndarray]],
    longer_side_px: int,
    limit: int,
) -> Markup:
    """Return the image once a model; its pixels are embedded with the first one."""
    image, true_mask, decided = loaded
    truth = "defective" if row.label else "good"
    cards = []
    for model, (name, mask) in enumerate(zip(names, decided, strict=True)):
        alt = f"Image {row.id}, {truth}, with the outlines of {name}"
        masks = [("true", true_mask), ("predicted", mask)]
        if model == 0:
            svg = frame(f"r{index}", alt, image, masks, longer_side_px, limit)
        else:
            svg = same_frame(f"r{index}m{model}", f"r{index}", alt, image, masks)
        cards.append(card(svg, name, _facts(row, model), below=breakable(row.id)))
    return Markup("\n").join(cards)


def _facts(row: ComparedImage, model: int) -> list[Fact]:
    return [
        verdict_fact("Decision", row.label, row.decisions[model], row.scores[model]),
        Fact("Mask", "marks something" if row.mask_decisions[model] else "marks nothing"),
        overlap_fact(row.ious[model], row.masked),
    ]
