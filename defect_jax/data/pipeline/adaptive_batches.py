"""Batches whose order follows what is still missed: the stream begins anew at each stretch.

What is read ahead never depends on what is known only later.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from defect_jax.data.pipeline.adaptive import AdaptivePlan, NameParts, parts_of
from defect_jax.data.pipeline.batches import Batch, batches_of, loading, sampling_plan
from defect_jax.data.prepare.prepared import Split


def adaptive_batches(
    split: Split,
    config: ConfigDict,
    rows: Sequence[int],
    to_device: Callable[[Batch], Batch],
    first_step: int,
    missed: Callable[[], Float[np.ndarray, "parts 2"]],
) -> Iterator[Batch]:
    """Yield what `training_batches` does, with the number of each element's part, by what is
    missed.

    Args:
        missed: returns what was missed when the stretch began that the next step is in; called
            when its first batch is asked for.

    Raises:
        UserError: as `training_batches`.
    """
    adaptive, batch_size = config.data.adaptive, config.train.batch_size
    parts = parts_of(split.rows)
    load = NameParts(loading(split, config), parts)
    for step in _stretches(first_step, config.train.steps, adaptive.every_steps):
        stretch = step.start // adaptive.every_steps * adaptive.every_steps
        # Whole, even where the run ends within it: it may be given more steps.
        positions = range(stretch * batch_size, (stretch + adaptive.every_steps) * batch_size)
        plan = sampling_plan(split, config, positions.stop)
        plan = AdaptivePlan(plan, parts, missed(), adaptive.most_often, positions)
        steps = slice(step.start, step.stop)
        with contextlib.closing(batches_of(plan, load, config, rows, to_device, steps)) as batches:
            yield from batches


def _stretches(first_step: int, last_step: int, every_steps: int) -> Iterator[range]:
    """Yield the steps of each stretch that are left.

    >>> list(_stretches(4, 8, 3))
    [range(4, 6), range(6, 8)]
    """
    while first_step < last_step:
        end = min((first_step // every_steps + 1) * every_steps, last_step)
        yield range(first_step, end)
        first_step = end
