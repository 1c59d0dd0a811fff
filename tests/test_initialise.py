"""Initial values: the distribution and the constants of Flax, the same on every machine."""

import math

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from scipy import stats
from tiny_networks import TINY, images

from defect_jax.models.initialise import FanInNormal, initial_variables
from defect_jax.models.network import SegmentationNetwork


@pytest.mark.parametrize("attention", ["scse", "gates"])
def test_initial_variables_are_what_flax_would_draw(attention):
    model = SegmentationNetwork(widths=(8, 16), attention=attention)
    key = jax.random.key(0, impl="rbg")  # compiles three times as fast as the default
    flax_values = flatten_dict(jax.jit(lambda: model.init(key, images(1, 4, 4, 3), False))())
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


@pytest.mark.parametrize("shape", [(3, 3, 64, 64), (1, 1, 256, 128), (1024, 32), (3, 3, 1, 4096)])
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
