"""The published encoders against timm's, and the names by which their tensors find their places."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_tensors import SHAPE, digest, drawn, image, sampled
from flax.traverse_util import flatten_dict

from defect_jax.models.encoders import PRETRAINED, names
from defect_jax.models.initialise import initial_variables
from defect_jax.runtime.errors import UserError

REFERENCES = json.loads(
    pathlib.Path(__file__).with_name("references").joinpath("timm_features.json").read_text()
)
DRAWN = {case["encoder"]: case for case in REFERENCES["drawn"]}
SMALL = "resnet18", "efficientnet_lite0"  # those that have batch statistics, in two kinds


def built(name, frozen=False, dtype=jnp.float32, **fields):
    return PRETRAINED[name](dtype=dtype, frozen=frozen, **fields)


@functools.cache
def tensors(name):
    return drawn(names.published_shapes(name, 3))


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
    variables = names.variables_of(tensors(name), name, channels=3)
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
