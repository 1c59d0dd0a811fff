"""The files of an evaluation: masks and tables in a folder that appears whole."""

import os
import pathlib
import shutil
from collections.abc import Callable

import numpy as np

from defect_jax.data.images import decode_image, decode_mask, encode_mask
from defect_jax.data.prepare import Split
from defect_jax.errors import UserError

OnMask = Callable[[int, np.ndarray], None]
LoadPicture = Callable[[str], tuple[np.ndarray, np.ndarray, np.ndarray]]


class Results:
    """A folder of results that appears whole, in place of the one before it; a context manager."""

    def __init__(self, final: pathlib.Path):
        self.final = final
        self.folder = final.with_name(f".{final.name}-{os.getpid()}")

    def __enter__(self) -> "Results":
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            (self.folder / "masks").mkdir(parents=True)
        except OSError as error:
            raise UserError(f"{self.final}: cannot be written: {error.strerror}") from error
        return self

    def __exit__(self, kind: type | None, *rest: object) -> None:
        if kind is None:
            shutil.rmtree(self.final, ignore_errors=True)
            self.folder.rename(self.final)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def mask_of(self, split: Split) -> OnMask:
        """Returns the function that writes the decided mask of a row as masks/<id>.png."""

        def write(row: int, decided: np.ndarray) -> None:
            path = self.folder / "masks" / f"{split.rows[row].id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_mask(decided))

        return write


def picture_loader(split: Split, masks: pathlib.Path) -> LoadPicture:
    """Returns `load(id) -> (image, true mask, decided mask)` for the report's gallery."""
    where = {row.id: index for index, row in enumerate(split.rows)}

    def load(picture_id: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        record = split.source[where[picture_id]]
        decided = decode_mask((masks / f"{picture_id}.png").read_bytes(), 0)
        return decode_image(record["image"]), decode_mask(record["mask"], 0), decided

    return load
