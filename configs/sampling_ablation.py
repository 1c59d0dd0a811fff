"""What pasted defects and adaptive sampling bring on Magnetic Tile, with equal steps.

    launch/ablation.sh --config=configs/sampling_ablation.py:cpu \
        --config.base.data.root=magnetic_tile.tar

`:cpu` is folds 0 and 3, seeds 0 and 1: twelve networks, about two hours on one CPU core, half of
that where the command is started twice. The full size has all five folds and three seeds.
"""

import ml_collections

from defect_jax.ablation import Row
from defect_jax.configs import magnetic_tile


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.base = magnetic_tile.get_config(variant)
    config.rows = (
        Row("plain", "plain order", {}),
        Row("paste", "half of the defects pasted", {"data": {"augment": {"paste": 0.5}}}),
        Row("adaptive", "adaptive order, up to 4", {"data": {"adaptive": {"most_often": 4.0}}}),
    )
    config.folds = (0, 3) if variant else (0, 1, 2, 3, 4)
    config.seeds = (0, 1) if variant else (0, 1, 2)
    config.metrics = (
        *("seg_miou", "recall_at_fpr_05", "image_auroc", "image_ap", "mask_image_auroc"),
        *("seg_recall", "seg_fpr", "pixel_ap", "verdict_recall", "verdict_accuracy"),
    )
    return config.lock()
