"""Reads many raw files at once, and shows how far it is."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from ml_collections import ConfigDict

from defect_jax.data.images import BadImage, inspect_mask
from defect_jax.data.raw_files import RawFiles
from defect_jax.progress import track

T = TypeVar("T")
R = TypeVar("R")
MOST_THREADS = 8  # each holds a decoded picture


def in_threads(function: Callable[[T], R], items: Sequence[T], description: str) -> Iterator[R]:
    """Applies `function` to every item, several at a time, and yields the results in order.

    Threads are enough, since both decoders release Python's lock. No more than a few results wait
    to be taken: Executor.map would hold all of them, and with them a whole data set.
    """
    return track(_in_threads(function, items), description, total=len(items))


def _in_threads(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    threads = min(MOST_THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads)
    todo = iter(items)
    try:
        waiting = deque(pool.submit(function, item) for item in islice(todo, 2 * threads))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(todo, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def empty_masks(raw: RawFiles, names: Sequence[str], data: ConfigDict) -> set[str]:
    """Finds the masks without a single defect pixel.

    A mask that cannot be read counts as not empty: its fault is reported with its picture's.
    """

    def is_empty(name: str) -> bool:
        try:
            mask = inspect_mask(raw.read(name), data.max_megapixels, data.mask_threshold)[1]
        except (OSError, BadImage):
            return False
        return not mask.any()

    if not names:
        return set()
    verdicts = in_threads(is_empty, names, "Reading masks")
    return {name for name, empty in zip(names, verdicts, strict=True) if empty}
