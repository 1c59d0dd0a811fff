"""Training images of the rivals: changed as ours are, with the same strengths."""

import numpy as np
import pytest

from benchmarks.rivals import torch_augmentation as rival
from defect_jax.configs import magnetic_tile
from defect_jax.data.geometry.letterbox import (
    Placement,
    letterbox_image,
    letterbox_mask,
    valid_area,
)

SIDE_PX = 24
LIGHT = ("BRIGHTNESS", "CONTRAST", "GAMMA", "NOISE", "BLUR_PX")


@pytest.fixture
def image():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (50, 70), np.uint8)


@pytest.fixture
def crack():
    """Return the mask of a line that a plain threshold would lose."""
    mask = np.zeros((50, 70), np.uint8)
    mask[30, 5:68] = 255
    return mask


def without(monkeypatch, *names):
    for name in names:
        monkeypatch.setattr(rival, name, 0)


def mirror_images(planes):
    for axes in ((), 0, 1, (0, 1)):
        yield [np.flip(plane, axes) for plane in planes]


def test_strengths_are_those_of_our_config():
    augment = magnetic_tile.get_config("cpu").data.augment
    assert augment.shrink == 0
    names = {"stretch": rival.STRETCH} | {
        name: getattr(rival, name.upper())
        for name in ("shift_px", "brightness", "contrast", "gamma", "noise", "blur_px")
    }
    flips = {"flip_horizontal": True, "flip_vertical": True}
    assert names | flips == {"stretch": augment.stretch, **augment.changes}


@pytest.mark.parametrize("seed", [0, 2, 3, 4, 5, 6])  # 1 draws no whole px
def test_it_is_framed_as_ours(image, crack, monkeypatch, seed):
    without(monkeypatch, "SHIFT_PX", *LIGHT)
    monkeypatch.setattr(rival, "STRETCH", 0.6)
    framed = rival.changed(image, crack, SIDE_PX, np.random.default_rng(seed))
    rows, columns = (np.flatnonzero(framed.valid.any(1 - axis)) for axis in (0, 1))
    height, width = len(rows), len(columns)
    assert SIDE_PX in (height, width)
    assert SIDE_PX * np.exp(-0.3) - 1 < min(height, width) < SIDE_PX
    found = []
    for mirrored in mirror_images(framed):
        sides = (np.flatnonzero(mirrored[2].any(1 - axis))[0] for axis in (0, 1))
        place = Placement(*map(int, sides), height, width)
        shares = image[..., None].astype(np.float32) / 255
        expected = (
            letterbox_image(shares, place, (SIDE_PX, SIDE_PX))[..., 0],
            letterbox_mask(crack > 0, place, (SIDE_PX, SIDE_PX)),
            valid_area(place, (SIDE_PX, SIDE_PX)),
        )
        pairs = zip(mirrored, expected, strict=True)
        found.append(all(np.allclose(ours, theirs, atol=1e-5) for ours, theirs in pairs))
    assert sum(found) == 1  # of the mirror images


@pytest.mark.parametrize("seed", range(6))
def test_no_defect_is_moved_out_of_the_frame(image, monkeypatch, seed):
    without(monkeypatch, "STRETCH", *LIGHT)
    monkeypatch.setattr(rival, "SHIFT_PX", 12)
    mask = np.zeros(image.shape, np.uint8)
    mask[2:12, 60:] = 1
    still = rival.shrunk_mask(mask, (SIDE_PX, SIDE_PX))
    framed = rival.changed(image, mask, SIDE_PX, np.random.default_rng(seed))
    assert framed.mask.sum() == still.sum() > 0
    assert framed.valid[framed.mask > 0].all()
    assert not framed.valid.all()


@pytest.mark.parametrize(
    ("name", "strength", "low", "high"),
    [
        ("BRIGHTNESS", 0.2, 0.5 - 0.2, 0.5 + 0.2),
        ("CONTRAST", 0.5, 0.5, 0.5),  # the middle of the range stays
        ("GAMMA", 1.0, 0.5**np.e, 0.5 ** (1 / np.e)),
    ],
)
def test_light_of_an_even_image(monkeypatch, name, strength, low, high):
    without(monkeypatch, *LIGHT)
    monkeypatch.setattr(rival, name, strength)
    grey = np.full((8, 8), 0.5, np.float32)
    rng = np.random.default_rng(0)
    means = [float(rival._in_other_light(grey, rng).mean()) for _ in range(400)]
    assert min(means) == pytest.approx(low, abs=0.01)
    assert max(means) == pytest.approx(high, abs=0.01)


def test_noise_is_no_stronger_than_said(monkeypatch):
    without(monkeypatch, *LIGHT)
    monkeypatch.setattr(rival, "NOISE", 0.1)
    grey, rng = np.full((64, 64), 0.5, np.float32), np.random.default_rng(0)
    deviations = [float(rival._in_other_light(grey, rng).std()) for _ in range(60)]
    assert 0.09 < max(deviations) < 0.105
    assert min(deviations) < 0.01
