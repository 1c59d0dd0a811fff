"""The published encoders against timm's, and the names by which their tensors find their places."""

import functools
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from drawn_tensors import SHAPE, digest, drawn, image, sampled
from flax.traverse_util import flatten_dict
from onnx import helper

from defect_jax.deploy.onnx import to_onnx
from defect_jax.models.encoders import PRETRAINED, frozen_norm, layers, names
from defect_jax.models.encoders.convnext import ConvNeXt
from defect_jax.models.initialise import initial_variables
from defect_jax.models.pretrained.embedded import read_embedded
from defect_jax.runtime.errors import UserError

REFERENCES = json.loads(
    pathlib.Path(__file__).with_name("references").joinpath("timm_features.json").read_text()
)
DRAWN = {case["encoder"]: case for case in REFERENCES["drawn"]}
FAMILIES = ("efficientnet_lite0", "resnet18", "convnext_tiny")


def built(name, frozen=False, dtype=jnp.float32, **fields):
    return PRETRAINED[name](dtype=dtype, frozen=frozen, **fields)


@functools.cache
def tensors(name):
    return drawn(names.published_shapes(name, 3))


@functools.cache
def whole(name):
    return names.variables_of(tensors(name), name, channels=3)


@functools.cache
def evaluation(encoder, rows=None):
    return jax.jit(lambda variables, x: encoder.apply(variables, x, False, rows))


def raw(name, **fields):
    """An encoder that takes the image as it is, as timm's do."""
    shift = {"input_std": 1.0, "input_mean": 0.0} if "lite" in name else {}
    return built(name, **shift, **fields)


def assert_near(got, wanted):
    """By the largest number of each row: in most rows some cancel to nearly nothing."""
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        other = np.asarray(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("name", PRETRAINED)
def test_features_are_timms(name):
    case, encoder = DRAWN[name], raw(name)
    assert digest(names.published_shapes(name, 3)) == case["digest"]
    variables = whole(name)
    assert sum(each.size for each in jax.tree.leaves(variables["params"])) == case["parameters"]
    features = evaluation(encoder)(variables, image())
    assert len(features) == encoder.row_count
    for row, (feature, wanted) in enumerate(zip(features, case["features"], strict=True)):
        assert feature.shape[1] == SHAPE[1] // (encoder.finest_px * 2**row)
        got = sampled(feature)
        assert got["shape"] == wanted["shape"]
        assert wanted["std"] > 0.5
        near = 1e-4 * wanted["std"]
        np.testing.assert_allclose(got["sample"], wanted["sample"], rtol=0, atol=near)
        assert got["mean"] == pytest.approx(wanted["mean"], abs=near)
        assert got["std"] == pytest.approx(wanted["std"], abs=near)


@pytest.mark.parametrize("case", REFERENCES["published"], ids=lambda case: case["encoder"])
def test_features_of_the_published_weights_are_timms(case):
    weights = read_embedded(case["encoder"])
    assert weights.sha256 == case["sha256"]
    variables = names.variables_of(weights.tensors, case["encoder"], channels=3)
    features = evaluation(raw(case["encoder"]))(variables, image(0.5))
    for feature, wanted in zip(features, case["features"], strict=True):
        near = 1e-4 * wanted["std"]
        np.testing.assert_allclose(sampled(feature)["sample"], wanted["sample"], rtol=0, atol=near)


@functools.cache
def small(name, channels=3, rows=2):
    return names.variables_of(tensors(name), name, channels, rows)


@pytest.mark.parametrize("channels", [1, 6])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_grey_picture_gives_what_it_gives_as_rgb(name, channels):
    """To float rounding: sums over three equal products are in another order."""
    features = evaluation(built(name), rows=1)
    grey = image()[..., :1]
    got = features(small(name, channels, rows=1), np.repeat(grey, channels, axis=-1))
    wanted = features(small(name, rows=1), np.repeat(grey, 3, axis=-1))
    assert_near(got, wanted)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_finest_rows_need_nothing_of_the_others(name):
    encoder, x = raw(name), image()
    variables, all_rows = small(name), evaluation(encoder)(whole(name), x)
    assert len(jax.tree.leaves(variables)) < len(names.published_shapes(name, 3)) / 2
    assert_near(evaluation(encoder, rows=2)(variables, x), all_rows[:2])


def test_lite_brings_images_to_the_range_of_its_weights():
    """ImageNet's pictures, as shares, go through it as 2 x - 1."""
    x, name = image(), "efficientnet_lite0"
    shares = x * 0.226 + 0.449
    got = evaluation(built(name), rows=2)(small(name), x)
    assert_near(got, evaluation(raw(name), rows=2)(small(name), 2 * shares - 1))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_frozen_statistics_stay_in_training_and_others_do_not(name):
    variables, x = small(name), image()

    def trained(encoder):
        call = functools.partial(encoder.apply, train=True, rows=2, mutable=["batch_stats"])
        return jax.jit(call)(variables, x)

    features, after = trained(built(name, frozen=True))
    assert_near(features, evaluation(built(name), rows=2)(variables, x))
    before = jax.tree.leaves(variables["batch_stats"])
    for one, other in zip(before, jax.tree.leaves(after["batch_stats"]), strict=True):
        np.testing.assert_array_equal(one, other)
    _, after = trained(built(name))
    for one, other in zip(before, jax.tree.leaves(after["batch_stats"]), strict=True):
        assert np.abs(one - other).min() > 0.0


@pytest.mark.parametrize("name", FAMILIES)
def test_all_that_is_no_statistic_learns(name):
    variables, encoder = small(name, rows=1), built(name, frozen=True)

    def total(params):
        features = encoder.apply({**variables, "params": params}, jnp.asarray(image()), True, 1)
        return sum(jnp.sum(jnp.sin(each)) for each in features)

    for gradient in jax.tree.leaves(jax.jit(jax.grad(total))(variables["params"])):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0.0


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_is_that_of_the_computation_alone(name):
    variables = small(name)
    got = evaluation(built(name, dtype=jnp.bfloat16), rows=2)(variables, image())
    wanted = evaluation(built(name), rows=2)(variables, image())
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == jnp.bfloat16
        assert np.abs(one.astype(jnp.float32) - other).max() < 0.05 * np.abs(other).max()
    shapes = jax.eval_shape(
        lambda x: built(name, dtype=jnp.bfloat16).init(jax.random.key(0), x, False, 2), image()
    )
    assert all(each.dtype == jnp.float32 for each in jax.tree.leaves(shapes))


class TinyConvNeXt(ConvNeXt):
    filters = (8, 16, 16, 16)
    repeats = (1, 1, 1, 1)


@pytest.mark.parametrize("encoder", [PRETRAINED["efficientnet_lite0"], TinyConvNeXt])
def test_initial_weights_keep_the_size_of_what_goes_through(encoder):
    variables = initial_variables(encoder(jnp.float32, False), (1, 32, 32, 1), seed=0)
    for path, value in flatten_dict(variables["params"]).items():
        if path[-1] != "kernel":
            assert len(np.unique(value)) == 1
        elif value.size > 500:
            expected = np.sqrt(2 / np.prod(value.shape[:-1]))
            assert np.std(value) == pytest.approx(expected, rel=0.15), path


CHANGES = {
    "one is missing": (lambda tensors: tensors.pop("layer2.0.bn1.bias"), "layer2.0.bn1.bias is mi"),
    "one is misshapen": (
        lambda tensors: tensors.update({"layer1.1.conv1.weight": np.zeros((64, 64, 1, 1))}),
        r"layer1.1.conv1.weight is of shape \(64, 64, 1, 1\), must be \(64, 64, 3, 3\)",
    ),
    "one is too many": (
        lambda tensors: tensors.update({"layer1.0.se.fc1.weight": np.zeros((4, 64, 1, 1))}),
        "layer1.0.se.fc1.weight has no place",
    ),
    "of a deeper network": (
        lambda tensors: tensors.update({"layer1.2.conv1.weight": np.zeros((64, 64, 3, 3))}),
        "layer1.2.conv1.weight has no place",
    ),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_weights_of_another_network_are_refused_by_a_name(change, message):
    given = dict(tensors("resnet18"))
    change(given)
    with pytest.raises(UserError, match=f"weights of resnet18: tensor {message}"):
        names.variables_of(given, "resnet18", channels=3, rows=1)


@pytest.mark.parametrize(
    "name",
    [
        "_blocks.16._expand_conv.weight",  # the packages' Lite2 has so many, Lite0 has not
        "_blocks.0._expand_conv.weight",  # the first block of all expands nothing
        "_blocks.1._se_reduce.weight",
        "_blocks.one._bn0.bias",
        "_blocks.1.2._bn0.bias",
        "_blocks",
        "_",
        "",
    ],
)
def test_a_name_of_no_tensor_of_the_packages_is_refused_as_it_is(name):
    given = tensors("efficientnet_lite0") | {name: np.zeros(1, np.float32)}
    with pytest.raises(UserError, match=f"tensor {re.escape(name)} has no place in it"):
        names.variables_of(given, "efficientnet_lite0", channels=1, rows=1)


def test_the_classifier_is_left_out():
    more = {"fc.weight": np.zeros((1000, 512)), "bn1.num_batches_tracked": np.array(7)}
    got = names.variables_of(tensors("resnet18") | more, "resnet18", channels=3, rows=1)
    assert jax.tree.structure(got) == jax.tree.structure(small("resnet18", rows=1))


@pytest.mark.parametrize("name", FAMILIES)
def test_in_onnx_it_is_the_same(name):
    """One node for each depthwise convolution, and none for batch norms."""
    variables, x = small(name, rows=3), image()
    function = functools.partial(built(name).apply, variables, train=False, rows=3)
    spec = jax.ShapeDtypeStruct(x.shape, x.dtype)
    model = to_onnx(lambda x: function(x), {"image": spec}, ["finest", "second", "third"])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert_near(session.run(None, {"image": x}), evaluation(built(name), rows=3)(variables, x))
    kernels = [each for each in jax.tree.leaves(variables["params"]) if each.ndim == 4]
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    groups = [helper.get_node_attr_value(node, "group") for node in convolutions]
    assert len(convolutions) == len(kernels)
    assert sum(group > 1 for group in groups) == sum(each.shape[2] == 1 for each in kernels)
    if "batch_stats" in variables:
        others = {node.op_type for node in model.graph.node} - {"Conv"}
        assert others <= {"Add", "Clip", "Identity", "MaxPool", "Mul", "Relu", "Transpose"}


def test_activations_and_their_gradients():
    x = jnp.array([-9.0, -1.0, 0.0, 0.3, 5.9, 6.0, 7.0])
    slope = jax.vmap(jax.grad(frozen_norm.relu6))(x)
    np.testing.assert_array_equal(frozen_norm.relu6(x), np.clip(x, 0, 6))
    np.testing.assert_array_equal(slope, [0, 0, 0, 1, 1, 0, 0])  # on both ends as in PyTorch
    own = functools.partial(jax.nn.gelu, approximate=False)
    np.testing.assert_allclose(layers.gelu(x), own(x), rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        jax.vmap(jax.grad(layers.gelu))(x), jax.vmap(jax.grad(own))(x), rtol=0, atol=1e-6
    )
