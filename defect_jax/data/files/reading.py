"""Reads many raw files at once, and shows how far it is."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from ml_collections import ConfigDict

from defect_jax.data.files.class_masks import inspect_classes, main_class
from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.masks import MaskRules, inspect_mask
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.sources.records import DEFECT, GOOD
from defect_jax.runtime.console import track

T = TypeVar("T")
R = TypeVar("R")
MOST_THREADS = 8  # each holds a decoded image


def in_threads(function: Callable[[T], R], items: Sequence[T], description: str) -> Iterator[R]:
    """Do as `threaded`, and show how far it is."""
    return track(threaded(function, items), description, total=len(items))


def threaded(
    function: Callable[[T], R], items: Iterable[T], waiting_most: int | None = None
) -> Iterator[R]:
    """Apply `function` to every item, several at a time, and yield the results in order.

    Threads are enough, since both decoders release Python's lock. No more than a few results wait
    to be taken: Executor.map would hold all of them, and with them a whole data set.

    Args:
        waiting_most: results under way or ready; two a thread if not given.
    """
    threads = min(MOST_THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads)
    todo = iter(items)
    try:
        at_first = islice(todo, waiting_most or 2 * threads)
        waiting = deque(pool.submit(function, item) for item in at_first)
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(todo, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def classes_of_masks(
    raw: RawFiles, masks: Sequence[str], data: ConfigDict, classes: Sequence[str]
) -> dict[str, str]:
    """Find the class of the image of each mask, as the mask says it, ``"good"`` among them.

    Args:
        classes: names of what the values in the masks mean; empty where they are defect or not.
    """
    if classes:
        return main_classes(raw, masks, data, classes)
    empty = empty_masks(raw, masks, data)
    return {mask: GOOD if mask in empty else DEFECT for mask in masks}


def empty_masks(raw: RawFiles, names: Sequence[str], data: ConfigDict) -> set[str]:
    """Find the masks without a single defect pixel.

    A mask that cannot be read counts as not empty: its fault is reported with its image's.
    """

    rules = MaskRules.of(data)

    def is_empty(encoded: bytes) -> bool:
        return not inspect_mask(encoded, data.max_megapixels, rules).defect.any()

    verdicts = _of_masks(raw, names, is_empty, unreadable=False)
    return {name for name, empty in verdicts.items() if empty}


def main_classes(
    raw: RawFiles, names: Sequence[str], data: ConfigDict, classes: Sequence[str]
) -> dict[str, str]:
    """Find the class with the most pixels in each mask of class ids, ``"good"`` if there is none.

    A mask that cannot be read counts as the first class: its fault is reported with its image's.
    """
    called = (GOOD, *classes)

    def look(encoded: bytes) -> str:
        rules = data.max_megapixels, len(classes), data.get("ignore_value")
        return called[main_class(inspect_classes(encoded, *rules).ids)]

    return _of_masks(raw, names, look, unreadable=classes[0])


def _of_masks(
    raw: RawFiles, names: Sequence[str], look: Callable[[bytes], R], unreadable: R
) -> dict[str, R]:
    """Look at every mask; `unreadable` stands for those that cannot be read."""

    def attempt(name: str) -> R:
        try:
            return look(raw.read(name))
        except (OSError, BadImage, MemoryError):
            return unreadable

    if not names:
        return {}
    return dict(zip(names, in_threads(attempt, names, "Reading masks"), strict=True))
