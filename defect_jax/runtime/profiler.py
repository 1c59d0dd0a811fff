"""A profile of some steps of a run, for TensorBoard or Perfetto."""

from typing import Any

import jax

from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath, is_remote


class Profile:
    """Records the steps START to STOP, both included, into `workdir/profile`."""

    def __init__(self, steps: str, workdir: AnyPath):
        """Read `config.profile`, "START:STOP" or empty for none.

        Raises:
            UserError: it is something else, or the workdir is in a bucket.
        """
        if steps and is_remote(workdir):
            raise UserError(f"config.profile: {workdir} must be a local --workdir")
        self._start, self._stop = span(steps)
        self._folder = str(workdir / "profile")
        self._recording = False

    def before(self, step: int) -> None:
        """Begin the recording before its first step; a run that goes on in the middle records
        the rest."""
        if self._start <= step <= self._stop and not self._recording:
            jax.profiler.start_trace(self._folder)
            self._recording = True

    def after(self, step: int, computed: Any) -> None:
        """End the recording after the last step of it; to be called with something that the step
        computes."""
        if step >= self._stop and self._recording:
            jax.block_until_ready(computed)
            self.close()

    def close(self) -> None:
        """Write what was recorded."""
        if self._recording:
            jax.profiler.stop_trace()
            self._recording = False


def span(steps: str) -> tuple[int, int]:
    """Return the first and last step of "START:STOP".

    >>> span("10:12")
    (10, 12)
    >>> span("")
    (0, -1)
    """
    if not steps:
        return 0, -1
    start, _, stop = steps.partition(":")
    if not (start.isdecimal() and stop.isdecimal() and 1 <= int(start) <= int(stop)):
        raise UserError(
            f"config.profile is {steps!r}: it must be START:STOP, the first and last step to record"
        )
    return int(start), int(stop)
