"""What every balancing method promises: composition, absence, order of tasks, devices, resume."""

import ast
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from balance_problems import (
    METHODS,
    PARAMS,
    TASKS,
    combine,
    everything,
    images,
    loss_fn,
    make_step,
    run,
    sometimes,
)
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from defect_jax import balance
from defect_jax.balance.state import ordered_losses
from defect_jax.training.steps import TrainState, from_checkpointables, to_checkpointables
from defect_jax.workdir.checkpoints import open_checkpoints, save
from defect_jax.workdir.saved_checkpoints import restore

every_method = pytest.mark.parametrize("method", METHODS)


def chained(method, **options):
    return optax.chain(
        METHODS[method](TASKS, **options), optax.clip_by_global_norm(1.0), optax.adam(0.01)
    )


@every_method
def test_chained_and_jitted_it_is_compiled_once_and_lowers_the_losses(method):
    tx = chained(method)
    step, params, opt_state = make_step(tx), PARAMS, tx.init(PARAMS)
    for image in images(60):
        params, opt_state = step(params, opt_state, image)
    assert step._cache_size() == 1
    assert jax.tree.structure(params) == jax.tree.structure(PARAMS)
    before, after = loss_fn(PARAMS, images(1)[0]), loss_fn(params, images(1)[0])
    assert sum(after.values()) < sum(before.values())
    assert int(opt_state[0].count) == 60


@every_method
def test_what_follows_may_be_masked_or_accumulate_over_steps(method):
    kernels = {"encoder": True, "head": False}
    masked = optax.chain(METHODS[method](TASKS), optax.masked(optax.set_to_zero(), kernels))
    gradients = optax.chain(METHODS[method](TASKS), optax.masked(optax.scale(1.0), kernels))
    steps = optax.MultiSteps(optax.sgd(0.1), every_k_schedule=3)
    accumulating = optax.chain(METHODS[method](TASKS), steps.gradient_transformation())
    kept, _ = run(masked, images(1))
    np.testing.assert_array_equal(kept["encoder"]["kernel"], PARAMS["encoder"]["kernel"])
    assert np.any(kept["head"]["kernel"] != PARAMS["head"]["kernel"])

    step, params, opt_state = make_step(accumulating), PARAMS, accumulating.init(PARAMS)
    total = jax.tree.map(jnp.zeros_like, PARAMS)
    state = gradients.init(PARAMS)
    for image in images(3):
        losses, each, _ = balance.task_gradients(loss_fn, PARAMS, image)
        combined, state = gradients.update(each, state, PARAMS, task_losses=losses)
        total = jax.tree.map(jnp.add, total, combined)
        params, opt_state = step(params, opt_state, image)
    assert step._cache_size() == 1
    expected = jax.tree.map(lambda p, g: p - 0.1 * g / 3, PARAMS, total)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params, expected)


@every_method
def test_a_plain_dict_gives_what_lazy_gradients_give(method):
    tx = METHODS[method](TASKS)
    losses, gradients, _ = balance.task_gradients(loss_fn, PARAMS, images(1)[0])
    lazy, state = tx.update(gradients, tx.init(PARAMS), PARAMS, task_losses=losses)
    plain, same = tx.update(dict(gradients), tx.init(PARAMS), PARAMS, task_losses=losses)
    jax.tree.map(np.testing.assert_array_equal, (lazy, state), (plain, same))


@every_method
@pytest.mark.parametrize("away", ["zero loss", "left out"])
def test_an_absent_task_moves_no_weight_and_makes_no_nan(method, away):
    def without_far(params, image):
        losses = loss_fn(params, image, present=0.0)
        return losses if away == "zero loss" else {"near": losses["near"]}

    tx = METHODS[method](TASKS)
    _, state = run(optax.chain(tx, optax.sgd(0.05)), images(10))
    (started, *_) = state
    alone, after = run(
        optax.chain(tx, optax.sgd(0.0)), images(5), PARAMS, state, losses_of=without_far
    )
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((alone, after)))
    assert after[0].batches.tolist() == [10, 15]  # far, near
    np.testing.assert_array_equal(after[0].initial_losses[0], started.initial_losses[0])
    if method in ("fixed", "gradnorm"):
        np.testing.assert_array_equal(
            after[0].weights, started.memory if method == "gradnorm" else 1.0
        )
    # A learning rate of 0: had the other batches not been, the next weights were the same.
    _, never = run(optax.chain(tx, optax.sgd(0.0)), images(1, 5), PARAMS, state)
    if method not in ("uncertainty", "dwa", "pcgrad"):
        _, later = run(optax.chain(tx, optax.sgd(0.0)), images(1, 5), PARAMS, after)
        np.testing.assert_allclose(later[0].weights, never[0].weights, rtol=1e-6)


@every_method
def test_all_tasks_absent_gives_no_update(method):
    tx = METHODS[method](TASKS)
    nothing = {task: jax.tree.map(jnp.zeros_like, PARAMS) for task in TASKS}
    losses = {task: jnp.array(0.0) for task in TASKS}
    combined, state = tx.update(nothing, tx.init(PARAMS), task_losses=losses)
    assert all(np.all(leaf == 0.0) for leaf in jax.tree.leaves(combined))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


@every_method
def test_renaming_the_tasks_permutes_the_weights(method):
    """Names decide the order inside: a renamed task must get the weight it had."""
    swapped = {"near": "b", "far": "a"}, {"near": "a", "far": "b"}
    weights = []
    for names in swapped:

        def renamed(params, image, names=names):
            return {names[task]: loss for task, loss in loss_fn(params, image).items()}

        tx = optax.chain(METHODS[method](("b", "a")), optax.sgd(0.05))
        _, (state, _) = run(tx, images(30), losses_of=renamed)
        named = dict(zip("ab", np.asarray(state.weights), strict=True))
        weights.append({task: named[name] for task, name in names.items()})
    assert weights[0] == pytest.approx(weights[1], rel=1e-4)


@every_method
def test_restored_in_mid_run_it_goes_on_bit_for_bit(method, tmp_path):
    tx = chained(method)
    batches = images(24)
    whole = run(tx, batches, losses_of=sometimes)
    params, opt_state = run(tx, batches[:11], losses_of=sometimes)
    state = TrainState(jnp.array(11), params, {}, opt_state, {"params": params})
    trees = to_checkpointables(state)
    here = jax.tree.map(lambda leaf: leaf.sharding, trees)
    with open_checkpoints(tmp_path) as checkpointer:
        save(checkpointer, 11, trees, [], {})
    back = from_checkpointables(restore(tmp_path / "checkpoints", 11, trees, here).trees)
    assert type(back.opt_state[0]) is balance.BalanceState
    resumed = run(tx, batches[11:], back.params, back.opt_state, losses_of=sometimes)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)


@every_method
def test_one_and_eight_devices_agree(method):
    shape = (2, 4)
    mesh = jax.make_mesh(shape, ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    tx = chained(method)
    params = {
        "encoder": {"kernel": jnp.linspace(-1.0, 1.0, 32).reshape(4, 8)},
        "head": {"kernel": jnp.linspace(0.5, 1.0, 8)},
    }
    split = {"encoder": {"kernel": P("fsdp")}, "head": {"kernel": P()}}
    placed = jax.tree.map(lambda x, s: jax.device_put(x, NamedSharding(mesh, s)), params, split)
    batches = images(20)
    over_mesh = [jax.device_put(b, NamedSharding(mesh, P(("data", "fsdp")))) for b in batches]
    alone = run(tx, batches, params, losses_of=sometimes)
    eight = run(tx, over_mesh, placed, losses_of=sometimes)
    assert 0 < alone[1][0].batches[0] < alone[1][0].batches[1] == 20  # far, near
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), eight[0], alone[0]
    )
    np.testing.assert_allclose(eight[1][0].weights, alone[1][0].weights, rtol=1e-4)
    np.testing.assert_allclose(eight[1][0].gram, alone[1][0].gram, rtol=1e-3, atol=1e-6)


@every_method
def test_parameters_that_are_not_shared_keep_their_own_gradient(method):
    losses, gradients, _ = balance.task_gradients(loss_fn, PARAMS, images(1)[0])
    tx = METHODS[method](TASKS)
    combined, state = tx.update(gradients, tx.init(PARAMS), task_losses=losses)
    known_ahead = method in ("fixed", "gradnorm", "uncertainty", "dwa", "famo")
    weight = state.weights[0] if known_ahead else 1.0  # "far" is the only one with a head
    expected = weight * gradients["far"]["head"]["kernel"]
    np.testing.assert_allclose(combined["head"]["kernel"], expected, rtol=1e-6)


def test_measures_have_names_and_values():
    tx = METHODS["fixed"](TASKS, shared=everything)
    _, state = combine(tx, {"near": [3.0, 4.0], "far": [4.0, -3.0]})
    numbers = {name: float(value) for name, value in balance.measures(state, TASKS).items()}
    assert numbers == {
        "weight_near": 1.0,
        "weight_far": 1.0,
        "gradient_norm_near": 5.0,
        "gradient_norm_far": 5.0,
        "inverse_rate_near": 1.0,
        "inverse_rate_far": 1.0,
        "gradient_cosine_far_near": 0.0,
    }


def test_initial_losses_are_the_mean_of_the_first_batches_that_had_the_task():
    tx = METHODS["fixed"](TASKS, initial_steps=3, shared=everything)
    state = None
    for near, far in [(4.0, 1.0), (2.0, 0.0), (3.0, 3.0), (9.0, 5.0), (1.0, 7.0)]:
        losses = {"near": jnp.array(near), "far": jnp.array(far)}
        _, state = combine(tx, {"near": [1.0], "far": [float(far > 0)]}, losses, state)
    np.testing.assert_allclose(state.initial_losses, [3.0, 3.0])  # far: 1, 3, 5; near: 4, 2, 3
    np.testing.assert_allclose(state.inverse_rates, [7 / 3 / (4 / 3), 1 / 3 / (4 / 3)], rtol=1e-6)


def test_supervised_mean_ignores_the_rest_and_its_gradient_does():
    losses, supervised = jnp.array([1.0, 5.0, 6.0]), jnp.array([True, False, True])
    gradient = jax.grad(balance.supervised_mean)(losses, supervised)
    assert gradient.tolist() == [0.5, 0.0, 0.5]
    nobody = jnp.zeros(3, bool)
    assert jax.grad(balance.supervised_mean)(losses, nobody).tolist() == [0.0, 0.0, 0.0]


def test_a_task_that_half_the_batches_supervise_has_its_weight_moved_by_these_alone():
    def losses_of(params, image, has_far):
        feature = jnp.tanh(image @ params["encoder"]["kernel"])
        per_sample = (feature @ params["head"]["kernel"] + 0.8) ** 2
        far = balance.supervised_mean(per_sample, has_far)
        return {"near": jnp.mean((feature.sum(-1) - 0.3) ** 2), "far": far}

    tx = METHODS["gradnorm"](TASKS)
    step, params, state = make_step(tx, losses_of), PARAMS, tx.init(PARAMS)
    weights = []
    for number, image in enumerate(images(8)):
        params, state = step(params, state, image, jnp.full(8, number % 2 == 0))
        weights.append(state.memory.tolist())
    assert weights[0] == weights[1] and weights[2] == weights[3] != weights[1]
    assert np.all(np.isfinite(weights))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: balance.gradnorm(TASKS, alpha=-1.0), "alpha is -1.0"),
        (lambda: balance.gradnorm(TASKS, floor=1.0), "floor is 1.0"),
        (lambda: balance.gradnorm(TASKS, learning_rate=0.0), "learning_rate is 0.0"),
        (lambda: balance.uncertainty(TASKS, learning_rate=0.0), "learning_rate is 0.0"),
        (lambda: balance.dynamic_weight_average(TASKS, temperature=0.0), "temperature is 0.0"),
        (lambda: balance.dynamic_weight_average(TASKS, window_steps=0), "window_steps is 0"),
        (lambda: balance.famo(TASKS, decay=-1.0), "decay -1.0"),
        (lambda: balance.cagrad(TASKS, c=-0.1), "c is -0.1"),
        (lambda: balance.fixed(TASKS, weights={"near": 1.0}), "weights: none for far"),
        (lambda: balance.mgda(("a", "a")), "must be different names"),
        (lambda: balance.mgda("ab"), "must be different names"),
        (lambda: balance.mgda(TASKS, initial_steps=0), "initial_steps is 0"),
        (lambda: balance.mgda(TASKS).init({"head": jnp.zeros(2)}), "no parameter is shared, of"),
        (lambda: combine(balance.mgda(["y"], shared=everything), {"x": [1.0]}), "some of y"),
        (lambda: ordered_losses({"x": 1.0, "far": 2.0}, ["far"]), "tasks x: made for far"),
    ],
)
def test_wrong_use_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_package_stands_alone():
    """It imports nothing else of defect_jax, so that it can be used, and copied, by itself."""
    folder = pathlib.Path(balance.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("defect_jax") or name.startswith("defect_jax.balance.")


def test_measures_want_all_tasks():
    state = METHODS["mgda"](TASKS, shared=everything).init(PARAMS)
    with pytest.raises(ValueError, match="tasks near: the state has 2"):
        balance.measures(state, ["near"])


def test_forgotten_losses_are_named():
    with pytest.raises(TypeError, match="task_losses"):
        balance.mgda(TASKS).update({"near": PARAMS}, None)
