"""The convolutional encoder that the decoders and the classification head share."""

from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from defect_jax.models.blocks import Norm
from defect_jax.models.pooling import halved


class Encoder(nn.Module):
    """The column X(i,0): a block, then for each further row a 2x2 max-pool and a block.

    Attributes:
        widths: Filters of each row, finest first.
        block: See `blocks.BLOCKS`.
        norm: See `blocks.NORMS`.
        dtype: Of the computation.

    For `widths=(32, 64, 128)` and an image `[b, 64, 96, c]` the features are `[b, 64, 96, 32]`,
    `[b, 32, 48, 64]` and `[b, 16, 24, 128]`.
    """

    widths: Sequence[int]
    block: type[nn.Module]
    norm: Norm
    dtype: Any
    finest_px: ClassVar[int] = 1  # px of the image that a cell of the finest row has

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], train: bool, rows: int | None = None
    ) -> list[Float[Array, "b _ _ _"]]:
        """Return features of the finest `rows` rows; of all if not given."""
        features = []
        x = image
        for row, filters in enumerate(self.widths[:rows]):
            if row > 0:
                x = halved(x)
            block = self.block(
                filters, self.norm, self.dtype, sees_image=row == 0, name=f"x_{row}_0"
            )
            x = block([x], train)
            features.append(x)
        return features
