"""LPC-Net on your own images, such as woven fabric: laid out as configs/folder.py says.

    python -m defect_jax.main --config=configs/lpcnet_folder.py --config.data.root=my_fabric

Where the values 1, 2, … of the masks are kinds of defect, name them, and say how many there are:

    --config.data.classes="('fray','gap')" --config.model.num_classes=2

Each part can be switched off alone, see configs/lpcnet_magnetic_tile.py.
"""

import ml_collections

from defect_jax.configs import base, folder


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    config = folder.get_config(base.scratch_variant(variant) or "full")
    with config.unlocked():
        base.from_scratch(config)
        base.lpcnet(config, variant)
    return config
