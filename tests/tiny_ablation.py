"""A config of `python -m defect_jax.ablation` whose runs take seconds: two rows of one seed, and
with `:controls` one of each kind of post-processing."""

import ml_collections

from configs import synthetic
from defect_jax.ablation import Control, Row
from defect_jax.ablation.controls import blur, closing, fill_holes

CONTROLS = (
    Row("closing", "closing 3 px", control=Control("fixed", mend=closing(3))),
    Row("filling", "holes filled", control=Control("fixed", mend=fill_holes)),
    Row("blur", "blur 3 px", control=Control("fixed", smooth=blur(3))),
)


def get_config(variant=""):
    config = ml_collections.ConfigDict()
    config.base = synthetic.get_config("debug")
    config.base.unlock()
    config.base.model.widths = (4, 8)
    config.base.data.size = (16, 16)
    config.base.data.picture_size = (64, 64)
    config.base.train.steps = 4
    if variant == "long":  # enough steps to be killed in the middle
        config.base.train.steps = config.base.train.eval_every_steps = 300
    config.rows = (
        Row("fixed", "fixed 0.5/0.5", {}),
        Row("mgda", "MGDA", {"balance": {"method": "mgda"}}),
    )
    if variant == "controls":
        config.rows = (*CONTROLS, config.rows[0])
    config.folds = ()
    config.seeds = (0,)
    config.metrics = ("seg_miou", "seg_fpr")
    return config.lock()
