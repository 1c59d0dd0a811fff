"""What kinds of machine train: a network each, and how many pixels of images."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Scale(NamedTuple):
    """What fits one kind of machine."""

    network: Mapping[str, Any]  # fields of the config
    warmup_steps: int  # at most
    frame_px: int  # pixels of a frame
    most_frame_px: int  # where small defects need more
    step_px: int  # of all frames of a step
    tile_px: int  # side of a tile
    bytes_a_px: int  # memory of a training step, for each pixel of its images


SMALL = Scale(
    network={
        "model.decoder": "unet",
        "model.widths": (16, 32, 48, 64, 96),
        "model.dtype": "float32",
        "optimizer.learning_rate": 2e-3,
        "optimizer.average_decay": 0.99,
        "balance.fixed.weights.segmentation": 0.8,
        "balance.fixed.weights.classification": 0.2,
    },
    warmup_steps=50,
    frame_px=192 * 192,
    most_frame_px=2 * 192 * 192,
    step_px=16 * 192 * 192,
    tile_px=256,
    bytes_a_px=5_000,
)
LARGE = Scale(
    network={
        "model.decoder": "unetplusplus",
        "model.widths": (32, 64, 128, 256, 512),
        "model.dtype": "bfloat16",
        "optimizer.learning_rate": 1e-3,
        "optimizer.average_decay": 0.999,
        "balance.fixed.weights.segmentation": 0.5,
        "balance.fixed.weights.classification": 0.5,
    },
    warmup_steps=200,
    frame_px=384 * 384,
    most_frame_px=2 * 384 * 384,
    step_px=16 * 384 * 384,
    tile_px=512,
    bytes_a_px=8_000,
)
