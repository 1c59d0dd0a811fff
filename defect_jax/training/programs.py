"""The programs of the training steps: gradients, measured or not, and the update that they share.

One program for each kind of step would compile the update twice: of a network with a pretrained
encoder, whose arrays have some sixty shapes, a third of the compiler's work.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.data.pipeline.batches import Batch
from defect_jax.distributed.sharding import replicated
from defect_jax.models.encoders import PLAIN
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime.compilation import Program, compile_all_ahead
from defect_jax.runtime.compiler_options import training_options
from defect_jax.runtime.program_memory import Advice
from defect_jax.training.optimizer import measured_every_steps
from defect_jax.training.steps import (
    BackwardPass,
    Metrics,
    TrainState,
    make_gradients,
    make_update,
)
from defect_jax.training.tasks import task_names

STEP, MEASURING_STEP = "training step", "training step that measures gradients"
UPDATE = "training step's update"
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


@dataclass(frozen=True)
class StepPrograms:
    """What the training steps of a config are made of, jitted.

    Attributes:
        gradients: of each step, by its name.
        update: of all steps.
        losses: task -> form of its loss.
        ready: what was compiled, by the form of state and batch: networks of one config share it.
    """

    gradients: dict[str, Any]
    update: Any
    losses: dict[str, jax.ShapeDtypeStruct]
    ready: dict[Any, dict[str, Step]] = field(default_factory=dict)

    def to_compile(self, state: TrainState, batch: Batch) -> dict[str, Program]:
        """Return name -> a jitted function and its arguments, the quickest to trace first."""
        start = state.params, state.opt_state[0], state.batch_stats
        found = BackwardPass(*start, self.losses, state.missed)
        return {
            UPDATE: (self.update, (state, found)),
            **{name: (jitted, (state, batch)) for name, jitted in self.gradients.items()},
        }

    def compiled(self, state: TrainState, batch: Batch, if_too_large: Advice) -> dict[str, Step]:
        """Compile all for this state and batch, unless that was done, and return name -> step.

        Raises:
            as `compile_all_ahead`.
        """
        form = _form((state, batch))
        if form not in self.ready:
            made = compile_all_ahead(self.to_compile(state, batch), if_too_large=if_too_large)
            steps = {name: partial(_step, made[name], made[UPDATE]) for name in self.gradients}
            self.ready[form] = steps
        return self.ready[form]


def _form(tree: Any) -> tuple[Any, ...]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, *((leaf.shape, leaf.dtype, leaf.sharding) for leaf in leaves)


def _step(
    gradients: Callable[..., BackwardPass],
    update: Callable[..., tuple[TrainState, Metrics]],
    state: TrainState,
    batch: Batch,
) -> tuple[TrainState, Metrics]:
    return update(state, gradients(state, batch))


def make_programs(
    network: SegmentationNetwork, config: ConfigDict, mesh: Mesh, shardings: TrainState
) -> StepPrograms:
    """Jit the step that measures gradient norms and the one that does not, where there are any.

    The state stays where it is, its buffers are used again.
    """
    whole = replicated(mesh)
    losses = {
        task: jax.ShapeDtypeStruct((), "float32", sharding=whole) for task in task_names(config)
    }
    each = dict.fromkeys(losses, whole)
    start = shardings.params, shardings.opt_state[0], shardings.batch_stats
    found = BackwardPass(*start, each, shardings.missed)
    options = training_options(network.widths, network.encoder != PLAIN)
    every_steps = measured_every_steps(config.balance)
    measuring = {} if every_steps is None else {MEASURING_STEP: True}
    if every_steps != 1:
        measuring[STEP] = False
    gradients = {
        name: jax.jit(
            make_gradients(network, config, measure), out_shardings=found, compiler_options=options
        )
        for name, measure in measuring.items()
    }
    update = jax.jit(
        make_update(config),
        donate_argnums=0,
        out_shardings=(shardings, whole),
        compiler_options=options,
    )
    return StepPrograms(gradients, update, losses)
