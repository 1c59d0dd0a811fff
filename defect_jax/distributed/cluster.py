"""One run on several hosts: who takes part.

The same command is started on every host. SLURM, Open MPI, Cloud TPU VMs and GKE say in the
environment how many there are and where the first one is, and `jax.distributed` reads it there;
elsewhere flags or three variables do.
"""

import importlib.util
import os
import pathlib
import socket
from typing import NamedTuple

from defect_jax.distributed import supervisor
from defect_jax.runtime.errors import UserError

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
SLURM_STEP = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID")
CONNECT_WITHIN_S = 300  # images are pulled and machines booted at different speeds
DEACTIVATE = {"cluster_detection_method": "deactivate"}
WRITING_MAY_TAKE_S = 24 * 3600  # others wait at the end while the first host writes the report


class Given(NamedTuple):
    """What flags or variables say; None where the cluster's own environment is to be asked."""

    coordinator_address: str | None
    num_processes: int | None
    process_id: int | None


def join(given: Given, host_timeout_s: int) -> None:
    """Make this process one of several, if it is; must come before anything else of JAX.

    Where there are several, what returns from here is a child of this process, see `supervisor`.

    Args:
        host_timeout_s: after which a host that does not answer is given up, and the run with it.

    Raises:
        UserError: the three are not given together, or make no sense.
        SystemExit: in the parent, when the child has ended.
    """
    given = _complete(given)
    if given.coordinator_address is None and not _in_a_cluster():
        return
    if not supervisor.is_worker():
        raise SystemExit(supervisor.run_worker(host_timeout_s))
    supervisor.end_with_parent()
    _initialize(given, host_timeout_s)


def leave() -> None:
    """Wait for the other hosts; one that ends before them would be taken for lost."""
    if supervisor.is_worker():
        import jax

        jax.distributed.shutdown()


def _initialize(given: Given, host_timeout_s: int) -> None:
    import jax

    from defect_jax.distributed import processes
    from defect_jax.runtime import console, signals

    # Where all is given, JAX need not look for a cluster, and not warn that a package for it lacks.
    detection = {} if given.coordinator_address is None else DEACTIVATE
    jax.distributed.initialize(
        *given,
        **detection,
        heartbeat_timeout_seconds=host_timeout_s,
        initialization_timeout=CONNECT_WITHIN_S,
        shutdown_timeout_seconds=WRITING_MAY_TAKE_S,
    )
    signals.agree_with_hosts()
    names = processes.from_all(socket.gethostname())
    supervisor.note_names(names)
    if not processes.is_first():
        console.be_silent()
    console.say(f"{len(names)} processes on {', '.join(dict.fromkeys(names))}")


def _complete(given: Given) -> Given:
    """Take what no flag says from the environment; all three must be there, or none.

    Raises:
        UserError: see above.
    """
    texts = [os.environ.get(name) for name in VARIABLES]
    try:
        numbers = [None if text is None else int(text) for text in texts[1:]]
    except ValueError as error:
        raise UserError(f"{' or '.join(VARIABLES[1:])}: {error}") from error
    found = (texts[0], *numbers)
    flags = Given(*(f if f is not None else v for f, v in zip(given, found, strict=True)))
    if any(value is None for value in flags) and any(value is not None for value in flags):
        raise UserError(
            "several hosts need --coordinator_address, --num_processes and --process_id together "
            f"(or {', '.join(VARIABLES)})"
        )
    if flags.num_processes is not None and not 0 <= flags.process_id < flags.num_processes:
        raise UserError(
            f"--process_id is {flags.process_id}: it must be from 0 to below --num_processes "
            f"({flags.num_processes})"
        )
    if flags.coordinator_address is not None and ":" not in flags.coordinator_address:
        raise UserError(
            f"--coordinator_address is {flags.coordinator_address}: it must be HOST:PORT, of the "
            "first host and a port that is free there"
        )
    return flags


def _in_a_cluster() -> bool:
    environment = os.environ
    slurm = all(name in environment for name in SLURM_STEP)
    if slurm and int(environment.get("SLURM_NTASKS", "1")) > 1:
        return True
    if int(environment.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        return True
    return _on_a_tpu_machine()


def _on_a_tpu_machine() -> bool:
    """Return whether this machine has TPUs: JAX then reads the size of the slice by itself."""
    if "tpu" not in os.environ.get("JAX_PLATFORMS", "tpu"):
        return False
    devices = any(pathlib.Path(path).exists() for path in ("/dev/accel0", "/dev/vfio/0"))
    return devices and importlib.util.find_spec("libtpu") is not None
