"""EfficientNet-Lite0 as `defect_jax.models.encoders.efficientnet_lite` has it, in plain PyTorch.

Its statistics stay, as in ours. Modules are named as ours, so that weights can be copied by name.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-3
INPUT_STD, INPUT_MEAN = 2 * 0.226, 2 * 0.449 - 1
STEM_FILTERS = 32
# Filters, repeats, size of the depthwise kernel, stride of the first block, expansion.
STAGES = (
    (16, 1, 3, 1, 1),
    (24, 2, 3, 2, 6),
    (40, 2, 5, 2, 6),
    (80, 3, 3, 2, 6),
    (112, 3, 5, 1, 6),
    (192, 4, 5, 2, 6),
    (320, 1, 3, 1, 6),
)
ROWS = ((0,), (1,), (2,), (3, 4), (5, 6))


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow's "SAME": at stride 2 of even sizes more at the end."""

    def __init__(self, channels: int, filters: int, size_px: int, stride: int, groups: int = 1):
        even = stride == 1
        super().__init__(
            *(channels, filters, size_px, stride),
            padding=size_px // 2 if even else 0,
            groups=groups,
            bias=False,
        )
        self.edges = None if even else ((size_px - 2) // 2, (size_px - 1) // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.edges is None else functional.pad(x, self.edges))


class FrozenNorm(nn.BatchNorm2d):
    """Batch norm by statistics that stay; its scale and bias learn."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=EPSILON)

    def train(self, mode: bool = True) -> "FrozenNorm":
        """Stay as it is."""
        del mode
        return super().train(False)


class InvertedResidual(nn.Module):
    """More channels, one kernel for each, fewer channels."""

    def __init__(self, channels: int, filters: int, size_px: int, stride: int, expansion: int):
        super().__init__()
        inside, self.expands = expansion * channels, expansion > 1
        self.conv_dw = SameConv(inside, inside, size_px, stride, groups=inside)
        if self.expands:
            self.conv_pw, self.bn1 = SameConv(channels, inside, 1, 1), FrozenNorm(inside)
            self.conv_pwl, self.bn3 = SameConv(inside, filters, 1, 1), FrozenNorm(filters)
            self.bn2 = FrozenNorm(inside)
        else:
            self.bn1 = FrozenNorm(inside)
            self.conv_pw, self.bn2 = SameConv(inside, filters, 1, 1), FrozenNorm(filters)
        self.adds = stride == 1 and channels == filters

    def forward(self, given: Tensor) -> Tensor:
        x = given
        if self.expands:
            x = functional.relu6(self.bn1(self.conv_pw(x)), inplace=True)
            x = functional.relu6(self.bn2(self.conv_dw(x)), inplace=True)
            x = self.bn3(self.conv_pwl(x))
        else:
            x = functional.relu6(self.bn1(self.conv_dw(x)), inplace=True)
            x = self.bn2(self.conv_pw(x))
        return given + x if self.adds else x


class EfficientNetLite0(nn.Module):
    """Features of five rows, of 1/2 to 1/32 of the image."""

    widths: ClassVar = (16, 24, 40, 112, 320)

    def __init__(self, channels: int):
        super().__init__()
        self.conv_stem = SameConv(channels, STEM_FILTERS, 3, 2)
        self.bn1 = FrozenNorm(STEM_FILTERS)
        channels = STEM_FILTERS
        for number, (filters, repeats, size_px, stride, expansion) in enumerate(STAGES):
            for block in range(repeats):
                of_block = channels, filters, size_px, 1 if block else stride, expansion
                self.add_module(f"blocks_{number}_{block}", InvertedResidual(*of_block))
                channels = filters

    def forward(self, image: Tensor) -> list[Tensor]:
        x = image * INPUT_STD + INPUT_MEAN
        x = functional.relu6(self.bn1(self.conv_stem(x)), inplace=True)
        features = []
        for row in ROWS:
            for number in row:
                for block in range(STAGES[number][1]):
                    x = getattr(self, f"blocks_{number}_{block}")(x)
            features.append(x)
        return features
