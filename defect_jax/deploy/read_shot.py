"""Reads the files of one image to decide on: what is wrong with them is returned, not raised."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.lights import Light, difference, lights_in, sha256_of
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.runtime.memory import shortage


class ReadShot(NamedTuple):
    """The lights of an image, or why there are none; `sha256` where all files could be read."""

    lights: list[Shaped[np.ndarray, "h w _"]]
    sha256: str = ""
    fault: str = ""


def read_shot(
    raw: RawFiles,
    names: Sequence[str],
    lights: int,
    max_megapixels: float,
    float_range: Sequence[float] = (),
) -> ReadShot:
    """Read the file of each light, or the one that holds all of them.

    Args:
        lights: of an image.
        float_range: of float pixels, see `geometry.depth.of_floats`.
    """
    found: list[Light] = []
    files, faults = [], []
    for name in names:
        where = raw.where(name)
        try:
            files.append(raw.read(name))
            expected = lights if len(names) == 1 else 1
            found += lights_in(files[-1], expected, max_megapixels, float_range)
        except (BadImage, OSError, MemoryError) as error:
            reason = shortage(error) or getattr(error, "strerror", None) or error
            faults.append(f"{where}: {reason}")
            continue
        if what := difference(found[0], found[-1]):
            faults.append(f"{where}: {what}: save all lights alike")
    sha256 = sha256_of(files) if len(files) == len(names) else ""
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return ReadShot([], sha256, f"{faults[0]}{more}")
    return ReadShot([light.pixels for light in found], sha256)
