"""Generated surfaces: a first run without any data.

    python -m defect_jax.main --config=configs/synthetic.py:cpu

Expected of `:cpu`: test image_auroc 0.98 to 1.00 and seg_miou 0.46 to 0.53 (seed 0), in six to
thirteen minutes on two CPU cores. `:debug` goes through everything in seconds. The full
size has not been run yet.
"""

import ml_collections

from defect_jax.configs import base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    config = base.base()
    config.data.name = "synthetic"
    config.data.parts = 2000
    config.data.shots = 2  # images of each part
    config.data.defective_fraction = 0.15
    config.data.defect_kinds = ("hair_crack", "pit", "scratch", "stain")  # or fray, weave
    config.data.picture_size = (256, 256)
    config.data.augment.shrink = 0.0  # all images have one size, there is no padding to learn
    config.data.augment.stretch = 0.0
    return base.choose(config, variant, cpu=cpu, debug=debug)


def cpu(config: ml_collections.ConfigDict) -> None:
    """Draw few, small images, and take a network of four rows."""
    base.cpu(config)
    config.data.parts = 1200
    config.data.picture_size = (160, 160)
    config.data.size = (128, 128)
    # In a short run the labels of few defective parts are learnt by heart before their masks are.
    config.balance.fixed.weights.update(segmentation=0.8, classification=0.2)
    config.balance.measure_every_steps = 25
    config.model.widths = (8, 16, 32, 64)  # four rows: a step takes two thirds of the time
    config.data.augment.changes.update(brightness=0.02, contrast=0.05, noise=0.0, blur_px=0.0)
    base.length(config, steps=850, logs=34, evaluations=2)


def debug(config: ml_collections.ConfigDict) -> None:
    """Draw images of the least size there is."""
    base.debug(config)
    config.data.parts = 60
    config.data.shots = 1
    config.data.picture_size = (64, 64)
    config.data.size = (32, 32)
