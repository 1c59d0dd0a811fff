"""What separable blocks, narrower and shallower networks lose on Magnetic Tile.

    launch/ablation.sh --config=configs/lite_ablation.py:cpu \
        --config.base.data.root=magnetic_tile.tar

`:cpu` has three pairs of fold and seed: twelve networks. What they cost, and what pruning and eight
bits change, is for benchmarks/lite.py, which takes their workdirs.
"""

import ml_collections

from defect_jax.ablation import Row
from defect_jax.configs import base, magnetic_tile
from defect_jax.configs.base import length


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.base = magnetic_tile.get_config(base.scratch_variant(variant))
    config.base.unlock()
    base.from_scratch(config.base)
    config.base.model.decoder = "unetplusplus"  # with heads that pruning can keep
    if variant == "cpu":
        _shorten(config)
    widths = tuple(config.base.model.widths)
    config.rows = (
        Row("plain", "plain blocks", {}),
        _separable("separable", "separable blocks", widths),
        _separable("narrow", "separable, half as wide", tuple(width // 2 for width in widths)),
        _separable("shallow", "separable, a row less", widths[:-1]),
    )
    config.folds = (0, 1, 2, 3, 4)
    config.seeds = (0, 1, 2)
    config.metrics = (
        *("seg_miou", "seg_recall", "seg_fpr", "pixel_ap", "image_ap", "image_auroc"),
        "mask_image_auroc",
    )
    return config.lock()


def _separable(name: str, title: str, widths: tuple[int, ...]) -> Row:
    return Row(name, title, {"model": {"block": "separable", "widths": widths}})


def _shorten(config: ml_collections.ConfigDict) -> None:
    """Take about four minutes a network on two CPU cores, as a step of UNet++ takes; small
    images."""
    config.pairs = ((0, 0), (1, 1), (2, 2))
    base = config.base
    base.model.widths = (8, 16, 32, 64)
    base.data.size = (96, 96)
    base.balance.measure_every_steps = 25
    base.balance.fixed.weights.update(segmentation=0.8, classification=0.2)
    base.optimizer.learning_rate = 3e-3
    length(base, steps=300, logs=12, evaluations=1)
