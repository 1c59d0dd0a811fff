"""The U-Net decoder (Ronneberger et al. 2015, arXiv 1505.04597), in the style of our UNet++."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from defect_jax.models.blocks import Norm


class UNet(nn.Module):
    """One node a row: X(i,depth-i) from the encoder's X(i,0) and the node below it.

    Attributes:
        node: Module class of a node, see `attention.NODES`.
        widths: Filters of each row, finest first.
        block: See `blocks.BLOCKS`.
        norm: See `blocks.NORMS`.
        dtype: Of the computation.
    """

    node: type[nn.Module]
    widths: Sequence[int]
    block: type[nn.Module]
    norm: Norm
    dtype: Any

    @nn.compact
    def __call__(
        self, features: list[Float[Array, "b _ _ _"]], train: bool
    ) -> list[Float[Array, "b h w f"]]:
        """Returns the one full-resolution feature, in a list as UNet++ does."""
        depth = len(self.widths) - 1
        x = features[depth]
        for row in reversed(range(depth)):
            node = self.node(
                self.widths[row],
                row,
                self.block,
                self.norm,
                self.dtype,
                name=f"x_{row}_{depth - row}",
            )
            x = node([features[row]], x, train)
        return [x]
