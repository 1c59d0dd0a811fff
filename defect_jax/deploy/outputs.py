"""What --mode=predict writes: tables that grow image by image, masks, overlays.

An image's line is written after its files, so that what a killed run leaves is whole; the same
command then goes on behind it.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, UInt, UInt8

from defect_jax.data.files.record_encoding import encode_classes, encode_mask
from defect_jax.decision.apply import Decision
from defect_jax.report.colours import DECIDED_RGB
from defect_jax.report.thumbnails import to_8_bit
from defect_jax.runtime import atomic_files
from defect_jax.runtime.atomic_files import LineFile
from defect_jax.runtime.errors import UserError

FIELD = "--output"
SETTINGS, LINES, TABLE = "run.json", "predictions.jsonl", "predictions.csv"
GAP_PX = 3  # between a defect and its outline, or the outline of a hair crack would hide it
RIM_RGB = (16, 20, 24)  # parts the line from any surface
QUALITY = 90


class Prediction(NamedTuple):
    """A row of predictions.csv."""

    id: str  # path below the input, without suffix
    probability: float  # of a defect, calibrated
    score: float  # of the classification head, as it is; without one, the mask's
    mask_score: float  # highest probability of a pixel
    decision: int  # 1 = rejected by the score
    mask_decision: int  # 1 = rejected by the mask
    predicted_px: int
    height: int
    width: int


class PredictionFolder:
    """The folder of one prediction; a context manager that keeps what is finished."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], classes: int):
        """Take what the results follow from, and the number of classes of the masks.

        Raises:
            UserError: the folder holds something else, or results of other settings.
        """
        self.folder, self._classes = folder, classes
        self._settings = json.loads(json.dumps(settings))  # as it is read back: tuples are lists
        self.lines: dict[str, dict[str, Any]] = {}  # by id; of this run and of those before
        _refuse_others(folder, self._settings)

    def __enter__(self) -> "PredictionFolder":
        try:
            atomic_files.write_text(
                self.folder / SETTINGS, json.dumps(self._settings, indent=2) + "\n"
            )
            for line in _read_lines(self.folder / LINES):
                self.lines[line["id"]] = line
            kept = list(self.lines.values())
            self._lines = LineFile(self.folder / LINES, map(json.dumps, kept))
            self._table = LineFile(self.folder / TABLE, _table(kept))
        except OSError as error:
            raise UserError(
                f"{FIELD}: {self.folder} cannot be written: {error.strerror}"
            ) from error
        return self

    def __exit__(self, *raised: object) -> None:
        self._lines.close()
        self._table.close()

    def write_files(
        self, id: str, image: UInt[np.ndarray, "h w c"], mask: UInt8[np.ndarray, "h w"]
    ) -> None:
        """Write masks/<id>.png, overlays/<id>.jpg and, of several classes, classes/<id>.png.

        May be called from several threads.
        """
        files = {f"masks/{id}.png": encode_mask(mask > 0)}
        files[f"overlays/{id}.jpg"] = overlay(image, mask > 0)
        if self._classes > 1:
            files[f"classes/{id}.png"] = encode_classes(mask)
        for name, data in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def add(self, prediction: Prediction, origin: Mapping[str, str]) -> None:
        """Add an image's line; its files are written already."""
        self._add(prediction._asdict() | dict(origin))
        self._table.write(_row(prediction))

    def add_fault(self, id: str, fault: str, origin: Mapping[str, str]) -> None:
        """Add the line of an image that cannot be used."""
        self._add({"id": id, "fault": fault, **origin})

    def _add(self, line: dict[str, Any]) -> None:
        self.lines[line["id"]] = line
        self._lines.write(json.dumps(line))

    def finish(self, ids: Iterable[str]) -> list[dict[str, Any]]:
        """Put the tables into the order of `ids`, and take away files without a row."""
        self.__exit__()
        lines = [self.lines.pop(id) for id in ids]
        for id in [*self.lines, *(line["id"] for line in lines if "fault" in line)]:
            for kind, suffix in (("masks", "png"), ("classes", "png"), ("overlays", "jpg")):
                (self.folder / kind / f"{id}.{suffix}").unlink(missing_ok=True)
        atomic_files.write_text(
            self.folder / LINES, "".join(f"{json.dumps(line)}\n" for line in lines)
        )
        atomic_files.write_text(self.folder / TABLE, "".join(f"{row}\n" for row in _table(lines)))
        return lines


def _refuse_others(folder: Path, settings: Mapping[str, Any]) -> None:
    try:
        there = list(folder.iterdir()) if folder.exists() else []
        before = json.loads((folder / SETTINGS).read_text("utf-8")) if there else settings
    except FileNotFoundError:
        raise UserError(f"{FIELD}: {folder} holds other files: name a new folder") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{FIELD}: {folder} cannot be read: {error}") from error
    changed = sorted(name for name in settings if before.get(name) != settings[name])
    if changed:
        raise UserError(
            f"{FIELD}: {folder} holds results of another run ({', '.join(changed)} differs): "
            "name another folder"
        )


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a run before; one that a kill cut short is left out."""
    lines = []
    for text in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def _table(lines: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    yield ",".join(Prediction._fields)
    for line in lines:
        if "fault" not in line:
            yield _row(Prediction(*(line[name] for name in Prediction._fields)))


def _row(prediction: Prediction) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(prediction)
    return text.getvalue()


def as_prediction(id: str, decision: Decision) -> Prediction:
    """Return the row of a decision."""
    height, width = decision.mask.shape
    return Prediction(
        id=id,
        probability=decision.probability,
        score=decision.score,
        mask_score=decision.mask_score,
        decision=int(decision.rejected),
        mask_decision=int(decision.mask_rejected),
        predicted_px=int(np.count_nonzero(decision.mask)),
        height=height,
        width=width,
    )


def overlay(image: UInt[np.ndarray, "h w c"], marked: Bool[np.ndarray, "h w"]) -> bytes:
    """Return a JPEG at the image's own size.

    The line runs outside the defect and hides nothing of it.

    >>> surface = np.full((20, 20, 1), 128, np.uint8)
    >>> drawn = overlay(surface, np.arange(400).reshape(20, 20) == 210)
    >>> cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_COLOR).shape
    (20, 20, 3)
    """
    seen = to_8_bit(image)
    canvas = cv2.cvtColor(seen, cv2.COLOR_GRAY2BGR if seen.shape[2] == 1 else cv2.COLOR_RGB2BGR)
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, [2 * GAP_PX + 1] * 2)
    grown = cv2.dilate(marked.astype(np.uint8), element)
    contours, _ = cv2.findContours(grown, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for colour, thickness_px in ((RIM_RGB, 3), (DECIDED_RGB, 1)):
        cv2.drawContours(canvas, contours, -1, colour[::-1], thickness_px)
    return cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
