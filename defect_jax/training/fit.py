"""One network, from its first state or its newest checkpoint to its last step."""

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.data.prepare.prepared import Prepared, Split
from defect_jax.distributed import processes
from defect_jax.distributed.sharding import place_state, replicated, state_sharding
from defect_jax.models.initialise import Variables, initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath
from defect_jax.training.loop import Loop
from defect_jax.training.missed import all_missed
from defect_jax.training.optimizer import make_tx
from defect_jax.training.programs import StepPrograms, make_programs
from defect_jax.training.stages import is_frozen, with_learnt
from defect_jax.training.steps import (
    TrainState,
    create_state,
    from_checkpointables,
    to_checkpointables,
)
from defect_jax.workdir import checkpoints
from defect_jax.workdir.best_weights import read_history, selection_scores
from defect_jax.workdir.weight_shapes import image_shape


def fit(
    config: ConfigDict,
    workdir: AnyPath,
    prepared: Prepared,
    mesh: Mesh,
    learnt: Variables,
    programs: StepPrograms | None = None,
) -> StepPrograms:
    """Train to the last step, from the newest whole checkpoint of the workdir or from the start.

    Args:
        learnt: variables to start with instead of the initial ones of the same names.
        programs: of a network of the same config, so that nothing is compiled twice.

    Returns:
        The programs of the steps.
    """
    network, tx = make_network(config), make_tx(config)
    history = processes.from_first(lambda: read_history(workdir))
    scores = selection_scores(history)
    state, shardings = initial_state(network, tx, config, mesh, learnt)
    if config.data.adaptive.most_often > 1.0:
        state, shardings = with_missed(state, shardings, prepared.splits["train"], mesh)
    with checkpoints.open_checkpoints(workdir, scores) as checkpointer:
        state, unlogged = resumed(checkpointer, state, shardings)
        loop = Loop(config, workdir, mesh, network, prepared, checkpointer, history, scores)
        programs = programs or make_programs(network, config, mesh, shardings)
        loop.to_the_end(state, unlogged, programs)
    return programs


def make_network(config: ConfigDict) -> SegmentationNetwork:
    """Return the network of this config, whole: it is pruned after training."""
    network = SegmentationNetwork(**config.model, localisation_frozen=is_frozen(config))
    return network.clone(prune=0)


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Refuse a batch that the devices cannot share equally."""
    devices = mesh.size
    if batch_size % devices:
        raise UserError(
            f"config.train.batch_size is {batch_size}: it must be a multiple of the "
            f"{devices} devices"
        )


def initial_state(
    network: SegmentationNetwork,
    tx: optax.GradientTransformation,
    config: ConfigDict,
    mesh: Mesh,
    learnt: Variables,
) -> tuple[TrainState, TrainState]:
    """Make the state of step 0 on the devices, each array born where it will stay."""
    variables = with_learnt(initial_variables(network, image_shape(config), config.seed), learnt)
    shapes = state_shapes(variables, tx, config)
    shardings = state_sharding(mesh, shapes)
    placed = place_state(variables, jax.tree.map(lambda _: replicated(mesh), variables))
    create = jax.jit(lambda tree: create_state(tree, tx), out_shardings=shardings)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    say(f"network: {parameters / 1e6:.2f} million parameters on {mesh.size} device(s)")
    return create(placed), shardings


def with_missed(
    state: TrainState, shardings: TrainState, split: Split, mesh: Mesh
) -> tuple[TrainState, TrainState]:
    """Return the state of step 0 with what is missed of each part of the split, on every device."""
    first = all_missed(len({row.group for row in split.rows}))
    everywhere = jax.tree.map(lambda _: replicated(mesh), first)
    placed = place_state(first, everywhere)
    return state.replace(missed=placed), shardings.replace(missed=everywhere)


def state_shapes(
    variables: Variables, tx: optax.GradientTransformation, config: ConfigDict
) -> TrainState:
    """Return the form of the state that begins with these variables, or with their forms.

    Raises:
        UserError: `config.balance.shared` names no parameters.
    """
    try:
        return jax.eval_shape(lambda tree: create_state(tree, tx), variables)
    except ValueError as error:
        raise UserError(f"config.balance.shared is {config.balance.shared!r}: {error}") from error


def resumed(
    checkpointer: checkpoints.Checkpointer, state: TrainState, shardings: TrainState
) -> tuple[TrainState, list[dict[str, float]]]:
    """Return the newest whole checkpoint's state and unlogged numbers, or the initial state."""
    wanted = to_checkpointables(state), to_checkpointables(shardings)
    restored = checkpoints.restore_newest(checkpointer, *wanted)
    if restored is None:
        return state, []
    state = from_checkpointables(restored.trees)
    say(f"going on from step {int(jax.device_get(state.step))}")
    return state, restored.unlogged
