"""Draws docs/gaps.jpg: defects with gaps, as two networks of one ablation marked them.

    launch/ablation.sh --config=configs/synthetic_gaps_ablation.py:cpu
    .venv/bin/python -m docs.make_gap_picture runs/synthetic_gaps_ablation-cpu

It takes the first test images of torn weave and frayed fibres on different surfaces: chosen by
name, not by how well a network did.
"""

import pathlib
import sys

import cv2
import numpy as np

from defect_jax.data.files.images import decode_image, decode_mask
from defect_jax.data.prepare.prepare import prepare
from defect_jax.workdir import run_config
from docs.make_pictures import COLUMNS, enlarged, outlined, sheet

CELLS = ("shallow-seed_0", "shallow_confidence-seed_0")
GAPPY = ("fray", "weave")


def main(folder: pathlib.Path) -> None:
    """Write the sheet: images above, the plain network's masks, those after confidence below."""
    cells = [folder / "cells" / name for name in CELLS]
    test = prepare(run_config.of_workdir(cells[0], None).data, needed=("test",)).splits["test"]
    rows: list[list[np.ndarray]] = [[], [], []]
    for index in chosen_rows(test.rows):
        record = test.source[index]
        image, truth = decode_image(record["image"]), decode_mask(record["mask"], 0)
        rows[0].append(enlarged(image[..., 0]))
        for row, cell in zip(rows[1:], cells, strict=True):
            path = cell / "eval" / "test" / "masks" / f"{test.rows[index].id}.png"
            row.append(outlined(rows[0][-1], truth, decode_mask(path.read_bytes(), 0)))
    path = pathlib.Path(__file__).with_name("gaps.jpg")
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
    path.write_bytes(cv2.imencode(".jpg", sheet([*rows[0], *rows[1], *rows[2]]), quality)[1])
    print(f"wrote {path}")


def chosen_rows(rows: list) -> list[int]:
    """Return the first images by name, kinds of defect in turn, each on a surface of its own."""
    chosen: list[int] = []
    surfaces: set[str] = set()
    while len(chosen) < COLUMNS:
        wanted = GAPPY[len(chosen) % len(GAPPY)]
        for index, row in enumerate(rows):
            surface = row.id.partition("/")[0]
            if row.class_name == wanted and surface not in surfaces:
                chosen.append(index)
                surfaces.add(surface)
                break
        else:
            raise SystemExit(f"too few images of {wanted}")
    return chosen


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
