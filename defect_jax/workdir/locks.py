"""Who may write into a workdir: one training at a time, and one publication of results.

Reading needs no lock, and evaluating beside a training is welcome: the two write different files,
and those that both write are put in place whole. With several hosts the first one locks for all.
"""

import contextlib
from collections.abc import Iterator

from defect_jax.distributed import processes
from defect_jax.runtime import lock
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath

TRAINING, RESULTS = ".training.lock", ".results.lock"
ADVICE = "wait for its end, or stop it, or name another --workdir"


@contextlib.contextmanager
def training(workdir: AnyPath) -> Iterator[None]:
    """Hold the right to train in a workdir: checkpoints, metrics.jsonl, config.json.

    Raises:
        UserError: on all hosts: another process trains there, or the workdir cannot be written.
    """
    with contextlib.ExitStack() as held:

        def refusal() -> str:
            try:
                held.enter_context(lock.refusing(workdir / TRAINING, ADVICE))
            except UserError as error:
                return str(error)
            return ""

        if text := processes.from_first(refusal):
            raise UserError(text)
        yield


@contextlib.contextmanager
def results(workdir: AnyPath) -> Iterator[None]:
    """Hold the right to put decision.json and results in place, after a wait of moments.

    What belongs together, such as decision.json and the options of it in config.json, then comes
    from one evaluation.
    """
    with lock.waiting(workdir / RESULTS):
        yield
