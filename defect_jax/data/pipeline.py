"""Prepared records to batches on the devices, with grain.

    plan -> seed -> load -> augment -> rows of this host -> batch -> workers -> device

Training pictures travel as uint8 (or uint16) and are normalised on the device: a quarter of the
bytes. Those that are decided on travel as float32, so that scaling rounds nothing.
"""

import dataclasses
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grain
import jax
import numpy as np
from jaxtyping import Float32, UInt8, UInt16
from ml_collections import ConfigDict

from defect_jax import parent
from defect_jax.data.augment import Augment
from defect_jax.data.images import decode_classes, decode_image
from defect_jax.data.letterbox import (
    Placement,
    jitter,
    letterbox_image,
    letterbox_mask,
    place,
    valid_area,
)
from defect_jax.data.prepare import Split
from defect_jax.data.sampling import SamplingPlan
from defect_jax.errors import UserError
from defect_jax.metrics.regions import region_weights

Batch = dict[str, Any]
HOST_BATCHES = 4  # decoded batches kept ready; grain's default of 500 elements took 8 GB
DEVICE_BATCHES = 2


@dataclasses.dataclass(frozen=True)
class Frame:
    """What every picture is brought to: size and scale limits, common channels, depth, classes."""

    size_px: tuple[int, int]
    min_scale: float
    max_scale: float
    max_stretch: float
    channels: int
    bit_depth: int
    classes: int

    @classmethod
    def of(cls, config: ConfigDict) -> "Frame":
        data, picture = config.data, config.picture
        return cls(
            tuple(data.size),
            data.min_scale,
            data.max_scale,
            data.max_stretch,
            picture.channels,
            picture.bit_depth,
            config.model.num_classes,
        )

    def common(self, image: np.ndarray, name: str) -> np.ndarray:
        """Gives `image` [h w c] the set's channels and depth; only ever widens.

        Raises:
            UserError: colour or 16 bit where the network was trained on grey or 8 bit.
        """
        if image.shape[-1] > self.channels or image.itemsize * 8 > self.bit_depth:
            raise UserError(
                f"{name}: has {image.shape[-1]} channels of {image.itemsize * 8} bit, but the "
                f"network was trained on {self.channels} of {self.bit_depth} bit"
            )
        if image.itemsize * 8 < self.bit_depth:
            image = sixteen_bits(image)
        return np.repeat(image, self.channels // image.shape[-1], axis=-1)

    def known(self, mask: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """Gives a mask the classes that the network tells apart: all are 1 where it knows one."""
        return np.minimum(mask, 1) if self.classes == 1 else mask


def sixteen_bits(image: UInt8[np.ndarray, "h w c"]) -> UInt16[np.ndarray, "h w c"]:
    """The same picture in 65536 steps."""
    return image.astype(np.uint16) * 257  # 255 -> 65535


def shares(
    image: UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"],
) -> Float32[np.ndarray, "h w c"]:
    """Pixels as shares of the full range, which scaling does not round.

    Rounded to whole steps, what OpenCV scales here and what an exported network scales by
    `size_rule` differed by half a step, and a probability by up to 5e-4.
    """
    return image.astype(np.float32) / np.iinfo(image.dtype).max


@dataclasses.dataclass(frozen=True)
class Load(grain.transforms.RandomMap):
    """Row number -> one training element: image, mask, valid in the network's frame, label.

    The mask is uint8 class ids, 0 for background; the label is 1.0 for a part with any defect.

    The place in the frame is random, see `letterbox.jitter`.
    """

    split: Split
    frame: Frame
    shrink: float
    stretch: float

    def random_map(self, row: int, rng: np.random.Generator) -> dict[str, Any]:
        record, image, mask, placement = _decoded(self.split, row, self.frame)
        if self.shrink or self.stretch:
            placement = jitter(placement, self.frame.size_px, self.shrink, self.stretch, rng)
        return _framed(record, image, mask, placement, self.frame)


@dataclasses.dataclass(frozen=True)
class LoadNative(grain.transforms.Map):
    """As `Load`, and the truth at native size on a canvas that holds every picture of the split."""

    split: Split
    frame: Frame
    canvas_px: tuple[int, int]

    def map(self, row: int) -> dict[str, Any]:
        record, image, mask, placement = _decoded(self.split, row, self.frame)
        element = _framed(record, shares(image), mask, placement, self.frame)
        weights, regions = region_weights(mask > 0)
        return element | {
            "row": np.int32(row),
            "placement": np.asarray(placement, np.float32),
            "native_size": np.asarray(mask.shape, np.int32),
            "native_mask": self._on_canvas(mask),
            "region_weight": self._on_canvas(weights),
            "regions": np.int32(regions),
        }

    def _on_canvas(self, plane: np.ndarray) -> np.ndarray:
        canvas = np.zeros(self.canvas_px, plane.dtype)
        canvas[: plane.shape[0], : plane.shape[1]] = plane
        return canvas


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
    """Endless-looking batches of a run, from `first_step` to `config.train.steps`.

    The order, and the random changes of each picture, depend on the position in the run alone:
    resuming is a slice, and the numbers of hosts, workers and threads change nothing.

    Args:
        rows: of each global batch, those that this process loads (`sharding.rows_of_process`).

    Raises:
        UserError: pictures of one kind are asked for that the split does not have.
    """
    data, batch_size = config.data, config.train.batch_size
    labels = tuple(row.label for row in split.rows)
    if data.positive_fraction is not None and len(set(labels)) < 2:
        kind = "good" if labels[0] else "defective"
        raise UserError(
            f"config.data.positive_fraction is {data.positive_fraction}: must be None in the "
            f"config file, since no training picture is {kind}"
        )
    plan = SamplingPlan(
        labels, config.train.steps * batch_size, data.positive_fraction, config.seed
    )
    stream = (
        grain.MapDataset.source(plan)
        .seed(config.seed)
        .random_map(Load(split, Frame.of(config), data.augment.shrink, data.augment.stretch))
        .random_map(Augment(**data.augment.changes))
    )
    if len(rows) < batch_size:
        stream = grain.MapDataset.source(_RowsOfBatches(stream, tuple(rows), batch_size))
    dataset = stream.batch(len(rows), drop_remainder=True)
    return iter(_stream(dataset.slice(slice(first_step, None)), data, to_device))


def evaluation_batches(
    split: Split, config: ConfigDict, to_device: Callable[[Batch], Batch]
) -> Iterator[Batch]:
    """Every picture of the split exactly once, the last batch padded with blank ones.

    All processes yield the same number of batches, so that none waits for another for ever.
    """
    local = config.train.batch_size // jax.process_count()
    rows = np.arange(evaluation_steps(split, config) * config.train.batch_size)
    load = LoadNative(split, Frame.of(config), canvas_px(split))
    dataset = (
        grain.MapDataset.source(_PaddedRows(load, len(split.rows), len(rows)))[
            jax.process_index() :: jax.process_count()
        ]
    ).batch(local, drop_remainder=True)
    return iter(_stream(dataset, config.data, to_device))


def evaluation_steps(split: Split, config: ConfigDict) -> int:
    """Number of batches of one evaluation."""
    return -(-len(split.rows) // config.train.batch_size)


def canvas_px(split: Split, multiple: int = 8) -> tuple[int, int]:
    """Smallest canvas, in steps of `multiple`, that holds every picture at native size."""
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


def _decoded(
    split: Split, row: int, frame: Frame
) -> tuple[dict[str, Any], np.ndarray, np.ndarray, Placement]:
    record = split.source[int(row)]
    name = record["id"].decode()
    image = frame.common(decode_image(record["image"]), name)
    mask = frame.known(decode_classes(record["mask"]))
    limits = frame.min_scale, frame.max_scale, frame.max_stretch
    placement = place(mask.shape, frame.size_px, *limits, name)
    return record, image, mask, placement


def _framed(
    record: dict[str, Any],
    image: np.ndarray,
    mask: np.ndarray,
    placement: Placement,
    frame: Frame,
) -> dict[str, Any]:
    return {
        "image": letterbox_image(image, placement, frame.size_px),
        "mask": letterbox_mask(mask, placement, frame.size_px),
        "valid": valid_area(placement, frame.size_px),
        "label": np.float32(record["label"]),
    }


def _stream(
    dataset: grain.MapDataset, data: ConfigDict, to_device: Callable[[Batch], Batch]
) -> grain.IterDataset:
    """Reads ahead: in threads (OpenCV frees the interpreter) or processes, then onto the device."""
    options = grain.ReadOptions(num_threads=data.threads, prefetch_buffer_size=HOST_BATCHES)
    stream = dataset.to_iter_dataset(options)
    if data.workers:
        processes = grain.MultiprocessingOptions(data.workers, per_worker_buffer_size=2)
        stream = stream.mp_prefetch(processes, worker_init_fn=_prepare_worker)
    on_device = stream.map(to_device)
    return grain.experimental.ThreadPrefetchIterDataset(
        on_device, prefetch_buffer_size=DEVICE_BATCHES
    )


def _prepare_worker(worker_index: int, worker_count: int) -> None:
    """Loader workers end with the run, and not before it.

    A Ctrl-C, or a cluster manager's SIGTERM, goes to them as well, and the run still needs pictures
    for the step it is at.
    """
    del worker_index, worker_count
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    parent.end_with(multiprocessing.parent_process().pid)
