"""KolektorSDD2 (Božič et al. 2021): 3335 colour images, official test split.

    python -m defect_jax.main --config=configs/ksdd2.py --config.data.root=KolektorSDD2.zip

Expected result: not run yet on the real release.

Images are padded to 256x672 px and never scaled. Licence of the data: CC BY-NC-SA 4.0, which does
not allow commercial use.
"""

import ml_collections

from defect_jax.configs import base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    config = base.base()
    config.data.name = "ksdd2"
    config.data.trust_masks = True  # by definition, every value above 0 is defect
    config.data.size = (672, 256)
    config.data.min_scale = 1.0  # together with max_scale: never scaled
    config.data.augment.shrink = 0.0
    config.data.augment.stretch = 0.0
    base.length(config, steps=6000, logs=120, evaluations=12)
    base.pretrained(config)
    return base.choose(config, variant, cpu=_cpu, cpu_scratch=_cpu_scratch, debug=_debug)


def _cpu(config: ml_collections.ConfigDict) -> None:
    base.pretrained_cpu(config)
    config.data.size = (320, 128)
    _halve(config)
    base.length(config, steps=600, logs=12, evaluations=2)


def _cpu_scratch(config: ml_collections.ConfigDict) -> None:
    """Begin from nothing, with a network that two laptop cores then train in minutes."""
    base.from_scratch(config)
    base.cpu(config)
    config.data.size = (336, 128)
    _halve(config)
    base.length(config, steps=1000, logs=20, evaluations=4)


def _halve(config: ml_collections.ConfigDict) -> None:
    config.data.min_scale = 0.0
    config.data.max_scale = 0.5


def _debug(config: ml_collections.ConfigDict) -> None:
    base.debug(config)
    config.data.size = (84, 32)
    config.data.min_scale = 0.0
    config.data.max_scale = 0.125
