"""Eight CPU devices, strict ranks, parsed flags and no time limits for every test."""

import hypothesis
import jax
from absl import flags

collect_ignore = ["references"]  # scripts that left reference values, and need other frameworks

jax.config.update("jax_platforms", "cpu")  # also on a machine with a GPU
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # grain reads absl flags in worker prefetch

# A deadline fails a test because the machine was busy: speed is measured in benchmarks/.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
