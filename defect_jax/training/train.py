"""The story of a run: data, network, state, what was saved, the loop, the final evaluation."""

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.data.pipeline.decoded_cache import with_decoded_cache
from defect_jax.data.prepare.data_info import data_info
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.prepare.prepared import Prepared
from defect_jax.distributed import processes
from defect_jax.distributed.sharding import make_mesh, place_state, replicated, state_sharding
from defect_jax.evaluation.evaluate import evaluate
from defect_jax.evaluation.validation import refuse_empty_promise
from defect_jax.models.initialise import Variables, initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.plan.plan import Plan, filled_as_before, filled_in, is_open, make_plan
from defect_jax.runtime.console import own_command, say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath, exists
from defect_jax.training.loop import Loop
from defect_jax.training.optimizer import make_tx
from defect_jax.training.pretrained import pretrained_encoder
from defect_jax.training.programs import make_programs
from defect_jax.training.stages import (
    FIRST_STAGE,
    first_stage,
    has_first_stage,
    is_frozen,
    with_learnt,
)
from defect_jax.training.steps import (
    TrainState,
    create_state,
    from_checkpointables,
    to_checkpointables,
)
from defect_jax.workdir import checkpoints, kept_split, locks, run_config
from defect_jax.workdir.best_weights import (
    read_history,
    restore_best,
    selection_scores,
)
from defect_jax.workdir.metrics_writer import write_outcome
from defect_jax.workdir.trackers import refuse_missing
from defect_jax.workdir.trained_data import data_to_go_on_with
from defect_jax.workdir.weight_shapes import image_shape


def train(config: ConfigDict, workdir: AnyPath, must_resume: bool = False) -> None:
    """Train from the newest whole checkpoint, or from the start, and evaluate the best one.

    Where localisation learns first, its stage is a run of its own before.

    Args:
        must_resume: refuse to begin anew.

    Raises:
        UserError: something the user can mend, see the message.
        SystemExit: 128 + signal, after SIGTERM, SIGINT or SIGHUP, with a checkpoint saved.
    """
    run_config.check_values(config)
    refuse_missing(config.track)
    with locks.training(workdir):
        train_alone(config, workdir, must_resume)


def train_alone(config: ConfigDict, workdir: AnyPath, must_resume: bool) -> None:
    """Do what `train` does, while nobody else trains in the workdir."""
    begun = processes.from_first(lambda: checkpoints.exist(workdir))
    first = workdir / FIRST_STAGE
    saved = begun or processes.from_first(lambda: checkpoints.exist(first))
    if must_resume and not saved:
        raise UserError(f"--resume=must: {workdir} holds no checkpoint to go on from")
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
    if not is_open(config):
        refuse_unbuildable(config, mesh)  # before data are read
    prepared = data_to_train_on(config, workdir, saved)
    config, plan = planned(config, workdir, prepared, saved)
    config, prepared = agreed(config, prepared, mesh)
    if processes.is_first():
        claim(config, workdir, prepared, saved)
        if plan is not None:
            plan.write(workdir)
    learnt = {} if begun else pretrained_encoder(config, workdir)
    if has_first_stage(config) and not begun:
        learnt = with_learnt(learnt, learn_first_stage(config, first, prepared, mesh))
    fit(config, workdir, prepared, mesh, learnt)
    judge(config, workdir)


def data_to_train_on(config: ConfigDict, workdir: AnyPath, saved: bool) -> Prepared:
    """Prepare the data; where the run has saved something, with the split that it began with.

    Raises:
        UserError: the workdir's run has another config or other data.
    """
    path = workdir / "config.json"
    kept = processes.from_first(
        lambda: run_config.load(workdir).to_dict() if saved and exists(path) else None
    )
    if kept is None:
        return prepare(config.data)
    kept = ConfigDict(kept)
    run_config.refuse_differences(run_config.lengthened(kept, config), config, path)
    if run_config.lengthened(kept, config) is not kept:
        say(f"{kept.train.steps} steps become {config.train.steps}: the learning rate rises again")
    return data_to_go_on_with(config, workdir, kept["data_info"]["fingerprint"])


def planned(
    config: ConfigDict, workdir: AnyPath, prepared: Prepared, saved: bool
) -> tuple[ConfigDict, Plan | None]:
    """Fill in what the config leaves open: by a plan, or as the plan of the run once did.

    Returns:
        The config, and the plan if one was made.
    """
    if not is_open(config):
        return config, None
    if saved:
        kept = processes.from_first(lambda: run_config.load(workdir).to_dict())
        return filled_as_before(config, ConfigDict(kept)), None
    plan = make_plan(config, prepared)
    for line in plan.lines():
        say(line)
    config = filled_in(config, plan)
    run_config.check_values(config)
    return config, plan


def agreed(config: ConfigDict, prepared: Prepared, mesh: Mesh) -> tuple[ConfigDict, Prepared]:
    """Return the config with the facts of the data, and the data as they are read.

    Raises:
        UserError: something cannot be built, or is not the same on all hosts.
    """
    refuse_unbuildable(config, mesh)
    prepared = with_decoded_cache(prepared, config.data, ("train", "val"))
    refuse_empty_promise(config, prepared.splits["val"])
    config = run_config.resolve(config, data_info(prepared, config.model.num_classes))
    decisive = [run_config.decisive(config), kept_split.rows_of(prepared)]
    processes.refuse_disagreement("the config or the data", decisive)
    return config, prepared


def refuse_unbuildable(config: ConfigDict, mesh: Mesh) -> None:
    """Refuse a batch, a network or an optimizer that cannot be made.

    Raises:
        UserError: naming the field.
    """
    check_batch_size(config.train.batch_size, mesh)
    make_network(config), make_tx(config)


def claim(config: ConfigDict, workdir: AnyPath, prepared: Prepared, saved: bool) -> None:
    """Write a run's config and split into its workdir; over those of a run that saved nothing.

    Raises:
        UserError: the workdir's run has another config.
    """
    if not saved:
        run_config.renew(workdir, config)
    run_config.claim(workdir, config)
    kept_split.keep(workdir, prepared, anew=not saved)


def learn_first_stage(
    config: ConfigDict, workdir: AnyPath, prepared: Prepared, mesh: Mesh
) -> Variables:
    """Train localisation alone and return the variables of its best checkpoint, on the host."""
    stage = first_stage(config)
    say(f"stage one: localisation, {stage.train.steps} steps, in {workdir}")
    if processes.is_first():
        claim(stage, workdir, prepared, checkpoints.exist(workdir))
    fit(stage, workdir, prepared, mesh, pretrained_encoder(stage, workdir))
    scores = selection_scores(processes.from_first(lambda: read_history(workdir)))
    step, ema = restore_best(make_network(stage), image_shape(stage), workdir, scores, mesh)
    say(f"stage two begins with localisation of step {step}")
    return jax.device_get(jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(ema))


def fit(
    config: ConfigDict, workdir: AnyPath, prepared: Prepared, mesh: Mesh, learnt: Variables
) -> None:
    """Train to the last step, from the newest whole checkpoint of the workdir or from the start.

    Args:
        learnt: variables to start with instead of the initial ones of the same names.
    """
    network, tx = make_network(config), make_tx(config)
    history = processes.from_first(lambda: read_history(workdir))
    scores = selection_scores(history)
    state, shardings = initial_state(network, tx, config, mesh, learnt)
    with checkpoints.open_checkpoints(workdir, scores) as checkpointer:
        state, unlogged = resumed(checkpointer, state, shardings)
        loop = Loop(config, workdir, mesh, network, prepared, checkpointer, history, scores)
        loop.to_the_end(state, unlogged, make_programs(network, config, mesh, shardings))


def judge(config: ConfigDict, workdir: AnyPath) -> None:
    """Evaluate the best checkpoint on the test split, and say what can be done with it next."""
    metrics = evaluate(config, workdir)
    if metrics is None:
        return
    write_outcome(workdir, config.train.steps, run_config.without_places(config), metrics)
    for arguments in ("predict --input=IMAGES --output=DECIDED", "export --output=EXPORTED"):
        mode, *rest = arguments.split()
        say(" ".join(["next:", own_command(), mode, f"--workdir={workdir}", *rest]))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Refuse a batch that the devices cannot share equally."""
    devices = mesh.size
    if batch_size % devices:
        raise UserError(
            f"config.train.batch_size is {batch_size}: it must be a multiple of the "
            f"{devices} devices"
        )


def make_network(config: ConfigDict) -> SegmentationNetwork:
    """Return the network of this config, whole: it is pruned after training."""
    network = SegmentationNetwork(**config.model, localisation_frozen=is_frozen(config))
    return network.clone(prune=0)


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
