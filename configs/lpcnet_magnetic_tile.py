"""LPC-Net on Magnetic Tile, its five classes of defect told apart.

    python -m defect_jax.main --config=configs/lpcnet_magnetic_tile.py \
        --config.data.root=magnetic_tile.tar

Localisation learns first, in workdir/localisation, a quarter as many steps as the whole network
after it. Each part can be switched off alone: `config.loss.defect_weight=0` (pixel weights),
`config.model.embedding=False`, `config.model.pixel_confidence=none`; and
`config.train.localisation_steps=0` trains everything together. Folds are those of
configs/magnetic_tile.py. The full size has not been run yet.
"""

import ml_collections

from defect_jax.configs import base, magnetic_tile


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    config = magnetic_tile.get_config(base.scratch_variant(variant))
    with config.unlocked():
        base.from_scratch(config)
        config.model.num_classes = 5
        base.lpcnet(config, variant)
    return config
