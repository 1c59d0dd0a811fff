"""What --mode=predict writes: tables that grow image by image, masks, overlays, heat maps.

An image's line is written after its files, with their hashes, so that what a killed run leaves is
whole; the same command then goes on behind it. A folder that comes from somebody else may hold
anything: files are named by our own inputs, never by what its lines say, and no link is followed.
"""

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt

from defect_jax.data.files.output_names import without_suffix
from defect_jax.data.files.record_encoding import encode_classes, encode_image, encode_mask
from defect_jax.deploy.drawings import as_jpeg, overlay
from defect_jax.deploy.image_decision import ImageDecision
from defect_jax.deploy.kept_lines import (
    Line,
    Prediction,
    described,
    read_lines,
    read_settings,
)
from defect_jax.runtime import atomic_files, lock
from defect_jax.runtime.atomic_files import LineFile
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.escapes import csv_text

FIELD = "--output"
SETTINGS, LINES, TABLE, LOCK = "run.json", "predictions.jsonl", "predictions.csv", ".lock"
KINDS = {  # folder: suffix
    "masks": ".png",
    "classes": ".png",
    "overlays": ".jpg",
    "heatmaps": ".png",
}
# What a disk says to one name, and not to all: the next image may well be written.
FAULTS_OF_A_NAME = (
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.EILSEQ,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
)


class PredictionFolder:
    """The folder of one prediction; a context manager that keeps what is finished."""

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], classes: int, heat_maps: bool = True
    ):
        """Take what the results follow from, and the number of classes of the masks.

        Args:
            heat_maps: whether they are written, and tint the overlays.

        Raises:
            UserError: the folder holds something else, or results of other settings.
        """
        self.folder, self._heat_maps = folder, heat_maps
        left_out = {"classes": classes <= 1, "heatmaps": not heat_maps}
        self._kinds = [kind for kind in KINDS if not left_out.get(kind)]
        self._settings = json.loads(json.dumps(settings))  # as it is read back: tuples are lists
        self.lines: dict[str, Line] = {}  # by id; of this run and of those before
        # id -> SHA-256 of each file, by its folder, the regions, and how the image looks.
        self._written: dict[str, dict[str, Any]] = {}
        _refuse_others(folder, self._settings)

    def __enter__(self) -> "PredictionFolder":
        with contextlib.ExitStack() as held, writing(self.folder):
            held.enter_context(lock.refusing(self.folder / LOCK, "wait for it, or stop it"))
            _refuse_others(self.folder, self._settings)
            atomic_files.write_text(
                self.folder / SETTINGS, json.dumps(self._settings, indent=2) + "\n"
            )
            self.lines = {line["id"]: line for line in read_lines(self.folder / LINES)}
            kept = list(self.lines.values())
            lines = LineFile(self.folder / LINES, map(json.dumps, kept))
            self._lines = held.enter_context(contextlib.closing(lines))
            table = LineFile(self.folder / TABLE, _table(kept))
            self._table = held.enter_context(contextlib.closing(table))
            self._held = held.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        with writing(self.folder):
            self._held.close()

    def is_whole(self, id: str) -> bool:
        """Return whether the files of an image are still what its line says."""
        kept = self.lines.get(id, {}).get("files", {})
        return kept.keys() == set(self._kinds) and all(
            hashlib.sha256(_content(self._path(kind, id))).hexdigest() == digest
            for kind, digest in kept.items()
        )

    def write_files(
        self, id: str, image: UInt[np.ndarray, "h w c"], decision: ImageDecision
    ) -> None:
        """Write masks/<id>.png, overlays/<id>.jpg and, where they belong to it, heatmaps/<id>.png
        and, of several classes, classes/<id>.png.

        May be called from several threads.

        Raises:
            OSError: this image cannot have such files.
            UserError: nothing can be written any more, or a link would lead elsewhere.
        """
        files = self._files(image, decision)
        for kind, data in files.items():
            path = self._path(kind, id)
            with writing(self.folder, but=FAULTS_OF_A_NAME):
                self._refuse_links(path.parent)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)  # it may be a link, of either kind
                with path.open("xb") as file:
                    file.write(data)
        hashes = {kind: hashlib.sha256(data).hexdigest() for kind, data in files.items()}
        look = None if decision.look is None else decision.look._asdict()
        told = {"regions": described(decision.regions()), "look": look}
        self._written[id] = {**told, "files": hashes}

    def _files(self, image: UInt[np.ndarray, "h w c"], decision: ImageDecision) -> dict[str, bytes]:
        marked, heat = decision.mask > 0, decision.heat_map
        make = {
            "masks": lambda: encode_mask(marked),
            "classes": lambda: encode_classes(decision.mask),
            "overlays": lambda: as_jpeg(overlay(image, marked, heat if self._heat_maps else None)),
            "heatmaps": lambda: encode_image(heat[..., None]),
        }
        return {kind: make[kind]() for kind in self._kinds}

    def _path(self, kind: str, id: str) -> Path:
        return self.folder / kind / f"{id}{KINDS[kind]}"

    def _refuse_links(self, folder: Path) -> None:
        for path in [folder, *folder.parents]:
            if path == self.folder:
                return
            if path.is_symlink():
                raise UserError(f"{FIELD}: {path} is a link to elsewhere: name a new folder")

    def add(self, prediction: Prediction, origin: Mapping[str, str]) -> None:
        """Add an image's line; its files are written already."""
        self._add(prediction._asdict() | {**origin, **self._written.pop(prediction.id)})
        with writing(self.folder):
            self._table.write(csv_text([prediction]).removesuffix("\n"))

    def add_fault(self, id: str, fault: str, origin: Mapping[str, str]) -> None:
        """Add the line of an image that cannot be used."""
        self._add({"id": id, "fault": fault, **origin})

    def _add(self, line: Line) -> None:
        self.lines[line["id"]] = line
        with writing(self.folder):
            self._lines.write(json.dumps(line))

    def finish(self, ids: Collection[str]) -> list[Line]:
        """Put the tables into the order of `ids`, and take away files of ours without a row."""
        lines = [self.lines[id] for id in ids]
        decided = {line["id"] for line in lines if "fault" not in line}
        gone = (self.lines.keys() | set(ids)) - decided
        with writing(self.folder):
            self._lines.close()
            self._table.close()
            for kind, suffix in KINDS.items():
                for path in _files_in(self.folder / kind):
                    name = path.relative_to(self.folder / kind).as_posix()
                    if name.endswith(suffix) and without_suffix(name) in gone:
                        path.unlink()
            atomic_files.write_text(
                self.folder / LINES, "".join(f"{json.dumps(line)}\n" for line in lines)
            )
            table = "".join(f"{row}\n" for row in _table(lines))
            atomic_files.write_text(self.folder / TABLE, table)
        return lines


@contextlib.contextmanager
def writing(folder: Path, but: Collection[int] = ()) -> Iterator[None]:
    """Turn what a disk refuses into one line; `but` are the errors that stay what they are."""
    try:
        yield
    except OSError as error:
        if error.errno in but:
            raise
        raise UserError(f"{FIELD}: {folder} cannot be written: {error.strerror}") from error


def _content(path: Path) -> bytes:
    """Return a regular file's bytes; none of anything else."""
    with contextlib.suppress(OSError):
        if stat.S_ISREG(path.lstat().st_mode):
            return path.read_bytes()
    return b""


def _files_in(folder: Path) -> list[Path]:
    """Return all files below a folder, itself no link, without following one."""
    if folder.is_symlink():
        return []
    return [Path(above, name) for above, _, names in os.walk(folder) for name in names]


def _refuse_others(folder: Path, settings: Mapping[str, Any]) -> None:
    try:
        there = folder.iterdir() if folder.exists() else ()
        others = any(not path.name.startswith(".") for path in there)  # the lock is hidden
        before = read_settings(folder / SETTINGS) if others else settings
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


def _table(lines: Iterable[Line]) -> Iterator[str]:
    yield ",".join(Prediction._fields)
    for line in lines:
        if "fault" not in line:
            yield csv_text([[line.get(name) for name in Prediction._fields]]).removesuffix("\n")


def as_prediction(id: str, decision: ImageDecision) -> Prediction:
    """Return the row of a decision."""
    height, width = decision.mask.shape
    return Prediction(
        id=id,
        probability=decision.probability,
        score=decision.score,
        mask_score=decision.mask_score,
        decision=int(decision.score_rejected),
        mask_decision=int(decision.mask_rejected),
        predicted_px=int(np.count_nonzero(decision.mask)),
        height=height,
        width=width,
        rejected=int(decision.rejected),
        unlike=decision.unlike,
        is_unlike=None if decision.is_unlike is None else int(decision.is_unlike),
    )
