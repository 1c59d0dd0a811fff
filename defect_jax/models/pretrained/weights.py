"""Weights that were read, and what is known of them."""

from typing import NamedTuple

import numpy as np


class Weights(NamedTuple):
    """The tensors of one file, named as in it.

    Attributes:
        tensors: Floating-point ones are float32.
        origin: Of what they are: a package and its version, `hf://OWNER/NAME@COMMIT`, or a file.
        sha256: Of the file.
        licence: As an SPDX name or as its publisher writes it; empty where nothing says it.
    """

    tensors: dict[str, np.ndarray]
    origin: str
    sha256: str
    licence: str
