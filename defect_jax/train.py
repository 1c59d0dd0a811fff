"""The story of a run: data, network, state, steps, validation, checkpoints, final evaluation."""

import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax import checkpoints, configuration, interrupts
from defect_jax.balance_choice import measured_every_steps
from defect_jax.compilation import Peeked, compile_all_ahead
from defect_jax.data.pipeline import training_batches
from defect_jax.data.prepare import Prepared, prepare
from defect_jax.errors import UserError
from defect_jax.evaluate import evaluate
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.optimizer import make_tx
from defect_jax.progress import say, track
from defect_jax.scoring import Scorer
from defect_jax.sharding import make_mesh, place_state, replicated, state_sharding, to_global
from defect_jax.steps import TrainState, create_state, make_train_step
from defect_jax.training_log import TrainingLog
from defect_jax.validation import refuse_empty_promise, validation_numbers
from defect_jax.writers import MetricsWriter

# Selection of a checkpoint saved on a signal: below that of every validated one.
NOT_VALIDATED = -1.0
STEP, MEASURING_STEP = "training step", "training step that measures gradients"
Step = Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]


def train(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains from the newest whole checkpoint, or from the start, and evaluates the best one.

    Raises:
        UserError: something the user can mend, see the message.
        SystemExit: 128 + signal, after SIGTERM or SIGINT, with a checkpoint saved.
    """
    configuration.check(config)
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
    check_batch_size(config, mesh)
    network, tx = SegmentationNetwork(**config.model), make_tx(config)
    prepared = prepare(config.data)
    refuse_empty_promise(config, prepared.splits["val"])
    config = configuration.resolve(config, prepared)
    configuration.claim(workdir, config)
    state, shardings = initial_state(network, tx, config, mesh)
    with checkpoints.open_checkpoints(workdir) as checkpointer, interrupts.noticed() as came:
        state = resumed(checkpointer, state, shardings)
        run = Run(config, workdir, mesh, network, prepared, checkpointer)
        run.to_the_end(state, make_steps(network, tx, config, mesh, shardings), came)
    evaluate(config, workdir)


def check_batch_size(config: ConfigDict, mesh: Mesh) -> None:
    """Refuses a batch that the devices cannot share equally."""
    devices = mesh.size
    if config.train.batch_size % devices:
        raise UserError(
            f"config.train.batch_size is {config.train.batch_size}: it must be a multiple of the "
            f"{devices} devices"
        )


def initial_state(
    network: SegmentationNetwork,
    tx: optax.GradientTransformation,
    config: ConfigDict,
    mesh: Mesh,
) -> tuple[TrainState, Any]:
    """Makes the state of step 0 on the devices, each array born where it will stay."""
    shape = (1, *config.data.size, config.picture.channels)
    variables = initial_variables(network, shape, config.seed)
    try:
        shapes = jax.eval_shape(lambda tree: create_state(tree, tx), variables)
    except ValueError as error:
        raise UserError(f"config.balance.shared is {config.balance.shared!r}: {error}") from error
    shardings = state_sharding(mesh, shapes)
    placed = place_state(variables, jax.tree.map(lambda _: replicated(mesh), variables))
    create = jax.jit(lambda tree: create_state(tree, tx), out_shardings=shardings)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    say(f"network: {parameters / 1e6:.2f} million parameters on {mesh.size} device(s)")
    return create(placed), shardings


def resumed(checkpointer: Any, state: TrainState, shardings: Any) -> TrainState:
    """Returns the newest checkpoint's state, or the initial one when there is none."""
    newest = checkpoints.newest_step(checkpointer)
    if newest is None:
        return state
    say(f"going on from step {newest}")
    return checkpoints.restore(checkpointer, newest, state, shardings)


def make_steps(
    network: SegmentationNetwork,
    tx: optax.GradientTransformation,
    config: ConfigDict,
    mesh: Mesh,
    shardings: Any,
) -> dict[str, Step]:
    """Jits the training step that measures gradient norms, and where needed the one that does not.

    The state stays where it is, its buffers are used again.
    """
    placement = {"donate_argnums": 0, "out_shardings": (shardings, replicated(mesh))}
    measuring = {MEASURING_STEP: True} | ({STEP: False} if measured_every_steps(config) > 1 else {})
    return {
        name: jax.jit(make_train_step(network, tx, config, measure), **placement)
        for name, measure in measuring.items()
    }


class Run:
    """The loop over steps and what hangs off it: the log, validation and checkpoints."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: pathlib.Path,
        mesh: Mesh,
        network: SegmentationNetwork,
        prepared: Prepared,
        checkpointer: Any,
    ):
        self.config, self.workdir, self.mesh = config, workdir, mesh
        self.train_split, self.val_split = prepared.splits["train"], prepared.splits["val"]
        self.checkpointer = checkpointer
        self.score_val = Scorer(network, self.val_split, config, mesh)

    def to_the_end(
        self, state: TrainState, step_fns: dict[str, Step], came: Callable[[], int | None]
    ) -> None:
        """Trains to `config.train.steps`; the order is step, log, validate, save."""
        first, last = int(jax.device_get(state.step)), self.config.train.steps
        if first >= last:
            return
        place = to_global(self.mesh)
        batches = Peeked(training_batches(self.train_split, self.config, place, first))
        step_fns = compile_all_ahead(step_fns, state, batches.first)
        every_steps = measured_every_steps(self.config)
        with MetricsWriter(self.workdir, first) as writer, jax.transfer_guard("disallow"):
            log = TrainingLog(writer, self.config, first)
            for step in track(range(first + 1, last + 1), "training", last - first):
                step_fn = step_fns[STEP if (step - 1) % every_steps else MEASURING_STEP]
                state, metrics = step_fn(state, next(batches))
                log.note(step, metrics)
                number = came()  # asked once: a signal between two looks would leave unsaved
                if step % self.config.train.eval_every_steps == 0 or step == last:
                    log.flush()
                    checkpoints.save(self.checkpointer, state, self.validate(state, step, writer))
                elif number is not None:
                    log.flush()
                    checkpoints.save(self.checkpointer, state, NOT_VALIDATED)
                if number is not None:
                    say(f"signal {number}: saved step {step}; the same command goes on")
                    raise SystemExit(128 + number)

    def validate(self, state: TrainState, step: int, writer: MetricsWriter) -> float:
        """Scores the validation split and returns the score by which checkpoints are compared."""
        start = time.monotonic()
        scores = self.score_val(state.average, mask=0.5, pixel=0.5, area_px=1)
        numbers = validation_numbers(self.val_split, scores, self.config)
        writer.write(step, "val", numbers)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items() if value)
        say(f"step {step} val: {shown} ({time.monotonic() - start:.1f} s)")
        return numbers["selection"]
