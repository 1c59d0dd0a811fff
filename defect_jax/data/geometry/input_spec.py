"""What every image of a set is brought to before the network: depth, channels, classes, framing."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped, UInt8, UInt16
from ml_collections import ConfigDict

from defect_jax.data.geometry.channels import channel_names, in_channels, in_one
from defect_jax.data.geometry.depth import Depth, depth_of, times
from defect_jax.data.geometry.framing import Framing, Letterbox, Tiling
from defect_jax.data.geometry.intensity import WIDENED, IntensityRange, per_channel
from defect_jax.data.geometry.region import HIDDEN, from_text, together
from defect_jax.runtime.errors import UserError

TOLERANCE = 1.5  # of how much brighter an image is, to be known as one of another depth


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """How images enter the network.

    Attributes:
        framing: how an image fills the frames.
        channels, bit_depth: common to all images.
        classes: of defects that the network tells apart.
        intensity: what is 0 and what is 1 for the network.
        mean, std: of the training images, as shares of that; of several lights one a channel.
        region: what of every image is judged, see `geometry.region`; "" where all is.
        lights: channels of each light of shots of several, 1 or 3; empty where there is one.
        float_range: values of float pixels that become 0 and 65535; empty where those are refused.
    """

    framing: Framing
    channels: int
    bit_depth: int
    classes: int
    intensity: IntensityRange
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
    region: str = ""
    lights: tuple[int, ...] = ()
    float_range: tuple[float, ...] = ()

    @classmethod
    def of(cls, config: ConfigDict) -> "InputSpec":
        """Return the specification of a resolved config."""
        info = config.data_info
        depth = info.channels, info.bit_depth, config.model.num_classes
        statistics = IntensityRange.of(info), per_channel(info.mean), per_channel(info.std)
        return cls(
            framing_of(config.data),
            *depth,
            *statistics,
            region=config.data.get("region", ""),
            lights=tuple(info.get("lights", ())),
            float_range=tuple(config.data.get("float_range", ())),
        )

    @property
    def channels_of_lights(self) -> tuple[int, ...]:
        """Return the channels of each light, also where there is one."""
        return self.lights or (self.channels,)

    @property
    def size_px(self) -> tuple[int, int]:
        """Return the height and width of a frame."""
        return self.framing.size_px

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """Return the type of the images' pixels."""
        return np.uint8 if self.bit_depth == 8 else np.uint16

    def common(self, image: np.ndarray, name: str) -> np.ndarray:
        """Give `image` [h w c] the set's channels and depth; only ever widen.

        Colours that are all the same are grey. An image of several lights has all their channels.

        Raises:
            UserError: colour or 16 bit where the network was trained on grey or 8 bit; 8 bit where
                it is not known what its counts are among those of 16; another number of channels.
        """
        if not self.lights:
            image = self.shot([image], name)
        if image.shape[-1] != self.channels or image.itemsize * 8 > self.bit_depth:
            raise self._other_channels(image, name)
        return self._deep(image, name)

    def shot(self, lights: Sequence[np.ndarray], name: str) -> np.ndarray:
        """Make one image [h w c] of the lights of a shot, in the set's channels and its own depth.

        Raises:
            UserError: there are more or fewer lights, or colours where those of training were grey.
        """
        wanted = self.channels_of_lights
        if len(lights) != len(wanted):
            raise UserError(
                f"{name}: has {len(lights)} lights, but the network was trained on {len(wanted)} "
                "(config.data.lights)"
            )
        counts = zip(lights, wanted, strict=True)
        each = [in_channels(light, count) for light, count in counts]
        if any(light is None for light in each):
            raise self._other_channels(in_one(lights), name)
        return in_one(each)

    def _other_channels(self, image: np.ndarray, name: str) -> UserError:
        order = f" ({', '.join(channel_names(self.lights))})" if self.lights else ""
        return UserError(
            f"{name}: has {image.shape[-1]} channels of {image.itemsize * 8} bit, but the network "
            f"was trained on {self.channels}{order} of {self.bit_depth} bit"
        )

    def _deep(self, image: np.ndarray, name: str) -> np.ndarray:
        """Give an image that has its channels the set's depth."""
        if image.itemsize * 8 < self.bit_depth:
            if not self.intensity.widened:
                raise UserError(
                    f"{name}: has 8 bits, but the network was trained on images of 16 bits with "
                    f"values of about {self.intensity.in_words()}, and how the two are related is "
                    "not known: save it with 16 bits as those were"
                )
            image = sixteen_bits(image)
        return image

    def refuse_other_depth(self, image: np.ndarray, name: str) -> None:
        """Refuse an image of 16 bits that uses more or fewer of them than those of training did.

        Raises:
            UserError: all of it is about 4, 16, 64 or 256 times as bright, or as dark.
        """
        if self.bit_depth == 8 or image.dtype == np.uint8:
            return
        middle = np.mean(self.intensity.low + np.multiply(self.mean, self.intensity.width))
        top = np.max(self.intensity.high)
        trained = Depth(16, widened=False, middle=float(middle), top=float(top))
        seen = depth_of(image)
        more, less = (times(*both, TOLERANCE) for both in ((seen, trained), (trained, seen)))
        if more == less:
            return
        share = f"{more} times" if more > 1 else f"1/{less} of"
        raise UserError(
            f"{name}: holds about {share} the values of the training images "
            f"({self.intensity.in_words()}), as if its depth were another: save it as those were"
        )

    @property
    def region_px(self) -> tuple[int, int] | None:
        """Return the height and width of images where one region of them is judged; else None."""
        return from_text(self.region).shape if self.region else None

    @property
    def fill(self) -> int | list[int]:
        """Return what hidden pixels are for the network, in counts: the mean of training, of
        several lights that of each channel."""
        mean = self.intensity.low + np.multiply(self.mean, self.intensity.width)
        return np.rint(mean).astype(int).tolist()

    def ignored(
        self,
        native_px: tuple[int, int],
        name: str,
        own: UInt8[np.ndarray, "h w"] | None = None,
    ) -> UInt8[np.ndarray, "h w"] | None:
        """Return what of an image is not judged; None where all is.

        Args:
            native_px: height and width of the image.
            name: of the image, for the message.
            own: what is not judged in this image alone.

        Raises:
            UserError: the region of the network is for images of another size.
        """
        if self.region and self.region_px != native_px:
            sizes = [f"{width}x{height} px" for height, width in (native_px, self.region_px)]
            raise UserError(
                f"{name}: is {sizes[0]}, but the network judges one region of images of "
                f"{sizes[1]} (config.data.region)"
            )
        return together(own, from_text(self.region) if self.region else None)

    def hidden(
        self, image: Shaped[np.ndarray, "h w c"], ignored: UInt8[np.ndarray, "h w"] | None
    ) -> Shaped[np.ndarray, "h w c"]:
        """Return the image as the network may see it: what is HIDDEN in `ignored` is filled."""
        if ignored is None or not (ignored == HIDDEN).any():
            return image
        return np.where((ignored == HIDDEN)[..., None], self.fill, image).astype(image.dtype)

    def known(self, mask: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """Give a mask the classes that the network tells apart: all are 1 where it knows one."""
        return np.minimum(mask, 1) if self.classes == 1 else mask


def framing_of(data: ConfigDict) -> Framing:
    """Return how `config.data` fills frames: through tiles where they overlap, else scaled."""
    size_px = tuple(data.size)
    if data.tile_overlap_px > 0:
        return Tiling(size_px, data.tile_overlap_px)
    return Letterbox(size_px, data.min_scale, data.max_scale, data.max_stretch)


def sixteen_bits(image: UInt8[np.ndarray, "h w c"]) -> UInt16[np.ndarray, "h w c"]:
    """Return the same image in 65536 steps."""
    return image.astype(np.uint16) * WIDENED


def filled_up(
    frames: Shaped[np.ndarray, "n h *rest"], count: int
) -> Shaped[np.ndarray, "count h *rest"]:
    """Return the frames as the batch that a program is compiled for: the last one fills it up.

    >>> filled_up(np.arange(2).reshape(2, 1, 1, 1), 4).ravel().tolist()
    [0, 1, 1, 1]
    """
    return np.concatenate([frames, np.repeat(frames[-1:], count - len(frames), axis=0)])
