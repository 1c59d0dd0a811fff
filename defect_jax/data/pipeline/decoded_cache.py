"""Decoded images that stay in memory: each is decoded once in a run, as far as they fit."""

import dataclasses
import threading
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from defect_jax.data.prepare.prepared import DataInfo, Prepared, SplitRow


class Decoded(NamedTuple):
    """An image as the network may see it, and the truth about it."""

    image: np.ndarray  # [h w c], in counts; what is hidden is filled
    mask: np.ndarray  # class ids [h w]
    ignored: np.ndarray | None = None  # what is not judged [h w], see `geometry.region`


class DecodedCache:
    """The first images that are asked for, as many as fit; the others are decoded each time.

    Which are kept changes no number. May be used from several threads; a copy in another process
    begins empty. Nobody may write into the arrays.
    """

    def __init__(self, most_bytes: int):
        self.most_bytes = most_bytes
        self._images: dict[int, tuple[np.ndarray | None, ...]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def __reduce__(self):
        return DecodedCache, (self.most_bytes,)

    def get(self, row: int, decode: Callable[[], Decoded]) -> Decoded:
        """Return the image of a row: what `decode` returned when it was first asked for."""
        found = self._images.get(row)
        if found is None:
            made = decode()
            self._keep(row, made)
            return made
        image, mask, ignored = found
        mask = np.zeros(image.shape[:2], np.uint8) if mask is None else mask
        return Decoded(image, mask, ignored)

    def _keep(self, row: int, made: Decoded) -> None:
        # A good part's mask is not worth the memory.
        kept = made._replace(mask=made.mask if made.mask.any() else None)
        planes = [plane for plane in kept if plane is not None]
        needed = sum(plane.nbytes for plane in planes)
        with self._lock:
            if row in self._images or self._bytes + needed > self.most_bytes:
                return
            for plane in (*planes, made.mask):
                plane.flags.writeable = False
            self._images[row] = tuple(kept)
            self._bytes += needed


def with_decoded_cache(prepared: Prepared, data: ConfigDict, splits: Collection[str]) -> Prepared:
    """Return the set with room for decoded images: `data.cache_mb` over the splits, by what they
    need.

    Each loader process has a share of its own.
    """
    needed = {name: _bytes(prepared.splits[name].rows, prepared.info) for name in splits}
    share = min(1.0, 1e6 * data.cache_mb / max(1, data.workers) / max(1, sum(needed.values())))
    kept = {
        name: dataclasses.replace(
            prepared.splits[name], decoded_cache=DecodedCache(int(share * each))
        )
        for name, each in needed.items()
    }
    return dataclasses.replace(prepared, splits=prepared.splits | kept)


def _bytes(rows: Collection[SplitRow], info: DataInfo) -> int:
    a_pixel = info.channels * info.bit_depth // 8
    return sum(
        row.height * row.width * (a_pixel + row.label * row.masked + (row.ignored_px > 0))
        for row in rows
    )
