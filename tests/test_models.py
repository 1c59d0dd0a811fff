"""The network: sizes, gradients, parameter counts, heads and errors."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from tiny_networks import TINY, images, shake

from defect_jax.losses.classification import classification_loss
from defect_jax.losses.segmentation import segmentation_loss
from defect_jax.models.fields import check_size
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import Outputs, SegmentationNetwork
from defect_jax.models.probabilities import probabilities
from defect_jax.runtime.errors import UserError

GRID = {"decoder": "grid", "localisation": "encoder", "classification_head": False}


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize("decoder", ["unet", "unetplusplus"])
@pytest.mark.parametrize("attention", ["none", "scse", "gates"])
@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("deep_supervision", [True, False])
def test_shapes_and_types(decoder, attention, norm, deep_supervision):
    model = SegmentationNetwork(
        decoder, TINY, attention, deep_supervision, norm=norm, dtype="bfloat16"
    )
    image = jax.ShapeDtypeStruct((2, 8, 12, 3), jnp.float32)
    outputs, variables = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False), image
    )
    heads = 2 if decoder == "unetplusplus" and deep_supervision else 1
    assert outputs.mask_logits.shape == (heads, 2, 8, 12, 1)
    assert outputs.label_logits.shape == (2,)
    assert {leaf.dtype for leaf in jax.tree.leaves((outputs, variables))} == {jnp.dtype("float32")}
    assert ("batch_stats" in variables) == (norm == "batch")


# Every pair of values occurs in one of these rows.
LEARNING = [
    ("unetplusplus", "none", "batch", True, "float32", "separable"),
    ("unetplusplus", "scse", "group", False, "bfloat16", "separable"),
    ("unetplusplus", "gates", "batch", False, "float32", "plain"),
    ("unet", "none", "group", False, "bfloat16", "plain"),
    ("unet", "scse", "batch", True, "float32", "plain"),
    ("unet", "gates", "group", True, "float32", "separable"),
    ("unetplusplus", "gates", "batch", True, "bfloat16", "plain"),
]


@pytest.mark.parametrize("decoder, attention, norm, deep_supervision, dtype, block", LEARNING)
def test_every_parameter_learns(decoder, attention, norm, deep_supervision, dtype, block):
    widths = TINY if decoder == "unetplusplus" else (4, 8)
    model = SegmentationNetwork(
        decoder, widths, attention, deep_supervision, norm=norm, dtype=dtype, block=block
    )
    variables = shake(initial_variables(model, (1, 8, 8, 3), 0))
    image = images(2, 8, 8, 3)
    mask = jnp.zeros((2, 8, 8, 1)).at[0, 2:4, 3:6].set(1.0)

    def loss(params):
        outputs, _ = model.apply(
            variables | {"params": params},
            image,
            train=True,
            rngs={"dropout": jax.random.key(1)},
            mutable=["batch_stats"],
        )
        assert {leaf.dtype for leaf in jax.tree.leaves(outputs)} == {jnp.dtype("float32")}
        label = jnp.array([1.0, 0.0])
        pixels = segmentation_loss(outputs.mask_logits, mask, jnp.ones_like(mask))
        return pixels + classification_loss(outputs.label_logits, label, jnp.ones(2))

    value, grads = jax.jit(jax.value_and_grad(loss))(variables["params"])
    assert np.isfinite(value) and value.dtype == jnp.float32
    for path, grad in flatten_dict(grads).items():
        assert grad.dtype == jnp.float32, path
        assert np.isfinite(grad).all(), path
        assert np.any(grad), path


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(
    "widths, size", [((4, 8), (2, 6)), (TINY, (4, 20)), ((3, 5, 7, 9), (8, 24))]
)
def test_any_depth_width_channels_and_size(channels, widths, size):
    model = SegmentationNetwork(widths=widths, norm="group")
    image = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32)
    outputs = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False)[0], image
    )
    assert outputs.mask_logits.shape == (len(widths) - 1, 2, *size, 1)


def block_parameters(inputs, filters):
    """Two 3x3 convolutions without bias, two norms with scale and shift."""
    return 9 * filters * (inputs + filters) + 4 * filters


def separable_parameters(inputs, filters):
    """The same with 3x3 convolutions of one channel each, and 1x1 ones."""
    return (9 + filters) * (inputs + filters) + 4 * filters


def network_parameters(widths, channels, columns, of_block=block_parameters):
    """Encoder plus nodes X(i,j) of j f_i + f_{i+1} inputs, plus 1x1 mask heads."""
    depth = len(widths) - 1
    first = 9 * channels * widths[0]  # on the image it is never separable
    first += of_block(0, widths[0])
    encoder = first + sum(of_block(i, o) for i, o in itertools.pairwise(widths))
    nodes = sum(
        of_block(skips * widths[row] + widths[row + 1], widths[row])
        for row, skips in columns(depth)
    )
    return encoder + nodes


def nested(depth):
    return [(i, j) for j in range(1, depth + 1) for i in range(depth + 1 - j)]


def plain(depth):
    return [(i, 1) for i in range(depth)]


@pytest.mark.parametrize("widths", [(4, 8), TINY, (32, 64, 128, 256, 512)])
@pytest.mark.parametrize("decoder, columns", [("unetplusplus", nested), ("unet", plain)])
@pytest.mark.parametrize("channels", [1, 3])
def test_parameter_count_is_the_analytic_one(widths, decoder, columns, channels):
    model = SegmentationNetwork(decoder, widths, deep_supervision=True)
    image = jax.ShapeDtypeStruct((1, 32, 32, channels), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    heads = len(widths) - 1 if decoder == "unetplusplus" else 1
    expected = network_parameters(widths, channels, columns)
    expected += heads * (widths[0] + 1) + 2 * widths[-1] + 1
    assert count(shapes) == expected


def test_parameter_count_of_separable_blocks_is_the_analytic_one():
    model = SegmentationNetwork(widths=TINY, block="separable")
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    expected = network_parameters(TINY, 3, nested, separable_parameters)
    assert count(shapes) == expected + 2 * (TINY[0] + 1) + 2 * TINY[-1] + 1


@pytest.mark.parametrize("classes, channels", [(1, 1), (5, 6)])
@pytest.mark.parametrize("localisation", ["none", "backbone", "encoder"])
@pytest.mark.parametrize("confidence", ["none", "learnt", "fixed"])
def test_parameter_count_with_the_parts_is_the_analytic_one(
    classes, channels, localisation, confidence
):
    widths, own = (4, 8, 16, 32, 64, 96), (3, 5, 7)
    model = SegmentationNetwork(
        "unet",
        widths,
        num_classes=classes,
        localisation=localisation,
        localisation_widths=own,
        embedding=localisation != "none",
        pixel_confidence=confidence,
    )
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    expected = network_parameters(widths, 3, plain)
    expected += (widths[0] + 1) * channels + 2 * widths[-1] + 1
    if localisation == "backbone":
        expected += sum(block_parameters(i, o) for i, o in zip((3, *own), own, strict=False))
        expected += own[-1] + 1
    if localisation == "encoder":
        expected += widths[4] + 1  # the fifth row
    if localisation != "none":
        expected += sum(widths[-3:]) + 1  # a gain a channel, and one of the label
    if confidence == "learnt":
        expected += 9 * 6 + 1  # the six maps that the gate sees
    assert count(shapes) == expected


def test_parameter_count_of_the_papers_widths():
    widths = (32, 64, 128, 256, 512)
    assert round(network_parameters(widths, 3, nested) / 1e6, 2) == 9.16
    assert round(network_parameters(widths, 3, plain) / 1e6, 2) == 7.85
    assert round(network_parameters(widths, 3, nested, separable_parameters) / 1e6, 2) == 1.07


def test_dropout_needs_a_key_and_only_touches_the_label():
    model = SegmentationNetwork(widths=(4, 8), norm="group", dropout=0.5)
    variables = initial_variables(model, (1, 8, 8, 1), 0)
    image = images(2, 8, 8, 1)

    def apply(variables, image, key):
        return model.apply(variables, image, train=True, rngs={"dropout": key})

    compiled = jax.jit(apply)
    a, b = (compiled(variables, image, jax.random.key(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(a.mask_logits, b.mask_logits)
    assert not np.array_equal(a.label_logits, b.label_logits)


def test_mask_probability_is_the_mean_of_probabilities():
    logits = jnp.array([-2.0, 4.0]).reshape(2, 1, 1, 1, 1)
    expected = np.mean([1 / (1 + math.exp(2)), 1 / (1 + math.exp(-4))])
    actual = probabilities(Outputs(logits, None)).mask
    assert actual.shape == (1, 1, 1, 1)
    np.testing.assert_allclose(actual.item(), expected, rtol=1e-6)


def test_batch_norm_is_global_over_a_sharded_batch():
    model = SegmentationNetwork("unet", (4, 8))
    variables = initial_variables(model, (1, 4, 4, 1), 0)
    image = images(8, 4, 4, 1) + jnp.arange(8.0).reshape(8, 1, 1, 1)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharded = jax.device_put(image, NamedSharding(mesh, PartitionSpec("data")))
    step = jax.jit(
        lambda v, x: model.apply(
            v, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
        )
    )
    expected, actual = step(variables, image), step(variables, sharded)
    np.testing.assert_allclose(actual[0].mask_logits, expected[0].mask_logits, atol=1e-5)
    for one, other in zip(*(jax.tree.leaves(x[1]) for x in (expected, actual)), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"decoder": "segnet"}, "config.model.decoder is 'segnet': must be one of unet, unetplus"),
        (
            {"attention": "cbam"},
            "config.model.attention is 'cbam': must be one of none, scse, gates",
        ),
        ({"block": "ghost"}, "config.model.block is 'ghost': must be one of plain, separable"),
        ({"prune": 5}, "config.model.prune is 5: must be 0, for the whole network, or .* 1 to 4"),
        ({"prune": -1}, "config.model.prune is -1: must be 0"),
        ({"prune": 1, "decoder": "unet"}, "config.model.prune is 1: only the decoder unetplusplus"),
        ({"prune": 1, "deep_supervision": False}, "is 1: only .* with deep_supervision=True"),
        ({"norm": "layer"}, "config.model.norm is 'layer': must be one of batch, group"),
        ({"dtype": "float16"}, "config.model.dtype is 'float16': must be one of float32, bfloat16"),
        ({"dtype": "half float"}, "config.model.dtype is 'half float': must be one of float32"),
        ({"widths": (8,)}, r"config.model.widths is \(8,\): must be at least two"),
        ({"widths": (8, 0)}, r"config.model.widths is \(8, 0\)"),
        ({"widths": (8, 1.5)}, r"config.model.widths is \(8, 1.5\)"),
        ({"dropout": 1.0}, "config.model.dropout is 1.0"),
        ({"num_classes": 0}, "config.model.num_classes is 0: must be 1 or more"),
        (
            {"localisation": "boxes"},
            "config.model.localisation is 'boxes': must be one of none, backbone, encoder",
        ),
        (
            {"localisation_widths": (8,)},
            r"config.model.localisation_widths is \(8,\): must be at least two",
        ),
        ({"localisation_widths": (8, 0)}, r"config.model.localisation_widths is \(8, 0\)"),
        (
            {"pixel_confidence": "mean"},
            "config.model.pixel_confidence is 'mean': must be one of none, learnt, fixed",
        ),
        ({"window_px": 4}, "config.model.window_px is 4: must be odd, 3 or more"),
        ({"window_px": 1}, "config.model.window_px is 1: must be odd, 3 or more"),
        ({"embedding": True}, "config.model.embedding is True: it needs a config.model.localis"),
        ({"decoder": "grid"}, "config.model.decoder is 'grid': it needs a config.model.localis"),
        (GRID | {"classification_head": True}, "config.model.classification_head: must be False"),
        (GRID | {"embedding": True}, "config.model.embedding: must be False"),
        (GRID | {"pixel_confidence": "fixed"}, "config.model.pixel_confidence: must be 'none'"),
        (GRID | {"num_classes": 2}, "config.model.num_classes: must be 1 where the decoder is"),
    ],
)
def test_bad_config_values(config, message):
    with pytest.raises(UserError, match=message):
        SegmentationNetwork(**config)


def test_widths_may_come_as_a_list_from_json():
    model = SegmentationNetwork(widths=[4, 8])
    assert hash(model) == hash(SegmentationNetwork(widths=(4, 8)))


def test_size_that_does_not_fit_names_the_nearest():
    model = SegmentationNetwork(widths=TINY)
    image = jax.ShapeDtypeStruct((1, 8, 10, 1), jnp.float32)
    with pytest.raises(UserError, match=r"8x10 .* divisible by 4: width 10 \(nearest: 8 or 12\)"):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    with pytest.raises(
        UserError, match=r"height 3 \(nearest: 16\), width 100 \(nearest: 96 or 112\)"
    ):
        check_size(3, 100, 16)
