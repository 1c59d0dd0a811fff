"""A config of `python -m defect_jax.ablation` whose runs take seconds: two rows of one seed, and
with `:controls` the one row that `benchmarks.controls` takes networks from."""

import dataclasses

import ml_collections

from defect_jax.ablation import Row
from defect_jax.configs import synthetic


def get_config(variant=""):
    config = ml_collections.ConfigDict()
    config.base = synthetic.get_config("debug")
    config.base.unlock()
    config.base.model.update(widths=(4, 8), decoder="unet", attention="none")
    config.base.data.size = (16, 16)
    config.base.data.picture_size = (64, 64)
    config.base.train.steps = 4
    config.rows = (
        Row("fixed", "fixed 0.5/0.5", {}),
        Row("mgda", "MGDA", {"balance": {"method": "mgda"}}),
    )
    if variant == "long":  # the first has enough steps to be killed in the middle
        train = {"steps": 250, "log_every_steps": 25, "eval_every_steps": 250}
        config.rows = (
            dataclasses.replace(config.rows[0], changes={"train": train}),
            config.rows[1],
        )
    if variant == "controls":
        config.rows = (Row("base", "no part"),)
    config.folds = ()
    config.seeds = (0,)
    config.metrics = ("seg_miou", "seg_fpr")
    return config.lock()
