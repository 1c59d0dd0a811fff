"""The two stages: what the first learns, what the second begins with, and what then stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from tiny_networks import class_batch, every_part

from defect_jax.distributed.sharding import make_mesh
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.training.fit import initial_state
from defect_jax.training.optimizer import make_tx
from defect_jax.training.stages import first_stage, has_first_stage, is_frozen, with_learnt
from defect_jax.training.steps import create_state, make_train_step
from defect_jax.training.tasks import CLASSIFICATION, LOCALISATION, SEGMENTATION, task_names
from defect_jax.workdir import run_config

SHAPE = (1, 16, 16, 1)
STEPS = 5
sources = pytest.mark.parametrize("source", ["backbone", "encoder"])


def staged(source, **changes):
    return every_part(source, **{"train.localisation_steps": 6} | changes)


@sources
def test_stage_one_is_localisation_alone_and_else_the_same_run(source):
    config = staged(source, **{"balance.method": "gradnorm"})
    config.data_info.classes = ["crack", "pit", "stain"]
    before = config.to_dict()
    stage = first_stage(config)
    assert config.to_dict() == before
    whole, first = run_config.decisive(config), run_config.decisive(stage)
    changed = {field: first[field] for field in first if first[field] != whole[field]}
    expected = {
        "model.decoder": "grid",
        "model.classification_head": False,
        "model.embedding": False,
        "model.pixel_confidence": "none",
        "model.num_classes": 1,
        "data_info.classes": ["defect"],
        "loss.defect_weight": 0.0,
        "train.steps": 6,
        "train.localisation_steps": 0,
        "balance.method": "fixed",
    }
    if source == "backbone":
        expected["balance.shared"] = "localiser"
    assert changed == expected and first.keys() == whole.keys()
    assert not has_first_stage(stage)
    run_config.check_values(stage)


@pytest.mark.parametrize(
    "source, steps, frozen, tasks",
    [
        ("backbone", 0, False, (SEGMENTATION, CLASSIFICATION, LOCALISATION)),
        ("backbone", 6, True, (SEGMENTATION, CLASSIFICATION)),
        ("encoder", 0, False, (SEGMENTATION, CLASSIFICATION, LOCALISATION)),
        ("encoder", 6, False, (SEGMENTATION, CLASSIFICATION, LOCALISATION)),
    ],
)
def test_only_a_backbone_that_has_learnt_before_is_frozen(source, steps, frozen, tasks):
    config = staged(source, **{"train.localisation_steps": steps})
    assert (has_first_stage(config), is_frozen(config)) == (steps > 0, frozen)
    assert task_names(config) == tasks
    assert task_names(first_stage(config)) == (LOCALISATION,)


@sources
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_stage_two_begins_with_all_that_stage_one_has_learnt(source, norm):
    config = staged(source, **{"model.norm": norm})
    learnt, initial = (
        initial_variables(SegmentationNetwork(**c.model), SHAPE, seed)
        for c, seed in ((first_stage(config), 1), (config, 0))
    )
    before, stage = flatten_dict(initial), flatten_dict(learnt)
    assert stage.keys() < before.keys()
    own = {"localiser"} if source == "backbone" else {"localiser", "encoder"}
    assert {path[1] for path in stage} == own
    network = SegmentationNetwork(**config.model, localisation_frozen=is_frozen(config))
    mesh = make_mesh(-1, 1)
    state, _ = initial_state(network, make_tx(config), config, mesh, learnt)
    begins = flatten_dict({"params": state.params, "batch_stats": state.batch_stats})
    averages = flatten_dict(state.ema)
    assert begins.keys() == before.keys() == averages.keys()
    for path, value in before.items():
        wanted = stage.get(path, value)
        np.testing.assert_array_equal(begins[path], wanted, err_msg=str(path))
        np.testing.assert_array_equal(averages[path], wanted, err_msg=str(path))


def test_with_learnt_leaves_its_arguments_alone():
    initial, learnt = {"params": {"a": {"b": 0, "c": 1}}}, {"params": {"a": {"c": 5}}}
    assert with_learnt(initial, learnt) == {"params": {"a": {"b": 0, "c": 5}}}
    assert with_learnt(initial, {}) == initial == {"params": {"a": {"b": 0, "c": 1}}}


def trained(config):
    """The states of a network before and after some steps, as flat trees, and its last metrics."""
    config.optimizer.update(weight_decay=0.1, learning_rate=0.02, warmup_steps=0)
    network = SegmentationNetwork(**config.model, localisation_frozen=is_frozen(config))
    tx = make_tx(config)
    state = create_state(initial_variables(network, SHAPE, 0), tx)
    step = jax.jit(make_train_step(network, config))
    trees = [{"params": state.params, "batch_stats": state.batch_stats}]
    for number in range(STEPS):
        batch = {name: jnp.asarray(value) for name, value in class_batch(seed=number).items()}
        state, metrics = step(state, batch)
    trees.append({"params": state.params, "batch_stats": state.batch_stats})
    before, after = map(flatten_dict, trees)
    return before, after, flatten_dict(state.ema), metrics


def test_a_frozen_localiser_stays_bit_for_bit_and_all_else_moves():
    before, after, average, metrics = trained(staged("backbone"))
    assert "loss_localisation" not in metrics and metrics["loss"] > 0.0
    assert {"batch_stats", "params"} == {path[0] for path in before if path[1] == "localiser"}
    for path, value in before.items():
        if path[1] == "localiser":
            np.testing.assert_array_equal(after[path], value, err_msg=str(path))
            np.testing.assert_allclose(average[path], value, rtol=1e-6, err_msg=str(path))
        else:
            assert np.any(np.asarray(after[path]) != value), path


@sources
def test_stage_one_moves_all_that_it_has(source):
    before, after, _, metrics = trained(first_stage(staged(source)))
    assert set(metrics) >= {"loss_localisation"} and "loss_segmentation" not in metrics
    assert metrics["gradient_norm"] > 0.0
    for path, value in before.items():
        assert np.any(np.asarray(after[path]) != value), path
