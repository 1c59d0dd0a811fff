"""Your own images: images/** and masks/** with equal names below one folder.

    python -m defect_jax.main --config=configs/folder.py --config.data.root=my_parts --mode=check
    python -m defect_jax.main --config=configs/folder.py --config.data.root=my_parts

No mask, or one without a defect, is a good part. Size of the network and of the images, batch and
number of steps are chosen by the images and the machine, and shown with reasons; whatever is named
(`--config.data.size=(320,128)`, `--config.minutes=30`) stays as it is named. The variants `full`
and `cpu` choose nothing.
"""

import ml_collections

from defect_jax.configs import base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    config = base.base()
    config.data.name = "folder"
    config.data.size = (384, 384)
    base.pretrained(config)
    variants = {"cpu": _cpu, "cpu_scratch": _cpu_scratch, "debug": _debug, "full": _full}
    return base.choose(config, variant or "planned", **variants)


def _full(config: ml_collections.ConfigDict) -> None:
    """Leave the config at the size for an accelerator."""


def _cpu(config: ml_collections.ConfigDict) -> None:
    base.pretrained_cpu(config)
    config.data.size = (192, 192)
    base.length(config, steps=600, logs=12, evaluations=2)


def _cpu_scratch(config: ml_collections.ConfigDict) -> None:
    """Begin from nothing, with a network that two laptop cores then train in minutes."""
    base.from_scratch(config)
    base.cpu(config)
    config.data.size = (128, 128)
    base.length(config, steps=1500, logs=30, evaluations=5)


def _debug(config: ml_collections.ConfigDict) -> None:
    base.debug(config)
    config.data.size = (32, 32)
