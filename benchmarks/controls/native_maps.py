"""One pass of a network over a split that hands out its probability maps, image by image."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32, UInt8
from ml_collections import ConfigDict

from defect_jax.data.geometry.framing import Letterbox
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.geometry.unletterbox import unletterbox_classes
from defect_jax.data.pipeline.batches import canvas_px, evaluation_batches, evaluation_steps
from defect_jax.data.prepare.prepared import Split
from defect_jax.distributed.sharding import replicated, to_global
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import make_probabilities
from defect_jax.runtime import signals
from defect_jax.runtime.compilation import Peeked, compile_ahead
from defect_jax.runtime.compiler_options import compiler_options
from defect_jax.runtime.console import track
from defect_jax.runtime.errors import UserError

SEEN = ("image", "placement", "native_size")  # of a batch, by the network


class NativeMaps(NamedTuple):
    """An image at its native size: what the network says of it, and what is true."""

    maps: Float32[np.ndarray, "classes h w"]  # probability of each class of defect
    label: float | None  # probability of the label; None without classification head
    truth: UInt8[np.ndarray, "h w"]  # class of each pixel, 0 = background
    region_weight: Float32[np.ndarray, "h w"]
    regions: int


def native_maps(
    network: SegmentationNetwork, ema: Variables, split: Split, config: ConfigDict, mesh: Mesh
) -> Iterator[NativeMaps]:
    """Yield every image of the split once, in the order of its rows; hold one batch at a time.

    Args:
        ema: averaged weights, on the devices.
        config: resolved, of the network.

    Raises:
        signals.Stopped: a signal came.
        UserError: the network takes tiles.
    """
    spec, batch_size = InputSpec.of(config), config.train.batch_size
    if not isinstance(spec.framing, Letterbox):
        raise UserError("config.data.tile_overlap_px: must be 0 where a row is a control")
    of_frames, canvas = (
        make_probabilities(network, config.data_info, config.evaluation),
        canvas_px(split),
    )

    def step(ema, batch):
        predicted = of_frames(ema, batch["image"])
        place = batch["placement"], batch["native_size"], canvas
        return unletterbox_classes(predicted.mask, *place), predicted.label

    predict = jax.jit(step, out_shardings=replicated(mesh), compiler_options=compiler_options())
    place, compiled = to_global(mesh), None
    due = 0
    batches = Peeked(evaluation_batches(split, spec, config.data, batch_size, lambda batch: batch))
    with contextlib.closing(batches):
        for batch in track(batches, "predicting", evaluation_steps(split, batch_size)):
            signals.check_preemption()
            seen = place({name: batch[name] for name in SEEN})
            compiled = compiled or compile_ahead("prediction", predict, ema, seen)
            maps, labels = jax.device_get(compiled(ema, seen))
            for k, row in enumerate(batch["row"]):
                if row < 0:  # fills the last batch up
                    continue
                if row != due:
                    raise AssertionError(f"row {row} came in place of {due}")
                due += 1
                yield _cropped(batch, k, maps[k], None if labels is None else float(labels[k]))
    if due != len(split.rows):
        raise AssertionError(f"{due} images came, the split has {len(split.rows)}")


def _cropped(
    batch: dict[str, np.ndarray],
    k: int,
    maps: Float32[np.ndarray, "classes height width"],
    label: float | None,
) -> NativeMaps:
    """Return the k-th image without the canvas around it, in memory of its own."""
    height, width = batch["native_size"][k]
    planes = [batch[name][k][:height, :width].copy() for name in ("native_mask", "region_weight")]
    return NativeMaps(maps[:, :height, :width].copy(), label, *planes, int(batch["regions"][k]))
