"""BSData (Schlagenhauf, Landwehr 2021): pitting on ball screws, from 18 px on, in large images.

    python -m defect_jax.main --config=configs/bsdata.py --config.data.root=BSData.zip

394 colour images, most of 1130x460 and 1540x645 px, some 2700 wide, and not a good one among
them. They are cut into tiles at their own size, since a pit of 18 px would vanish in an
image made smaller. The images of one turn of the thread, or one section, are never split.

Without good images no threshold of the decision can be chosen (they are all 0.5): what can be
judged is where the pitting is. docs/tiles.md has figures of small networks that began from nothing.
With a pretrained encoder, `:cpu` and `:cpu_scaled` have not been run yet, nor has the full size.
"""

import ml_collections

from defect_jax.configs import base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    config = base.base()
    config.data.name = "bsdata"
    config.data.size = (512, 512)
    config.data.tile_overlap_px = 128
    base.pretrained(config)
    variants = {"cpu": cpu, "cpu_scaled": cpu_scaled, "cpu_scratch": cpu_scratch, "debug": debug}
    return base.choose(config, variant, **variants)


def cpu(config: ml_collections.ConfigDict) -> None:
    """Take smaller tiles, a quarter of them round a defect, as most of an image has none."""
    base.pretrained_cpu(config)
    _small_tiles(config)


def cpu_scratch(config: ml_collections.ConfigDict) -> None:
    """Do the same from nothing."""
    base.from_scratch(config)
    base.cpu(config)
    config.model.decoder = "unet"
    _small_tiles(config)


def _small_tiles(config: ml_collections.ConfigDict) -> None:
    config.data.size = (256, 256)
    config.data.tile_overlap_px = 64
    config.data.positive_fraction = 0.25
    config.balance.measure_every_steps = 25
    config.balance.fixed.weights.update(segmentation=0.8, classification=0.2)
    config.train.batch_size = 8
    base.length(config, steps=1000, logs=20, evaluations=2)


def cpu_scaled(config: ml_collections.ConfigDict) -> None:
    """Do as `cpu`, but scale each image into one frame of as many pixels: to compare with."""
    cpu(config)
    config.data.size = (160, 416)
    config.data.tile_overlap_px = 0
    config.data.positive_fraction = None  # no image is good


def debug(config: ml_collections.ConfigDict) -> None:
    """Take the least network there is: the images stay as large as they are."""
    base.debug(config)
    config.data.size = (128, 128)
    config.data.tile_overlap_px = 16
    config.model.decoder = "unet"
    config.model.widths = (4, 8)
    config.model.attention = "none"
    base.length(config, steps=8, logs=4, evaluations=1)
