"""What each part of LPC-Net brings on Magnetic Tile, and what it would take to get that without.

    launch/ablation.sh --config=configs/lpcnet_ablation.py:cpu \
        --config.base.data.root=magnetic_tile.tar
    launch/module.sh benchmarks.controls --config=configs/lpcnet_ablation.py:cpu \
        --config.base.data.root=magnetic_tile.tar

`:cpu` has three pairs of fold and seed. Every network tells the five classes apart, and is judged
both ways: defect or not (`miou`, `mpa`), and by class (`class_miou`, `class_mpa`). The row after
"all parts" is a control: pixel weights from the true mask alone. The second command adds those that
train nothing: closing, filling and blurring the masks of the row `base`, with the pixel threshold
chosen anew on validation images.
"""

import ml_collections

from defect_jax.ablation import Row
from defect_jax.configs import lpcnet_magnetic_tile
from defect_jax.configs.base import length

NO_EMBEDDING = {"embedding": False}
NO_CONFIDENCE = {"pixel_confidence": "none"}
NO_LOCALISATION = NO_EMBEDDING | {"localisation": "none"}
NO_WEIGHTS = {"defect_weight": 0.0, "weight_localised": False}
ONE_STAGE = {"localisation_steps": 0}


def _without(name: str, title: str, model: dict, loss: dict, stages: dict | None = None) -> Row:
    return Row(name, title, {"model": model, "loss": loss, "train": stages or {}})


BASE = NO_LOCALISATION | NO_CONFIDENCE
ROWS = (
    _without("base", "no part", BASE, NO_WEIGHTS, ONE_STAGE),
    _without("weights", "+ pixel weights of localisation", NO_EMBEDDING | NO_CONFIDENCE, {}),
    _without("embedding", "+ embedding of localisation", NO_CONFIDENCE, NO_WEIGHTS),
    _without("confidence", "+ pixel confidence", NO_LOCALISATION, NO_WEIGHTS, ONE_STAGE),
    Row("all", "all parts", {}),
    _without(
        "mask_weights",
        "control: pixel weights of the true mask",
        BASE,
        {"weight_localised": False},
        ONE_STAGE,
    ),
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.base = lpcnet_magnetic_tile.get_config(variant)
    config.base.unlock()
    config.rows = ROWS
    config.folds = (0, 1, 2, 3, 4)
    config.seeds = (0, 1, 2)
    config.metrics = (
        *("class_miou", "class_mpa", "miou", "mpa", "seg_miou", "seg_recall_hit", "seg_fpr"),
        *("pixel_ap", "image_auroc"),
    )
    if variant == "cpu":
        _shorten(config)
    return config.lock()


def _shorten(config: ml_collections.ConfigDict) -> None:
    """Train 18 networks in about two hours on two CPU cores: small images, but enough steps.

    Five classes from a few dozen pieces take longer than defect or not: after 450 steps little but
    blowholes was found (class_miou 0.22, fold 0, seed 0), after 900 large defects too (0.37).
    """
    config.pairs = ((0, 0), (1, 1), (2, 2))
    base = config.base
    base.data.size = (96, 96)
    base.balance.measure_every_steps = 25
    base.balance.fixed.weights.update(segmentation=0.8, classification=0.2)
    base.optimizer.learning_rate = 3e-3
    length(base, steps=900, logs=36, evaluations=1)
    base.train.localisation_steps = 200
