"""What each part brings on Magnetic Tile: decoder, head, balance, attention, deep supervision.

    launch/ablation.sh --config=configs/magnetic_tile_ablation.py:cpu \
        --config.base.data.root=magnetic_tile.tar

`:cpu` is fold 0 with three seeds of the rows that answer the main question and one of every other:
34 networks, three hours on two CPU cores. The full size has all five folds and three seeds of every
row.
"""

import ml_collections

from defect_jax.ablation import Row
from defect_jax.configs import base, magnetic_tile

HALF = {"segmentation": 0.5, "classification": 0.5}


def _balanced(
    name: str, title: str, method: str, total: int = 1, shared: str = "encoder", **options
) -> Row:
    """Return a row that changes the balance alone.

    Where the weights sum to two, not one, gradients are twice as long and are clipped at twice the
    norm; AdamW takes no notice of their length otherwise.
    """
    changes = {"method": method, "shared": shared} | ({method: options} if options else {})
    return Row(name, title, {"balance": changes, "optimizer": {"clip_norm": 1.0 * total}})


MAIN_ROWS = (
    _balanced("fixed", "fixed 0.5/0.5", "fixed", weights=HALF),
    _balanced("gradnorm-0", "GradNorm, α = 0", "gradnorm", total=2, alpha=0.0),
    _balanced("gradnorm-0.5", "GradNorm, α = 0.5", "gradnorm", total=2, alpha=0.5),
    _balanced("gradnorm-1.5", "GradNorm, α = 1.5", "gradnorm", total=2, alpha=1.5),
    _balanced(
        "gradnorm-first_block",
        "GradNorm, α = 1.5, norms on the encoder's first block",
        "gradnorm",
        total=2,
        shared="encoder/x_0_0",
        alpha=1.5,
    ),
    _balanced(
        "gradnorm-last_block",
        "GradNorm, α = 1.5, norms on the encoder's last block",
        "gradnorm",
        total=2,
        shared="encoder/x_4_0",
        alpha=1.5,
    ),
    _balanced("pcgrad", "PCGrad", "pcgrad", total=2),
    _balanced("cagrad", "CAGrad, c = 0.5", "cagrad"),
)
OTHER_ROWS = (
    Row("no_head", "no classification head", {"model": {"classification_head": False}}),
    _balanced("uncertainty", "homoscedastic uncertainty", "uncertainty"),
    _balanced("dwa", "dynamic weight average", "dwa", total=2),
    _balanced("famo", "FAMO", "famo"),
    _balanced("mgda", "MGDA", "mgda"),
    _balanced("imtl_g", "IMTL-G", "imtl_g"),
    Row("attention_none", "no attention", {"model": {"attention": "none"}}),
    Row("attention_gates", "attention gates", {"model": {"attention": "gates"}}),
)
NESTED = {"decoder": "unetplusplus"}
DECODER_ROWS = (
    Row("unetplusplus", "UNet++, deep supervision", {"model": NESTED}),
    Row(
        "unetplusplus-one_map",
        "UNet++, no deep supervision",
        {"model": NESTED | {"deep_supervision": False}},
    ),
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.base = magnetic_tile.get_config(base.scratch_variant(variant))
    config.base.unlock()
    base.from_scratch(config.base)
    config.base.model.decoder = "unet"
    config.rows = (*MAIN_ROWS, *OTHER_ROWS, *DECODER_ROWS)
    config.folds = (0, 1, 2, 3, 4)
    config.seeds = (0, 1, 2)
    config.metrics = (
        *("seg_miou", "recall_at_fpr_05", "image_auroc", "image_ap", "mask_image_auroc"),
        *("seg_recall", "seg_fpr", "miou_pooled", "pixel_ap"),
    )
    if variant:
        config.folds = (0,)
        one_seed = [_with_one_seed(row) for row in (*OTHER_ROWS, *DECODER_ROWS)]
        config.rows = (*MAIN_ROWS, *one_seed)
    return config.lock()


def _with_one_seed(row: Row) -> Row:
    return Row(row.name, row.title, row.changes, seeds=(0,))
