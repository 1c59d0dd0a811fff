"""The same networks in plain PyTorch, which is no part of the project: run by a Python of its own.

Nothing here imports `defect_jax` or JAX.
"""
