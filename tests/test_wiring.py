"""Nodes, attention and heads against independent computations."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_networks import TINY, evaluate, images, shake

from defect_jax.models.attention import AttentionGate, Scse
from defect_jax.models.blocks import group_norm, upsample
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork


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
    return model, variables, image, evaluate(model, variables, image)


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

    pooled = np.concatenate([x20.mean((1, 2)), x20.max((1, 2))], -1) / (2 * 16) ** 0.25
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
    outputs = evaluate(model, variables, image)
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
    networks = [SegmentationNetwork("unet", (4, 8), attention) for attention in ("none", "scse")]
    a, b = (evaluate(net, initial_variables(net, (1, 8, 8, 1), 0), image) for net in networks)
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


def test_masks_without_classification_head_are_bit_identical(tiny):
    model, variables, image, outputs = tiny
    params = {name: p for name, p in variables["params"].items() if name != "label_head"}
    bare = model.clone(classification_head=False)
    alone = evaluate(bare, variables | {"params": params}, image)
    assert alone.label_logits is None
    np.testing.assert_array_equal(alone.mask_logits, outputs.mask_logits)


def test_one_map_is_the_last_of_the_deeply_supervised(tiny):
    model, variables, image, outputs = tiny
    params = dict(variables["params"])
    params["mask_heads"] = {"logits_0": params["mask_heads"]["logits_1"]}
    one = model.clone(deep_supervision=False)
    alone = evaluate(one, variables | {"params": params}, image)
    np.testing.assert_allclose(alone.mask_logits[0], outputs.mask_logits[1], rtol=1e-5)
