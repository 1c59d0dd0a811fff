"""What an image looks like to a network: against NumPy and SciPy, blind to padding and to what is
hidden, the same from one frame as from tiles that add up."""

import jax
import numpy as np
import pytest
from scipy import ndimage
from tiny_predictor import surface, tiny_config, tiny_network

from defect_jax.data.geometry.framing import Letterbox, Tiling
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.models.appearance import FLOOR, LOOKS, numbers, sums
from defect_jax.models.probabilities import make_probabilities

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(2, 8, 12, 2)).astype(np.float32)
ROWS = [RNG.normal(size=(2, 8, 12, 3)), RNG.normal(size=(2, 4, 6, 5))]
looked = jax.jit(sums)
SHOWN = RNG.integers(0, 2, (2, 8, 12)).astype(np.float32)


def by_hand(image, rows, shown):
    """Statistics of one image, pixel by pixel that is shown."""
    seen = shown > 0
    values = np.float64(image)[seen]
    kernel = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])
    edges = [np.abs(ndimage.convolve(plane, kernel, mode="nearest")) for plane in image.T]
    edge = np.array([plane.T[seen].mean() for plane in edges])
    deviation = values.std(axis=0) + FLOOR
    looks = [values.mean(axis=0), np.log(deviation), np.log(edge / deviation + FLOOR)]
    side = [image.shape[0] // row.shape[0] for row in rows]
    grown = [row.repeat(n, 0).repeat(n, 1) for row, n in zip(rows, side, strict=True)]
    return np.concatenate([*looks, *(row[seen].mean(axis=0) for row in grown)])


def test_statistics_are_those_of_the_pixels_that_are_shown():
    found = numbers(np.asarray(looked(IMAGE, ROWS, SHOWN)), channels=2)
    for n in range(2):
        expected = by_hand(IMAGE[n], [row[n] for row in ROWS], SHOWN[n])
        np.testing.assert_allclose(found[n], expected, rtol=2e-5, atol=2e-5)


def test_what_is_not_shown_changes_nothing_but_its_neighbours_edges():
    other = np.where(SHOWN[..., None] > 0, IMAGE, 7.0).astype(np.float32)
    one, two = (np.asarray(looked(image, ROWS, SHOWN)) for image in (IMAGE, other))
    edges = slice(5, 7)
    np.testing.assert_allclose(np.delete(one, edges, 1), np.delete(two, edges, 1), rtol=1e-6)


def test_light_moves_brightness_and_contrast_and_leaves_sharpness():
    shown = np.ones((2, 8, 12), np.float32)
    one, two = (numbers(np.asarray(looked(i, [], shown)), 2)[0] for i in (IMAGE, 2 * IMAGE + 1))
    np.testing.assert_allclose(two[:2], 2 * one[:2] + 1, atol=1e-5)
    np.testing.assert_allclose(two[2:4] - one[2:4], np.log(2), atol=0.02)
    np.testing.assert_allclose(two[4:], one[4:], atol=0.02)
    blurred = ndimage.gaussian_filter(IMAGE, (0, 1, 1, 0))
    assert (numbers(np.asarray(looked(blurred, [], shown)), 2)[:, 4:] < one[4:].min() - 0.3).all()


def test_an_image_that_is_hidden_as_a_whole_has_numbers():
    found = numbers(np.asarray(looked(IMAGE, ROWS, 0 * SHOWN)), channels=2)
    assert np.isfinite(found).all()


@pytest.fixture(scope="module", params=[{}, {"evaluation.flips": True}], ids=["plain", "flips"])
def network(request):
    config = tiny_config(**request.param)
    network, ema = tiny_network(config)
    return config, ema, jax.jit(make_probabilities(network, config.data_info, config.evaluation))


def of_image(network, framing, image, hidden=None):
    """Statistics and the sums of an image that is framed on the host."""
    config, ema, program = network
    shares = InputSpec.of(config).intensity.shares(image[..., None])
    frames, shown = zip(*framing.frames(shares, hidden, "x"), strict=True)
    found = np.asarray(program(ema, np.stack(frames), np.stack(shown)).sums, np.float64)
    return numbers(found.sum(axis=1), 1)[0]


def test_the_network_says_the_same_masks_when_it_is_asked_how_images_look(network):
    config, ema, program = network
    frames = RNG.uniform(size=(2, 32, 48, 1)).astype(np.float32)
    plain, asked = program(ema, frames), program(ema, frames, np.ones((2, 32, 48), np.float32))
    assert plain.sums is None and asked.sums.shape[:2] == (1, 2)
    np.testing.assert_allclose(plain.mask, asked.mask, atol=1e-6)
    np.testing.assert_allclose(plain.label, asked.label, atol=1e-6)


def test_an_ensemble_says_what_each_member_says(network):
    config, ema, program = network
    frames = RNG.uniform(size=(2, 32, 48, 1)).astype(np.float32)
    shown = np.ones((2, 32, 48), np.float32)
    other = jax.tree.map(lambda leaf: leaf * 0.9, ema)
    each = [program(member, frames, shown).sums[0] for member in (ema, other)]
    together = program((ema, other), frames, shown).sums
    np.testing.assert_allclose(together, np.stack(each), rtol=1e-5, atol=1e-4)
    assert np.ptp(np.stack(each), axis=0).max() > 1.0  # else the test could not fail


def test_padding_and_hidden_pixels_count_for_nothing(network):
    config = network[0]
    framing = InputSpec.of(config).framing
    assert type(framing) is Letterbox
    image, hidden = surface(20, 30, seed=3), np.zeros((20, 30), bool)
    hidden[:, 18:] = True
    mean = InputSpec.of(config).fill
    filled = np.where(hidden, mean, image).astype(np.uint8)
    looks = of_image(network, framing, filled, hidden)[:LOOKS]
    shown = (image[:, :18] / 255 - 0.4) / 0.2
    assert looks[0] == pytest.approx(shown.mean(), abs=1e-5)
    assert looks[1] == pytest.approx(np.log(shown.std() + FLOOR), abs=1e-5)


def test_tiles_of_an_image_count_its_pixels_and_no_mirror_images(network):
    """Of one tile that is larger than the image, and the tile's own size is no matter."""
    image = surface(20, 30, seed=4)
    one = of_image(network, Letterbox((32, 48), 0.0, 1.0, 1.0), image)
    tiled = of_image(network, Tiling((32, 48), 8), image)
    np.testing.assert_allclose(tiled, one, atol=1e-5)
    several = of_image(network, Tiling((32, 48), 0), surface(64, 96, seed=5))
    shown = (surface(64, 96, seed=5) / 255 - 0.4) / 0.2
    assert several[0] == pytest.approx(shown.mean(), abs=1e-5)
    assert several[1] == pytest.approx(np.log(shown.std() + FLOOR), abs=1e-5)
