"""An ensemble decides by the mean of its members, in memory, on devices and in exported files."""

import json
import shutil

import jax
import numpy as np
import pytest
from tiny_networks import lively
from tiny_predictor import RULE, surface, tiny_config, tiny_network

from defect_jax.decision.apply import Decision
from defect_jax.deploy import export as mode
from defect_jax.deploy import int8, parity
from defect_jax.deploy.onnx import to_onnx
from defect_jax.deploy.predictor import Predictor, load
from defect_jax.deploy.program import make_program
from defect_jax.distributed.sharding import (
    batch_sharding,
    make_mesh,
    one_device_mesh,
    place_state,
    state_sharding,
)
from defect_jax.models.probabilities import make_probabilities
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import checkpoints, run_config
from defect_jax.workdir.best_weights import restore_trained
from defect_jax.workdir.members import restore_members

FOLDS = 3
IMAGE = np.random.default_rng(0).uniform(size=(8, 32, 48, 1)).astype(np.float32)
INFO = {"data_info.leaking": False, "data_info.defect_edges_px": None}
CHANGES = {
    "plain": {},
    "flips": {"evaluation.flips": True},
    "bfloat16": {"evaluation.dtype": "bfloat16", "model.classification_head": False},
    "pruned": {"model.decoder": "unetplusplus", "model.widths": (4, 8, 8), "model.prune": 1},
}


def members_of(config, count=FOLDS):
    """A network and as many random variables."""
    network, ema = tiny_network(config)
    return network, tuple(lively(ema, seed) for seed in range(count))


def outputs(config, network, ema, image=IMAGE):
    return jax.jit(make_probabilities(network, config.data_info, config.evaluation))(ema, image)


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_its_output_is_the_mean_of_its_members(changes):
    config = tiny_config(**changes)
    network, members = members_of(config)
    singles = [outputs(config, network, member) for member in members]
    masks = np.stack([single.mask for single in singles])
    assert np.ptp(masks, axis=0).max() > 0.1  # else the test could not fail
    got = outputs(config, network, members)
    assert got.mask.dtype == np.float32
    tolerance = 1e-6 if config.evaluation.dtype == "float32" else 1e-2
    np.testing.assert_allclose(got.mask, masks.mean(0), atol=tolerance)
    if singles[0].label is None:
        assert got.label is None
    else:
        labels = np.mean([single.label for single in singles], axis=0)
        np.testing.assert_allclose(got.label, labels, atol=1e-6)


def test_copies_of_a_network_are_that_network():
    config = tiny_config()
    network, (member, *_) = members_of(config)
    one, several = (outputs(config, network, ema) for ema in (member, (member,) * 4))
    np.testing.assert_allclose(several.mask, one.mask, atol=1e-6)
    np.testing.assert_allclose(several.label, one.label, atol=1e-6)


def test_eight_devices_say_what_one_says():
    config = tiny_config()
    network, members = members_of(config)
    one = outputs(config, network, members)
    mesh = make_mesh(data=2, fsdp=4)
    shardings = state_sharding(mesh, members, min_size=1)
    placed = place_state(members, shardings)
    assert any(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(placed))
    eight = outputs(config, network, placed, jax.device_put(IMAGE, batch_sharding(mesh)))
    np.testing.assert_allclose(eight.mask, one.mask, atol=1e-6)
    np.testing.assert_allclose(eight.label, one.label, atol=1e-6)


def fill(workdir, config, members, step=None):
    """Writes a workdir as cross-fitting leaves it, as far as a decision reads it."""
    run_config.claim(workdir, config)
    RULE.to_json(workdir / "decision.json")
    fields = json.loads((workdir / "decision.json").read_text())
    fields |= {"chosen_on": "folds", "options": config.decision.to_dict()}
    (workdir / "decision.json").write_text(json.dumps(fields))
    placed = jax.device_put(members, state_sharding(one_device_mesh(), members))
    for fold, ema in enumerate(placed):
        with checkpoints.open_checkpoints(workdir / "folds" / str(fold)) as checkpointer:
            checkpoints.save(checkpointer, step or config.train.steps, {"ema": ema}, [], {})


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    """A workdir, its config, the network and the members in it."""
    config = tiny_config(**{"data.folds": FOLDS}, **INFO)
    network, members = members_of(config)
    workdir = tmp_path_factory.mktemp("ensemble")
    fill(workdir, config, members)
    return workdir, config, network, members


def test_a_workdir_gives_its_members_in_order_on_one_and_on_eight_devices(ensemble):
    workdir, config, _, members = ensemble
    for mesh in (one_device_mesh(), make_mesh(data=2, fsdp=4)):
        step, restored = restore_members(config, workdir, mesh)
        assert step == config.train.steps == RULE.checkpoint_step
        jax.tree.map(np.testing.assert_array_equal, restored, members)


def shares(decision):
    """The probabilities that a heat map tells, each at most one step too low."""
    heat, threshold = decision.heat_map.astype(float), RULE.pixel_threshold
    above = threshold + (1 - threshold) * (heat - 128) / 127
    return np.where(heat < 128, threshold * (heat - 1) / 127, above)


def test_load_decides_by_the_mean(ensemble):
    workdir, config, network, members = ensemble
    image = surface(32, 48, seed=2)
    each = [
        Predictor(network, config, jax.device_put(ema), RULE, one_device_mesh()).predict(image)
        for ema in members
    ]
    got = load(str(workdir)).predict(image)
    assert got.score == pytest.approx(np.mean([one.score for one in each]), abs=1e-6)
    step = max(RULE.pixel_threshold, 1 - RULE.pixel_threshold) / 127
    mean = np.mean([shares(one) for one in each], axis=0)
    np.testing.assert_allclose(shares(got), mean, atol=step + 1e-5)


def test_exported_files_decide_as_the_ensemble_and_the_card_counts_its_members(ensemble, tmp_path):
    workdir = ensemble[0]
    mode.export(workdir, str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / mode.CARD).read_text())["members"] == FOLDS
    image = surface(40, 31, seed=1)
    decision = load(str(workdir)).predict(image)
    for name, run in ((mode.STABLEHLO, parity.of_stablehlo), (mode.ONNX, parity.of_onnx)):
        answer = run((tmp_path / "out" / name).read_bytes())(image[None, ..., None])
        for field in parity.PROBABILITIES:
            assert float(answer[field][0]) == pytest.approx(getattr(decision, field), abs=2e-5)
        assert (answer["mask"][0] != decision.mask).sum() <= 1


def test_files_hold_the_weights_of_each_member_once_and_can_be_in_eight_bits():
    config = tiny_config()
    network, members = members_of(config)
    program = make_program(network, config, members, RULE)
    shape = jax.ShapeDtypeStruct((1, 32, 48, 1), np.uint8)
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves([ema["params"] for ema in members]))
    one = len(mode.to_stablehlo(make_program(network, config, members[0], RULE), shape))
    several = len(mode.to_stablehlo(program, shape))
    assert several - one < 1.2 * weights
    model = to_onnx(program, {mode.INPUT: shape}, Decision._fields)
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    kernels = [node.input[1] for node in model.graph.node if node.op_type == "Conv"]
    assert len(set(kernels) & held.keys()) == len(kernels)
    assert len(int8.nodes_of_blocks(model.graph)) >= FOLDS * 4  # none is in a loop


def broken(ensemble, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(ensemble[0], copy)
    return copy


def test_a_fold_that_is_missing_or_unfinished_is_named(ensemble, tmp_path):
    workdir = broken(ensemble, tmp_path)
    steps = ensemble[1].train.steps
    says = f"folds/2: has no checkpoint of step {steps}: run the same training command again"
    (workdir / "folds/2/checkpoints" / str(steps)).rename(tmp_path / "aside")
    with pytest.raises(UserError, match=says):
        restore_trained(workdir, one_device_mesh())
    shutil.rmtree(workdir / "folds/2")
    with pytest.raises(UserError, match=says):
        restore_trained(workdir, one_device_mesh())


def test_a_fold_at_another_step_or_damaged_or_another_network_is_named(ensemble, tmp_path):
    workdir, config = broken(ensemble, tmp_path), ensemble[1]
    folder = workdir / "folds/1/checkpoints"
    shutil.copytree(folder / "8", folder / "12")
    with pytest.raises(UserError, match=r"folds/1: was trained on, to step 12"):
        restore_trained(workdir, one_device_mesh())
    shutil.rmtree(folder / "12")
    wider = tiny_config(**{"data.folds": FOLDS, "model.widths": (4, 16)}, **INFO)
    with pytest.raises(UserError, match="folds/0/checkpoints/8: .*this network needs"):
        restore_members(wider, workdir, one_device_mesh())
    (folder / "8" / "_CHECKPOINT_METADATA").write_text("{}")
    with pytest.raises(UserError, match="folds/1/checkpoints/8 is damaged .*same training command"):
        restore_members(config, workdir, one_device_mesh())


@pytest.mark.parametrize("count", [1, 21, -1, True, 2.0])
def test_a_number_of_folds_that_cannot_be_is_refused(count):
    config = tiny_config(**INFO)
    with config.unlocked(), config.ignore_type():
        config.data.folds = count
    with pytest.raises(
        UserError, match="config.data.folds is .*: it must be 0 .none., or from 2 to 20"
    ):
        run_config.check_values(config)
