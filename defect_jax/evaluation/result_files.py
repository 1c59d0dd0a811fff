"""The files of an evaluation: masks and tables in a folder that appears whole.

A bucket has no folders that could be renamed: there metrics.json is taken away first and put last,
so that the folder is whole where it is.
"""

import contextlib
import errno
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from defect_jax.data.files.masks import decode_mask
from defect_jax.data.files.record_encoding import (
    decode_classes,
    decode_stored,
    encode_classes,
    encode_mask,
)
from defect_jax.data.prepare.prepared import Split
from defect_jax.evaluation.evaluator import OnMask
from defect_jax.evaluation.result_tables import ResultTables
from defect_jax.metrics.images import write_predictions
from defect_jax.metrics.parts import write_parts
from defect_jax.metrics.summary import write_metrics
from defect_jax.runtime import buckets, partial_folder, scratch
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath, is_remote, read_bytes

LoadImage = Callable[[str], tuple[np.ndarray, np.ndarray, np.ndarray]]
FULL = (errno.ENOSPC, errno.EDQUOT)
LAST = "metrics.json"  # its presence says that the folder is whole


class ResultFolder:
    """A folder of results that appears whole, in place of the one before it; a context manager.

    Attributes:
        final: the folder.
        folder: a local one, to write the files into; there inside of `with`.
    """

    def __init__(self, final: AnyPath):
        self.final = final

    def __enter__(self) -> "ResultFolder":
        self._held = contextlib.ExitStack()
        try:
            self.folder = self._held.enter_context(_folder_for(self.final))
            (self.folder / "masks").mkdir(parents=True)
        except OSError as error:
            self._held.close()
            raise UserError(f"{self.final}: cannot be written: {error.strerror}") from error
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, *rest: object) -> None:
        with self._held:
            if isinstance(error, OSError) and error.errno in FULL:  # it names no file
                raise UserError(f"{self.final}: cannot be written: {error.strerror}") from error
            if kind is None and is_remote(self.final):
                self._copy_up()
            elif kind is None:
                self._take_place()

    def _take_place(self) -> None:
        try:
            partial_folder.take_place(self.folder, self.final)
        except OSError as error:
            raise UserError(f"{self.final}: cannot be written: {error.strerror}") from error

    def _copy_up(self) -> None:
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        new = {path.relative_to(self.folder).as_posix() for path in files}
        try:
            old = buckets.files_below(self.final).keys()
            buckets.delete(self.final, old & {LAST})
            buckets.upload(self.folder, new - {LAST}, self.final)
            buckets.delete(self.final, old - new - {LAST})
            buckets.upload(self.folder, new & {LAST}, self.final)
        except OSError as error:
            raise UserError(f"{self.final}: cannot be written: {error.strerror}") from error

    def write_tables(self, tables: ResultTables) -> None:
        """Write predictions.csv, parts.csv and metrics.json."""
        write_predictions(self.folder / "predictions.csv", tables.images)
        write_parts(self.folder / "parts.csv", tables.parts)
        write_metrics(self.folder / LAST, tables.metrics)

    def mask_of(self, split: Split, classes: Sequence[str] = ("defect",)) -> OnMask:
        """Return the function that writes the decided mask of a row.

        It takes the row and the decided class of every pixel (uint8 [h w], 0 = background), and
        writes masks/<id>.png of 0 and 255 and, where there are several classes, classes/<id>.png.
        """

        def write(row: int, decided: np.ndarray) -> None:
            name = f"{split.rows[row].id}.png"
            self._write("masks", name, encode_mask(decided > 0))
            if len(classes) > 1:
                self._write("classes", name, encode_classes(decided.astype(np.uint8)))

        return write

    def _write(self, kind: str, name: str, data: bytes) -> None:
        path = self.folder / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@contextlib.contextmanager
def _folder_for(final: AnyPath) -> Iterator[pathlib.Path]:
    """Yield a local folder for what will be at `final`; what is still in it is removed."""
    if not is_remote(final):
        with partial_folder.beside(final) as folder:
            yield folder
        return
    folder = scratch.new_folder("results")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def image_loader(split: Split, folder: AnyPath, classes: Sequence[str] = ("defect",)) -> LoadImage:
    """Return `load(id) -> (image, true mask, decided mask)` for the report's gallery.

    The masks are bool; where there are several classes they hold the class of every pixel.

    Args:
        split: the images that were evaluated.
        folder: of the results, with `masks/` and, for several classes, `classes/`.
        classes: names of the classes of defects.
    """
    where = {row.id: index for index, row in enumerate(split.rows)}
    several = len(classes) > 1
    kind, decode = ("classes", decode_classes) if several else ("masks", _decode_marked)

    def load(image_id: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        record = split.source[where[image_id]]
        decided = decode(read_bytes(folder / kind / f"{image_id}.png"))
        return decode_stored(record["image"]), decode(record["mask"]), decided

    return load


def _decode_marked(data: bytes) -> np.ndarray:
    return decode_mask(data, 0)
