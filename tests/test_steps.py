"""The training step: same numbers on one device and on eight, one compilation, losses that fall."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax.sharding import AxisType
from sklearn.metrics import confusion_matrix
from tiny_networks import class_batch, every_part

from defect_jax.balance import measures, task_gradients
from defect_jax.configs import synthetic
from defect_jax.decision.apply import Thresholds, decide_mask, mark
from defect_jax.distributed.sharding import (
    batch_sharding,
    place_state,
    replicated,
    state_sharding,
    to_global,
)
from defect_jax.evaluation.evaluator import make_eval_step
from defect_jax.metrics.accumulated import Accumulated
from defect_jax.models.encoders.names import variables_of
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import Outputs, SegmentationNetwork
from defect_jax.models.pretrained.embedded import read_embedded
from defect_jax.models.probabilities import make_probabilities, normalise
from defect_jax.runtime.errors import UserError
from defect_jax.training.optimizer import METHODS, make_tx
from defect_jax.training.stages import with_learnt
from defect_jax.training.steps import create_state, make_train_step
from defect_jax.training.tasks import task_losses

STEPS = 20
TASKS = ("segmentation", "classification", "localisation")


def make_config(**model):
    config = synthetic.get_config("debug").copy_and_resolve_references()
    config.unlock()
    config.model.update({"widths": (4, 8), "dropout": 0.2} | model)
    config.train.steps = STEPS
    config.data.size = (16, 16)
    config.optimizer.learning_rate = 0.02
    config.data_info = {"mean": 0.4, "std": 0.1}
    return config


def batches(count=STEPS, size=8):
    rng = np.random.default_rng(0)
    for _ in range(count):
        label = (np.arange(size) % 2).astype(np.float32)
        mask = np.zeros((size, 16, 16), np.uint8)
        mask[label > 0, 4:9, 5:11] = 1
        image = rng.integers(60, 120, (size, 16, 16, 1), np.uint8) + 90 * mask[..., None]
        valid = np.ones_like(mask, bool)
        valid[:, :2] = False
        batch = {"image": np.float32(image / 255), "mask": mask, "valid": valid, "label": label}
        yield batch | {"masked": np.ones(size, np.float32)}


def mesh_of(data, fsdp):
    devices = np.array(jax.devices()[: data * fsdp]).reshape(data, fsdp)
    return jax.sharding.Mesh(devices, ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)


def train(data, fsdp, method="fixed", min_size=64, config=None, given=batches, learnt=None):
    """Numbers of a run on a mesh of data x fsdp devices, and how often the step was compiled."""
    mesh, config = mesh_of(data, fsdp), config or make_config()
    config.balance.method = method
    network, tx = SegmentationNetwork(**config.model), make_tx(config)
    variables = with_learnt(initial_variables(network, (1, 16, 16, 1), 0), learnt or {})
    state = create_state(variables, tx)
    shardings = state_sharding(mesh, state, min_size)
    state = place_state(state, shardings)
    step = jax.jit(
        make_train_step(network, config),
        donate_argnums=0,
        out_shardings=(shardings, replicated(mesh)),
    )
    history = []
    for batch in map(to_global(mesh), given()):
        assert batch["image"].sharding == batch_sharding(mesh)
        state, metrics = step(state, batch)
        history.append({name: float(value) for name, value in metrics.items()})
    history = {name: np.array([row[name] for row in history]) for name in history[0]}
    return history, step._cache_size(), state


@pytest.fixture(scope="module")
def one_device():
    return train(1, 1)


def test_losses_fall_and_the_step_is_compiled_once(one_device):
    history, compilations, state = one_device
    assert compilations == 1
    assert int(state.step) == STEPS
    assert history["loss"][-5:].mean() < 0.8 * history["loss"][:5].mean()
    for task in ("segmentation", "classification"):
        np.testing.assert_array_equal(history[f"weight_{task}"], 0.5)
        assert f"gradient_norm_{task}" not in history  # fixed weights need none


@pytest.mark.parametrize(("data", "fsdp"), [(8, 1), (2, 4)])
def test_eight_devices_give_the_same_losses_as_one(one_device, data, fsdp):
    history, compilations, _ = train(data, fsdp)
    assert compilations == 1
    for name in ("loss_segmentation", "loss_classification", "gradient_norm"):
        np.testing.assert_allclose(history[name], one_device[0][name], rtol=1e-5, atol=1e-5)


def test_gradnorm_over_eight_devices_gives_the_weights_of_one():
    """Losses to 1e-5 for ten steps; later the sign of a difference near 0 may fall either way."""
    alone, eight = train(1, 1, "gradnorm")[0], train(2, 4, "gradnorm")[0]
    for name in alone:
        tolerance = {"rtol": 1e-4, "atol": 1e-4} if "gradient" in name else {"rtol": 1e-5}
        np.testing.assert_allclose(eight[name][:10], alone[name][:10], **tolerance)
    weights = alone["weight_segmentation"], alone["weight_classification"]
    np.testing.assert_allclose(sum(weights), 2.0, rtol=1e-5)
    assert weights[0][-1] > 1.0  # its gradient on the encoder is the smaller one


def class_batches(count=10):
    return (class_batch(classes=5, seed=number) for number in range(count))


@pytest.mark.parametrize("method", ["fixed", "gradnorm"])
def test_every_part_over_eight_devices_gives_the_numbers_of_one(method):
    changes = {"model.num_classes": 5, "train.steps": 10, "optimizer.learning_rate": 0.002}
    given = {"config": every_part("backbone", **changes), "given": class_batches}
    alone, eight = (train(*shape, method, **given)[0] for shape in ((1, 1), (2, 4)))
    assert {f"loss_{task}" for task in TASKS} < set(alone)
    for name in alone:
        tolerance = {"rtol": 1e-4, "atol": 1e-4} if "gradient" in name else {"rtol": 1e-5}
        np.testing.assert_allclose(eight[name], alone[name], err_msg=name, **tolerance)
    norms = [name for name in alone if name == "gradient_norm_localisation"]
    assert bool(norms) == (method != "fixed")
    assert all(np.all(alone[name] == 0.0) for name in norms)  # on the encoder it does not see
    assert alone["loss"][-1] < alone["loss"][0]


def test_a_pretrained_encoder_over_eight_devices_gives_the_numbers_of_one():
    fields = {"encoder": "efficientnet_lite0", "weights": "imagenet", "label_head": "rows"}
    config = make_config(**fields, decoder="unet", attention="none", dropout=0.0)
    config.optimizer.learning_rate = 0.002
    tensors = read_embedded(config.model.encoder).tensors
    learnt = variables_of(tensors, config.model.encoder, channels=1, rows=2)
    learnt = {collection: {"encoder": tree} for collection, tree in learnt.items()}
    given = {"config": config, "given": lambda: batches(6), "learnt": learnt}
    (alone, _, one), (eight, _, other) = train(1, 1, **given), train(2, 4, **given)
    for name in alone:
        tolerance = {"rtol": 1e-4, "atol": 1e-4} if "gradient" in name else {"rtol": 1e-5}
        np.testing.assert_allclose(eight[name], alone[name], err_msg=name, **tolerance)
    split = [not leaf.is_fully_replicated for leaf in jax.tree.leaves(other.params["encoder"])]
    assert any(split)
    for state in (one, other):  # its statistics are not learnt
        got, began = state.batch_stats["encoder"], learnt["batch_stats"]["encoder"]
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(got), began)
        kernel = state.params["encoder"]["conv_stem"]["kernel"]
        assert np.any(kernel != learnt["params"]["encoder"]["conv_stem"]["kernel"])


@pytest.fixture(scope="module", params=["backbone", "encoder"])
def three_tasks(request):
    """The source, the initial parameters, and the losses and gradients of all tasks there."""
    config = every_part(request.param)
    network = SegmentationNetwork(**config.model)
    variables = initial_variables(network, (1, 16, 16, 1), 0)
    batch = {name: jnp.asarray(value) for name, value in class_batch().items()}

    def losses(params):
        outputs, _ = network.apply(
            variables | {"params": params},
            normalise(batch["image"], 0.4, 0.1),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return task_losses(outputs, batch, config)

    both = jax.jit(lambda params: task_gradients(losses, params)[:2])
    found = both(variables["params"])
    return request.param, variables["params"], *found


@pytest.mark.parametrize("method", METHODS)
def test_every_method_balances_three_tasks(three_tasks, method):
    source, params, losses, gradients = three_tasks
    tx = make_tx(every_part(source, **{"balance.method": method, "optimizer.warmup_steps": 1}))
    updates, state = tx.update(dict(gradients), tx.init(params), params, task_losses=losses)
    for path, update in flatten_dict(updates).items():
        assert np.isfinite(update).all(), path
        assert path[0] != "localiser" or np.any(update), path
    numbers = {name: float(value) for name, value in measures(state[0], losses).items()}
    assert sorted(losses) == sorted(TASKS) and np.isfinite(list(numbers.values())).all()
    on_encoder = [np.any(leaf) for leaf in jax.tree.leaves(gradients["localisation"]["encoder"])]
    if source == "backbone":
        assert not any(on_encoder) and numbers["gradient_norm_localisation"] == 0.0
    else:
        assert all(on_encoder) and numbers["gradient_norm_localisation"] > 0.0
    assert numbers["gradient_norm_segmentation"] > 0.0


def test_a_step_that_does_not_measure_takes_the_same_step():
    config = make_config()
    config.balance.method = "uncertainty"
    network, tx = SegmentationNetwork(**config.model), make_tx(config)
    state = create_state(initial_variables(network, (1, 16, 16, 1), 0), tx)
    batch = {name: jnp.asarray(value) for name, value in next(batches(1)).items()}
    after = {
        measure: jax.jit(make_train_step(network, config, measure))(state, batch)
        for measure in (False, True)
    }
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(after[False][1][name], after[True][1][name], rtol=1e-5)
    assert after[False][1]["gradient_norm_segmentation"] == 0.0  # as it was at the start


def test_an_unknown_method_or_a_wrong_option_is_one_line():
    config = make_config()
    config.balance.method = "gradnrom"
    with pytest.raises(UserError, match="config.balance.method is 'gradnrom': must be one of"):
        make_tx(config)
    config.balance.method, config.balance.gradnorm.alpha = "gradnorm", -1.0
    with pytest.raises(UserError, match="config.balance.gradnorm: alpha is -1.0"):
        make_tx(config)


def test_normalise_is_one_affine_map():
    image = np.random.default_rng(0).uniform(-0.5, 1.5, (3, 6, 5, 3)).astype(np.float32)
    got = np.asarray(normalise(jnp.asarray(image), 0.3, 0.15))
    np.testing.assert_allclose(got, (image - 0.3) / 0.15, rtol=1e-5, atol=1e-5)


def test_padding_images_and_pixels_change_no_loss():
    config = make_config()
    batch = {name: jnp.asarray(value) for name, value in next(batches(1, 4)).items()}
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(2, 4, 16, 16, 1)), jnp.float32)
    labels = jnp.asarray(rng.normal(size=4), jnp.float32)
    batch["valid"] = batch["valid"].at[2].set(False)
    want = task_losses(Outputs(logits, labels), batch, config)
    batch["mask"] = batch["mask"].at[2].set(1).at[:, :2].set(1)
    batch["label"] = batch["label"].at[2].set(1.0)
    got = task_losses(Outputs(logits.at[:, 2].add(3.0), labels.at[2].add(5.0)), batch, config)
    assert sorted(want) == ["classification", "segmentation"]
    for task in want:
        np.testing.assert_allclose(got[task], want[task], rtol=1e-6)


def test_branches_of_the_label_learn_each_by_itself():
    config, batch = make_config(), {k: jnp.asarray(v) for k, v in next(batches(1, 4)).items()}
    masks = jnp.zeros((1, 4, 16, 16, 1))
    branches = jnp.asarray(np.random.default_rng(2).normal(size=(2, 4)), jnp.float32)
    alone = [task_losses(Outputs(masks, branch), batch, config) for branch in branches]
    outputs = Outputs(masks, branches.mean(axis=0), label_branches=branches)
    got = task_losses(outputs, batch, config)["classification"]
    want = sum(losses["classification"] for losses in alone) / 2
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_without_a_head_there_is_one_task():
    batch = {name: jnp.asarray(value) for name, value in next(batches(1, 2)).items()}
    outputs = Outputs(jnp.zeros((1, 2, 16, 16, 1)), None)
    losses = task_losses(outputs, batch, make_config(classification_head=False))
    assert list(losses) == ["segmentation"]


def test_mask_is_decided_only_where_its_image_is_rejected():
    probability = jnp.array([[[0.2, 0.6, 0.9]], [[0.2, 0.6, 0.7]], [[0.2, 0.1, 0.9]]])
    valid = jnp.ones_like(probability, bool).at[0, 0, 2].set(False)

    def decide(area_px, valid):
        thresholds = Thresholds(jnp.array(0.8), jnp.array(0.5), jnp.array(area_px))
        marked = mark(probability, jnp.zeros_like(valid, int), thresholds, valid)
        return decide_mask(marked, thresholds)[:, 0].tolist()

    everywhere = jnp.ones_like(valid)
    assert decide(1, everywhere) == [[0, 1, 1], [0, 0, 0], [0, 0, 1]]
    assert decide(2, everywhere) == [[0, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert decide(2, valid) == [[0, 0, 0]] * 3  # padding does not make a mask large


def native_batch():
    """Eight images of 12 x 10 px in frames of 16; the last row is filler."""
    batch = class_batch()
    batch["native_mask"] = np.zeros((8, 16, 16), np.uint8)
    batch["native_mask"][:, :12, :10] = batch["mask"][:, 2:14, 3:13]
    batch["placement"] = np.tile(np.float32([2, 3, 12, 10]), (8, 1))
    batch["native_size"] = np.tile(np.int32([12, 10]), (8, 1))
    batch["row"] = np.int32([0, 1, 2, 3, 4, 5, 6, -1])
    batch["region_weight"] = np.zeros((8, 16, 16), np.float32)
    batch["regions"] = np.zeros(8, np.int32)
    return batch


@pytest.mark.parametrize("shape", [(1, 1), (8, 1)])
def test_classes_are_decided_and_counted_at_native_size(shape):
    config = every_part("backbone")
    network = SegmentationNetwork(**config.model)
    variables = initial_variables(network, (1, 16, 16, 1), 0)
    batch, mesh = native_batch(), mesh_of(*shape)
    image = normalise(jnp.asarray(batch["image"]), 0.4, 0.1)
    outputs = jax.jit(lambda image: network.apply(variables, image, train=False))(image)
    classes = np.asarray(jax.nn.softmax(outputs.refined_logits))[:7, 2:14, 3:13, 1:]
    defect = classes.sum(-1)
    pixel = float(np.median(defect))
    ids = np.where(defect >= pixel, 1 + classes.argmax(-1), 0)
    assert len(np.unique(ids)) > 2

    nothing = Accumulated.empty(3)
    step = jax.jit(
        make_eval_step(make_probabilities(network, config.data_info, config.evaluation), (16, 16)),
        out_shardings=replicated(mesh),
    )
    given = Thresholds(np.float32(0.0), np.float32(pixel), np.int32(1))
    counted, result = step(variables, to_global(mesh)(batch), given, nothing)
    np.testing.assert_array_equal(result["decided"][:7, :12, :10], ids)
    outside = np.array(result["decided"])
    outside[:7, :12, :10] = 0
    assert not outside.any()
    np.testing.assert_allclose(result["mask_score"][:7], defect.max((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(
        result["score"][:7], jax.nn.sigmoid(outputs.label_logits)[:7], rtol=1e-5
    )
    truth = batch["native_mask"][:7, :12, :10]
    expected = confusion_matrix(truth.ravel(), ids.ravel(), labels=range(4))
    np.testing.assert_array_equal(counted.classes.confusion(), expected)
    marked = (ids > 0).sum((1, 2))
    np.testing.assert_array_equal(result["predicted_px"][:7], marked)
