"""Decoded images that are kept: the same batches, each decoded once, never more than fit."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from test_batches import assert_same, ready, take  # noqa: F401  a fixture

from defect_jax.data.pipeline.decoded_cache import Decoded, DecodedCache, with_decoded_cache
from defect_jax.data.prepare.prepared import DataInfo, Prepared, Split, SplitRow


def element(value, side_px=4, defect=False):
    mask = np.zeros((side_px, side_px), np.uint8)
    mask[0, 0] = defect
    return Decoded(np.full((side_px, side_px, 1), value, np.uint8), mask)


def prepared_set(**sides_px):
    splits = {
        name: Split(None, [SplitRow("a", "a", "good", 0, side, side, 0)])
        for name, side in sides_px.items()
    }
    return Prepared(Path(), splits, DataInfo("x", 1, 8, "", False, [], ["defect"]))


def with_room(ready, cache_mb):  # noqa: F811
    config, splits = ready
    room = ConfigDict({"cache_mb": cache_mb, "workers": 0})
    info = DataInfo("x", 1, 8, "", False, [], ["defect"])
    return config, with_decoded_cache(Prepared(Path(), splits, info), room, ("train",)).splits


@pytest.mark.parametrize("cache_mb", [0, 0.02, 100])
def test_batches_are_the_same_whatever_is_kept(ready, cache_mb):  # noqa: F811
    assert_same(take(with_room(ready, cache_mb), count=6), take(ready, count=6))


def test_loader_processes_have_the_same_batches(ready):  # noqa: F811
    assert_same(take(with_room(ready, 100), count=2, workers=2), take(ready, count=2))


class Counting(DecodedCache):
    """Notes each row that is decoded."""

    def get(self, row, decode):
        return super().get(row, lambda: self.decoded.append(row) or decode())


def test_each_image_is_decoded_once(ready):  # noqa: F811
    config, splits = ready
    kept = Counting(10**8)
    kept.decoded = []
    take(
        (config, splits | {"train": replace(splits["train"], decoded_cache=kept)}),
        count=8,
        threads=0,
    )
    assert sorted(kept.decoded) == list(range(len(splits["train"].rows)))


@pytest.mark.parametrize("defect", [False, True])
def test_what_is_kept_is_what_was_decoded_and_cannot_be_changed(defect):
    kept = DecodedCache(1000)
    for _ in range(2):
        image, mask, _ = kept.get(3, lambda: element(7, defect=defect))
        np.testing.assert_array_equal(image, element(7)[0])
        np.testing.assert_array_equal(mask, element(7, defect=defect)[1])
    image, *_ = kept.get(3, lambda: element(8))
    assert image[0, 0, 0] == 7
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0, 0] = 1


def test_no_more_is_kept_than_fits():
    kept = DecodedCache(16 + 32)  # a good image, whose mask needs nothing, and a defective one
    for row, defect in ((0, False), (1, True), (2, False)):
        kept.get(row, lambda d=defect: element(1, defect=d))
    values = [int(kept.get(row, lambda: element(9))[0][0, 0, 0]) for row in range(3)]
    assert values == [1, 1, 9]


def test_a_copy_for_another_process_begins_empty():
    kept = DecodedCache(1000)
    kept.get(0, lambda: element(1))
    copy = pickle.loads(pickle.dumps(kept))
    assert copy.most_bytes == 1000
    assert copy.get(0, lambda: element(2))[0][0, 0, 0] == 2


@pytest.mark.parametrize(
    ("cache_mb", "workers", "expected"),
    [
        (2000, 0, (4_000_000, 1_000_000)),  # all that there is
        (2.5, 0, (2_000_000, 500_000)),  # half of it
        (5, 2, (2_000_000, 500_000)),  # in each of two processes
        (0, 0, (0, 0)),
    ],
)
def test_splits_share_the_memory_by_what_they_need(cache_mb, workers, expected):
    data = ConfigDict({"cache_mb": cache_mb, "workers": workers})
    prepared = with_decoded_cache(
        prepared_set(train=2000, val=1000, test=9000), data, ("train", "val")
    )
    found = tuple(prepared.splits[name].decoded_cache.most_bytes for name in ("train", "val"))
    assert found == expected
    assert prepared.splits["test"].decoded_cache is None
