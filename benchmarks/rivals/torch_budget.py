"""How many steps fit into the seconds that there are."""

import statistics
import time

MEASURED, IGNORED = 10, 3  # steps until the plan is made; the first ones are slower


class Budget:
    """Counts steps; after the first ten it says how many there will be.

    Until then the schedule of any number is the same: it is warm-up. Giving that number in place of
    the seconds makes the same run again.
    """

    def __init__(self, steps: int, seconds: float):
        self.steps, self.seconds = steps, seconds
        self.began = self.before = time.perf_counter()
        self.durations: list[float] = []

    def step_done(self) -> None:
        """Note a step; the tenth one makes the plan."""
        now = time.perf_counter()
        self.durations.append(now - self.before)
        self.before = now
        if len(self.durations) == MEASURED:
            left = self.seconds - (now - self.began)
            self.steps = min(self.steps, MEASURED + max(1, int(left / self.seconds_per_step)))

    @property
    def done(self) -> bool:
        """Return whether all steps have been taken."""
        return len(self.durations) >= self.steps

    @property
    def seconds_per_step(self) -> float:
        """Return the median."""
        return statistics.median(self.durations[IGNORED:] or self.durations)
