"""suspects.csv and suspects.html: whose label or mask contradicts what the others teach."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from defect_jax.metrics.images import ImageRow
from defect_jax.metrics.suspects import Evidence, Suspect, Suspects, rank
from defect_jax.report.gallery import LoadImage
from defect_jax.report.suspects_page import SuspectsPage, render_suspects
from defect_jax.runtime import atomic_files
from defect_jax.runtime.escapes import csv_text
from defect_jax.runtime.paths import AnyPath

OWN_EVIDENCE = ("given_softmin", "inside_mean", "inside_highest", "outside_mean", "outside_px")


def write_suspects(
    folder: pathlib.Path,
    title: str,
    split: str,
    rows: Sequence[ImageRow],
    scores: Mapping[str, np.ndarray],
    load_image: LoadImage,
) -> Suspects:
    """Write both files into a folder of results, and return what they hold.

    The network must not have been trained with these images: it believes every label that it has
    learnt.

    Args:
        split: what the images are called.
        rows: of predictions.csv.
        scores: `evaluator.Scores.images`, in the order of `rows`.
        load_image: id -> image, true mask, decided mask.
    """
    found = rank(evidence_of(rows, scores))
    page = SuspectsPage(title, split, found, load_image)
    atomic_files.write_text(folder / "suspects.csv", csv_text([Suspect._fields, *found.images]))
    atomic_files.write_text(folder / "suspects.html", render_suspects(page))
    return found


def in_words(found: Suspects, folder: AnyPath) -> str:
    """Return one line for a terminal."""
    count = found.to_look_at
    if not count:
        return "labels: none stands out as wrong"
    return f"labels: {count} of {len(found.images)} images are worth a look: {folder}/suspects.html"


def evidence_of(rows: Sequence[ImageRow], scores: Mapping[str, np.ndarray]) -> list[Evidence]:
    """Return what is known of each image, from the sums of its pixels."""
    true_px = np.array([row.true_px for row in rows])
    columns = (
        scores["softmin_sum"] / scores["softmin_weight"],
        scores["inside_sum"] / np.maximum(true_px, 1),
        scores["inside_highest"],
        scores["outside_sum"] / np.maximum(scores["outside_px"], 1),
        scores["outside_px"],
    )
    taken = [name for name in Evidence._fields if name not in OWN_EVIDENCE]
    return [
        Evidence(
            **{name: getattr(row, name) for name in taken},
            **dict(zip(OWN_EVIDENCE, own, strict=True)),
        )
        for row, own in zip(rows, zip(*[c.tolist() for c in columns], strict=True), strict=True)
    ]
