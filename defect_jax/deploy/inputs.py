"""The images to decide on: a file, or all images of a folder, an archive or a bucket.

Every file below the input is one of four: an image, a picture of another kind, which is a fault, a
result of ours, or a file that is none of these; what is left out is counted and said.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt
from ml_collections import ConfigDict

from defect_jax.data.files.bounded import MEGAPIXELS
from defect_jax.data.files.file_kinds import SUFFIXES
from defect_jax.data.files.output_names import faults_of
from defect_jax.data.files.raw_files import Folder, RawFiles, open_root
from defect_jax.data.files.raw_names import Listing, skipped_note
from defect_jax.data.files.shot_names import Shot, shots_of
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.sources.folder_layout import GROUPS_FILE, stem_of
from defect_jax.deploy.input_names import (
    OTHER_PICTURES,
    files,
    ids_below,
    ignore_files,
    left_out,
    top_of,
)
from defect_jax.deploy.read_shot import read_shot
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath, as_path, is_remote

FIELD = "--input"
MOST_IMAGES = 100
MOST_KINDS = 10  # of other files, the commonest first
NO_IMAGE = f"is no picture of a kind that is read ({' '.join(SUFFIXES)}): save it as PNG"


class Input(NamedTuple):
    """One image: its id in every table, its name among the raw files, what is wrong with it, and
    the file that says what of it is not judged.

    Of a shot of several lights it is the name of the first, or of the one that is at fault;
    `more_lights` are those of the others, in order.
    """

    id: str
    name: str
    fault: str = ""
    ignore: str | None = None
    more_lights: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files of the image, one a light."""
        return (self.name, *self.more_lights)


class Inputs(NamedTuple):
    """All that is below an input."""

    raw: RawFiles
    images: list[Input]  # in the order of their names
    notes: list[str]  # what is left out, one sentence each


def open_input(
    path: str,
    output: AnyPath | None = None,
    max_megapixels: float = MEGAPIXELS,
    lights: int = 1,
) -> Inputs:
    """List the images below `path`; their ids are those of `input_names.ids_below`.

    Args:
        max_megapixels: no file is read that is larger than such an image can be.
        output: a folder of results: nothing in it is an input.
        lights: of each shot, as the network was trained.

    Raises:
        UserError: there is no such path, or no image in it.
    """
    raw, names = _files(path, max_megapixels)
    omitted = left_out(names, _inside(path, output))
    names = [name for name in names if name not in omitted.names]
    pictures = [name for name in names if name.lower().endswith((*SUFFIXES, *OTHER_PICTURES))]
    others = frozenset(name for name in pictures if not name.lower().endswith(SUFFIXES))
    groups = {GROUPS_FILE, f"{top_of(pictures)}{GROUPS_FILE}"}  # read by `groups`
    notes = [*omitted.notes, *_others_note(set(names) - set(pictures) - groups)]
    notes += [note for note in [skipped_note(raw.skipped())] if note]
    if len(others) == len(pictures):
        raise UserError(_no_image(path, others, raw.lost(), notes))
    strange = others | raw.lost().keys()
    shots = _shots([name for name in pictures if name not in strange], lights)
    ids = ids_below(path, sorted([*shots, *strange]), strange)
    faults = faults_of(ids) | dict.fromkeys(others, NO_IMAGE) | raw.lost()
    ignore = ignore_files(sorted(omitted.names))
    images = [
        _input(id, name, shots.get(name), faults.get(name, ""), ignore.get(stem_of(name)))
        for name, id in ids.items()
    ]
    return Inputs(raw, images, notes)


def _shots(names: list[str], lights: int) -> dict[str, Shot]:
    """Return the shots by the names that their images would have as one file."""
    if lights == 1:
        return {name: Shot([name], []) for name in names}
    return {
        f"{path}.{(shot.files or [shot.faults[0][0]])[0].rpartition('.')[2]}": shot
        for path, shot in shots_of(names, lights).items()
    }


def _input(id: str, name: str, shot: Shot | None, fault: str, ignore: str | None) -> Input:
    if shot is not None and shot.faults and not fault:
        (name, fault), more = shot.faults[0], len(shot.faults) - 1
        return Input(id, name, f"{fault} (and {more} more)" if more else fault)
    first, *others = [name] if shot is None or not shot.files else shot.files
    return Input(id, first, fault, ignore, tuple(others))


def _no_image(path: str, others: Collection[str], lost: Mapping[str, str], notes: list[str]) -> str:
    what = [f"{len(others)} pictures of other kinds, such as {min(others)}"] if others else []
    found = "; ".join([*what, *(f"{name} {why}" for name, why in lost.items()), *notes])
    return f"{FIELD}: {path} holds no {' '.join(SUFFIXES)} files{f' ({found})' if found else ''}"


def _others_note(names: set[str]) -> list[str]:
    """Return a sentence on the files that are no pictures; nothing where there are none."""
    if not names:
        return []
    counts = Counter(Path(name).suffix.lower() or "without suffix" for name in sorted(names))
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common(MOST_KINDS))
    return [f"left out {files(len(names))} of other kinds: {kinds}"]


def absolute(path: str) -> str:
    """Return the same input by a name that does not depend on where the program was started."""
    local = as_path(path)
    return path if is_remote(local) else str(local.absolute())


def _files(path: str, max_megapixels: float) -> tuple[RawFiles, list[str]]:
    local = as_path(path)
    if not is_remote(local) and local.is_file():
        if str(local).lower().endswith(SUFFIXES):
            local = local.absolute()
            return OneFile(local, max_megapixels), [local.name]
        if str(local).lower().endswith(OTHER_PICTURES):
            raise UserError(f"{FIELD}: {path} {NO_IMAGE}")
    raw = open_root(path, FIELD, max_megapixels)
    return raw, raw.names()


def _inside(path: str, output: AnyPath | None) -> str | None:
    """Return where the output is below the input, with a slash; None where it is not."""
    root = as_path(path)
    if output is None or is_remote(root) or is_remote(output) or not root.is_dir():
        return None
    root, output = root.resolve(), output.resolve()
    if not output.is_relative_to(root):
        return None
    if output == root:
        raise UserError(f"--output: {output} is the input itself: name another folder")
    return f"{output.relative_to(root).as_posix()}/"


class OneFile(Folder):
    """A single file as raw files; its neighbours are not read."""

    def __init__(self, path: Path, max_megapixels: float):
        self._path, self._max_megapixels = path.parent, max_megapixels
        self._listing = Listing({path.name: path.name}, {}, Counter())


class ExampleImages:
    """At most `MOST_IMAGES` of the images below a path, evenly over it; read as often as asked.

    Raises:
        UserError: there is no such path or no image in it; or, when it is read, one that the
            network cannot take.
    """

    def __init__(self, path: str, config: ConfigDict):
        self._spec, self._max_megapixels = InputSpec.of(config), config.data.max_megapixels
        self._lights = len(self._spec.channels_of_lights)
        limits = {"max_megapixels": self._max_megapixels, "lights": self._lights}
        self._raw, inputs, _ = open_input(path, **limits)
        inputs = [image for image in inputs if not image.fault]
        places = np.linspace(0, len(inputs) - 1, min(MOST_IMAGES, len(inputs)))
        self._images = [inputs[place] for place in places.round().astype(int)]

    def __iter__(self) -> Iterator[UInt[np.ndarray, "1 h w c"]]:
        return map(self._read, self._images)

    def _read(self, item: Input) -> UInt[np.ndarray, "1 h w c"]:
        spec, where = self._spec, self._raw.where(item.name)
        rules = self._lights, self._max_megapixels, self._spec.float_range
        read = read_shot(self._raw, item.files, *rules)
        if read.fault:
            raise UserError(read.fault)
        native_px = read.lights[0].shape[:2]
        spec.framing.place(native_px, where)  # refuses what is too large
        spec.ignored(native_px, where)  # and what is not of the region's size
        image = spec.shot(read.lights, where)
        spec.refuse_other_depth(image, where)
        return spec.common(image, where)[None]
