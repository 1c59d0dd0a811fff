"""The images that a run shows of itself: the same ones of validation, each time it validates."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from defect_jax.data.files.record_encoding import decode_classes, decode_stored
from defect_jax.data.prepare.prepared import Split, SplitRow
from defect_jax.deploy.drawings import overlay
from defect_jax.evaluation.evaluator import Scores
from defect_jax.report.progress_page import PAGE, Watched, progress_page
from defect_jax.runtime import atomic_files
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir.metrics_writer import MetricsWriter

DEFECTIVE, GOOD = 8, 4  # images on the page
ON_THE_BOARD = 6  # TensorBoard keeps them all, of each validation


def chosen_rows(rows: Sequence[SplitRow]) -> list[int]:
    """Return defective images from the smallest drawn defect to the largest, then good ones.

    Spread evenly, so that the page shows what is hard and what is easy.

    >>> of = {"group": "", "class_name": "", "height": 1, "width": 1}
    >>> rows = [SplitRow(str(px), label=px > 0, defect_px=px, **of) for px in (5, 0, 9, 0, 2)]
    >>> [rows[row].defect_px for row in chosen_rows(rows)]
    [2, 5, 9, 0, 0]
    """
    defective = sorted(
        (row for row in range(len(rows)) if rows[row].label and rows[row].masked),
        key=lambda row: rows[row].defect_px,
    )
    good = [row for row in range(len(rows)) if not rows[row].label]
    return [*_spread(defective, DEFECTIVE), *_spread(good, GOOD)]


def _spread(rows: list[int], most: int) -> list[int]:
    places = np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int)
    return [rows[place] for place in places]


class WatchedImages:
    """Some images of a split, the masks that an evaluator hands out for them, and their page."""

    def __init__(self, split: Split, title: str):
        self._split, self._title = split, title
        self._decided: dict[int, Bool[np.ndarray, "h w"] | None] = dict.fromkeys(
            chosen_rows(split.rows)
        )

    def on_mask(self, row: int, decided: UInt8[np.ndarray, "h w"]) -> None:
        """Keep the decided classes of a row, 0 = background, if it is one of them."""
        if row in self._decided:
            self._decided[row] = decided > 0

    def show(
        self,
        workdir: AnyPath,
        writer: MetricsWriter,
        step: int,
        steps: int,
        history: Sequence[dict],
        scores: Scores,
    ) -> None:
        """Write progress.html, and the first images to TensorBoard."""
        images = [self._watched(row, scores) for row in self._decided]
        page = progress_page(self._title, step, steps, history, images)
        atomic_files.write_text(workdir / PAGE, page)
        for watched in images[:ON_THE_BOARD]:
            writer.image(step, f"val/{watched.id}", overlay(watched.image, watched.decided))

    def _watched(self, row: int, scores: Scores) -> Watched:
        record, of = self._split.source[row], self._split.rows[row]
        mask = decode_classes(record["mask"]) > 0
        image, score = decode_stored(record["image"]), float(scores.images["score"][row])
        return Watched(of.id, of.label, score, image, mask, self._decided[row])
