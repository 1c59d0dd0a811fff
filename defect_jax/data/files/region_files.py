"""Files that say what of an image is judged: the region of a fixture, and `ignore/`."""

import numpy as np
from jaxtyping import Bool
from ml_collections import ConfigDict

from defect_jax.data.files.bounded import BadFile
from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.masks import MaskRules, inspect_mask
from defect_jax.data.geometry.region import MOST_CHARACTERS, PREFIX, as_text
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import as_path, read_bytes

FIELD = "config.data.region"
AS_DRAWN = MaskRules(trusted=True)  # half of an image may be marked, and all of it


def marked(data: bytes, max_megapixels: float) -> Bool[np.ndarray, "h w"]:
    """Return where such a file is not black.

    Raises:
        BadImage: it cannot be read.
    """
    return inspect_mask(data, max_megapixels, AS_DRAWN).defect


def read_region(data: ConfigDict) -> None:
    """Put the region itself into `data.region` where that names a file.

    Raises:
        UserError: there is no such file, it cannot be read, or it leaves nothing to judge.
    """
    if not data.get("region") or data.region.startswith(PREFIX):
        return
    try:
        judged = marked(read_bytes(as_path(data.region)), data.max_megapixels)
    except (BadImage, BadFile) as error:
        raise UserError(f"{FIELD}: {data.region} {error}") from error
    except OSError as error:
        raise UserError(f"{FIELD}: {data.region} cannot be read: {error.strerror}") from error
    if not judged.any():
        raise UserError(
            f"{FIELD}: {data.region} is black all over, so nothing would be judged: draw what is "
            "judged in white"
        )
    if len(text := as_text(judged)) > MOST_CHARACTERS:
        raise UserError(f"{FIELD}: {data.region} is too ragged to be kept: draw it plainer")
    data.region = text
