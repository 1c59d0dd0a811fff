"""Copies from the device that nobody asked for: a GPU refuses them in the loop, a CPU has none."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from forked import leave_plots_empty
from jax._src.array import ArrayImpl
from jax._src.lib import guard_lib

from defect_jax.configs import synthetic
from defect_jax.training import train as story
from defect_jax.workdir.fingerprints import fingerprints, not_finite


class Refused(Exception):
    """What a GPU would have refused."""


def copies_are_refused() -> bool:
    state = guard_lib.thread_local_state()
    forbidden = state.device_to_host == guard_lib.TransferGuardLevel.DISALLOW
    return forbidden and not state.explicit_device_get


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Refuse what the guard refuses there: on a CPU an array is its own copy, so that it never is
    asked. NumPy reads its memory past all methods of the array."""

    def guarded(copy: Callable[..., Any]) -> Callable[..., Any]:
        def copied(array: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(array, jax.Array) and copies_are_refused():
                raise Refused(str(array.shape))
            return copy(array, *args, **kwargs)

        return copied

    for name in ("asarray", "array", "ascontiguousarray", "isfinite"):
        monkeypatch.setattr(np, name, guarded(getattr(np, name)))
    monkeypatch.setattr(ArrayImpl, "_value", property(guarded(ArrayImpl._value.fget)))


def test_what_is_refused_here_is_what_a_gpu_refuses(as_on_a_gpu):
    array = jax.numpy.arange(3.0)
    with jax.transfer_guard("disallow"):
        assert jax.device_get(array).tolist() == [0.0, 1.0, 2.0]
        for copied in (np.asarray, np.isfinite, ArrayImpl.tolist, ArrayImpl.__str__):
            with pytest.raises(Refused):
                copied(array)
    assert np.asarray(array).sum() == 3.0


def test_fingerprints_ask_for_their_copies(as_on_a_gpu):
    leaves = {"a": jax.numpy.arange(3.0), "b": np.ones(2)}
    with jax.transfer_guard("disallow"):
        assert fingerprints(leaves) == fingerprints(leaves | {"a": np.arange(3, dtype=np.float32)})
        assert not_finite(leaves) == []


def test_a_run_asks_for_every_copy(as_on_a_gpu, tmp_path, monkeypatch):
    leave_plots_empty(monkeypatch.setattr)  # what is drawn was copied before
    config = synthetic.get_config("debug")
    config.data.data_dir = str(tmp_path / "data")
    config.unlock()
    config.model.update(widths=(4, 8), decoder="unet", attention="none")
    story.train(config, tmp_path / "workdir")
    assert (tmp_path / "workdir" / "eval" / "report.html").exists()
