"""Runs modules in forks of a process that has imported the libraries they need.

Half of a short run's time goes into those imports. Everything else is the run's own: its arguments,
its environment, our modules, what JAX compiles, how the process ends; but for plots,
which stay empty, and for the bytecode of our modules, which is kept for the next fork.

The argument is the folder for bytecode. Each line of stdin is a run as JSON: module, arguments,
environment, and files for stdout and stderr. Each line of stdout is an exit code, as `subprocess`
gives it. See programs.py.
"""

import gc
import json
import os
import runpy
import signal
import sys

LONGEST_S = 600
EMPTY = '<svg width="1pt" height="1pt" viewBox="0 0 1 1"></svg>'


def import_libraries():
    """Imports what takes long."""
    import cv2  # noqa: F401
    import flax.linen  # noqa: F401
    import fsspec  # noqa: F401
    import grain  # noqa: F401
    import imagehash  # noqa: F401
    import jax.experimental.multihost_utils  # noqa: F401
    import jax.export  # noqa: F401
    import jaxtyping  # noqa: F401
    import jinja2  # noqa: F401
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401
    import ml_collections.config_flags  # noqa: F401
    import onnx.reference  # noqa: F401
    import optax  # noqa: F401
    import orbax.checkpoint.experimental.v1  # noqa: F401
    import psutil  # noqa: F401
    import rich.progress  # noqa: F401
    import safetensors.numpy  # noqa: F401
    import scipy.ndimage  # noqa: F401
    import scipy.optimize  # noqa: F401
    import scipy.stats  # noqa: F401
    import tensorboardX  # noqa: F401
    import tensorflow_datasets as tfds
    import tifffile  # noqa: F401

    assert tfds.core.DatasetInfo  # TFDS imports its modules when they are first used


def leave_plots_empty(setattr):
    """Takes the rendering of plots away, a fourth of the rest of a short run's time.

    Everything up to it is done: what is drawn, and the page around it. test_report.py and its
    neighbours render plots, and so do the runs that are started as users do.

    Args:
        setattr: as the built-in function, or that of pytest's `monkeypatch`.
    """
    from matplotlib.figure import Figure

    setattr(Figure, "savefig", lambda figure, file, **options: file.write(EMPTY))


def become(module, arguments, environment, stdout, stderr):
    """Runs a module as `python -m` does; the process ends with it."""
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(stdout, os.O_WRONLY), 1)
    os.dup2(os.open(stderr, os.O_WRONLY), 2)
    signal.alarm(LONGEST_S)
    sys.argv, sys.path[0] = [module, *arguments], os.getcwd()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def serve():
    """Forks once a line; returns the line in the fork, and None at the end of stdin."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            return json.loads(line)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


if __name__ == "__main__":
    import_libraries()
    leave_plots_empty(setattr)
    gc.freeze()  # what is here is garbage in no fork
    # In a folder of the tests, as whoever starts them may have told Python to write none.
    sys.pycache_prefix, sys.dont_write_bytecode = sys.argv[1], False
    if (asked := serve()) is not None:
        become(**asked)
