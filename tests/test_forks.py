"""A process that was forked after a network was loaded is refused; it would hang in JAX."""

import os

import numpy as np
import pytest
from tiny_predictor import tiny_predictor

from defect_jax.deploy.predictor import load
from defect_jax.runtime import forks

IMAGE = np.zeros((40, 50), np.uint8)


def said_in_a_fork(call):
    """What a forked child says of a call."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            call()
            os.write(writing, b"nothing")
        except Exception as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


# JAX and Python warn of what is done here.
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_fork_of_a_process_with_a_network_is_refused(tmp_path):
    predictor = tiny_predictor()
    forks.refuse_fork()
    for call in (lambda: predictor.predict(IMAGE), lambda: load(tmp_path)):
        said = said_in_a_fork(call)
        assert said.startswith("UserError: process ") and "would hang in it" in said
        assert f"(process {os.getpid()})" in said and '"spawn"' in said


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_fork_of_a_process_without_a_network_may_load_one(monkeypatch):
    monkeypatch.setattr(forks._Process, "computing", None)
    assert said_in_a_fork(forks.refuse_fork) == "nothing"
