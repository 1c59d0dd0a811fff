"""Pointwise convolution against Flax's own, and which platform computes it how."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_networks import images

from defect_jax.models.pointwise import as_convolution, as_product, pointwise

X, KERNEL = images(2, 5, 6, 7), images(1, 1, 7, 3, seed=1)


@pytest.mark.parametrize("stride", [1, 2])
def test_is_flax_own(stride):
    own = nn.Conv(3, (1, 1), stride, use_bias=False).apply({"params": {"kernel": KERNEL}}, X)
    np.testing.assert_allclose(pointwise(X, KERNEL, stride), own, rtol=0, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_both_ways_have_the_same_gradients(stride):
    one, other = (
        jax.grad(lambda x, kernel, f=f: jnp.sum(jnp.sin(f(x, kernel, stride))), (0, 1))(X, KERNEL)
        for f in (as_product, as_convolution)
    )
    for got, wanted in zip(one, other, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("platform", "multiplies"), [("cpu", True), ("cuda", False)])
def test_only_a_cpu_multiplies(platform, multiplies):
    specs = (jax.ShapeDtypeStruct(each.shape, each.dtype) for each in (X, KERNEL))
    function = jax.jit(lambda x, kernel: pointwise(x, kernel, 2))
    text = jax.export.export(function, platforms=[platform])(*specs).mlir_module()
    assert ("dot_general" in text) == multiplies
    assert ("stablehlo.convolution" in text) != multiplies
