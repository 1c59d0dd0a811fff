"""Test metrics of an ONNX file itself: what it decides on every image of a split."""

from collections.abc import Iterable

import jax
import numpy as np
import onnx
import onnxruntime
from jaxtyping import Bool, Float32, UInt, UInt8

from defect_jax.data.pipeline.batches import canvas_px
from defect_jax.data.prepare.prepared import Split, SplitRow
from defect_jax.decision.apply import Decision
from defect_jax.metrics.histogram import PixelHistogram
from defect_jax.metrics.images import ImageRow, image_iou, image_metrics

MAP, HIGHEST = "map", "mask_score"  # what is read beside the outputs, and what is its maximum


def of_file(
    data: bytes,
    split: Split,
    images: Iterable[tuple[UInt[np.ndarray, "1 h w c"], UInt8[np.ndarray, "h w"]]],
) -> dict[str, float | None]:
    """Return `image_metrics` and the `pixel_ap` of a file, as `metrics.json` has them of a network.

    Args:
        images: every image of the split, in the order of its rows, and the class of its pixels.
    """
    model = onnx.load_from_string(data)
    names = [*Decision._fields, show_map(model)]
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    histogram, add, canvas = (
        PixelHistogram.empty(),
        jax.jit(PixelHistogram.update),
        canvas_px(split),
    )
    rows = []
    for row, (image, mask) in zip(split.rows, images, strict=True):
        outputs = dict(
            zip((*Decision._fields, MAP), session.run(names, {"image": image}), strict=True)
        )
        rows.append(judged(row, outputs, mask > 0))
        histogram = add(histogram, *on_canvas(canvas, outputs[MAP][0], mask > 0))
    return image_metrics(rows) | {"pixel_ap": histogram.compute()["pixel_ap"]}


def show_map(model: onnx.ModelProto) -> str:
    """Make the map of probabilities an output, too, and return its name."""
    makers = {name: node for node in model.graph.node for name in node.output}
    maker = makers[HIGHEST]
    while maker.op_type != "ReduceMax":
        maker = makers[maker.input[0]]
    kind = onnx.TensorProto.FLOAT
    model.graph.output.append(onnx.helper.make_tensor_value_info(maker.input[0], kind, None))
    return maker.input[0]


def judged(
    row: SplitRow, outputs: dict[str, np.ndarray], truth: Bool[np.ndarray, "h w"]
) -> ImageRow:
    """Return a row of predictions.csv, from what the file says of an image."""
    decided = outputs["mask"][0] > 0
    counts = [int(np.count_nonzero(each)) for each in (decided & truth, truth, decided)]
    return ImageRow(
        id=row.id,
        group=row.group,
        label=row.label,
        score=float(outputs["score"][0]),
        mask_score=float(outputs[HIGHEST][0]),
        decision=int(outputs["score_rejected"][0]),
        mask_decision=int(outputs["mask_rejected"][0]),
        iou=image_iou(*counts),
        intersection_px=counts[0],
        true_px=counts[1],
        predicted_px=counts[2],
        probability=float(outputs["probability"][0]),
        rejected=int(outputs["rejected"][0]),
    )


def on_canvas(
    canvas_px: tuple[int, int],
    probability: Float32[np.ndarray, "h w"],
    truth: Bool[np.ndarray, "h w"],
) -> tuple[np.ndarray, ...]:
    """Return the arguments of `PixelHistogram.update`, of one shape; regions are not looked at."""
    rest = [(0, side - own) for side, own in zip(canvas_px, truth.shape, strict=True)]
    planes = probability, truth, np.ones(truth.shape, bool), np.zeros(truth.shape, np.float32)
    return *(np.pad(plane, rest)[None] for plane in planes), np.zeros(1, np.int32)
