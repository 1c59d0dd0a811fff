"""Decides, part by part, whether a surface is defective, and shows where."""

import os

__version__ = "0.1.0"

# As soon as it is imported, onnxruntime writes a device id into the user's home and calls a host of
# its maker, unless this is said before: here, and so to the processes that we start.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
