"""Controls of an ablation: how far post-processing takes the masks of a network without modules.

    launch/module.sh benchmarks.controls --config=configs/lpcnet_ablation.py:cpu \
        --config.base.data.root=magnetic_tile.tar

Run it after the ablation, with the same flags. It takes the networks of the row `base`.
"""
