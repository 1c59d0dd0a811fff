"""Which pass over a split a config wants: pictures scaled into one frame, or through tiles."""

from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.data.prepare import Split
from defect_jax.data.tiles import is_tiled
from defect_jax.models.network import SegmentationNetwork
from defect_jax.scoring import Scorer
from defect_jax.tiled_scoring import TiledScorer


def make_scorer(
    network: SegmentationNetwork, split: Split, config: ConfigDict, mesh: Mesh
) -> Scorer | TiledScorer:
    """The scorer of a split; both are called alike."""
    scorer = TiledScorer if is_tiled(config) else Scorer
    return scorer(network, split, config, mesh)
