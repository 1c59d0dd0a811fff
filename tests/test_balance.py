"""The place where losses are combined."""

import jax.numpy as jnp
import pytest

from defect_jax.balance import combine


def test_weighs_the_tasks_that_are_there():
    weights = {"segmentation": 0.25, "classification": 0.75}
    both = {"segmentation": jnp.array(4.0), "classification": jnp.array(8.0)}
    assert combine(both, weights).item() == 7.0
    assert combine({"segmentation": jnp.array(4.0)}, weights).item() == 1.0


def test_a_task_without_a_weight_is_an_error():
    with pytest.raises(KeyError, match="location"):
        combine({"location": jnp.array(1.0)}, {"segmentation": 0.5})
