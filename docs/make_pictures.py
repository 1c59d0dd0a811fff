"""Draws docs/synthetic.jpg, the image of the README, from a finished run on generated surfaces.

    launch/local.sh --config=configs/synthetic.py:cpu
    .venv/bin/python -m docs.make_pictures runs/synthetic-cpu

It takes the first defective test image of every kind of surface, then the first with another kind
of defect, until the row is full: chosen by name, not by how well the network did.
"""

import pathlib
import sys

import cv2
import numpy as np

from defect_jax.data.files.images import decode_image, decode_mask
from defect_jax.data.prepare.prepare import prepare
from defect_jax.report.colours import DECIDED_RGB, TRUE_RGB
from defect_jax.workdir import run_config

ZOOM, COLUMNS, GAP_PX = 2, 5, 6
CLEAR_PX = 4  # between a defect and its outline, which would otherwise hide it


def main(workdir: pathlib.Path) -> None:
    """Write the contact sheet of one finished run."""
    config = run_config.of_workdir(workdir, None)
    test = prepare(config.data, needed=("test",)).splits["test"]
    plain, marked = [], []
    for row in chosen_rows(test.rows):
        record = test.source[row]
        masks = workdir / "eval" / "test" / "masks" / f"{test.rows[row].id}.png"
        decided = decode_mask(masks.read_bytes(), 0)
        image, truth = decode_image(record["image"]), decode_mask(record["mask"], 0)
        plain.append(enlarged(image[..., 0]))
        marked.append(outlined(plain[-1], truth, decided))
    path = pathlib.Path(__file__).with_name("synthetic.jpg")
    path.write_bytes(
        cv2.imencode(".jpg", sheet(plain + marked), [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    )
    print(f"wrote {path}: {len(plain)} images")


def chosen_rows(rows: list, count: int = COLUMNS) -> list[int]:
    """Return one defective image of every surface, then a second with another defect, and so on."""
    first = {}
    for index, row in enumerate(rows):
        surface = row.id.partition("/")[0]
        if row.label:
            first.setdefault((surface, row.class_name), index)
    taken: dict[str, list[int]] = {}
    for surface, defect in sorted(first):
        taken.setdefault(surface, []).append(first[surface, defect])
    turns = max(map(len, taken.values()))
    order = [t[turn] for turn in range(turns) for _, t in sorted(taken.items()) if turn < len(t)]
    return order[:count]


def enlarged(image: np.ndarray) -> np.ndarray:
    """Return grey image [h w] at ZOOM times its size, as BGR."""
    big = cv2.resize(image, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    return cv2.cvtColor(big, cv2.COLOR_GRAY2BGR)


def outlined(image: np.ndarray, truth: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Return the enlarged image with the decided mask tinted and the true defect outlined.

    The colours are those of the report: blue is true, yellow is decided.
    """
    big = [np.kron(m.astype(np.uint8), np.ones((ZOOM, ZOOM), np.uint8)) for m in (truth, decided)]
    tinted = np.where(
        big[1][..., None] > 0, 0.35 * image + 0.65 * np.array(DECIDED_RGB[::-1]), image
    )
    tile = np.rint(tinted).astype(np.uint8)
    wide = cv2.dilate(big[0], cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * CLEAR_PX + 1,) * 2))
    contours, _ = cv2.findContours(wide, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(tile, contours, -1, TRUE_RGB[::-1], 1, cv2.LINE_AA)


def sheet(tiles: list[np.ndarray]) -> np.ndarray:
    """Return tiles in rows of `COLUMNS` on white."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // COLUMNS)
    canvas = np.full(
        (rows * (height + GAP_PX) - GAP_PX, COLUMNS * (width + GAP_PX) - GAP_PX, 3), 255, np.uint8
    )
    for index, tile in enumerate(tiles):
        top = index // COLUMNS * (height + GAP_PX)
        left = index % COLUMNS * (width + GAP_PX)
        canvas[top : top + height, left : left + width] = tile
    return canvas


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
