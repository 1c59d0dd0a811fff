"""The loop over training steps and what hangs off it: log, checkpoints, validation, signals."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.data.pipeline.adaptive_batches import adaptive_batches
from defect_jax.data.pipeline.batches import Batch, training_batches
from defect_jax.data.prepare.prepared import Prepared
from defect_jax.distributed import processes
from defect_jax.distributed.sharding import rows_of_process, to_global
from defect_jax.evaluation.evaluator import Scores, make_evaluator
from defect_jax.evaluation.validation import mask_thresholds, validation_numbers
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime import signals
from defect_jax.runtime.compilation import Peeked
from defect_jax.runtime.console import say, track
from defect_jax.runtime.paths import AnyPath
from defect_jax.runtime.profiler import Profile
from defect_jax.training.optimizer import measured_every_steps
from defect_jax.training.programs import MEASURING_STEP, STEP, Step, StepPrograms
from defect_jax.training.step_log import TrainingLog, refuse_no_numbers
from defect_jax.training.steps import TrainState, to_checkpointables
from defect_jax.training.watched import WatchedImages
from defect_jax.workdir import checkpoints
from defect_jax.workdir.best_weights import SELECTION, read_history
from defect_jax.workdir.metrics_writer import open_writer


class Loop:
    """From a restored or initial state to the last step, validated; the state is `self.state`.

    The order is step, log, save, validate. What a signal or a kill leaves behind is a checkpoint
    of a whole step, and what was done after it is done again in the same way.
    """

    def __init__(
        self,
        config: ConfigDict,
        workdir: AnyPath,
        mesh: Mesh,
        network: SegmentationNetwork,
        prepared: Prepared,
        checkpointer: checkpoints.Checkpointer,
        history: list[dict[str, Any]],
        scores: dict[int, float],
    ):
        """Take the lines of metrics.jsonl and the validation scores in them, by step."""
        self.config, self.workdir, self.mesh = config, workdir, mesh
        self.train_split, self.val_split = prepared.splits["train"], prepared.splits["val"]
        self.checkpointer, self.history, self.scores = checkpointer, history, scores
        self.evaluate_val = make_evaluator(network, self.val_split, config, mesh)
        self.watched = WatchedImages(self.val_split, f"{config.data.name}, in training")

    def to_the_end(
        self, state: TrainState, unlogged: list[dict[str, float]], programs: StepPrograms
    ) -> None:
        """Train to `config.train.steps` from where the state is.

        Args:
            unlogged: numbers of the steps after the last line of metrics.jsonl.

        Raises:
            signals.Stopped: a signal came; a checkpoint is saved.
        """
        self.state, first = state, int(jax.device_get(state.step))
        for step in [step for step in self.scores if step > first]:
            del self.scores[step]  # its checkpoint was damaged: it will be made again
        self.saved_step = first if first in checkpoints.steps(self.checkpointer) else None
        with (
            signals.deferred(),
            open_writer(self.workdir, self.history, first, self.config) as self.writer,
            jax.transfer_guard("disallow"),
        ):
            self.log = TrainingLog(self.writer, self.config, first, unlogged)
            try:
                self._validate_if_due(first)
                if first < self.config.train.steps:
                    self._train(first, programs)
            except signals.Stopped:
                self.log.flush()
                self._save()
                say(f"saved step {self.saved_step}")
                raise

    def _train(self, first: int, programs: StepPrograms) -> None:
        last = self.config.train.steps
        rows = rows_of_process(self.mesh, self.config.train.batch_size)
        place = to_global(self.mesh)
        batches = Peeked(self._batches(rows, place, first))
        with contextlib.closing(batches):
            advice = partial(smaller, self.config, self.mesh.size)
            ready = programs.compiled(self.state, batches.first, advice)
            finished = self._finished_steps(range(first + 1, last + 1), ready, batches)
            shown = track(finished, "training", last - first, self._heartbeat)
            with contextlib.closing(finished), contextlib.closing(shown):
                for _ in shown:
                    pass

    def _batches(self, *wanted: Any) -> Iterator[Batch]:
        if self.state.missed is None:
            return training_batches(self.train_split, self.config, *wanted)
        return adaptive_batches(self.train_split, self.config, *wanted, self._drawn_by)

    def _drawn_by(self) -> np.ndarray:
        """Return a copy of what the order of images follows: steps write into the memory."""
        return np.array(jax.device_get(self.state.missed.drawn_by))

    def _finished_steps(
        self, steps: range, step_fns: Mapping[str, Step], batches: Peeked
    ) -> Iterator[int]:
        """Train, and yield each step when its results are there: the next one is on its way then.

        A step that was only started would count as done within a moment, however long it takes.
        """
        every_steps = measured_every_steps(self.config.balance)
        finished = steps.start - 1
        with contextlib.closing(Profile(self.config.profile, self.workdir)) as profile:
            for step in steps:
                signals.check_preemption()
                profile.before(step)
                measures = every_steps is not None and (step - 1) % every_steps == 0
                step_fn = step_fns[MEASURING_STEP if measures else STEP]
                self.state, metrics = step_fn(self.state, next(batches))
                self.log.note(step, metrics)
                profile.after(step, metrics)
                if self._is_due(step):
                    self.log.flush()
                    self._validate_if_due(step)
                yield from range(finished + 1, self.log.finished_step + 1)
                finished = self.log.finished_step

    def _heartbeat(self) -> str:
        saved = "no checkpoint yet" if self.saved_step is None else f"checkpoint {self.saved_step}"
        return ", ".join(part for part in (self.log.loss, saved) if part)

    def _is_due(self, step: int) -> bool:
        """Return whether the step is one to save and to validate."""
        every_steps = self.config.train.eval_every_steps
        return step > 0 and (step % every_steps == 0 or step == self.config.train.steps)

    def _validate_if_due(self, step: int) -> None:
        """Save, and validate meanwhile: a kill during validation loses the validation alone."""
        if not self._is_due(step) or step in self.scores:
            return
        self.writer.sync()
        refuse_no_numbers(step, self.state.ema)
        saving = checkpoints.begin_save(self.checkpointer, step, *self._saved())
        try:
            numbers, scores = self._validate(step)
        finally:
            checkpoints.finish_save(self.checkpointer, saving)
            self.saved_step = step
        self.writer.write(step, "val", numbers)
        self._show(step, scores)
        self.scores[step] = numbers[SELECTION]

    def _validate(self, step: int) -> tuple[dict[str, float | None], Scores]:
        start = time.monotonic()
        on_mask = self.watched.on_mask if processes.is_first() else None
        scores = self.evaluate_val(self.state.ema, mask_thresholds(0.5, 0.5), on_mask)
        numbers = validation_numbers(self.val_split, scores, self.config.data_info.leaking)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items() if value)
        say(f"step {step} val: {shown} ({time.monotonic() - start:.1f} s)")
        return numbers, scores

    def _show(self, step: int, scores: Scores) -> None:
        """Show the run so far; of several hosts the first one does."""
        if processes.is_first():
            self.writer.sync()
            steps, history = self.config.train.steps, read_history(self.workdir)
            self.watched.show(self.workdir, self.writer, step, steps, history, scores)

    def _save(self) -> None:
        self.writer.sync()
        step = int(jax.device_get(self.state.step))
        checkpoints.save(self.checkpointer, step, *self._saved())
        self.saved_step = step

    def _saved(self) -> tuple[checkpoints.Trees, list[dict[str, float]], dict[int, float]]:
        """Return what a checkpoint holds, and the scores by which older ones are kept."""
        return to_checkpointables(self.state), self.log.unlogged, self.scores


def smaller(config: ConfigDict, devices: int, share: float) -> str:
    """Return what to do about a training step of which only a share fits into memory.

    What a step needs grows with its images: almost all of it are their maps.
    """
    now, (height, width) = config.train.batch_size, config.data.size
    fits = int(now * share * 0.9) // devices * devices
    fewer = f"--config.train.batch_size={fits} may fit ({now} now), or " if fits else ""
    return (
        f"{fewer}take smaller images (config.data.size is {height}x{width}), the :cpu variant of "
        "the config, or a machine with more memory"
    )
