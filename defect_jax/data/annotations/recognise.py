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
from defect_jax.data.sources.records import BAD_FOLDERS, GOOD_FOLDERS, listed
from defect_jax.runtime.console import own_command
from defect_jax.runtime.errors import UserError

NO_MASKS = (
    "holds good/ and bad/ without masks: call good/ images/, and train with that folder; outlines "
    "of some defects, drawn in labelme or another program and imported, teach the masks"
)


FORMATS = (
    coco.FORMAT, labelme.FORMAT, label_studio.FORMAT, via.FORMAT, cvat.FORMAT, yolo.FORMAT,
    mvtec.FORMAT,
)  # fmt: skip


class Recognised(NamedTuple):
    """A format, and the files of its annotations."""

    format: Format
    names: Sequence[str]


def only_format(opened: Opened, path: str) -> Recognised:
    """Return the one format that an input is of.

    Raises:
        UserError: it is of none, or of several.
    """
    found = _all_formats(opened)
    if not found:
        raise UserError(f"{FIELD}: {path} {_why_none(opened, path)}")
    if len(found) > 1:
        each = [f"{one.format.name} ({listed(list(one.names), 1)})" for one in found]
        raise UserError(
            f"{FIELD}: {path} holds annotations of several kinds, {', '.join(each)}: name the file "
            "of one of them, or move the others away"
        )
    return found[0]


def _all_formats(opened: Opened) -> list[Recognised]:
    found = [Recognised(format, format.find(opened)) for format in FORMATS]
    return [one for one in found if one.names]


def _why_none(opened: Opened, path: str) -> str:
    if _says_good_or_bad(opened):
        return NO_MASKS
    if any((place := place_of(name)) and place.kind == MASKS for name in opened.pictures()):
        used = f"--config=folder --config.data.root={shlex.quote(path)}"
        return f"holds images/ and masks/ already: use it as it is, with {used}"
    return f"holds no annotations that are read ({', '.join(one.name for one in FORMATS)})"


def _says_good_or_bad(opened: Opened) -> bool:
    """Return whether folders say which parts are good and which are not, and nothing says where."""
    folders = {folder.lower() for name in opened.pictures() for folder in name.split("/")[:-1]}
    both = folders & GOOD_FOLDERS and folders & BAD_FOLDERS
    return bool(both) and MASKS not in folders and not opened.only


def hint(raw: RawFiles, root: str) -> str:
    """Return what to do with data that are not in the layout; nothing where nobody can say."""
    return command(raw, root) or (f"it {NO_MASKS}" if _says_good_or_bad(Opened(raw)) else "")


def command(raw: RawFiles, root: str) -> str:
    """Return how to import annotations that data hold; nothing where they hold none."""
    try:
        found = _all_formats(Opened(raw))
    except UserError:  # a file that cannot be read is none that could be imported
        found = []
    if not found:
        return ""
    format, names = found[0]
    name = Path(root).absolute().name.partition(".")[0]
    given = f"--input={shlex.quote(root)} --output={shlex.quote(f'{name}_parts')}"
    return f"it looks like {format.name} ({listed(list(names), 1)}): {own_command()} import {given}"
