"""U-Net and U-Net++ as `defect_jax.models.network` has them, written in plain PyTorch.

Tensors are channels first. Modules are named as ours, so that weights can be copied by name.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.rivals.torch_efficientnet_lite import EfficientNetLite0

REDUCTION, MIN_REDUCED, SCSE_ROWS = 16, 8, 2  # as in defect_jax.models.attention
PLAIN, LITE = "plain", "efficientnet_lite0"


class Outputs(NamedTuple):
    """Logits of a batch."""

    mask_logits: Tensor  # [heads, b, 1, h, w]
    label_logits: Tensor | None  # [b], None without classification head


class ConvBlock(nn.Module):
    """Twice 3x3 convolution, batch norm, ReLU."""

    def __init__(self, channels: int, filters: int):
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
        self.norm_1 = nn.BatchNorm2d(filters, eps=1e-5, momentum=0.1)
        self.conv_2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.norm_2 = nn.BatchNorm2d(filters, eps=1e-5, momentum=0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm_1(self.conv_1(x)), inplace=True)
        return functional.relu(self.norm_2(self.conv_2(x)), inplace=True)


class Scse(nn.Module):
    """Concurrent spatial and channel squeeze and excitation, added."""

    def __init__(self, channels: int):
        super().__init__()
        reduced = max(MIN_REDUCED, channels // REDUCTION)
        self.reduce = nn.Linear(channels, reduced)
        self.expand = nn.Linear(reduced, channels)
        self.spatial = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        channel = self.expand(functional.relu(self.reduce(x.mean((2, 3)))))
        return x * torch.sigmoid(channel)[:, :, None, None] + x * torch.sigmoid(self.spatial(x))


class Node(nn.Module):
    """The row's features and the coarser one, doubled, through a block."""

    def __init__(self, channels: int, filters: int, scse: bool):
        super().__init__()
        self.block = ConvBlock(channels, filters)
        self.scse = Scse(filters) if scse else nn.Identity()

    def forward(self, skips: Sequence[Tensor], coarser: Tensor) -> Tensor:
        return self.scse(self.block(torch.cat([*skips, doubled(coarser)], 1)))


def doubled(x: Tensor) -> Tensor:
    """Double height and width."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Encoder(nn.ModuleDict):
    """A block, then for each further row a 2x2 max-pool and a block."""

    def __init__(self, channels: int, widths: Sequence[int]):
        inputs = (channels, *widths[:-1])
        super().__init__(
            {
                f"x_{row}_0": ConvBlock(*pair)
                for row, pair in enumerate(zip(inputs, widths, strict=True))
            }
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        features, x = [], image
        for row, block in enumerate(self.values()):
            x = block(functional.max_pool2d(x, 2) if row else x)
            features.append(x)
        return features


class UNet(nn.ModuleDict):
    """One node a row."""

    def __init__(self, given: Sequence[int], widths: Sequence[int], scse: bool):
        """Take the encoder's channels, and those of the nodes."""
        depth = len(widths) - 1
        below = [*widths[1:depth], given[depth]]
        super().__init__(
            {
                f"x_{row}_{depth - row}": Node(
                    given[row] + below[row], widths[row], scse and row < SCSE_ROWS
                )
                for row in reversed(range(depth))
            }
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        x = features[-1]
        for skip, node in zip(features[-2::-1], self.values(), strict=True):
            x = node([skip], x)
        return [x]


class UNetPlusPlus(nn.ModuleDict):
    """Nested nodes: X(i,j) from X(i,0) … X(i,j-1) of its row and X(i+1,j-1) below it."""

    def __init__(self, given: Sequence[int], widths: Sequence[int], scse: bool):
        """Take the encoder's channels, and those of the nodes."""
        depth = len(widths) - 1

        def read(row: int, column: int) -> int:
            below = given[row + 1] if column == 1 else widths[row + 1]
            return given[row] + (column - 1) * widths[row] + below

        super().__init__(
            {
                f"x_{row}_{column}": Node(read(row, column), widths[row], scse and row < SCSE_ROWS)
                for column in range(1, depth + 1)
                for row in range(depth + 1 - column)
            }
        )
        self.depth = depth

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        rows = [[feature] for feature in features]
        for column in range(1, self.depth + 1):
            for row in range(self.depth + 1 - column):
                node = self[f"x_{row}_{column}"]
                rows[row].append(node(rows[row], rows[row + 1][column - 1]))
        return rows[0][1:]


class MaskHeads(nn.ModuleDict):
    """A 1x1 convolution to one logit on each full-resolution feature."""

    def __init__(self, channels: int, heads: int):
        super().__init__({f"logits_{head}": nn.Conv2d(channels, 1, 1) for head in range(heads)})

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        heads = zip(self.values(), features, strict=True)
        return torch.stack([head(x) for head, x in heads])


class ClassificationHead(nn.Module):
    """Mean and maximum over the deepest feature, dropout, one linear layer."""

    def __init__(self, widths: Sequence[int], dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.logit = nn.Linear(2 * widths[-1], 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        deepest = features[-1]
        pooled = torch.cat([deepest.mean((2, 3)), deepest.amax((2, 3))], 1)
        return self.logit(self.dropout(pooled / pooled.shape[1] ** 0.25))[:, 0]


class SegmentationNetwork(nn.Module):
    """The network of the fields of `config.model` that are named here; the others are refused."""

    def __init__(
        self,
        decoder: str,
        widths: Sequence[int],
        attention: str,
        deep_supervision: bool,
        classification_head: bool,
        dropout: float = 0.2,
        channels: int = 1,
        encoder: str = PLAIN,
        label_head: str = "deepest",
    ):
        """Take attention "none" or "scse", and the number of channels of the images."""
        super().__init__()
        if attention not in ("none", "scse"):
            raise ValueError(f"attention {attention!r}: must be none or scse")
        if encoder not in (PLAIN, LITE):
            raise ValueError(f"encoder {encoder!r}: must be {PLAIN} or {LITE}")
        if label_head != "deepest":
            raise ValueError(f"label_head {label_head!r}: must be deepest")
        decoders = {"unet": UNet, "unetplusplus": UNetPlusPlus}
        self.enlargements = 0 if encoder == PLAIN else 1  # of the masks, to the image's size
        given = widths if encoder == PLAIN else EfficientNetLite0.widths
        self.encoder = (
            Encoder(channels, widths) if encoder == PLAIN else EfficientNetLite0(channels)
        )
        self.nodes = decoders[decoder](given, widths, attention == "scse")
        self.heads = len(widths) - 1 if deep_supervision and decoder == "unetplusplus" else 1
        self.mask_heads = MaskHeads(widths[0], self.heads)
        self.label_head = ClassificationHead(given, dropout) if classification_head else None

    def forward(self, image: Tensor) -> Outputs:
        """Return logits of normalised images [b c h w] whose sides can be halved at each row."""
        features = self.encoder(image)
        label_logits = None if self.label_head is None else self.label_head(features)
        logits = self.mask_heads(self.nodes(features)[-self.heads :])
        for _ in range(self.enlargements):
            logits = torch.stack([doubled(each) for each in logits])
        return Outputs(logits, label_logits)
