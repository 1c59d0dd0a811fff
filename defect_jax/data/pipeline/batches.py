"""Prepared records to batches on the devices, with grain.

    plan -> seed -> load -> augment -> rows of this host -> batch -> workers -> device

Images travel as float32, in shares of the range that those of training fill, so that neither
scaling nor augmentation rounds anything: an image of few steps of brightness is changed as finely
as one of many. They are normalised on the device.
"""

import dataclasses
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any

import grain
import jax
import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from defect_jax.data.geometry.framing import Change
from defect_jax.data.geometry.input_spec import InputSpec, framing_of
from defect_jax.data.pipeline.augmentation import Augment
from defect_jax.data.pipeline.loading import LoadNative, LoadTraining
from defect_jax.data.pipeline.pasting import PasteDefects, refuse_no_surface
from defect_jax.data.pipeline.sampling import SamplingPlan
from defect_jax.data.prepare.prepared import Split
from defect_jax.runtime import signals
from defect_jax.runtime.errors import UserError

Batch = dict[str, Any]
HOST_BATCHES = 4  # decoded batches kept ready; grain's default of 500 elements took 8 GB
DEVICE_BATCHES = 2
ALIGNMENT_BYTES = 64  # XLA copies arrays that begin elsewhere


@dataclasses.dataclass(frozen=True)
class _RowsOfBatches:
    """Of each batch of a stream, the rows that one process needs: a random-access source."""

    stream: grain.MapDataset
    rows: Sequence[int]
    batch_size: int

    def __len__(self) -> int:
        return len(self.stream) // self.batch_size * len(self.rows)

    def __getitem__(self, position: int) -> dict[str, Any]:
        batch, place = divmod(int(position), len(self.rows))
        return self.stream[batch * self.batch_size + self.rows[place]]


def training_batches(
    split: Split,
    config: ConfigDict,
    rows: Sequence[int],
    to_device: Callable[[Batch], Batch],
    first_step: int,
) -> Iterator[Batch]:
    """Return endless-looking batches of a run, from `first_step` to `config.train.steps`.

    The order, and the random changes of each image, depend on the position in the run alone:
    resuming is a slice, and the numbers of hosts, workers and threads change nothing.

    Args:
        rows: of each global batch, those that this process loads (`sharding.rows_of_process`).

    Raises:
        UserError: images of one kind are asked for, or needed, that the split does not have.
    """
    plan = sampling_plan(split, config, config.train.steps * config.train.batch_size)
    load = loading(split, config)
    return batches_of(plan, load, config, rows, to_device, slice(first_step, None))


def sampling_plan(split: Split, config: ConfigDict, length: int) -> SamplingPlan:
    """Return the order of a run of so many elements.

    Raises:
        UserError: as `training_batches`.
    """
    fraction, needs_good = config.data.positive_fraction, framing_of(config.data).needs_good_images
    labels = tuple(row.label for row in split.rows)
    if fraction is not None:
        refuse_one_kind(labels, fraction, needs_good)
    masked = tuple(row.masked for row in split.rows)
    return SamplingPlan(labels, length, fraction, config.seed, needs_good, masked)


def loading(split: Split, config: ConfigDict) -> grain.transforms.RandomMap:
    """Return what makes a request a training element, before `Augment`.

    Raises:
        UserError: defects are to be pasted, and there is no good image.
    """
    augment, spec = config.data.augment, InputSpec.of(config)
    load = LoadTraining(split, spec, Change(augment.shrink, augment.stretch))
    if not augment.paste:
        return load
    labels = [row.label for row in split.rows]
    refuse_no_surface(labels, augment.paste, spec.framing.needs_good_images)
    return PasteDefects(load, augment.paste)


def batches_of(
    plan: Any,
    load: grain.transforms.RandomMap,
    config: ConfigDict,
    rows: Sequence[int],
    to_device: Callable[[Batch], Batch],
    steps: slice,
) -> Iterator[Batch]:
    """Return the batches of these steps of a plan; each element is computed when it is needed.

    Args:
        plan: random access to requests, by their position in the run.
        rows: as `training_batches`.
    """
    data, batch_size = config.data, config.train.batch_size
    stream = grain.MapDataset.source(plan).seed(config.seed).random_map(load)
    stream = stream.random_map(Augment(**data.augment.changes))
    if len(rows) < batch_size:
        stream = grain.MapDataset.source(_RowsOfBatches(stream, tuple(rows), batch_size))
    dataset = stream.batch(len(rows), drop_remainder=True, batch_fn=stacked)
    return iter(_stream(dataset.slice(steps), data, to_device))


def refuse_one_kind(labels: Sequence[int], positive_fraction: float, needs_good: bool) -> None:
    """Refuse to mix kinds where one is missing; good tiles are in defective images, too."""
    missing = "good" if 0 not in labels and needs_good else "defective" if 1 not in labels else ""
    if missing:
        raise UserError(
            f"config.data.positive_fraction is {positive_fraction}: must be None in the "
            f"config file, since no training image is {missing}"
        )


def evaluation_batches(
    split: Split,
    spec: InputSpec,
    data: ConfigDict,
    batch_size: int,
    to_device: Callable[[Batch], Batch],
) -> Iterator[Batch]:
    """Yield every image of the split exactly once, the last batch padded with blank ones.

    All processes yield the same number of batches, so that none waits for another for ever.

    Args:
        data: `config.data`: threads and workers.
    """
    total = evaluation_steps(split, batch_size) * batch_size
    load = LoadNative(split, spec, canvas_px(split))
    rows = grain.MapDataset.source(_PaddedRows(load, len(split.rows), total))
    own = rows[jax.process_index() :: jax.process_count()]
    local = batch_size // jax.process_count()
    dataset = own.batch(local, drop_remainder=True, batch_fn=stacked)
    return iter(_stream(dataset, data, to_device))


def evaluation_steps(split: Split, batch_size: int) -> int:
    """Return the number of batches of one evaluation."""
    return -(-len(split.rows) // batch_size)


def canvas_px(split: Split, multiple: int = 8) -> tuple[int, int]:
    """Return the smallest canvas, in steps of `multiple`, that holds every image at native size."""
    sides = ((row.height, row.width) for row in split.rows)
    return tuple(-(-max(side) // multiple) * multiple for side in zip(*sides, strict=True))


@dataclasses.dataclass(frozen=True)
class _PaddedRows:
    """Loaded rows, then blanks: the first element with nothing valid in it and row -1."""

    load: LoadNative
    real: int
    total: int

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, position: int) -> dict[str, Any]:
        if position < self.real:
            return self.load.map(position)
        blank = jax.tree.map(np.zeros_like, self.load.map(0))
        return blank | {"row": np.int32(-1), "placement": np.ones(4, np.float32)}


def _stream(
    dataset: grain.MapDataset, data: ConfigDict, to_device: Callable[[Batch], Batch]
) -> grain.IterDataset:
    """Read ahead: in threads (OpenCV frees the interpreter) or processes, then onto the device."""
    options = grain.ReadOptions(num_threads=data.threads, prefetch_buffer_size=HOST_BATCHES)
    stream = dataset.to_iter_dataset(options)
    if data.workers:
        _start_tracker()
        processes = grain.MultiprocessingOptions(data.workers, per_worker_buffer_size=2)
        stream = stream.mp_prefetch(processes, worker_init_fn=_prepare_worker)
    on_device = stream.map(to_device)
    return grain.experimental.ThreadPrefetchIterDataset(
        on_device, prefetch_buffer_size=DEVICE_BATCHES
    )


def _start_tracker() -> None:
    """Start Python's process that gives back the loaders' shared memory: it must outlive them.

    A terminal that is closed sends SIGHUP to it too. What is on its way when a run is stopped is
    left to it, and it would tell of that as of a leak.
    """
    if (silent := "ignore:resource_tracker:UserWarning") not in sys.warnoptions:
        sys.warnoptions.append(silent)  # it inherits these
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # and this
    try:
        resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def _prepare_worker(worker_index: int, worker_count: int) -> None:
    """Have a loader worker end with the run, and not before it.

    A Ctrl-C, a closed terminal, or a cluster manager's SIGTERM, goes to them as well, and the run
    still needs images for the step it is at.
    """
    del worker_index, worker_count
    for number in signals.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signals.end_with_parent(multiprocessing.parent_process().pid)


def stacked(elements: Sequence[PyTree]) -> PyTree[np.ndarray]:
    """Stack each array of the elements along a new first axis.

    >>> stacked([{"label": np.float32(0)}, {"label": np.float32(1)}])
    {'label': array([0., 1.], dtype=float32)}
    """
    return jax.tree.map(lambda *arrays: _stacked(arrays), *elements)


def _stacked(arrays: Sequence[np.ndarray | np.generic]) -> np.ndarray:
    first = np.asarray(arrays[0])
    shape = len(arrays), *first.shape
    return np.stack(arrays, out=_aligned(shape, first.dtype))


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return uninitialised memory whose address is a multiple of `ALIGNMENT_BYTES`."""
    needed = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(needed + ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT_BYTES
    return memory[start : start + needed].view(dtype).reshape(shape)
