"""What a network takes and what of it a checkpoint keeps, as shapes: nothing is computed."""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork


def image_shape(config: ConfigDict) -> tuple[int, int, int, int]:
    """Return the shape of one image as the network of a resolved config takes it."""
    return (1, *config.data.size, config.data_info.channels)


def ema_shapes(network: SegmentationNetwork, shape: tuple[int, ...]) -> Variables:
    """Return the averaged weights of a network as ShapeDtypeStructs: nothing is computed."""
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), image)
    return {name: variables.get(name, {}) for name in ("params", "batch_stats")}
