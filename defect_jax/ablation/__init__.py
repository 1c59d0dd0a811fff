"""Comparing variants of a config: rows x folds x seeds, each cell a run of its own, one table.

python -m defect_jax.ablation --config=configs/magnetic_tile_ablation.py:cpu
"""

from defect_jax.ablation.grid import Row

__all__ = ["Row"]
