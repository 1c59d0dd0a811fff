"""The images to decide on: a file, or all images of a folder, an archive or a bucket."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt
from ml_collections import ConfigDict

from defect_jax.data.files.bounded import MEGAPIXELS
from defect_jax.data.files.file_kinds import SUFFIXES, BadImage
from defect_jax.data.files.images import inspect_image
from defect_jax.data.files.raw_files import Folder, RawFiles, open_root
from defect_jax.data.files.raw_names import Listing, skipped_note
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.memory import shortage
from defect_jax.runtime.paths import as_path, is_remote

FIELD = "--input"
MOST_IMAGES = 100


class Input(NamedTuple):
    """One image: its id in every table, and its name among the raw files."""

    id: str
    name: str


def open_input(path: str, max_megapixels: float = MEGAPIXELS) -> tuple[RawFiles, list[Input]]:
    """List the images below `path`, in the order of their names.

    An image's id is its path below the input without suffix; where two differ in that alone, the
    suffix stays. What may have held images and cannot be followed is among them: reading it says
    why.

    Args:
        max_megapixels: no file is read that is larger than such an image can be.

    Raises:
        UserError: there is no such path, or no image in it.
    """
    raw, names = _files(path, max_megapixels)
    if note := skipped_note(raw.skipped()):
        say(f"{FIELD}: {note}")
    names = [name for name in names if name.lower().endswith(SUFFIXES)] + sorted(raw.lost())
    if not names:
        raise UserError(f"{FIELD}: {path} holds no {' '.join(SUFFIXES)} files")
    stems = {name: name.rpartition(".")[0] or name for name in names}
    taken = Counter(stems.values())
    ids = [stems[name] if taken[stems[name]] == 1 else name for name in names]
    return raw, [Input(id, name) for id, name in zip(ids, names, strict=True)]


def absolute(path: str) -> str:
    """Return the same input by a name that does not depend on where the program was started."""
    local = as_path(path)
    return path if is_remote(local) else str(local.expanduser().absolute())


def _files(path: str, max_megapixels: float) -> tuple[RawFiles, list[str]]:
    local = as_path(path)
    if not is_remote(local) and path.lower().endswith(SUFFIXES) and local.is_file():
        local = local.expanduser().absolute()
        return OneFile(local, max_megapixels), [local.name]
    raw = open_root(path, FIELD, max_megapixels)
    return raw, raw.names()


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
        self._raw, inputs = open_input(path, self._max_megapixels)
        places = np.linspace(0, len(inputs) - 1, min(MOST_IMAGES, len(inputs)))
        self._names = [inputs[place].name for place in places.round().astype(int)]

    def __iter__(self) -> Iterator[UInt[np.ndarray, "1 h w c"]]:
        return map(self._read, self._names)

    def _read(self, name: str) -> UInt[np.ndarray, "1 h w c"]:
        spec, where = self._spec, self._raw.where(name)
        try:
            _, image = inspect_image(self._raw.read(name), self._max_megapixels)
        except (BadImage, OSError, MemoryError) as error:
            what = shortage(error) or getattr(error, "strerror", None) or error
            raise UserError(f"{where}: {what}") from error
        spec.framing.place(image.shape[:2], where)  # refuses what is too large
        spec.refuse_other_depth(image, where)
        return spec.common(image, where)[None]
