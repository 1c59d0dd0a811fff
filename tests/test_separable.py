"""Separable convolutions: two layers, or one whose kernel is the product of the two."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from tiny_networks import images, shake

from defect_jax.models.blocks import SeparableConv, as_one, as_two
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork


def by_hand(x, depthwise, pointwise):
    """Nine shifted copies times a number a channel, then a matrix product; in float64."""
    height, width = x.shape[1:3]
    padded = np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    each = sum(
        padded[:, i : i + height, j : j + width] * depthwise[i, j, 0]
        for i, j in itertools.product(range(3), repeat=2)
    )
    return each @ np.float64(pointwise[0, 0])


@pytest.mark.parametrize("compute", [as_one, as_two])
@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-5), ("bfloat16", 4e-2)])
def test_both_ways_are_the_formula(compute, dtype, rtol):
    rng = np.random.default_rng(0)
    shapes = (2, 5, 6, 4), (3, 3, 1, 4), (1, 1, 4, 3)
    x, depthwise, pointwise = (np.float32(rng.normal(size=shape)) for shape in shapes)
    expected = by_hand(x, depthwise, pointwise)
    actual = compute(jnp.asarray(x, dtype), jnp.asarray(depthwise), jnp.asarray(pointwise))
    assert actual.dtype == dtype
    np.testing.assert_allclose(np.float64(actual), expected, rtol=0, atol=rtol * expected.std())


def test_the_layer_takes_the_way_of_its_platform():
    module, x = SeparableConv(3, jnp.float32), images(1, 4, 4, 2)
    apply = jax.jit(module.apply)
    variables = {"params": {"depthwise": images(3, 3, 1, 2), "pointwise": images(1, 1, 2, 3)}}
    for platform, groups in (("cpu", 1), ("cuda", 2), ("tpu", 2)):
        lowered = apply.trace(variables, x).lower(lowering_platforms=(platform,)).as_text()
        assert ("feature_group_count = 2" in lowered) == (groups == 2), platform
    expected = by_hand(x, *map(np.asarray, variables["params"].values()))
    np.testing.assert_allclose(apply(variables, x), expected, rtol=1e-5, atol=1e-5)


def with_whole_kernels(variables):
    """The variables of the plain network that computes the same."""
    whole = {}
    for path, value in flatten_dict(variables).items():
        if path[-1] == "pointwise":
            depthwise = flatten_dict(variables)[(*path[:-1], "depthwise")]
            value = np.swapaxes(depthwise, 2, 3) * value
        if path[-1] != "depthwise":
            whole[(*path[:-1], "kernel") if path[-1] == "pointwise" else path] = value
    return unflatten_dict(whole)


def test_a_network_is_the_plain_one_with_the_products_as_kernels():
    separable = SegmentationNetwork(
        widths=(4, 8, 8), block="separable", localisation="backbone", localisation_widths=(4, 8)
    )
    variables = shake(initial_variables(separable, (1, 8, 8, 3), 0))
    whole, image = with_whole_kernels(variables), images(2, 8, 8, 3)
    plain = separable.clone(block="plain")
    shapes = jax.eval_shape(lambda: plain.init(jax.random.key(0), image, train=False))
    assert jax.tree.map(jnp.shape, whole) == jax.tree.map(jnp.shape, shapes)
    one, other = (
        jax.jit(lambda v, x, net=net: net.apply(v, x, train=False))(values, image)
        for net, values in ((separable, variables), (plain, whole))
    )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
