"""Generated surfaces whose defects have gaps: clean ground between broken yarns, marked as defect.

    python -m defect_jax.main --config=configs/synthetic_gaps.py:cpu

Hair cracks, which have no gaps, are the third kind. `:cpu` takes about three minutes on one core.
"""

import ml_collections

from defect_jax.configs import base, synthetic


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    config = synthetic.get_config()
    config.unlock()
    config.data.defect_kinds = ("fray", "hair_crack", "weave")
    config.data.defective_fraction = 0.5
    return base.choose(config, variant, cpu=_cpu, debug=synthetic.debug)


def _cpu(config: ml_collections.ConfigDict) -> None:
    synthetic.cpu(config)
    config.data.parts = 500
    config.data.shots = 1
    config.data.picture_size = (128, 128)  # drawn at the size that is seen: scaling blurs gaps
    config.model.decoder = "unet"
    base.length(config, steps=400, logs=16, evaluations=2)
