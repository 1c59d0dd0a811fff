"""From the facts of data and machine to the fields that a config leaves open, each with a reason.

docs/plan.md has the data that each number here comes from.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from defect_jax.plan.facts import DataFacts
from defect_jax.plan.frames import chosen_frame
from defect_jax.plan.machine import MachineFacts
from defect_jax.plan.scales import LARGE, SMALL, Scale

MOST_BATCH, LEAST_BATCH = 32, 8
LOGS_AN_EVALUATION = 12
LEAST_STEPS, MOST_STEPS = 100, 4000
START_S = 75.0  # imports, reading, compilation and the report
EVALUATION_SHARE = 0.35  # time of an image in evaluation, over that in a training step
PASSES = 3.5  # through the evaluated images of a whole run: validations, thresholds, test
BYTES_A_PX = 5_000  # of a training step of the small network


class Choice(NamedTuple):
    """The value of a field, and why."""

    field: str
    value: Any
    reason: str


def choices(
    data: DataFacts, machine: MachineFacts, minutes: float, given: Mapping[str, Any]
) -> Iterator[Choice]:
    """Yield a choice for every field that a plan may fill; later ones rest on the earlier.

    Args:
        minutes: that a run on a CPU may take.
        given: what a person has chosen, on which the rest is then built.
    """
    scale = SMALL if machine.step_s_per_mpx is not None else LARGE
    where = f"{machine.devices} {machine.kind}" + ("" if machine.devices == 1 else "s")
    for field, value in scale.network.items():
        yield Choice(field, value, f"the network that {where} can train")
    frame = chosen_frame(data, scale)
    yield Choice("data.size", list(frame.size), frame.reason)
    whole = frame.reason if frame.overlap_px else "images enter whole"
    yield Choice("data.tile_overlap_px", frame.overlap_px, whole)
    uneven = f"some images are {data.uneven:.2g} times longer on one side than the median one"
    yield Choice("data.max_stretch", frame.stretch, uneven if frame.stretch > 1.0 else whole)
    frame_px = math.prod(given.get("data.size", frame.size))
    batch = chosen_batch(frame_px, scale, machine)
    yield batch
    step_px = frame_px * given.get("train.batch_size", batch.value)
    steps = chosen_steps(data, machine, minutes, frame_px / 1e6, step_px / 1e6)
    yield steps
    yield from intervals(given.get("train.steps", steps.value))


def chosen_batch(frame_px: int, scale: Scale, machine: MachineFacts) -> Choice:
    """Return as many images as make a step of the usual size, and fit into memory.

    On accelerators what fits is known when the step has been compiled, and said then.
    """
    batch = round(scale.step_px / frame_px / LEAST_BATCH) * LEAST_BATCH
    batch = min(MOST_BATCH, max(LEAST_BATCH, batch))
    reason = f"{batch * frame_px / 1e6:.2f} million pixels a step"
    fits = int(machine.free_gb * 1e9 * 0.8 / (frame_px * BYTES_A_PX))
    if machine.step_s_per_mpx is not None and fits < batch:
        batch, reason = max(1, fits), f"what fits into {machine.free_gb:.1f} GB of memory"
    batch = -(-batch // machine.devices) * machine.devices
    return Choice("train.batch_size", batch, reason)


def chosen_steps(
    data: DataFacts, machine: MachineFacts, minutes: float, frame_mpx: float, step_mpx: float
) -> Choice:
    """Return the steps that fit into the minutes."""
    if machine.step_s_per_mpx is None:
        return Choice("train.steps", MOST_STEPS, "the usual length on an accelerator")
    evaluation_s = machine.step_s_per_mpx * frame_mpx * EVALUATION_SHARE * PASSES
    left_s = 60.0 * minutes - START_S - data.evaluated * evaluation_s
    step_s = machine.step_s_per_mpx * step_mpx
    steps = min(MOST_STEPS, max(LEAST_STEPS, int(left_s / step_s) // 10 * 10))
    return Choice(
        "train.steps", steps, f"{minutes:g} minutes in all, at about {step_s:.2g} s a step"
    )


def intervals(steps: int) -> Iterator[Choice]:
    """Yield how often a run of so many steps logs and validates.

    >>> [choice.value for choice in intervals(600)]
    [25, 300]
    """
    evaluations = 2 if steps >= 4 * LEAST_STEPS else 1
    every = -(-steps // (evaluations * LOGS_AN_EVALUATION))
    yield Choice("train.log_every_steps", every, "follows train.steps")
    yield Choice("train.eval_every_steps", every * LOGS_AN_EVALUATION, "follows train.steps")
