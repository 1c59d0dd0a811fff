"""Whether pixel confidence fills gaps inside defects, where the truth is known.

    launch/ablation.sh --config=configs/synthetic_gaps_ablation.py:cpu
    launch/module.sh benchmarks.controls --config=configs/synthetic_gaps_ablation.py:cpu
    launch/module.sh benchmarks.gaps --workdir=runs/synthetic_gaps_ablation-cpu

The second command post-processes the masks of the row `base` (closing, holes filled, blur) and
compares the results with them. The third measures inside the gaps, which no metric of a run does. A
network of four rows sees a whole defect; one of two rows sees 20 px, a gap and its neighbours.
`:cpu` takes half an hour on two CPU cores. The full size has not been run yet.
"""

import ml_collections

from defect_jax.ablation import Row
from defect_jax.configs import synthetic_gaps

LEARNT = {"pixel_confidence": "learnt"}
SHALLOW = {"widths": (8, 16)}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.base = synthetic_gaps.get_config(variant)
    config.rows = (
        Row("base", "no part"),
        Row("confidence", "+ pixel confidence", {"model": LEARNT}),
        Row("shallow", "two rows", {"model": SHALLOW}),
        Row("shallow_confidence", "two rows, + pixel confidence", {"model": SHALLOW | LEARNT}),
    )
    config.folds = ()
    config.seeds = (0, 1, 2)
    config.metrics = ("miou", "mpa", "seg_miou", "seg_recall_hit", "pixel_ap", "image_auroc")
    return config.lock()
