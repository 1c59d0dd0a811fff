"""A config of `python -m defect_jax.ablation` whose runs take seconds: two rows of one seed, and
with `:controls` the one row that `benchmarks.controls` takes networks from."""

import ml_collections

from defect_jax.ablation import Row
from defect_jax.configs import synthetic


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
        config.rows = (Row("base", "no part"),)
    config.folds = ()
    config.seeds = (0,)
    config.metrics = ("seg_miou", "seg_fpr")
    return config.lock()
