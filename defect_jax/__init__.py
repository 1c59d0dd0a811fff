"""Decides, part by part, whether a surface is defective, and shows where."""

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from defect_jax.predictor import Predictor

__all__ = ["__version__", "load"]
__version__ = "0.1.0"

if sys.platform == "win32":
    raise ImportError("defect_jax runs on Linux and macOS; on Windows, run it in WSL 2")

# As soon as it is imported, onnxruntime writes a device id into the user's home and calls a host of
# its maker, unless this is said before: here, and so to the processes that we start.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def load(*args: Any, **kwargs: Any) -> "Predictor":
    """Restore a trained network that decides on images; see `defect_jax.predictor.load`."""
    # Here, as everything that imports a module of ours imports this file.
    from defect_jax.predictor import load

    return load(*args, **kwargs)
