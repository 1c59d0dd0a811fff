"""The network: sizes, wiring, attention, heads, errors and initial values."""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy import stats

from defect_jax.errors import UserError
from defect_jax.losses.classification import classification_loss
from defect_jax.losses.segmentation import segmentation_loss
from defect_jax.models.attention import AttentionGate, Scse
from defect_jax.models.blocks import group_norm, upsample
from defect_jax.models.initialise import FanInNormal, initial_variables
from defect_jax.models.network import Outputs, SegmentationNetwork, check_size, mask_probability

TINY = (4, 8, 16)


def run(function, *args):
    return jax.jit(function)(*args)


def shake(variables, seed=7):
    """Moves every variable off its initial value, so that zeros and ones hide nothing."""
    rng = np.random.default_rng(seed)
    flat = flatten_dict(variables)
    moved = {
        path: value + rng.uniform(0.05, 0.4, value.shape).astype(np.float32)
        for path, value in flat.items()
    }
    return unflatten_dict(moved)


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


# --- shapes, types, gradients -----------------------------------------------------------------


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
    ("unetplusplus", "none", "batch", True, "float32"),
    ("unetplusplus", "scse", "group", False, "bfloat16"),
    ("unetplusplus", "gates", "batch", False, "float32"),
    ("unet", "none", "group", False, "bfloat16"),
    ("unet", "scse", "batch", True, "float32"),
    ("unet", "gates", "group", True, "float32"),
    ("unetplusplus", "gates", "batch", True, "bfloat16"),
]


@pytest.mark.parametrize("decoder, attention, norm, deep_supervision, dtype", LEARNING)
def test_every_parameter_learns(decoder, attention, norm, deep_supervision, dtype):
    model = SegmentationNetwork(decoder, TINY, attention, deep_supervision, norm=norm, dtype=dtype)
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
        assert {leaf.dtype for leaf in outputs} == {jnp.dtype("float32")}
        label = jnp.array([1.0, 0.0])
        pixels = segmentation_loss(outputs.mask_logits, mask, jnp.ones_like(mask))
        return pixels + classification_loss(outputs.label_logits, label, jnp.ones(2))

    value, grads = run(jax.value_and_grad(loss), variables["params"])
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


# --- number of parameters ---------------------------------------------------------------------


def block_parameters(inputs, filters):
    """Two 3x3 convolutions without bias, two norms with scale and shift."""
    return 9 * filters * (inputs + filters) + 4 * filters


def network_parameters(widths, channels, columns):
    """Encoder plus nodes X(i,j) of j f_i + f_{i+1} inputs, plus 1x1 mask heads."""
    depth = len(widths) - 1
    encoder = sum(block_parameters(i, o) for i, o in zip((channels, *widths), widths, strict=False))
    nodes = sum(
        block_parameters(skips * widths[row] + widths[row + 1], widths[row])
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


def test_parameter_count_of_the_papers_widths():
    widths = (32, 64, 128, 256, 512)
    assert round(network_parameters(widths, 3, nested) / 1e6, 2) == 9.16
    assert round(network_parameters(widths, 3, plain) / 1e6, 2) == 7.85


# --- parts against independent computations ---------------------------------------------------


@pytest.mark.parametrize("height, width", [(1, 1), (1, 3), (5, 4)])
def test_upsample_is_half_pixel_bilinear(height, width):
    x = np.random.default_rng(0).normal(size=(2, height, width, 3))
    expected = x
    for axis, size in ((1, height), (2, width)):
        at = (np.arange(2 * size) + 0.5) / 2 - 0.5  # np.interp clamps outside
        expected = np.apply_along_axis(
            lambda line, at=at, size=size: np.interp(at, np.arange(size), line), axis, expected
        )
    actual = upsample(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(actual, expected, atol=1e-6)


class ByHand:
    """Evaluation pass from the same variables: explicit float64 sums, no Flax."""

    def __init__(self, variables):
        self.params, self.stats = variables["params"], variables["batch_stats"]

    def convolve(self, x, kernel):
        """3x3, zero padded: nine shifted matrix products."""
        height, width = x.shape[1:3]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return sum(
            padded[:, i : i + height, j : j + width] @ np.float64(kernel[i, j])
            for i, j in itertools.product(range(3), repeat=2)
        )

    def block(self, x, *path):
        params, running = self.params, self.stats
        for name in path:
            params, running = params[name], running[name]
        for layer in ("1", "2"):
            norm, moments = params[f"norm_{layer}"], running[f"norm_{layer}"]
            x = self.convolve(x, params[f"conv_{layer}"]["kernel"]) - moments["mean"]
            x = np.maximum(x / np.sqrt(moments["var"] + 1e-5) * norm["scale"] + norm["bias"], 0)
        return x

    def pool(self, x):
        b, h, w, c = x.shape
        return x.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))

    def node(self, row, column, skips, coarser):
        coarser = np.asarray(upsample(jnp.asarray(coarser, jnp.float32)), np.float64)
        x = np.concatenate([*skips, coarser], -1)
        return self.block(x, "nodes", f"x_{row}_{column}", "block")

    def logits(self, head, x):
        params = self.params["mask_heads"][f"logits_{head}"]
        return x @ np.float64(params["kernel"][0, 0]) + params["bias"]


@pytest.fixture(scope="module")
def tiny():
    """A UNet++ off its initial values, its compiled evaluation, and the image it is tried on."""
    model = SegmentationNetwork(widths=TINY)
    variables = shake(initial_variables(model, (1, 8, 8, 2), 3))
    image = images(2, 8, 8, 2)
    outputs = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, image)
    return model, variables, image, outputs


def test_unetplusplus_wiring_and_heads(tiny):
    _, variables, image, outputs = tiny
    hand = ByHand(variables)
    x00 = hand.block(np.float64(image), "encoder", "x_0_0")
    x10 = hand.block(hand.pool(x00), "encoder", "x_1_0")
    x20 = hand.block(hand.pool(x10), "encoder", "x_2_0")
    x01 = hand.node(0, 1, [x00], x10)
    x11 = hand.node(1, 1, [x10], x20)
    x02 = hand.node(0, 2, [x00, x01], x11)
    expected = np.stack([hand.logits(0, x01), hand.logits(1, x02)])
    np.testing.assert_allclose(outputs.mask_logits, expected, rtol=1e-4)

    pooled = np.concatenate([x20.mean((1, 2)), x20.max((1, 2))], -1)
    head = variables["params"]["label_head"]["logit"]
    expected = (pooled @ np.float64(head["kernel"]) + head["bias"])[:, 0]
    np.testing.assert_allclose(outputs.label_logits, expected, rtol=1e-4)


def test_unet_wiring():
    model = SegmentationNetwork("unet", TINY, classification_head=False)
    variables = shake(initial_variables(model, (1, 8, 8, 1), 3))
    image = images(1, 8, 8, 1)
    hand = ByHand(variables)
    x00 = hand.block(np.float64(image), "encoder", "x_0_0")
    x10 = hand.block(hand.pool(x00), "encoder", "x_1_0")
    x20 = hand.block(hand.pool(x10), "encoder", "x_2_0")
    x02 = hand.node(0, 2, [x00], hand.node(1, 1, [x10], x20))
    outputs = run(lambda v, x: model.apply(v, x, train=False), variables, image)
    np.testing.assert_allclose(outputs.mask_logits[0], hand.logits(0, x02), rtol=1e-4)
    assert outputs.label_logits is None


def sigmoid(x):
    return 1 / (1 + np.exp(-np.float64(x)))


def affine(x, params):
    kernel = np.float64(params["kernel"])
    return np.float64(x) @ kernel.reshape(kernel.shape[-2:]) + np.float64(params.get("bias", 0.0))


def test_scse_formula():
    x, module = images(2, 4, 6, 32), Scse(jnp.float32)
    params = shake(module.init(jax.random.key(0), x))["params"]
    pooled = np.float64(x).mean((1, 2), keepdims=True)
    channel = affine(np.maximum(affine(pooled, params["reduce"]), 0), params["expand"])
    expected = np.float64(x) * (sigmoid(channel) + sigmoid(affine(x, params["spatial"])))
    np.testing.assert_allclose(module.apply({"params": params}, x), expected, rtol=1e-5, atol=1e-6)


def test_attention_gate_formula():
    skip, coarser, module = (
        images(2, 4, 6, 4),
        images(2, 2, 3, 8, seed=1),
        AttentionGate(jnp.float32),
    )
    params = shake(module.init(jax.random.key(0), skip, coarser))["params"]
    # The paper's order: up-sample g, then multiply.
    inside = affine(skip, params["skip"]) + affine(upsample(coarser), params["coarser"])
    gate = sigmoid(affine(np.maximum(inside, 0), params["openness"]))
    actual = module.apply({"params": params}, skip, coarser)
    np.testing.assert_allclose(actual, skip * gate, rtol=1e-5, atol=1e-6)


def test_scse_starts_as_the_network_without_attention():
    image = images(1, 8, 8, 1)
    plain_net = SegmentationNetwork(widths=TINY, attention="none")
    scse_net = SegmentationNetwork(widths=TINY, attention="scse")
    a, b = (
        run(lambda v, x, m=model: m.apply(v, x, train=False), variables, image)
        for model in (plain_net, scse_net)
        for variables in [initial_variables(model, (1, 8, 8, 1), 0)]
    )
    np.testing.assert_allclose(a.mask_logits, b.mask_logits, rtol=1e-5, atol=1e-6)


def test_scse_sits_in_the_two_finest_rows():
    params = initial_variables(
        SegmentationNetwork(widths=(4, 8, 16, 16), attention="scse"), (1, 8, 8, 1), 0
    )["params"]
    with_scse = {name for name, node in params["nodes"].items() if "scse" in node}
    assert with_scse == {"x_0_1", "x_0_2", "x_0_3", "x_1_1", "x_1_2"}


@pytest.mark.parametrize("channels, groups", [(4, 1), (7, 1), (8, 1), (32, 4), (40, 5), (512, 32)])
def test_groups_divide_the_width(channels, groups):
    assert group_norm(channels, True, jnp.float32, "norm").num_groups == groups


# --- heads ------------------------------------------------------------------------------------


def test_masks_without_classification_head_are_bit_identical(tiny):
    model, variables, image, outputs = tiny
    params = {name: p for name, p in variables["params"].items() if name != "label_head"}
    bare = model.clone(classification_head=False)
    alone = jax.jit(lambda v, x: bare.apply(v, x, train=False))(
        variables | {"params": params}, image
    )
    assert alone.label_logits is None
    np.testing.assert_array_equal(alone.mask_logits, outputs.mask_logits)


def test_one_map_is_the_last_of_the_deeply_supervised(tiny):
    model, variables, image, outputs = tiny
    params = dict(variables["params"])
    params["mask_heads"] = {"logits_0": params["mask_heads"]["logits_1"]}
    one = model.clone(deep_supervision=False)
    alone = run(lambda v, x: one.apply(v, x, train=False), variables | {"params": params}, image)
    np.testing.assert_allclose(alone.mask_logits[0], outputs.mask_logits[1], rtol=1e-5)


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
    actual = mask_probability(Outputs(logits, None))
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


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config, message",
    [
        ({"decoder": "segnet"}, "config.model.decoder is 'segnet': must be one of unet, unetplus"),
        (
            {"attention": "cbam"},
            "config.model.attention is 'cbam': must be one of none, scse, gates",
        ),
        ({"norm": "layer"}, "config.model.norm is 'layer': must be one of batch, group"),
        ({"dtype": "float16"}, "config.model.dtype is 'float16': must be one of float32, bfloat16"),
        ({"dtype": "half float"}, "config.model.dtype is 'half float': must be one of float32"),
        ({"widths": (8,)}, r"config.model.widths is \(8,\): must be at least two"),
        ({"widths": (8, 0)}, r"config.model.widths is \(8, 0\)"),
        ({"widths": (8, 1.5)}, r"config.model.widths is \(8, 1.5\)"),
        ({"dropout": 1.0}, "config.model.dropout is 1.0"),
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
        check_size(3, 100, 4)


# --- initial values ---------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["scse", "gates"])
def test_initial_variables_are_what_flax_would_draw(attention):
    model = SegmentationNetwork(widths=(8, 16), attention=attention)
    flax_values = flatten_dict(
        run(lambda: model.init(jax.random.key(0), images(1, 4, 4, 3), False))
    )
    values = flatten_dict(initial_variables(model, (1, 4, 4, 3), 0))
    assert values.keys() == flax_values.keys()
    for path, expected in flax_values.items():
        actual = values[path]
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), path
        if len(np.unique(expected)) == 1:  # a constant
            np.testing.assert_array_equal(actual, expected, err_msg=str(path))
        else:
            assert path[-1] == "kernel"
            assert stats.ks_2samp(actual.ravel(), np.ravel(expected)).pvalue > 1e-3, path


@pytest.mark.parametrize("shape", [(3, 3, 64, 64), (1, 1, 256, 128), (1024, 32)])
def test_kernels_are_truncated_he_normal(shape):
    values = FanInNormal(2.0).draw(np.random.default_rng(0), shape)
    stddev = math.sqrt(2 / math.prod(shape[:-1]))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values.std(), stddev, rtol=0.01)
    np.testing.assert_allclose(values.mean(), 0, atol=0.02 * stddev)
    cut = 2 * stddev / stats.truncnorm(-2, 2).std()
    assert np.abs(values).max() <= cut * (1 + 1e-6)
    assert stats.kstest(values.ravel(), stats.truncnorm(-2, 2, scale=cut / 2).cdf).pvalue > 1e-3


def test_initial_variables_depend_on_seed_and_path_alone():
    def values(seed=0, **config):
        model = SegmentationNetwork(widths=TINY, **config)
        return flatten_dict(initial_variables(model, (1, 8, 8, 1), seed)["params"])

    full, bare = values(), values(classification_head=False)
    assert {path[0] for path in full.keys() - bare.keys()} == {"label_head"}
    for path, value in bare.items():
        np.testing.assert_array_equal(value, full[path])
    path = ("encoder", "x_0_0", "conv_1", "kernel")
    assert not np.array_equal(full[path], values(seed=1)[path])
    # Golden: a checkpoint-free rerun of an old seed must start from the old numbers.
    np.testing.assert_allclose(full[path][0, 0, 0], GOLDEN, rtol=1e-6)


GOLDEN = [0.66720980, -0.16305764, -0.65435177, -0.57365376]


def test_undeclared_parameter_is_refused():
    class Undeclared(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return x * self.param("gain", nn.initializers.ones, (1, 1, 1, 1))

    with pytest.raises(KeyError, match="gain"):
        initial_variables(Undeclared(), (1, 2, 2, 1), 0)
