"""Eight CPU devices, strict ranks and parsed flags for every test."""

import jax
from absl import flags

collect_ignore = ["references"]  # scripts that left reference values, and need other frameworks

jax.config.update("jax_platforms", "cpu")  # also on a machine with a GPU
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # grain reads absl flags in worker prefetch
