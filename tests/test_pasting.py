"""Pasted defects: whole, in place, of the surface's light; the same from anywhere in the run."""

import dataclasses

import numpy as np
import pytest
from ml_collections import ConfigDict
from test_batches import assert_same, on_host, ready, take

from defect_jax.data.geometry.framing import Tiling
from defect_jax.data.pipeline import batches, pasting
from defect_jax.data.pipeline.batches import training_batches
from defect_jax.data.pipeline.blending import blended
from defect_jax.data.pipeline.pasting import LARGEST_SHARE, MOVED, moved_start, pasted
from defect_jax.data.prepare.prepared import Split
from defect_jax.runtime.errors import UserError

__all__ = ["ready"]  # a fixture
SIDE_PX = 40


def element(light=0.5, defect=None, share=0.5, channels=1, seed=0):
    """An image of one brightness with a little texture; the defect is a share as bright."""
    noise = np.random.default_rng(seed).normal(0.0, 0.01, (SIDE_PX, SIDE_PX, channels))
    image, mask = (light * (1 + noise)).astype(np.float32), np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    if defect:
        mask[defect] = 1
        image[defect] *= share
    label = np.float32(defect is not None)
    valid, masked = np.ones_like(mask, bool), np.float32(1.0)
    return {"image": image, "mask": mask, "valid": valid, "label": label, "masked": masked}


MIDDLE = np.s_[15:21, 18:26]


@pytest.mark.parametrize("light", [0.25, 0.5, 1.2])  # 16 bits may be above the range
@pytest.mark.parametrize("channels", [1, 3])
def test_a_defect_has_the_share_of_light_that_it_had_on_its_own_surface(light, channels):
    source, surface = element(0.5, MIDDLE, 0.4, channels), element(light, None, channels=channels)
    made = pasted(source, surface, True, np.random.default_rng(0))
    inside = made["mask"] > 0
    assert inside.sum() == (source["mask"] > 0).sum() and made["label"] == 1.0
    assert made["image"].dtype == np.float32 and made["image"].shape == surface["image"].shape
    assert made["image"][inside].mean() == pytest.approx(0.4 * light, rel=0.03)
    changed = (made["image"] != surface["image"]).any(axis=-1)
    assert changed[inside].all() and changed.sum() <= 16 * 18  # 5 px round it
    assert (surface["mask"] == 0).all() and np.ptp(surface["image"]) < 0.2 * light  # not written


def test_the_border_has_no_step_where_light_differs():
    """A plain copy of half the light would have one of a quarter of the range all round."""
    surface = element(1.0, seed=1)
    inside = np.zeros((SIDE_PX, SIDE_PX), bool)
    inside[MIDDLE] = True
    made = blended(element(0.5)["image"], surface["image"], inside, surface["valid"])
    assert np.abs(made - 1.0).max() < 0.08  # five deviations of twice the texture, and a little


def test_light_that_falls_off_goes_on_through_what_is_pasted():
    slope = np.linspace(0.3, 0.9, SIDE_PX, dtype=np.float32)[None, :, None]
    surface = np.repeat(slope, SIDE_PX, axis=0)
    inside = np.zeros((SIDE_PX, SIDE_PX), bool)
    inside[MIDDLE] = True
    even = np.full_like(surface, 0.6)
    made = blended(even, surface, inside, np.ones_like(inside))
    left, right = (np.abs(made[MIDDLE] - surface[MIDDLE])[:, side].max() for side in (0, -1))
    flat = np.abs(0.6 - surface[MIDDLE]).max()
    assert max(left, right) < 0.75 * flat


def test_there_must_be_something_around_to_match_by():
    image = element()["image"]
    inside = np.ones((SIDE_PX, SIDE_PX), bool)
    assert blended(image, image, inside, inside) is None


def test_classes_move_along_and_the_place_is_near_the_same():
    source = element(defect=MIDDLE)
    source["mask"][15:18, 18:26] = 7
    seen = set()
    for seed in range(20):
        made = pasted(source, element(), True, np.random.default_rng(seed))["mask"]
        rows, columns = np.nonzero(made)
        top, left = rows.min(), columns.min()
        np.testing.assert_array_equal(made[top : top + 6, left : left + 8], source["mask"][MIDDLE])
        assert abs(top - 15) <= MOVED * 34 + 1 and abs(left - 18) <= MOVED * 32 + 1
        seen.add((top, left))
    assert len(seen) > 10


def test_what_is_at_an_edge_of_its_image_stays_at_that_edge():
    source = element(defect=np.s_[0:6, 34:40])
    surface = element()
    surface["valid"][:5] = surface["valid"][:, 30:] = False  # padding
    rows, columns = np.nonzero(pasted(source, surface, True, np.random.default_rng(0))["mask"])
    assert (rows.min(), columns.max()) == (5, 29)


@pytest.mark.parametrize(
    ("defect", "whole"),
    [
        (np.s_[0:6, 10:20], False),  # cut by the window
        (np.s_[0:30, 5:35], True),  # larger than LARGEST_SHARE
        (np.s_[18:20, 0:40], True),  # from edge to edge, and the surface is narrower
    ],
)
def test_what_cannot_be_pasted_whole_stays_on_its_own_surface(defect, whole):
    source, surface = element(defect=defect), element()
    surface["valid"][:, 36:] = False
    assert pasted(source, surface, whole, np.random.default_rng(0)) is source


def test_a_surface_with_a_defect_or_without_room_is_not_used():
    source = element(defect=MIDDLE)
    assert pasted(source, element(defect=MIDDLE), True, np.random.default_rng(0)) is source
    hole = element()
    hole["valid"][8:30, 12:34] = False  # ignored there
    assert pasted(source, hole, True, np.random.default_rng(0)) is source
    assert (source["mask"] > 0).mean() < LARGEST_SHARE


def test_a_start_stays_in_the_surface():
    rng = np.random.default_rng(1)
    starts = [moved_start((1, 5), (0, 40), (10, 12), rng) for _ in range(50)]
    assert min(starts) == 10 and max(starts) <= 12 + 7 * MOVED + 0.5


def test_batches_keep_their_kinds_and_show_defects_on_good_images_of_training(ready, monkeypatch):
    made, original = [], pasting.pasted

    def spy(source, surface, *args):
        made.append((source["mask"].any(), surface["label"], original(source, surface, *args)))
        return made[-1][2]

    monkeypatch.setattr(pasting, "pasted", spy)
    plain, now = take(ready, threads=0), take(ready, threads=0, augment=paste(1.0))
    for batch, before in zip(now, plain, strict=True):
        np.testing.assert_array_equal(batch["label"], before["label"])
        np.testing.assert_array_equal(batch["mask"].any(axis=(1, 2)), batch["label"] > 0)
        good = batch["label"] == 0
        np.testing.assert_array_equal(batch["image"][good], before["image"][good])
    assert all(shown and label == 0 for shown, label, _ in made)
    assert len(made) >= 12  # of three batches; the loader has read ahead


def paste(share):
    return ConfigDict({"paste": share})


def test_pasted_batches_are_a_function_of_their_position(ready):
    options = {"augment": paste(0.5)}
    whole = take(ready, count=4, **options)
    assert_same(whole[2:], take(ready, first_step=2, count=2, **options))
    assert_same(whole[:2], take(ready, count=2, threads=4, **options))
    plain = take(ready, count=4)
    changed = [(one["mask"] != two["mask"]).any() for one, two in zip(whole, plain, strict=True)]
    assert any(changed)


def test_without_a_good_image_there_is_nothing_to_paste_onto(ready):
    config, splits = ready
    config = ConfigDict(config.to_dict())
    config.data.positive_fraction, config.data.augment.paste = None, 0.5
    defective = Split(splits["train"].source, [r for r in splits["train"].rows if r.label])
    with pytest.raises(UserError, match=r"augment.paste is 0.5: must be 0, since no training im"):
        training_batches(defective, config, range(8), on_host, 0)


def test_tiles_take_windows_beside_defects_for_surfaces(ready):
    config, splits = ready
    config = ConfigDict(config.to_dict())
    config.data.tile_overlap_px, config.data.augment.paste = 8, 1.0
    defective = [row for row in splits["train"].rows if row.label]
    index = [splits["train"].rows.index(row) for row in defective]

    class OfDefective:
        def __len__(self):
            return len(index)

        def __getitem__(self, row):
            return splits["train"].source[index[row]]

    split = dataclasses.replace(splits["train"], source=OfDefective(), rows=defective)
    plan, load = batches.sampling_plan(split, config, 12), batches.loading(split, config)
    elements = batches.grain.MapDataset.source(plan).seed(0).random_map(load)
    assert isinstance(batches.InputSpec.of(config).framing, Tiling)
    for position in range(12):
        label = elements[position]["label"]
        assert elements[position]["mask"].any() == (label > 0)
