"""Encoders by name: each returns features of every row, finest first, from a normalised image.

An encoder is built as `Encoder(widths, block, norm, dtype)` and called as
`encoder(image, train, rows)`; `plain.Encoder` gives the shapes.
"""

import flax.linen as nn

from defect_jax.models.encoders.plain import Encoder

ENCODERS: dict[str, type[nn.Module]] = {"plain": Encoder}
