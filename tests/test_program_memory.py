"""A program that does not fit into the free memory is refused before it is run."""

import types

import jax
import jax.numpy as jnp
import pytest

from defect_jax.configs import folder
from defect_jax.runtime import memory
from defect_jax.runtime.compilation import compile_ahead
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.memory import FreeMemory
from defect_jax.runtime.program_memory import needed_bytes, refuse_too_large
from defect_jax.training.loop import smaller

X = jax.ShapeDtypeStruct((512, 512), jnp.float32)  # 1 MiB
MIB = 2**20


def squared_and_again(x):
    product = x @ x  # has to be somewhere while it is multiplied: 1 MiB of temporaries
    return product @ product


@pytest.mark.parametrize(("donated", "expected_mib"), [((), 2), ((0,), 1)])
def test_outputs_and_temporaries_count_but_not_what_takes_the_place_of_an_argument(
    donated, expected_mib
):
    compiled = jax.jit(squared_and_again, donate_argnums=donated).lower(X).compile()
    assert needed_bytes(compiled.memory_analysis()) == pytest.approx(expected_mib * MIB, rel=0.1)


def test_what_does_not_fit_is_refused_in_one_line_before_it_is_run(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: FreeMemory(MIB, "this machine"))
    with pytest.raises(UserError) as refused:
        compile_ahead("step", jax.jit(squared_and_again), X, if_too_large=lambda s: f"{s:.1f} fits")
    told = "the step needs 0.0 GB more memory, 0.0 GB free within this machine: 0.5 fits"
    assert str(refused.value) == told
    monkeypatch.setattr(memory, "free_bytes", lambda: FreeMemory(3 * MIB, "this machine"))
    compile_ahead("step", jax.jit(squared_and_again), X)


def program_on(*devices):
    """What JAX tells of a program that needs 3 GB on each device."""
    sizes = {"output_size_in_bytes": 2 * 10**9, "alias_size_in_bytes": 10**9}
    analysis = types.SimpleNamespace(**sizes, temp_size_in_bytes=2 * 10**9)
    executable = types.SimpleNamespace(local_devices=lambda: list(devices))
    return types.SimpleNamespace(
        memory_analysis=lambda: analysis, runtime_executable=lambda: executable
    )


def accelerator(number, **stats):
    facts = {"platform": "gpu", "device_kind": "H200", "id": number}
    return types.SimpleNamespace(**facts, memory_stats=lambda: stats or None)


@pytest.mark.parametrize(("free_gb", "fits"), [(5.9, False), (6.1, True)])
def test_devices_of_a_cpu_share_its_memory(free_gb, fits, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: FreeMemory(int(free_gb * 1e9), "here"))
    program = program_on(*jax.local_devices(backend="cpu")[:2])
    if fits:
        return refuse_too_large("step", program, str)
    with pytest.raises(UserError, match="the step needs 6.0 GB more memory, 5.9 GB free"):
        refuse_too_large("step", program, str)


def test_an_accelerator_is_asked_for_its_own_memory(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: FreeMemory(0, "never asked"))
    roomy = accelerator(0, bytes_limit=8 * 10**9, bytes_in_use=10**9)
    tight = accelerator(1, bytes_limit=8 * 10**9, bytes_in_use=6 * 10**9)
    refuse_too_large("step", program_on(roomy), str)
    refuse_too_large("step", program_on(accelerator(2)), str)  # tells nothing
    with pytest.raises(UserError, match="needs 3.0 GB more memory, 2.0 GB free .* of H200 1"):
        refuse_too_large("step", program_on(roomy, tight), str)


@pytest.mark.parametrize(
    ("devices", "share", "begins"),
    [
        (1, 0.8, "--config.train.batch_size=11 may fit (16 now), or take smaller images"),
        (4, 0.8, "--config.train.batch_size=8 may fit (16 now), or take smaller images"),
        (8, 0.3, "take smaller images (config.data.size is 384x384), the :cpu variant"),
    ],
)
def test_the_advice_names_a_batch_that_the_devices_can_share(devices, share, begins):
    assert smaller(folder.get_config("full"), devices, share).startswith(begins)
