"""What every picture of a set is brought to: one size, one number of channels, one depth."""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float32, Shaped, UInt8, UInt16
from ml_collections import ConfigDict

from defect_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Frame:
    """What every picture is brought to: size and scale limits, common channels, depth, classes."""

    size_px: tuple[int, int]
    min_scale: float
    max_scale: float
    max_stretch: float
    channels: int
    bit_depth: int
    classes: int

    @classmethod
    def of(cls, config: ConfigDict) -> "Frame":
        data, picture = config.data, config.picture
        return cls(
            tuple(data.size),
            data.min_scale,
            data.max_scale,
            data.max_stretch,
            picture.channels,
            picture.bit_depth,
            config.model.num_classes,
        )

    def common(self, image: np.ndarray, name: str) -> np.ndarray:
        """Gives `image` [h w c] the set's channels and depth; only ever widens.

        Raises:
            UserError: colour or 16 bit where the network was trained on grey or 8 bit.
        """
        if image.shape[-1] > self.channels or image.itemsize * 8 > self.bit_depth:
            raise UserError(
                f"{name}: has {image.shape[-1]} channels of {image.itemsize * 8} bit, but the "
                f"network was trained on {self.channels} of {self.bit_depth} bit"
            )
        if image.itemsize * 8 < self.bit_depth:
            image = sixteen_bits(image)
        if image.shape[-1] == self.channels:
            return image
        return cv2.merge([image] * self.channels)

    def known(self, mask: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """Gives a mask the classes that the network tells apart: all are 1 where it knows one."""
        return np.minimum(mask, 1) if self.classes == 1 else mask


def sixteen_bits(image: UInt8[np.ndarray, "h w c"]) -> UInt16[np.ndarray, "h w c"]:
    """The same picture in 65536 steps."""
    return image.astype(np.uint16) * 257  # 255 -> 65535


def shares(
    image: UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"],
) -> Float32[np.ndarray, "h w c"]:
    """Pixels as shares of the full range, which scaling does not round.

    Rounded to whole steps, what OpenCV scales here and what an exported network scales by
    `size_rule` differed by half a step, and a probability by up to 5e-4.
    """
    return image.astype(np.float32) / np.iinfo(image.dtype).max


def filled_up(
    frames: Shaped[np.ndarray, "n h w c"], count: int
) -> Shaped[np.ndarray, "count h w c"]:
    """The frames as the batch that a program is compiled for: the last one fills it up.

    >>> filled_up(np.arange(2).reshape(2, 1, 1, 1), 4).ravel().tolist()
    [0, 1, 1, 1]
    """
    return np.concatenate([frames, np.repeat(frames[-1:], count - len(frames), axis=0)])
