"""The networks of a workdir with `config.data.folds`, in its folders folds/0, folds/1, …

Each has been trained on other parts, and all are used together, so none is chosen by its own
validation: of each it is the last checkpoint, and the same step of all.
"""

from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.distributed.sharding import state_sharding
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import checkpoint_mirror, saved_checkpoints
from defect_jax.workdir.fold_folders import fold_folder
from defect_jax.workdir.saved_checkpoints import EMA
from defect_jax.workdir.weight_shapes import ema_shapes, image_shape

AGAIN = "run the same training command again"


def restore_members(
    config: ConfigDict, workdir: AnyPath, mesh: Mesh
) -> tuple[int, tuple[Variables, ...]]:
    """Restore step and averaged weights of the last checkpoint of every fold, onto the devices.

    Args:
        config: resolved, with `data.folds`; that step is its `train.steps`.

    Raises:
        UserError: a fold has not been trained to its end, is damaged or another network; its folder
            is named.
    """
    step = config.train.steps
    like = {EMA: ema_shapes(SegmentationNetwork(**config.model), image_shape(config))}
    folders = [fold_folder(workdir, number) for number in range(config.data.folds)]
    found = [_finished(folder, step) for folder in folders]  # of all, before anything is read
    return step, tuple(_member(directory, step, like, mesh) for directory in found)


def _finished(folder: AnyPath, step: int) -> AnyPath:
    """Return the checkpoints of a fold that has one of this step, its last."""
    checkpoints = folder / "checkpoints"
    try:
        steps: set[int] = set()
        if checkpoints.is_dir():
            directory = checkpoint_mirror.local(checkpoints)
            steps = saved_checkpoints.steps(directory)
    except OSError as error:
        raise UserError(f"{checkpoints}: cannot be used: {error.strerror or error}") from error
    if step not in steps:
        raise UserError(f"{folder}: has no checkpoint of step {step}: {AGAIN}")
    if max(steps) > step:
        raise UserError(
            f"{folder}: was trained on, to step {max(steps)}, alone: the others are at step {step}"
        )
    return directory


def _member(directory: AnyPath, step: int, like: saved_checkpoints.Trees, mesh: Mesh) -> Variables:
    shardings = state_sharding(mesh, like)
    try:
        return saved_checkpoints.restore(directory, step, like, shardings).trees[EMA]
    except saved_checkpoints.Damaged as damage:
        raise UserError(f"{damage}: {AGAIN}") from None
