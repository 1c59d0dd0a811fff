"""model.int8.onnx: convolutions in eight bits, for processors that are faster at these."""

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from jaxtyping import UInt

from defect_jax.deploy import parity
from defect_jax.runtime.errors import UserError

FIELD = "--input"
CUTS = ("Relu", "Clip")  # ReLU and ReLU6: an unsigned scale that begins at 0 does what they do
KEEPS = (*CUTS, "Add", "Concat", "MaxPool", "Resize")  # of features they make features
Readers = Mapping[str, Sequence[onnx.NodeProto]]
Images = Iterable[UInt[np.ndarray, "1 h w c"]]


def quantised(model: bytes, images: Images) -> bytes:
    """Return the model with weights, and what goes into and comes out of convolutions, in eight
    bits.

    By onnxruntime's static quantiser: a scale a channel of the weights, and for each tensor the one
    that holds all it was on the images. All else, from the size rule to the thresholds, stays
    float32.

    Raises:
        UserError: there is no convolution that it could reach.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    whole = onnx.load_from_string(model)
    # To the quantiser: there is nothing left to fold, so say nothing about it.
    whole.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    names = nodes_of_blocks(whole.graph)
    with tempfile.TemporaryDirectory(prefix="defect_jax-int8-") as name:
        before, after = Path(name) / "float32.onnx", Path(name) / "int8.onnx"
        onnx.save(whole, before)
        quantize_static(
            before,
            after,
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", *CUTS],
            nodes_to_quantize=names,
            per_channel=True,
            # Processors without VNNI add two products in 16 bits: of weights of seven bits those
            # cannot overflow, so that the file decides alike everywhere. Unsigned ones of eight
            # cannot either, but onnxruntime 1.31 then takes three times as long as in float32.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        result = onnx.load(after)
    del result.metadata_props[:]
    return result.SerializeToString()


class _Reader:
    """Images as the quantiser takes them."""

    def __init__(self, images: Images):
        self._left = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next one; None behind the last."""
        image = next(self._left, None)
        return None if image is None else {"image": image}


def nodes_of_blocks(graph: onnx.GraphProto) -> list[str]:
    """Name the convolutions to write in eight bits, and the ReLUs that they then contain.

    Those of the blocks: they end in a ReLU or ReLU6, or have no bias because a norm or another
    convolution follows, or what they give goes into another convolution, as what the inverted
    residuals of a pretrained encoder end in. What else ends in a bias is read as it is, as logits
    or attention, and stays float32: in 256 steps a map of logits would have steps of a tenth.

    Raises:
        UserError: there are none, or some are in a loop, which the quantiser leaves out.
    """
    readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    features = _features(graph, readers)
    found = []
    for node in graph.node:
        if node.op_type == "Conv":
            cuts = [each for each in readers[node.output[0]] if each.op_type in CUTS]
            if cuts or len(node.input) == 2 or node.output[0] in features:
                found += [node.name, *(cut.name for cut in cuts)]
    if not found or any(_has_convolution(body) for body in _bodies(graph)):
        raise UserError(
            f"{FIELD}: this network cannot be written in eight bits, because its convolutions are "
            "in a loop over the image's tiles; export it without --input"
        )
    return found


def _features(graph: onnx.GraphProto, readers: Readers) -> set[str]:
    """Name what goes into a convolution, summed, joined, pooled or enlarged on its way."""
    features: set[str] = set()
    for node in reversed(graph.node):
        for name in node.output:
            if any(
                each.op_type == "Conv" or each.op_type in KEEPS and each.output[0] in features
                for each in readers[name]
            ):
                features.add(name)
    return features


def _bodies(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield attribute.g


def _has_convolution(graph: onnx.GraphProto) -> bool:
    return any(node.op_type == "Conv" for node in graph.node) or any(
        _has_convolution(body) for body in _bodies(graph)
    )


def change(model: bytes, in_eight_bits: bytes, images: Images) -> dict[str, int | float]:
    """Return what eight bits change on images, for the card; both decide by the same thresholds.

    Returns:
        Number of images; largest and mean difference of a probability (calibrated, of the head
        and of the mask); shares of images decided otherwise, by score or mask, and of pixels.

    Raises:
        UserError: an answer of either is no number.
    """
    one, other = parity.of_onnx(model), parity.of_onnx(in_eight_bits)
    probabilities, decisions, pixels = [], [], np.zeros(2, np.int64)
    for image in images:
        a, b = one(image), other(image)
        for name in parity.PROBABILITIES:
            parity.refuse_no_number(name, image, a[name], b[name])
        probabilities.append([abs(float(a[k][0] - b[k][0])) for k in parity.PROBABILITIES])
        decisions.append(any(a[k][0] != b[k][0] for k in ("rejected", "mask_rejected")))
        pixels += np.count_nonzero(a["mask"] != b["mask"]), a["mask"].size
    return {
        "pictures": len(decisions),
        "largest_difference_of_a_probability": float(np.max(probabilities)),
        "mean_difference_of_a_probability": float(np.mean(probabilities)),
        "share_of_decisions_that_differ": float(np.mean(decisions)),
        "share_of_mask_pixels_that_differ": float(pixels[0] / pixels[1]),
    }
