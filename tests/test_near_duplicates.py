"""Shots of one part are found, and other parts are not taken for them."""

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image

from defect_jax.data.prepare.near_duplicates import (
    close_pairs,
    find_pairs,
    hashes,
    thumbnail,
)

SIDE = 96


def surface(part: int, scales=(6, 12, 24)) -> np.ndarray:
    """A random surface [h w 1], uint8, with structure of several sizes and a little grain."""
    random = np.random.default_rng(part)
    total = np.zeros((SIDE, SIDE), np.float32)
    for scale in scales:
        grid = random.normal(size=(scale, scale)).astype(np.float32)
        total += cv2.resize(grid, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    total = 128 + 40 * total / total.std() + random.normal(0, 1, total.shape)
    return total.clip(0, 255).astype(np.uint8)[..., None]


def noisy(pixels, seed, sigma=3.0):
    noise = np.random.default_rng(seed).normal(0, sigma, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


SHOTS = {
    "noise": lambda image: noisy(image, 7),
    "darker": lambda image: (image * 0.5 + 5).astype(np.uint8),
    "brighter": lambda image: np.minimum(image * 1.2, 255).astype(np.uint8),
    "moved": lambda image: np.roll(image, (1, -1), (0, 1)),
    "smaller": lambda image: cv2.resize(image, (70, 64), interpolation=cv2.INTER_AREA)[..., None],
    "colour": lambda image: np.concatenate([image] * 3, 2),
    "16 bits": lambda image: image.astype(np.uint16) * 16 + 200,
    "JPEG": lambda image: cv2.imdecode(cv2.imencode(".jpg", image)[1], 0)[..., None],
    "a scratch": lambda image: cv2.line(image[..., 0].copy(), (9, 9), (30, 40), 255, 2)[..., None],
}


def pairs(images):
    found = find_pairs([thumbnail(image) for image in images])
    assert found.complete
    return {tuple(pair) for pair in found.rows.tolist()}


@pytest.mark.parametrize("shot", SHOTS)
@pytest.mark.parametrize("parts", [4, 30])
def test_two_shots_of_each_part(shot, parts):
    images = [surface(part) for part in range(parts)]
    found = pairs(images + [SHOTS[shot](image) for image in images])
    assert found == {(part, parts + part) for part in range(parts)}


def scene(part: int) -> np.ndarray:
    """A part before a fixture and a fall of light that are the same in every image."""
    light = np.linspace(0, 120, SIDE)[:, None, None] + np.zeros((SIDE, SIDE, 1))
    light[30:60, 20:80] += 60
    return (light + (surface(part).astype(float) - 128) / 10).clip(0, 255).astype(np.uint8)


def test_a_fixture_is_no_likeness():
    images = [scene(part) for part in range(40)]
    shots = [noisy(image, 100 + number, 1.0) for number, image in enumerate(images[:10])]
    assert pairs(images + shots) == {(number, 40 + number) for number in range(10)}


def test_even_surfaces_in_the_same_light_are_not_alike():
    light = np.tile(np.linspace(90, 120, 800), (800, 1))[..., None]
    assert pairs([noisy(light, seed, 2.0) for seed in range(30)]) == set()


def test_nothing_is_said_of_images_that_are_all_alike():
    found = find_pairs([thumbnail(surface(0))] * 300)
    assert not found.complete and len(found.rows) == 0


def test_ten_parts_before_a_fixture_are_no_single_part():
    found = find_pairs([thumbnail(noisy(scene(0), part)) for part in range(10)])
    assert not found.complete and len(found.rows) == 0


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_to_compare(count):
    assert find_pairs([thumbnail(surface(0))] * count).rows.shape == (0, 2)


def test_images_without_any_contrast():
    flat = [np.full((40, 40, 1), value, np.uint8) for value in (0, 77, 255)]
    assert find_pairs([thumbnail(image) for image in flat]).complete


@pytest.mark.parametrize("smoothest", [(4,), (8,), (32,)])
def test_smooth_and_rough_surfaces(smoothest):
    images = [surface(part, smoothest) for part in range(30)]
    found = pairs(images + [noisy(image, 50 + n) for n, image in enumerate(images)])
    assert found <= {(part, 30 + part) for part in range(30)} and len(found) >= 20


def test_the_hashes_are_those_of_the_library():
    images = [surface(part) for part in range(5)]
    fine, coarse = hashes([thumbnail(image) for image in images])
    for number, image in enumerate(images):
        small = Image.fromarray(cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA))
        for words, side in ((fine, 16), (coarse, 8)):
            theirs = imagehash.phash(small, side, 32 // side).hash.ravel()
            ours = np.unpackbits(words[number].view(np.uint8))
            # But for the rounding to 8 bits; of an image of something else, half would differ.
            assert np.count_nonzero(theirs != ours) <= side * side // 10


@pytest.mark.parametrize("at_once", [1, 7, 1000, 2**22])
def test_close_pairs_are_those_of_a_plain_count(monkeypatch, at_once):
    monkeypatch.setattr("defect_jax.data.prepare.near_duplicates.PAIRS_AT_ONCE", at_once)
    random = np.random.default_rng(0)
    words = random.integers(0, 2**63, (60, 4), dtype=np.uint64)
    words[40:] = words[:20] ^ (np.uint64(1) << random.integers(0, 63, (20, 4)).astype(np.uint64))
    bits = np.unpackbits(words.view(np.uint8), axis=1)
    for largest in (0, 4, 51, 120):
        expected = {
            (one, other)
            for one in range(60)
            for other in range(one + 1, 60)
            if np.count_nonzero(bits[one] != bits[other]) <= largest
        }
        assert {tuple(pair) for pair in close_pairs(words, largest).rows.tolist()} == expected
