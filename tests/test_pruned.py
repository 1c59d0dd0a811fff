"""Pruned networks: one head of the whole, and in no program or file what only the others read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax import export as jax_export
from tiny_networks import TINY, images, shake
from tiny_predictor import RULE, tiny_config, tiny_network

from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.decision.apply import Decision
from defect_jax.deploy import export as mode
from defect_jax.deploy.onnx import to_onnx
from defect_jax.deploy.program import make_program
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import probabilities
from defect_jax.training.fit import make_network

SHAPE = (1, 16, 16, 1)
DEPTH = len(TINY) - 1


def test_a_pruned_network_says_what_its_head_says_in_the_whole_one():
    whole = SegmentationNetwork(widths=TINY)
    variables, image = shake(initial_variables(whole, SHAPE, 0)), images(2, 16, 16, 1)

    def apply(network):
        run = jax.jit(lambda v: network.apply(v, image, train=False))
        return run(variables)

    all_heads = apply(whole)
    assert np.abs(all_heads.mask_logits[0] - all_heads.mask_logits[1]).max() > 0.1
    for column in range(1, DEPTH + 1):
        pruned = apply(whole.clone(prune=column))
        assert pruned.mask_logits.shape[0] == 1
        expected = all_heads.mask_logits[column - 1]
        np.testing.assert_allclose(pruned.mask_logits[0], expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(pruned.label_logits, all_heads.label_logits, rtol=1e-6)


def test_parameters_and_training_are_those_of_the_whole_network():
    whole = SegmentationNetwork(widths=TINY)
    pruned = whole.clone(prune=1)
    one, other = (flatten_dict(initial_variables(each, SHAPE, 3)) for each in (whole, pruned))
    assert one.keys() == other.keys()
    for path, value in one.items():
        np.testing.assert_array_equal(other[path], value)
    config = tiny_config(**{"model.decoder": "unetplusplus", "model.prune": 1})
    assert make_network(config).prune == 0  # what is best is chosen whole, too
    outputs, _ = jax.eval_shape(
        lambda v, x: pruned.apply(
            v, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
        ),
        initial_variables(pruned, SHAPE, 0),
        jnp.zeros(SHAPE),
    )
    assert outputs.mask_logits.shape[0] == DEPTH


def read_modules(network):
    """Names of the modules whose parameters a compiled decision reads."""
    variables = initial_variables(network, SHAPE, 0)
    step = jax.jit(lambda v, x: probabilities(network.apply(v, x, train=False)))
    exported = jax_export.export(step)(variables, jnp.zeros(SHAPE))
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(variables)]
    names = ["/".join(key.key for key in path[1:3]) for path in paths]
    return {names[place] for place in exported.module_kept_var_idx if place < len(names)}


def encoder(rows):
    return {f"encoder/x_{row}_0" for row in range(rows)}


def masks(column):
    nodes = {f"nodes/x_{i}_{j}" for j in range(1, column + 1) for i in range(column + 1 - j)}
    return nodes | {f"mask_heads/logits_{column - 1}"}


LABEL = {"label_head/logit"}
NO_HEAD = {"classification_head": False}
ON_ENCODER = {"localisation": "encoder", "embedding": True}
READ = [
    ({"prune": 1}, encoder(3) | masks(1) | LABEL),
    ({"prune": 2}, encoder(3) | masks(2) | LABEL),
    ({"prune": 1} | NO_HEAD, encoder(2) | masks(1)),
    ({"prune": 2} | NO_HEAD, encoder(3) | masks(2)),
    ({"prune": 1, "block": "separable"} | NO_HEAD, encoder(2) | masks(1)),
    (
        {"prune": 1} | NO_HEAD | ON_ENCODER,  # the cells come from the deepest row
        encoder(3) | masks(1) | {"embedder/gain_0", "embedder/gain_1", "localiser/grid"},
    ),
]


@pytest.mark.parametrize("fields, expected", READ)
def test_what_a_decision_reads(fields, expected):
    assert read_modules(SegmentationNetwork(widths=TINY, **fields)) == expected


def test_files_do_not_hold_what_is_left_out():
    changes = {"model.decoder": "unetplusplus", "model.widths": TINY, "model.prune": 1}
    changes |= {"model.classification_head": False, "evaluation.flips": True}
    config = tiny_config(**changes)
    network, ema = tiny_network(config)
    deployed, shape = (
        make_program(network, config, ema, RULE),
        mode.input_shape(InputSpec.of(config)),
    )
    kernels = {path: v for path, v in flatten_dict(ema["params"]).items() if v.ndim == 4}
    kept = {path for path in kernels if "/".join(path[:2]) in encoder(2) | masks(1)}
    assert 0 < len(kept) < len(kernels)

    stablehlo = mode.to_stablehlo(deployed, shape)
    held = {path for path, value in kernels.items() if np.asarray(value).tobytes() in stablehlo}
    assert held == kept

    graph = to_onnx(deployed, {mode.INPUT: shape}, Decision._fields).graph
    weights = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    sizes = {tensor.name: np.prod(tensor.dims) for tensor in graph.initializer}
    assert sum(sizes[name] for name in weights) == sum(kernels[path].size for path in kept)
