"""What is written down about the steps of a run, and when a run must stop."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from defect_jax.runtime.errors import UserError
from defect_jax.training.optimizer import learning_rate
from defect_jax.workdir.fingerprints import not_finite
from defect_jax.workdir.metrics_writer import MetricsWriter


class TrainingLog:
    """Watches every step's numbers and writes their means.

    Looks at a step only after the next one is on its way, so that the device never waits for it.
    """

    def __init__(
        self,
        writer: MetricsWriter,
        config: ConfigDict,
        first_step: int,
        unlogged: Sequence[Mapping[str, float]] = (),
    ):
        """Go on after `first_step`, with the numbers of the steps that no line holds yet."""
        self._writer, self._config = writer, config
        self._schedule = learning_rate(config)
        self._pending: tuple[int, dict[str, jax.Array]] | None = None
        self._window = [{k: np.float32(v) for k, v in numbers.items()} for numbers in unlogged]
        self._since: tuple[float, int] | None = None  # the first step starts after compilation
        self._finished_step = first_step
        self._loss: float | None = None

    def note(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Take the numbers of a step just started and check those of the step before."""
        self._since = self._since or (time.monotonic(), step - 1)
        self.flush()
        self._pending = (step, metrics)

    @property
    def finished_step(self) -> int:
        """Return the last step whose results are there; the one after it may be on its way."""
        return self._finished_step

    @property
    def loss(self) -> str:
        """Return what to show of the last finished step."""
        return "" if self._loss is None else f"loss {self._loss:.3f}"

    @property
    def unlogged(self) -> list[dict[str, float]]:
        """Return the numbers of the steps since the last line, which a checkpoint has to hold."""
        return [{name: float(number) for name, number in n.items()} for n in self._window]

    def flush(self) -> None:
        """Wait for the pending step, check it, and write a line when one is due.

        Raises:
            UserError: a number is not finite, see `check_finite`.
        """
        if self._pending is None:
            return
        step, metrics = self._pending
        self._pending = None
        numbers = jax.device_get(metrics)
        check_finite(step, numbers)
        self._finished_step, self._loss = step, float(numbers["loss"])
        self._window.append(numbers)
        if step % self._config.train.log_every_steps == 0:
            self._write(step)

    def _write(self, step: int) -> None:
        means = {name: np.mean([n[name] for n in self._window]) for name in self._window[0]}
        with jax.transfer_guard("allow"):  # optax computes the schedule with jnp
            rate = float(self._schedule(step - 1))
        self._writer.write(step, "train", means | {"learning_rate": rate})
        now, (before, since) = time.monotonic(), self._since
        self._writer.rate(step, (step - since) * self._config.train.batch_size / (now - before))
        self._window, self._since = [], (now, step)


def check_finite(step: int, numbers: Mapping[str, Any]) -> None:
    """Stop the run at the first loss or gradient norm that is not finite.

    Raises:
        UserError: naming step and task; the newest checkpoint is from before.
    """
    # The losses of the tasks come first: the total and the gradient only follow them.
    for name in sorted(numbers, key=lambda name: (not name.startswith("loss_"), name)):
        if not np.isfinite(numbers[name]):
            what = name.replace("loss_", "loss of task ").replace("_", " ")
            raise UserError(
                f"step {step}: the {what} is {numbers[name]}; lower config.optimizer.learning_rate "
                "or config.optimizer.clip_norm; the last checkpoint is from before this step"
            )


def refuse_no_numbers(step: int, ema: Any) -> None:
    """Stop the run before weights are saved and compared that decide nothing.

    Raises:
        UserError: naming step and weights; the newest checkpoint is from before.
    """
    if broken := not_finite(ema):
        raise UserError(
            f"step {step}: the weights {broken[0]} are no numbers; lower "
            "config.optimizer.learning_rate; the last checkpoint is from before this step"
        )
