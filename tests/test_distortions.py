"""Graded disturbances against closed forms, SciPy and Pillow; image, mask and region together."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from tiny_predictor import surface, tiny_config

from defect_jax.data.distortions import camera, places, tones
from defect_jax.data.distortions.disturbance import Disturbance, disturbed, generator
from defect_jax.data.distortions.kinds import KINDS, Kind, OfPixels, OfPlace
from defect_jax.data.distortions.levels import Levels
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.geometry.region import HIDDEN, UNSURE, as_text
from defect_jax.data.pipeline.decoded_cache import Decoded
from defect_jax.data.prepare.prepared import Split, SplitRow

KIND = {kind.name: kind for kind in KINDS}
NEUTRAL = {"blur": 0.0, "noise": 0.0, "shift": 0.0, "rotation": 0.0}  # 1 of the factors
SIZE = (60, 80)
EIGHT = Levels(0.0, 255.0, 255.0, (1,))


def spec_of(**changes):
    config = tiny_config()
    config.data_info.update(low=10, high=200)
    config.update_from_flattened_dict(changes)
    return InputSpec.of(config)


COLOUR = {"data_info.channels": 3}
LIGHTS = {"data_info.channels": 4, "data_info.bit_depth": 16, "data_info.high": 3000}
LIGHTS |= {"data.lights": 2, "data_info.lights": [1, 3]}


def shown(channels=1, dtype=np.uint8, ignored=False):
    """A decoded image with a defect, and a part of it hidden, another unsure."""
    image = surface(*SIZE, 2 if channels == 1 else channels, dtype)[..., :channels]
    mask, plane = np.zeros((2, *SIZE), np.uint8)
    mask[20:30, 30:45] = 1
    plane[28:33, 50:58], plane[34:36, 28:40] = HIDDEN, UNSURE
    image[plane == HIDDEN] = 0  # as they are stored
    return Decoded(image, mask, plane if ignored else None)


@pytest.mark.parametrize("kind", [k for k in KINDS if k.name != "JPEG"], ids=lambda k: k.name)
@pytest.mark.parametrize(
    ("changes", "dtype"), [({}, np.uint8), (COLOUR, np.uint8), (LIGHTS, np.uint16)]
)
@pytest.mark.parametrize("ignored", [False, True])
def test_the_neutral_grade_changes_no_bit(kind, changes, dtype, ignored):
    spec = spec_of(**changes)
    given = shown(spec.channels, dtype, ignored)
    image = spec.hidden(given.image, given.ignored)
    found = Disturbance(kind, NEUTRAL.get(kind.name, 1.0), spec)(given._replace(image=image), "a")
    np.testing.assert_array_equal(found.image, image)
    assert found.image.dtype == dtype
    np.testing.assert_array_equal(found.mask, given.mask)
    expected = np.zeros(SIZE, np.uint8) if given.ignored is None else given.ignored
    np.testing.assert_array_equal(found.ignored, expected)


def test_light_and_contrast_are_lines_through_counts():
    given = shown()
    counts = given.image[..., 0].astype(np.float64)
    found = Disturbance(KIND["brighter"], 1.5, spec_of())(given, "a").image[..., 0]
    assert (found == 255).any()  # what is full stays full
    np.testing.assert_array_equal(found, np.minimum(np.rint(1.5 * counts), 255))
    found = Disturbance(KIND["lower contrast"], 0.5, spec_of())(given, "a").image[..., 0]
    np.testing.assert_allclose(found, counts.mean() + 0.5 * (counts - counts.mean()), atol=0.5001)


def test_a_camera_of_twelve_bits_is_full_at_4095_and_floats_are_multiplied_about_their_zero():
    deep = spec_of(**LIGHTS)
    assert Levels.of(deep)[:2] == (0.0, 4095.0)
    bright = np.full((2, 2, 4), 4000, np.uint16)
    bright[0, 0] = 5000  # a hot pixel, brighter than the camera should be
    found = Disturbance(KIND["brighter"], 2.0, deep)(
        Decoded(bright, np.zeros((2, 2), np.uint8)), "a"
    )
    assert (found.image == 5000).all()
    floats = Levels.of(spec_of(**LIGHTS | {"data.float_range": (-1.0, 3.0)}))
    assert floats[:2] == (16383.75, 65535.0)
    half = np.full((1, 1, 1), (0.5 + 1.0) / 4.0 * 65535.0, np.float32)
    twice = tones.brightness(half, 2.0, floats, generator("a", "a"))
    assert twice.item() == pytest.approx((1.0 + 1.0) / 4.0 * 65535.0, rel=1e-6)


@pytest.mark.parametrize("sigma_px", [0.5, 1.5, 3.0])
def test_the_blur_is_a_gaussian(sigma_px):
    pixels = surface(*SIZE, 6, np.uint16).astype(np.float32)
    found = camera.blur(pixels, sigma_px, EIGHT, generator("a", "a"))
    sigma = (sigma_px, sigma_px, 0.0)
    expected = ndimage.gaussian_filter(pixels.astype(np.float64), sigma, truncate=4.0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_noise_has_its_deviation_and_is_that_of_the_image_alone():
    pixels = np.full((200, 200, 2), 100.0, np.float32)
    levels = Levels(0.0, 4095.0, np.array([1000.0, 500.0]), (1, 1))
    found = [camera.noise(pixels, p, levels, generator("noise", n)) - pixels
             for p, n in ((2.0, "a"), (4.0, "a"), (4.0, "b"))]  # fmt: skip
    np.testing.assert_allclose(found[0].std(axis=(0, 1)), [20.0, 10.0], rtol=0.02)
    np.testing.assert_allclose(found[0].mean(axis=(0, 1)), 0.0, atol=0.4)
    np.testing.assert_allclose(found[1], 2 * found[0], atol=1e-4)  # stronger, and nothing else
    assert abs(np.corrcoef(found[1].ravel(), found[2].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_another_library(channels):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    planes = [
        110 + 50 * np.sin(x / (4.0 + c)) + 40 * np.cos(y / (5.0 + c)) for c in range(channels)
    ]
    image = np.stack(planes, axis=2).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, "JPEG", quality=40, subsampling="4:2:0")
    expected = np.asarray(Image.open(file)).reshape(image.shape)
    levels = EIGHT._replace(lights=(channels,))
    found = camera.jpeg(image.astype(np.float32), 40.0, levels, generator("a", "a"))
    assert np.abs(found - image).mean() > 1.0
    assert np.abs(found - expected).mean() < 0.5
    deep = levels._replace(top=255.0 * 16)
    of_deep = camera.jpeg(16 * image.astype(np.float32), 40.0, deep, generator("a", "a"))
    np.testing.assert_allclose(of_deep, 16 * found, rtol=1e-5)


@pytest.mark.parametrize("name", ["a", "b", "c", "d", "e"])
def test_a_shift_is_that_of_numpy_and_what_comes_in_is_not_judged(name):
    given = shown()
    found = Disturbance(KIND["shift"], 8.0, spec_of())(given, name)
    rolls = [(8, 0), (-8, 0), (0, 8), (0, -8)]
    (by,) = [r for r in rolls if np.array_equal(np.roll(given.mask, r, (0, 1)), found.mask)]
    inside = np.roll(np.pad(np.ones(SIZE, bool), 8), by, (0, 1))[8:-8, 8:-8]
    np.testing.assert_array_equal(found.ignored == HIDDEN, ~inside)
    rolled = np.roll(given.image, by, (0, 1))
    np.testing.assert_array_equal(found.image[inside], rolled[inside])
    padded = np.pad(given.image, ((8, 8), (8, 8), (0, 0)), "symmetric")
    mirrored = padded[8 - by[0] : 8 - by[0] + SIZE[0], 8 - by[1] : 8 - by[1] + SIZE[1]]
    np.testing.assert_array_equal(found.image, mirrored)


def test_a_shift_never_takes_more_than_half_of_an_image():
    for seed in range(8):
        matrix = places.shift((20, 30), 32.0, np.random.default_rng(seed))
        assert sorted(np.abs(matrix[:, 2]))[::-1] in ([10.0, 0.0], [15.0, 0.0])


@pytest.mark.parametrize(("place", "grade"), [(places.rotation, 8.0), (places.scale, 1.2)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_smooth_surface_turns_and_grows_as_its_formula_does(place, grade, seed):
    y, x = np.mgrid[:120, :160].astype(np.float64)
    matrix = place((120, 160), grade, np.random.default_rng(seed))
    (sign,) = {1.0, -1.0} & {np.sign(np.linalg.det(matrix[:, :2]) - 1.0), np.sign(matrix[0, 1])}
    if place is places.rotation:
        angle = sign * np.deg2rad(grade)
        back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    else:
        back = np.eye(2) / grade**sign
    from_middle = np.stack([x - 79.5, y - 59.5])
    from_x, from_y = np.tensordot(back, from_middle, 1) + np.array([79.5, 59.5])[:, None, None]

    def formula(x, y):
        return 128 + 60 * np.sin(x / 9) + 40 * np.cos(y / 11)

    def disc(x, y):
        return ((x - 50) ** 2 + (y - 70) ** 2 < 400).astype(np.uint8)

    plane, nothing = disc(x, y), np.zeros((120, 160), np.uint8)
    found = places.moved(formula(x, y).astype(np.float32)[..., None], plane, nothing, matrix)
    outside = (np.abs(from_x - 79.5) > 80.0) | (np.abs(from_y - 59.5) > 60.0)
    assert (found.outside != outside).sum() <= 4  # half-way between two pixels
    assert outside.any() or sign > 0
    inside = ndimage.binary_erosion(~outside, iterations=3)
    error = np.abs(found.pixels[..., 0] - formula(from_x, from_y))
    assert error[inside].max() < 0.6
    edge = np.abs(np.hypot(from_x - 50, from_y - 70) - 20.0) < 0.8
    np.testing.assert_array_equal(found.mask[~edge], disc(from_x, from_y)[~edge])


@pytest.mark.parametrize("kind", ["shift", "rotation", "scale"])
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_the_defect_moves_with_what_shows_it_and_hidden_pixels_move_too(kind, name):
    given = shown(ignored=True)
    image = np.where(given.mask[..., None] > 0, 200, 40).astype(np.uint8)
    spec = spec_of()
    disturbance = Disturbance(KIND[kind], KIND[kind].grades[3], spec)
    found = disturbance(given._replace(image=spec.hidden(image, given.ignored)), name)
    bright = found.image[..., 0] > 120
    judged = found.ignored == 0
    differs = (bright != (found.mask > 0)) & judged
    near_edge = ndimage.binary_dilation(found.mask > 0) & ~ndimage.binary_erosion(found.mask > 0)
    assert found.mask.sum() > 80 and not differs[~near_edge & ~ndimage.binary_dilation(
        found.ignored == HIDDEN, iterations=3
    )].any()  # fmt: skip
    assert not found.mask[found.ignored > 0].any()
    assert set(np.unique(found.ignored)) == {0, HIDDEN, UNSURE}


def test_the_region_of_a_fixture_stays_where_it_is():
    judged = np.zeros(SIZE, bool)
    judged[:, 20:] = True
    spec = spec_of(**{"data.region": as_text(judged)})
    given = shown()
    plane = np.where(judged, 0, HIDDEN).astype(np.uint8)
    given = Decoded(spec.hidden(given.image, plane), given.mask, plane)
    for name in "abcdef":
        for kind in KINDS:
            found = Disturbance(kind, kind.grades[-1], spec)(given, name)
            assert (found.ignored[~judged] == HIDDEN).all(), kind.name
            assert (found.image[~judged] == spec.fill).all(), kind.name
            assert not found.mask[~judged].any()


def test_what_is_random_depends_on_the_image_alone_and_travels_to_loader_processes():
    given = shown()
    for kind in KINDS:
        disturbance = Disturbance(kind, kind.grades[2], spec_of())
        here, there = disturbance(given, "a"), pickle.loads(pickle.dumps(disturbance))(given, "a")
        assert all(map(np.array_equal, here, there)), kind.name
        assert not np.array_equal(here.image, given.image), kind.name


def test_grades_go_from_gentle_to_strong():
    def change(kind: Kind, grade: float) -> float:
        found = Disturbance(kind, grade, spec_of())(shown(), "a").image
        return np.abs(found.astype(float) - shown().image).mean()

    names = [kind.name for kind in KINDS]
    assert len(set(names)) == len(names) == 10
    for kind in KINDS:
        assert isinstance(kind.apply, OfPixels | OfPlace) and len(kind.grades) == 5
        assert all(isinstance(grade, float) for grade in kind.grades)
        # A noisy surface that is shifted further does not differ more from itself.
        assert isinstance(kind.apply, OfPlace) or np.all(
            np.diff([change(kind, grade) for grade in kind.grades]) > 0
        ), kind.name


def test_a_split_says_of_images_that_move_what_of_them_is_not_judged():
    rows = [
        SplitRow("a", "a", "good", 0, 8, 8, 0),
        SplitRow("b", "b", "x", 1, 8, 8, 3, ignored_px=5),
    ]
    for kind in (None, *KINDS):
        disturbance = kind and Disturbance(kind, kind.grades[0], spec_of())
        found = disturbed(Split([], rows), disturbance)
        moves = kind is not None and kind.name in ("shift", "rotation", "scale")
        assert [row.ignored_px for row in found.rows] == [1 if moves else 0, 5]
        assert found.disturbance is disturbance
        assert [row[:7] for row in found.rows] == [row[:7] for row in rows]
