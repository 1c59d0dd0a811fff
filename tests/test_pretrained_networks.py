"""Whole networks on pretrained encoders: sizes, gradients, pruned ones, and every part there is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from tiny_networks import class_batch, every_part, images, lively

from defect_jax.models.encoders import PRETRAINED, finest_px
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import normalise
from defect_jax.training.tasks import task_losses

ROWS = (4, 4, 4)
SIDE_PX = 32
NESTED = {"decoder": "unetplusplus", "attention": "scse", "label_head": "rows"}
LITE0 = NESTED | {"encoder": "efficientnet_lite0", "weights": "imagenet", "widths": ROWS}


@pytest.mark.parametrize("norm, dtype", [("batch", "float32"), ("group", "bfloat16")])
@pytest.mark.parametrize("encoder", PRETRAINED)
def test_masks_are_as_large_as_images(encoder, norm, dtype):
    """Whatever the finest row is; parameters and logits are float32."""
    fields = NESTED | {"widths": ROWS[:2], "weights": "", "norm": norm, "dtype": dtype}
    network = SegmentationNetwork(encoder=encoder, **fields)
    image = jax.ShapeDtypeStruct((2, SIDE_PX, 3 * SIDE_PX, 1), jnp.float32)
    outputs, variables = jax.eval_shape(
        lambda x: network.init_with_output(jax.random.key(0), x, train=False), image
    )
    assert finest_px(encoder) in (2, 4)
    assert outputs.mask_logits.shape == (1, 2, SIDE_PX, 3 * SIDE_PX, 1)
    assert outputs.label_logits.shape == (2,)
    leaves = jax.tree.leaves((outputs, variables))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


def batch_of_32_px():
    """Two images of `class_batch`, twice as large."""
    batch = class_batch(size=2)
    doubled = {name: batch[name].repeat(2, 1).repeat(2, 2) for name in ("image", "mask", "valid")}
    return {name: jnp.asarray(value) for name, value in (batch | doubled).items()}


def test_every_parameter_of_every_part_learns():
    """Nested decoder with all heads, scSE, classes, localisation on the encoder and embedded; in
    bfloat16 with group norms, where least is left of small gradients."""
    parts = {f"model.{field}": value for field, value in LITE0.items()}
    parts |= {"model.norm": "group", "model.dtype": "bfloat16", "data.size": (SIDE_PX, SIDE_PX)}
    config = every_part("encoder", **parts)
    network, batch = SegmentationNetwork(**config.model), batch_of_32_px()
    variables = lively(initial_variables(network, (1, SIDE_PX, SIDE_PX, 1), 0))

    def loss(params):
        outputs, after = network.apply(
            variables | {"params": params},
            normalise(batch["image"], 0.4, 0.1),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return sum(task_losses(outputs, batch, config).values()), after

    (value, after), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    assert np.isfinite(value)
    for path, gradient in flatten_dict(gradients).items():
        assert np.isfinite(gradient).all() and np.any(gradient), path
    # The statistics came with the weights.
    jax.tree.map(np.testing.assert_array_equal, after["batch_stats"], variables["batch_stats"])


def test_a_pruned_one_says_what_its_head_says_in_the_whole_one():
    whole = SegmentationNetwork(**LITE0)
    variables = lively(initial_variables(whole, (1, SIDE_PX, SIDE_PX, 1), 0))
    image = images(1, SIDE_PX, SIDE_PX, 1)

    def apply(network):
        return jax.jit(lambda v: network.apply(v, image, train=False))(variables)

    all_heads, pruned = apply(whole), apply(whole.clone(prune=1))
    assert np.abs(all_heads.mask_logits[0] - all_heads.mask_logits[1]).max() > 0.1
    np.testing.assert_allclose(pruned.mask_logits[0], all_heads.mask_logits[0], rtol=0, atol=1e-4)
    of_rows, of_masks = pruned.label_branches - all_heads.label_branches
    np.testing.assert_allclose(of_rows, 0.0, atol=1e-4)
    assert np.abs(of_masks).max() > 0.01  # it reads the masks that are left
