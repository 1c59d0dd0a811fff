"""Our networks, against the PyTorch networks that benchmarks/ measures them beside."""

import json
import pathlib

import jax
import numpy as np
import pytest
from tiny_networks import class_batch, images, lively, training_config

from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.training.optimizer import make_tx
from defect_jax.training.steps import create_state, make_train_step

REFERENCES = pathlib.Path(__file__).with_name("references")
CASES = json.loads((REFERENCES / "torch_network.json").read_text())
TRAINING = json.loads((REFERENCES / "torch_training.json").read_text())
SHAPE = (2, 8, 12, 3)


def words(case):
    return " ".join(map(str, case["fields"].values()))


@pytest.mark.parametrize("case", CASES, ids=words)
def test_as_pytorch_has_it(case):
    network = SegmentationNetwork(**case["fields"])
    variables = lively(initial_variables(network, SHAPE, seed=0))
    assert sum(each.size for each in jax.tree.leaves(variables["params"])) == case["parameters"]
    function = jax.jit(lambda average, image: network.apply(average, image, train=False))
    outputs = function(variables, images(*SHAPE))
    for name in ("mask_logits", "label_logits"):
        got, wanted = getattr(outputs, name), case[name]
        if wanted is None:
            assert got is None
            continue
        wanted = np.array(wanted, np.float32)
        assert np.std(wanted) > 0.05  # one that says nothing would agree with any
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_trains_as_pytorch_does():
    config = training_config()
    network, tx = SegmentationNetwork(**config.model), make_tx(config)
    variables = lively(initial_variables(network, (1, *config.data.size, 1), seed=0))
    state, batch = create_state(variables, tx), class_batch(classes=1)
    step = jax.jit(make_train_step(network, config, measure=False))
    for wanted in TRAINING:
        state, metrics = step(state, batch)
        for name in ("loss", "loss_segmentation", "loss_classification", "gradient_norm"):
            assert float(metrics[name]) == pytest.approx(wanted[name], rel=1e-4), name
    assert TRAINING[-1]["loss"] < 0.95 * TRAINING[0]["loss"]
