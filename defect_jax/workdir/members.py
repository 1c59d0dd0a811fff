"""The networks of a cross-fitted workdir, each an ordinary run in a folder of its own below it."""

from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir.best_weights import image_shape, restore_step
from defect_jax.workdir.fold_folders import fold_folder


def restore_members(
    config: ConfigDict, workdir: AnyPath, mesh: Mesh
) -> tuple[int, tuple[Variables, ...]]:
    """Restore the averaged weights that each network ended with, those of fold 0 first.

    It is the last checkpoint and not the best one: the best is chosen on the parts that a network
    has not seen, whose scores would then be better than those of parts to come.

    Args:
        config: resolved, of the workdir.

    Returns:
        The step that all of them are of, and their variables.

    Raises:
        UserError: a network has not been trained to its end.
    """
    network, step = SegmentationNetwork(**config.model), config.train.steps
    members = []
    for number in range(config.data.folds):
        folder = fold_folder(workdir, number)
        member = restore_step(network, image_shape(config), folder, step, mesh)
        if member is None:
            raise UserError(
                f"{folder}: holds no whole checkpoint of its last step, {step}: train on with the "
                "same command"
            )
        members.append(member)
    return step, tuple(members)
