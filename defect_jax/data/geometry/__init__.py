"""Everything about size: NumPy functions and their JAX twins beside each other."""
