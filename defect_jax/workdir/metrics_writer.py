"""Numbers of a run: metrics.jsonl for programs, TensorBoard and a tracker for people."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict
from tensorboardX.summary import hparams

from defect_jax.distributed import processes
from defect_jax.runtime.atomic_files import LineFile
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir.config_schema import flat
from defect_jax.workdir.tensorboard import open_tensorboard
from defect_jax.workdir.trackers import Tracker, open_tracker


class MetricsWriter:
    """Appends to `metrics.jsonl` and `tensorboard/` of a workdir, and tells its tracker; a context
    manager.

    Lines hold only numbers that the run determines, no times or rates, so that the file of a
    resumed run equals the file of an unbroken one.
    """

    def __init__(
        self,
        workdir: AnyPath,
        history: Sequence[Mapping[str, Any]],
        first_step: int,
        tracker: Tracker | None = None,
    ):
        """Open both files; lines after `first_step`, left by a run cut off later, are dropped.

        Args:
            history: the lines that are there, see `best_weights.read_history`.
            tracker: of this run; it is closed with the files.
        """
        kept = [json.dumps(line) for line in history if line["step"] <= first_step]
        self._lines = LineFile(workdir / "metrics.jsonl", kept)
        self._board = open_tensorboard(workdir / "tensorboard", first_step + 1)
        self._tracker = tracker or Tracker()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._lines.close()
        self._board.close()
        self._tracker.finish(to_the_end=exception[0] is None)

    def write(self, step: int, split: str, numbers: Mapping[str, Any]) -> None:
        """Add one line for `split` ("train" or "val"); an undefined number is null."""
        plain = {name: _plain(number) for name, number in sorted(numbers.items())}
        self._lines.write(json.dumps({"step": step, "split": split} | plain))
        self._show(step, {f"{split}/{name}": n for name, n in plain.items() if n is not None})

    def sync(self) -> None:
        """Return when the lines are on disk: a checkpoint must not outlive those before it."""
        self._lines.sync()
        self._board.flush()

    def rate(self, step: int, images_per_second: float) -> None:
        """Show the speed, but write no line: it is not the same twice."""
        self._show(step, {"train/images_per_second": images_per_second})

    def image(self, step: int, name: str, image: UInt8[np.ndarray, "h w c"]) -> None:
        """Show an image on the board and in the tracker."""
        self._board.add_image(name, image, step, dataformats="HWC")
        self._tracker.image(step, name, image)

    def _show(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, number in numbers.items():
            self._board.add_scalar(name, number, step)
        self._tracker.numbers(step, numbers)


class _Nothing:
    """The writer of a host that writes nothing."""

    def __enter__(self) -> "_Nothing":
        return self

    def __exit__(self, *exception: object) -> None: ...

    def write(self, step: int, split: str, numbers: Mapping[str, Any]) -> None: ...

    def sync(self) -> None: ...

    def rate(self, step: int, images_per_second: float) -> None: ...

    def image(self, step: int, name: str, image: UInt8[np.ndarray, "h w c"]) -> None: ...


def open_writer(
    workdir: AnyPath, history: Sequence[Mapping[str, Any]], first_step: int, config: ConfigDict
) -> MetricsWriter | _Nothing:
    """Return the writer of this host: the first one of a run writes, the others do not."""
    if not processes.is_first():
        return _Nothing()
    tracker = open_tracker(config, workdir, first_step)
    return MetricsWriter(workdir, history, first_step, tracker)


def write_outcome(
    workdir: AnyPath, step: int, config: ConfigDict, metrics: Mapping[str, Any], split: str = "test"
) -> None:
    """Show the metrics of a split on the board, and beside the config of the run among its HPARAMS.

    The run's tracker gets them too.

    Args:
        step: at the end of the training.
    """
    numbers = {f"{split}/{name}": _plain(number) for name, number in metrics.items()}
    numbers = {name: number for name, number in numbers.items() if number is not None}
    given = {field: _hparam(value) for field, value in flat(config).items()}
    with contextlib.closing(open_tensorboard(workdir / "tensorboard", step + 1)) as board:
        for summary in hparams(given, numbers):
            board.file_writer.add_summary(summary)
        for name, number in numbers.items():
            board.add_scalar(name, number, step)
    tracker = open_tracker(config, workdir, step)
    tracker.outcome(step, numbers)
    tracker.finish(to_the_end=True)


def _hparam(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _plain(number: Any) -> float | None:
    return None if number is None or not np.isfinite(number) else float(number)
