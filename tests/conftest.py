"""Eight CPU devices, strict ranks, parsed flags and no time limits for every test."""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest

# One folder of compiled programs for all workers, and for the programs that tests start: most of
# these compile the same few networks. Set before JAX is imported, as it is read only then.
PROGRAMS = "JAX_COMPILATION_CACHE_DIR"
MADE = None if PROGRAMS in os.environ else tempfile.mkdtemp(prefix="programs_")
os.environ.setdefault(PROGRAMS, str(MADE))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # tests import it before the package, which says this
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

# Where the data of a workdir are is kept in the user's own folder: not in that of whoever tests.
STATE = tempfile.mkdtemp(prefix="state_")
os.environ["XDG_STATE_HOME"] = STATE

# Tests spend their time on compiling: a training step takes a fifth of it without optimisation, and
# less with XLA's older code generator for CPUs. test_releases.py runs one program as users do.
AS_USERS_DO = os.environ.get("XLA_FLAGS", "")
QUICKLY = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{AS_USERS_DO} {QUICKLY}"

import jax  # noqa: E402
from absl import flags  # noqa: E402
from programs import Forks  # noqa: E402

collect_ignore = ["references"]  # scripts that left reference values, and need other frameworks

jax.config.update("jax_platforms", "cpu")  # also on a machine with a GPU
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # grain reads absl flags in worker prefetch

gc.set_threshold(50_000, 20, 50)  # tracing makes many objects: an eighth of the time went into it

# A deadline, or a check of how long examples take to make, fails a test because the machine was
# busy: speed is measured in benchmarks/. More: launch/test.sh --hypothesis-profile=thorough
UNTIMED = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("ci", **UNTIMED, max_examples=60)
hypothesis.settings.register_profile("thorough", **UNTIMED, max_examples=300)
hypothesis.settings.register_profile("fuzz", **UNTIMED, max_examples=5_000)
hypothesis.settings.load_profile("ci")


@pytest.fixture(scope="session")
def forked(tmp_path_factory) -> Iterator[Forks]:
    """Runs programs without waiting for the imports of libraries."""
    forks = Forks(tmp_path_factory.mktemp("forked"))
    yield forks
    forks.close()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Only the process that made the folder takes it away: workers inherit its name."""
    shutil.rmtree(STATE, ignore_errors=True)
    if MADE is not None:
        shutil.rmtree(MADE, ignore_errors=True)
