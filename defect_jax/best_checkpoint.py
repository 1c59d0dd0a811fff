"""The weights that a run ends with: the averaged ones of its best whole checkpoint."""

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax import checkpoints
from defect_jax.errors import UserError
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.optimizer import make_tx
from defect_jax.paths import AnyPath
from defect_jax.progress import say
from defect_jax.sharding import state_sharding
from defect_jax.steps import create_state


def best_average(
    network: SegmentationNetwork,
    config: ConfigDict,
    workdir: AnyPath,
    scores: Mapping[int, float],
    mesh: Mesh,
) -> tuple[int, Any]:
    """Step and averaged weights of the best whole checkpoint, on the devices there are now.

    Raises:
        UserError: there is none.
    """
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        raise UserError(f"{folder}: no checkpoint there; train first, or name another --workdir")
    shape = (1, *config.data.size, config.picture.channels)
    variables = initial_variables(network, shape, config.seed)
    like = jax.eval_shape(lambda tree: create_state(tree, make_tx(config)), variables)
    shardings = state_sharding(mesh, like)
    with checkpoints.open_checkpoints(workdir, scores) as checkpointer:
        for step in checkpoints.best_first(checkpointer, scores):
            try:
                restored = checkpoints.restore(checkpointer, step, like, shardings)
                return step, restored.state.average
            except checkpoints.Damaged as damage:
                say(f"{damage}; taking the next best one")
    raise UserError(
        f"{folder}: no whole and validated checkpoint there; train on with the same command, or "
        "name another --workdir"
    )
