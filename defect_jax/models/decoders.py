"""The decoders by name: from encoder features to features at full resolution."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from defect_jax.models.blocks import Norm


class Decoder(nn.Module):
    """What every decoder has.

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


class UNet(Decoder):
    """One node a row: X(i,depth-i) from the encoder's X(i,0) and the node below it.

    The U-Net of Ronneberger et al. 2015 (arXiv 1505.04597), in the style of our UNet++.
    """

    @nn.compact
    def __call__(
        self, features: list[Float[Array, "b _ _ _"]], train: bool
    ) -> list[Float[Array, "b h w f"]]:
        """Return the one full-resolution feature, in a list as UNet++ does."""
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


class UNetPlusPlus(Decoder):
    """Nested nodes: X(i,j) from X(i,0) … X(i,j-1) of its row and X(i+1,j-1) below it.

    UNet++ (Zhou et al. 2018, arXiv 1807.10165; 2019, arXiv 1912.05074).
    """

    @nn.compact
    def __call__(
        self, features: list[Float[Array, "b _ _ _"]], train: bool
    ) -> list[Float[Array, "b h w f"]]:
        """Return the full-resolution features X(0,1) … X(0,d) of the d + 1 rows given."""
        depth = len(features) - 1
        rows = [[feature] for feature in features]
        for column in range(1, depth + 1):
            for row in range(depth + 1 - column):
                node = self.node(
                    self.widths[row],
                    row,
                    self.block,
                    self.norm,
                    self.dtype,
                    name=f"x_{row}_{column}",
                )
                rows[row].append(node(rows[row], rows[row + 1][column - 1], train))
        return rows[0][1:]


DECODERS: dict[str, type[Decoder]] = {"unet": UNet, "unetplusplus": UNetPlusPlus}
