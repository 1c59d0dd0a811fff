"""Which format an input is: one line each for the formats that --mode=import reads."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from defect_jax.data.annotations import coco, cvat, label_studio, labelme, mvtec, via, yolo
from defect_jax.data.annotations.entries import Format
from defect_jax.data.annotations.opened import FIELD, Opened
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.sources.folder_layout import MASKS, place_of
from defect_jax.data.sources.records import GOOD_FOLDERS, listed
from defect_jax.runtime.console import own_command
from defect_jax.runtime.errors import UserError

BAD_NAMES = ("bad", "ng", "nok", "defect", "defects", "defective", "anomaly", "faulty")
NO_MASKS = (
    "holds good/ and bad/ without masks, which cannot be used yet: outline the defects, in labelme "
    "or another program, and import that"
)


def _good_and_bad(opened: Opened) -> list[str]:
    """Return the images of bad parts where folders say good or bad and nothing says where."""
    folders = {folder.lower() for name in opened.pictures() for folder in name.split("/")[:-1]}
    if opened.only or MASKS in folders or not folders & GOOD_FOLDERS:
        return []
    return [
        name
        for name in opened.pictures()
        if any(folder.lower() in BAD_NAMES for folder in name.split("/")[:-1])
    ]


GOOD_AND_BAD = Format(
    "good/ and bad/", _good_and_bad, lambda opened, names: [], "", why_not=NO_MASKS
)
FORMATS = (
    coco.FORMAT, labelme.FORMAT, label_studio.FORMAT, via.FORMAT, cvat.FORMAT, yolo.FORMAT,
    mvtec.FORMAT,
)  # fmt: skip


class Recognised(NamedTuple):
    """A format, and the files of its annotations."""

    format: Format
    names: Sequence[str]


def recognise(opened: Opened) -> list[Recognised]:
    """Return what an input may be; good/ and bad/ only where it is nothing else."""
    found = _that_find(FORMATS, opened)
    return found or _that_find((GOOD_AND_BAD,), opened)


def _that_find(formats: Sequence[Format], opened: Opened) -> list[Recognised]:
    found = [Recognised(format, format.find(opened)) for format in formats]
    return [one for one in found if one.names]


def only_format(opened: Opened, path: str) -> Recognised:
    """Return the one format that an input is of.

    Raises:
        UserError: it is of none, of several, or of one that cannot be imported.
    """
    found = recognise(opened)
    if not found:
        if any((place := place_of(name)) and place.kind == MASKS for name in opened.pictures()):
            raise UserError(
                f"{FIELD}: {path} holds images/ and masks/ already: use it as it is, with "
                f"--config=folder --config.data.root={shlex.quote(path)}"
            )
        names = ", ".join(format.name for format in FORMATS)
        raise UserError(f"{FIELD}: {path} holds no annotations that are read ({names})")
    if len(found) > 1:
        each = [f"{one.format.name} ({listed(list(one.names), 1)})" for one in found]
        raise UserError(
            f"{FIELD}: {path} holds annotations of several kinds, {', '.join(each)}: name the file "
            "of one of them, or move the others away"
        )
    if found[0].format.why_not:
        raise UserError(f"{FIELD}: {path} {found[0].format.why_not}")
    return found[0]


def hint(raw: RawFiles, root: str) -> str:
    """Return what to do with data that are not in the layout, but of a format that is imported.

    Nothing where they are of none.
    """
    try:
        found = recognise(Opened(raw))
    except UserError:  # a file that cannot be read is none that could be imported
        found = []
    if not found:
        return ""
    format, names = found[0]
    if format.why_not:
        return f"it {format.why_not}"
    name = Path(root).absolute().name.partition(".")[0]
    given = f"--input={shlex.quote(root)} --output={shlex.quote(f'{name}_parts')}"
    return f"it looks like {format.name} ({listed(list(names), 1)}): {own_command()} import {given}"
