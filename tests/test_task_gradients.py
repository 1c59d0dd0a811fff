"""Gradients of several losses from one forward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from balance_problems import PARAMS, images, loss_fn

from defect_jax import balance


def test_each_is_the_gradient_of_its_own_loss():
    image = images(1)[0]
    losses, gradients, aux = jax.jit(
        lambda params: balance.task_gradients(loss_fn, params, image)._replace(aux=0)
    )(PARAMS)
    for task in ("near", "far"):
        loss, expected = jax.value_and_grad(lambda p, task=task: loss_fn(p, image)[task])(PARAMS)
        np.testing.assert_allclose(losses[task], loss, rtol=1e-6)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
            gradients[task],
            expected,
        )


def test_weighted_is_the_gradient_of_the_weighted_sum():
    image, weights = images(1)[0], {"near": 0.3, "far": jnp.array(2.0)}
    _, gradients, aux = balance.task_gradients(loss_fn, PARAMS, image)
    expected = jax.grad(
        lambda p: sum(weights[task] * loss for task, loss in loss_fn(p, image).items())
    )(PARAMS)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        gradients.weighted(weights),
        expected,
    )
    assert aux is None


def test_batch_statistics_are_carried_out():
    def with_statistics(params, image):
        return loss_fn(params, image), {"mean": image.mean(0)}

    image = images(1)[0]
    evaluated = balance.task_gradients(with_statistics, PARAMS, image, has_aux=True)
    np.testing.assert_array_equal(evaluated.aux["mean"], image.mean(0))


def test_one_forward_pass_and_no_pull_back_through_what_a_task_does_not_use():
    """Counted in the program: matrix products of each layer, forward and backward."""

    def deep(params, image):
        shared = jnp.tanh(image @ params["encoder"])
        tail = shared
        for kernel in params["tail"]:
            tail = jnp.tanh(tail @ kernel)
        return {"short": shared.mean(), "long": tail.mean()}

    key = jax.random.key(0)
    params = {
        "encoder": jax.random.normal(key, (4, 4)),
        "tail": [jax.random.normal(key, (4, 4)) for _ in range(5)],
    }

    def program(params, image):
        _, gradients, _ = balance.task_gradients(deep, params, image)
        return gradients["short"], gradients["long"]

    text = jax.jit(program).lower(params, images(1)[0]).as_text()
    forward, long_back, short_back = 6, 5 * 2 + 1, 1  # the image itself needs no gradient
    assert text.count("dot_general") == forward + long_back + short_back


def test_it_is_a_mapping_and_as_a_pytree_a_dict():
    _, gradients, _ = balance.task_gradients(loss_fn, PARAMS, images(1)[0])
    assert sorted(gradients) == ["far", "near"] and len(gradients) == 2
    doubled = jax.tree.map(lambda leaf: 2 * leaf, gradients)
    assert type(doubled) is dict
    expected = 2 * gradients["far"]["head"]["kernel"]
    np.testing.assert_array_equal(doubled["far"]["head"]["kernel"], expected)
    with pytest.raises(KeyError, match="middle"):
        gradients["middle"]


def test_asking_whether_a_task_is_there_pulls_nothing_back():
    def pull(weights):
        raise AssertionError(weights)

    gradients = balance.TaskGradients(("a",), pull)
    assert "a" in gradients and "b" not in gradients


@pytest.mark.parametrize("wrong", [lambda p: p["a"], lambda p: {"a": p["b"]}])
def test_what_is_no_dict_of_scalars_is_refused(wrong):
    with pytest.raises(TypeError, match="dict task -> scalar"):
        balance.task_gradients(wrong, {"a": jnp.array(1.0), "b": jnp.ones(2)})
