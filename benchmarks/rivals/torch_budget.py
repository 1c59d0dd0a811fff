"""How many steps fit into the seconds that there are, and their losses."""

import statistics
import time
from typing import Any

import numpy as np

MEASURED, IGNORED = 10, 3  # steps until the plan is made; the first ones are slower
TOLD_EVERY = 50  # steps; and so many losses make the last one that is told


class Budget:
    """Counts steps; after the first ten it says how many there will be.

    Until then the schedule of any number is the same: it is warm-up. Giving that number in place of
    the seconds makes the same run again.
    """

    def __init__(self, steps: int, seconds: float):
        self.steps, self.seconds = steps, seconds
        self.began = self.before = time.perf_counter()
        self.durations: list[float] = []
        self.losses: list[float] = []

    def step_done(self, loss: float) -> None:
        """Note a step and the loss before it; the tenth one makes the plan."""
        now = time.perf_counter()
        self.durations.append(now - self.before)
        self.before = now
        self.losses.append(loss)
        if len(self.durations) == MEASURED:
            left = self.seconds - (now - self.began)
            self.steps = min(self.steps, MEASURED + max(1, int(left / self.seconds_per_step)))
        if len(self.losses) % TOLD_EVERY == 0:
            steps = f"step {len(self.losses)} of {self.steps}"
            print(f"{steps}: loss {self._last_loss:.4f}", flush=True)

    @property
    def done(self) -> bool:
        """Return whether all steps have been taken."""
        return len(self.durations) >= self.steps

    @property
    def seconds_per_step(self) -> float:
        """Return the median."""
        return statistics.median(self.durations[IGNORED:] or self.durations)

    @property
    def _last_loss(self) -> float:
        return float(np.mean(self.losses[-TOLD_EVERY:]))

    def facts(self) -> dict[str, Any]:
        """Return what run.json tells of the steps."""
        return {
            "steps_taken": len(self.losses),
            "seconds_per_step": round(self.seconds_per_step, 4),
            "last_loss": self._last_loss,
        }
