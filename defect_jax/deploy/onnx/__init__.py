"""JAX functions as ONNX graphs, written from their jaxprs.

Imports nothing else of defect_jax. `convert.py` says what goes in and out, `table.py` which
primitives there are.
"""

from defect_jax.deploy.onnx.convert import to_onnx
from defect_jax.deploy.onnx.graph import Unsupported

__all__ = ["Unsupported", "to_onnx"]
