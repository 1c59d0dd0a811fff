"""Pictures of the user, as an exported network takes them: to choose eight-bit scales on."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt
from ml_collections import ConfigDict

from defect_jax.data.files.images import BadImage, inspect_image
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.prediction.inputs import open_input
from defect_jax.runtime.errors import UserError

MOST_PICTURES = 100


class ExampleImages:
    """At most `MOST_PICTURES` of the pictures below a path, evenly over it; read as often as asked.

    Raises:
        UserError: there is no such path or no picture in it; or, when it is read, one that the
            network cannot take.
    """

    def __init__(self, path: str, config: ConfigDict):
        self._raw, inputs = open_input(path)
        self._spec, self._max_megapixels = InputSpec.of(config), config.data.max_megapixels
        places = np.linspace(0, len(inputs) - 1, min(MOST_PICTURES, len(inputs)))
        self._names = [inputs[place].name for place in places.round().astype(int)]

    def __iter__(self) -> Iterator[UInt[np.ndarray, "1 h w c"]]:
        return map(self._read, self._names)

    def _read(self, name: str) -> UInt[np.ndarray, "1 h w c"]:
        spec, where = self._spec, self._raw.where(name)
        try:
            _, image = inspect_image(self._raw.read(name), self._max_megapixels)
        except (BadImage, OSError) as error:
            raise UserError(f"{where}: {getattr(error, 'strerror', None) or error}") from error
        spec.framing.place(image.shape[:2], where)  # refuses what is too large
        return spec.common(image, where)[None]
