"""Reads the weights that a config names; `sources` says what it may name."""

import hashlib

import numpy as np

from defect_jax.models.pretrained.embedded import read_embedded
from defect_jax.models.pretrained.hub import fetch
from defect_jax.models.pretrained.safetensors_file import parse_tensors, read_file
from defect_jax.models.pretrained.sources import IMAGENET, SCHEME, check_source
from defect_jax.models.pretrained.weights import Weights
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath, as_path


def read_weights(encoder: str, source: str) -> Weights:
    """Return the weights that a source names; only `hf://` may use the network.

    Args:
        source: As `check_source` lets it pass, and not empty.

    Raises:
        UserError: there are none, they cannot be read or fetched, or hold NaN or infinity.
    """
    check_source(encoder, source)
    if source == IMAGENET:
        weights = read_embedded(encoder)
    elif source.startswith(SCHEME):
        fetched = fetch(source)
        weights = _read_file(fetched.path, source, fetched.origin, fetched.licence)
    else:
        path = as_path(source)
        weights = _read_file(path, source, path.name, licence="")
    _check_finite(source, weights.tensors)
    return weights


def _read_file(path: AnyPath, source: str, origin: str, licence: str) -> Weights:
    data = read_file(path)
    tensors = parse_tensors(source, data)
    return Weights(tensors, origin, hashlib.sha256(data).hexdigest(), licence)


def _check_finite(source: str, tensors: dict[str, np.ndarray]) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise UserError(f"{source}: {name!r} holds NaN or infinity: give another file")
