"""ONNX in eight bits: what is written so, by which scales, what it changes, and when not at all."""

import collections
import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from jax import lax
from jax.export import symbolic_shape
from onnx import helper
from raw_data import encoded
from tiny_networks import shake
from tiny_predictor import RULE, surface, tiny_config, tiny_network

from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.decision.apply import Decision
from defect_jax.deploy import export as mode
from defect_jax.deploy import int8, parity
from defect_jax.deploy.inputs import MOST_IMAGES, ExampleImages
from defect_jax.deploy.onnx import to_onnx
from defect_jax.deploy.program import make_program
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import probabilities
from defect_jax.runtime.errors import UserError
from defect_jax.workdir.best_weights import Trained

SIZES = [(32, 48), (20, 30), (100, 61), (40, 40)]


def written(function, channels=1):
    sizes = symbolic_shape(f"b, h, w, {channels}")
    return to_onnx(function, {"image": jax.ShapeDtypeStruct(sizes, jnp.uint8)}, ["out"])


def operators(data):
    return collections.Counter(node.op_type for node in onnx.load_from_string(data).graph.node)


def conv(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


RNG = np.random.default_rng(0)
KERNEL, BIAS = np.float32(RNG.normal(size=(1, 1, 1, 3))), np.float32([0.5, -0.25, 0.125])


def test_scales_are_those_of_the_images_and_of_each_channel():
    """A 1x1 convolution with ReLU, in whole numbers by hand."""
    images = [surface(6, 7, seed=seed)[None, ..., None] for seed in range(3)]
    model = written(
        lambda x: jax.nn.relu(
            conv(x / jnp.float32(255), jnp.asarray(KERNEL)) + BIAS.reshape(1, 1, 1, 3)
        )
    )
    data = int8.quantised(model.SerializeToString(), images)
    run = running(data)

    shares = [np.float64(image) / 255 for image in images]
    exact = [np.maximum(share @ np.float64(KERNEL[0, 0]) + BIAS, 0.0) for share in shares]
    scale_in, scale_out = (max(each.max() for each in some) / 255 for some in (shares, exact))
    scale = np.abs(KERNEL[0, 0]).max(axis=0) / 64.0  # seven bits, a scale a channel
    kernel = np.round(KERNEL[0, 0] / scale)
    bias = np.round(BIAS / (scale_in * scale))
    for image, share in zip(images, shares, strict=True):
        total = np.round(share / scale_in) @ kernel + bias
        steps = np.clip(np.round(total * scale_in * scale / scale_out), 0, 255)
        got = run(image) / scale_out
        np.testing.assert_allclose(got, np.round(got), atol=1e-3)  # whole steps of that scale
        assert np.abs(got - steps).max() <= 1.01 and np.mean(np.abs(got - steps) < 0.5) > 0.95


def test_a_channel_that_died_in_training_keeps_its_bias():
    """EfficientNet-Lite has some in nearly every layer: their kernels are 1e-12 and less."""
    kernel = jnp.asarray(KERNEL * np.float32([1.0, 1e-12, 0.0]))
    bias = np.float32([0.5, 2.0, 3.0]).reshape(1, 1, 1, 3)
    model = written(lambda x: jax.nn.relu(conv(x / jnp.float32(255), kernel) + bias))
    image = surface(6, 7)[None, ..., None]
    got = running(int8.quantised(model.SerializeToString(), [image]))(image)
    np.testing.assert_allclose(
        got[..., 1:], np.broadcast_to(bias[..., 1:], got[..., 1:].shape), 0.01
    )


def running(data):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image})[0]


# Convolutions of the blocks, and the ReLU that is right behind some.
IN_EIGHT_BITS = {
    "batch norm": ({}, 6, 6),
    "group norm": ({"norm": "group"}, 6, 0),  # the ReLU is behind the norm
    "separable": ({"block": "separable"}, 11, 6),  # the one on the image stays whole
    "attention, confidence": ({"attention": "scse", "pixel_confidence": "learnt"}, 6, 6),
    # The stem, the first block of 2 and two of 3, all of them; 2 of the decoder's node.
    "pretrained": ({"encoder": "efficientnet_lite0", "weights": "imagenet"}, 1 + 2 + 2 * 3 + 2, 2),
}


@pytest.mark.parametrize("fields, convolutions, relus", IN_EIGHT_BITS.values(), ids=IN_EIGHT_BITS)
def test_blocks_are_written_so_and_logits_are_not(fields, convolutions, relus):
    network = SegmentationNetwork("unet", (4, 8), classification_head=False, **fields)
    variables = shake(initial_variables(network, (1, 8, 8, 1), 0))
    image = {"image": jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)}
    graph = to_onnx(
        lambda x: probabilities(network.apply(variables, x, train=False)).mask, image, ["out"]
    ).graph
    kinds = {node.name: node.op_type for node in graph.node}
    counted = collections.Counter(kinds[name] for name in int8.nodes_of_blocks(graph))
    assert (counted["Conv"], counted["Relu"]) == (convolutions, relus)
    assert convolutions < list(kinds.values()).count("Conv")


def test_what_is_cut_at_six_is_written_so_too():
    """A ReLU6 is a Clip, and a bias before it is no logit's."""
    nodes = [
        helper.make_node("Conv", ["image", "k", "b"], ["x"], name="cut"),
        helper.make_node("Clip", ["x", "zero", "six"], ["y"], name="relu6"),
        helper.make_node("Conv", ["y", "k", "b"], ["logits"], name="logits"),
        helper.make_node("Sigmoid", ["logits"], ["out"], name="out"),
    ]
    assert int8.nodes_of_blocks(helper.make_graph(nodes, "g", [], [])) == ["cut", "relu6"]


def test_what_goes_on_into_a_convolution_is_a_feature_and_no_logit():
    """Projections that end in a bias: added to others, pooled, enlarged and joined on their way."""
    nodes = [
        helper.make_node("Conv", ["image", "k", "b"], ["x"], name="projection"),
        helper.make_node("Conv", ["x", "k", "b"], ["y"], name="second"),
        helper.make_node("Add", ["x", "y"], ["sum"], name="residual"),
        helper.make_node("MaxPool", ["sum"], ["pooled"], name="blocks"),
        helper.make_node("Resize", ["pooled"], ["larger"], name="larger"),
        helper.make_node("Conv", ["image", "k", "b"], ["skip"], name="skip"),
        helper.make_node("Concat", ["larger", "skip"], ["joined"], name="joined"),
        helper.make_node("Conv", ["joined", "k", "b"], ["attention"], name="attention"),
        helper.make_node("Sigmoid", ["attention"], ["gate"], name="gate"),
        helper.make_node("Mul", ["gate", "joined"], ["gated"], name="gated"),
        helper.make_node("Conv", ["gated", "k", "b"], ["logits"], name="logits"),
        helper.make_node("Resize", ["logits"], ["out"], name="out"),
    ]
    names = int8.nodes_of_blocks(helper.make_graph(nodes, "g", [], []))
    assert names == ["projection", "second", "skip"]


def in_a_loop():
    """A convolution that is repeated, and one that is not."""
    value = helper.make_tensor_value_info
    kind = onnx.TensorProto
    body = helper.make_graph(
        [helper.make_node("Conv", ["x", "k"], ["y"]), helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [value("n", kind.INT64, []), value("c", kind.BOOL, []), value("x", kind.FLOAT, None)],
        [value("d", kind.BOOL, []), value("y", kind.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Conv", ["image", "k"], ["a"], name="first"),
        helper.make_node("Loop", ["trips", "", "a"], ["out"], name="loop", body=body),
    ]
    return helper.make_graph(nodes, "g", [], [])


@pytest.mark.parametrize("graph", [in_a_loop(), helper.make_graph([], "nothing", [], [])])
def test_a_network_that_cannot_be_written_so_is_refused(graph):
    with pytest.raises(UserError, match="--input: this network cannot be written in eight bits"):
        int8.nodes_of_blocks(graph)


def test_what_changes_is_counted(monkeypatch):
    def fake(probability, mask_score, rejected, marked):
        outputs = {"probability": [probability], "score": [0.5], "mask_score": [mask_score]}
        outputs |= {"rejected": [rejected], "mask_rejected": [marked > 0]}
        mask = np.zeros((1, 2, 5), np.uint8)
        mask.flat[:marked] = 1
        return outputs | {"mask": mask}

    one = [fake(0.2, 0.4, False, 3), fake(0.7, 0.4, True, 0)]
    other = [fake(0.3, 0.4, False, 1), fake(0.7, 0.1, False, 0)]
    runs = {b"one": iter(one), b"other": iter(other)}
    monkeypatch.setattr(parity, "of_onnx", lambda data: lambda image: next(runs[data]))
    images = [np.zeros((1, 2, 5, 1), np.uint8)] * 2
    assert int8.change(b"one", b"other", images) == pytest.approx(
        {
            "pictures": 2,
            "largest_difference_of_a_probability": 0.3,
            "mean_difference_of_a_probability": 0.4 / 6,
            "share_of_decisions_that_differ": 0.5,
            "share_of_mask_pixels_that_differ": 2 / 20,
        }
    )


def save(folder, count, *size, dtype=np.uint8):
    folder.mkdir()
    for number in range(count):
        image = surface(*(size or SIZES[number % len(SIZES)]), dtype=dtype, seed=number)
        (folder / f"{number:03}.png").write_bytes(encoded(image))
    return str(folder)


def test_images_are_taken_evenly_and_widened(tmp_path):
    path = save(tmp_path / "many", 2 * MOST_IMAGES + 1, 3, 4)
    config = tiny_config(**{"data_info.channels": 3, "data_info.bit_depth": 16})
    for _ in range(2):  # as often as asked
        taken = list(ExampleImages(path, config))
        assert len(taken) == MOST_IMAGES
        assert {(image.shape, image.dtype.name) for image in taken} == {((1, 3, 4, 3), "uint16")}
    for image, number in ((taken[0], 0), (taken[-1], 2 * MOST_IMAGES)):
        expected = surface(3, 4, seed=number).astype(np.uint16) * 257
        np.testing.assert_array_equal(image[0], np.repeat(expected[..., None], 3, axis=2))


@pytest.fixture(scope="module")
def trained_and_files():
    """A tiny network, and its files without the one that takes time."""
    config = tiny_config(**{"data.min_scale": 0.3, "evaluation.flips": True})
    network, ema = tiny_network(config)
    trained = Trained(network, config, ema, RULE)
    model = to_onnx(
        make_program(*trained),
        {mode.INPUT: mode.input_shape(InputSpec.of(config))},
        Decision._fields,
    )
    return trained, {mode.STABLEHLO: b"", mode.ONNX: model.SerializeToString()}


@pytest.fixture
def exported(trained_and_files, tmp_path, monkeypatch):
    """Exports it below `tmp_path`."""
    trained, files = trained_and_files
    monkeypatch.setattr(mode, "restore_trained", lambda workdir, mesh: trained)
    monkeypatch.setattr(mode, "models", lambda trained, known: (dict(files), 0.0))
    return lambda name, input: mode.export(tmp_path / "workdir", str(tmp_path / name), input)


def test_the_file_is_written_and_the_card_says_what_it_changes(exported, tmp_path):
    input = save(tmp_path / "pictures", 6)
    exported("out", input)
    folder = tmp_path / "out"
    card, data = json.loads((folder / mode.CARD).read_text()), (folder / mode.INT8).read_bytes()
    assert card["files"][mode.INT8] == hashlib.sha256(data).hexdigest()
    assert operators(data)["QuantizeLinear"] and not onnx.load_from_string(data).metadata_props
    whole, small = parity.of_onnx((folder / mode.ONNX).read_bytes()), parity.of_onnx(data)
    differences = [
        [
            abs(float(whole(image)[name][0]) - float(small(image)[name][0]))
            for image in ExampleImages(input, tiny_config())
        ]
        for name in parity.PROBABILITIES
    ]
    assert card["int8"]["pictures"] == 6
    largest, mean = (card["int8"][f"{n}_difference_of_a_probability"] for n in ("largest", "mean"))
    assert largest == pytest.approx(np.max(differences)) and 0.0 < largest < 0.05
    assert mean == pytest.approx(np.mean(differences))


def test_without_images_there_is_no_such_file(exported, tmp_path):
    exported("out", None)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [mode.STABLEHLO, mode.ONNX, mode.CARD]
    )
    assert "int8" not in json.loads((tmp_path / "out" / mode.CARD).read_text())


def test_images_that_cannot_be_used_leave_nothing_behind(exported, tmp_path):
    good, large = save(tmp_path / "good", 2), save(tmp_path / "large", 1, 400, 400)
    deep, empty = save(tmp_path / "deep", 1, dtype=np.uint16), tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "good" / "002.png").write_bytes(b"no image")
    before = sorted(tmp_path.rglob("*"))
    for input, says in (
        (good, "002.png"),
        (large, "400x400 px does not fit"),
        (deep, "has 1 channels of 16 bit"),
        (str(empty), "--input: .* holds no"),
        (str(tmp_path / "none"), "none"),
    ):
        with pytest.raises(UserError, match=says):
            exported("out", input)
        assert sorted(tmp_path.rglob("*")) == before
