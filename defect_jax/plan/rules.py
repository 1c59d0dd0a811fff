"""From the facts of data and machine to the fields that a config leaves open, each with a reason.

docs/plan.md has the data that each number here comes from.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from defect_jax.plan.facts import DataFacts
from defect_jax.plan.frames import chosen_frame
from defect_jax.plan.machine import MachineFacts
from defect_jax.plan.scales import LARGE, SMALL, Scale

MOST_BATCH, LEAST_BATCH = 32, 8
LOGS_AN_EVALUATION = 12
LEAST_STEPS, MOST_STEPS = 100, 4000
START_S = 75.0  # imports, reading, compilation and the report
EVALUATION_SHARE = 0.35  # time of a pixel in evaluation, over that in a training step
METRICS_SHARE = 0.25  # the same of a pixel of the image at its own size, for maps and metrics
FLIPPED = 4  # the mirror images of each, with evaluation.flips
PASSES = 2.5  # through the images of val and test: validations, thresholds, test; and the report
FILLED = 0.8  # of the free memory
LEAST_A_DEVICE = 4  # images of an accelerator


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
    size = given.get("data.size", frame.size)
    batch = chosen_batch(math.prod(size), scale, machine)
    yield batch
    overlap_px = given.get("data.tile_overlap_px", frame.overlap_px)
    evaluated_px = evaluated_image_px(data, size, overlap_px)
    evaluated_px *= FLIPPED if given.get("evaluation.flips") else 1
    step_px = math.prod(size) * given.get("train.batch_size", batch.value)
    steps = chosen_steps(data, machine, minutes, evaluated_px / 1e6, step_px / 1e6)
    yield steps
    length = given.get("train.steps", steps.value)
    warmup_steps = max(1, min(scale.warmup_steps, length // 4))
    yield Choice("optimizer.warmup_steps", warmup_steps, "follows train.steps")
    yield from intervals(length)


def chosen_batch(frame_px: int, scale: Scale, machine: MachineFacts) -> Choice:
    """Return as many images as make a step of the usual size, as far as they fit into memory."""
    on_cpu, devices = machine.step_s_per_mpx is not None, machine.devices
    batch = round(scale.step_px / frame_px / LEAST_BATCH) * LEAST_BATCH
    batch = min(MOST_BATCH, max(LEAST_BATCH, batch))
    batch = batch if on_cpu else max(batch, LEAST_A_DEVICE * devices)
    batch = -(-batch // devices) * devices
    reason = f"{batch * frame_px / 1e6:.2f} million pixels a step"
    reason += f", about {batch * frame_px * scale.bytes_a_px / 1e9:.1f} GB of memory"
    fits = max(1, int(FILLED * machine.free_gb * 1e9 / (frame_px * scale.bytes_a_px))) * devices
    if fits < batch:
        batch, reason = fits, f"what fits into {machine.free_gb:.1f} GB of memory"
    return Choice("train.batch_size", batch, reason)


def evaluated_image_px(data: DataFacts, size: Sequence[int], overlap_px: int) -> int:
    """Return the pixels that the network evaluates of a median image: a frame, or its tiles.

    >>> data = DataFacts(12, 6, 12, 6, 8, 3000, 4000, 1.0, 10.0, 20.0, 6)
    >>> evaluated_image_px(data, (256, 256), 0), evaluated_image_px(data, (256, 256), 64)
    (65536, 22020096)
    """
    if not overlap_px:
        return math.prod(size)
    sides = zip((data.height, data.width), size, strict=True)
    tiles = [1 + math.ceil(max(0, side - tile) / (tile - overlap_px)) for side, tile in sides]
    return math.prod(tiles) * math.prod(size)


def chosen_steps(
    data: DataFacts, machine: MachineFacts, minutes: float, evaluated_mpx: float, step_mpx: float
) -> Choice:
    """Return the steps that fit into the minutes.

    Args:
        evaluated_mpx: million pixels that the network evaluates of each image.
        step_mpx: million pixels of a training step.
    """
    if machine.step_s_per_mpx is None:
        return Choice("train.steps", MOST_STEPS, "the usual length on an accelerator")
    own_mpx = data.height * data.width / 1e6
    weighted_mpx = EVALUATION_SHARE * evaluated_mpx + METRICS_SHARE * own_mpx
    evaluation_s = PASSES * data.evaluated * machine.step_s_per_mpx * weighted_mpx
    left_s = 60.0 * minutes - START_S - evaluation_s
    step_s = machine.step_s_per_mpx * step_mpx
    steps = min(MOST_STEPS, max(LEAST_STEPS, int(left_s / step_s) // 10 * 10))
    whole = (60.0 * minutes - left_s + steps * step_s) / 60.0
    fewest = f": the fewest that teach anything, more than the {minutes:g} minutes asked for"
    return Choice(
        "train.steps",
        steps,
        f"about {whole:.2g} minutes in all, at {step_s:.2g} s a step"
        + (fewest if steps == LEAST_STEPS and whole > minutes else ""),
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
