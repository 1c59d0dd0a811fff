"""Depths that do not go together: refused by name before training, and at prediction."""

import numpy as np
import pytest
import raw_data
from tiny_predictor import surface, tiny_predictor

from defect_jax.data.geometry.depth import EIGHT_BITS, depth_of
from defect_jax.data.geometry.framing import Letterbox
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.geometry.intensity import IntensityRange
from defect_jax.data.prepare.check import find_faults
from defect_jax.data.prepare.depths import depth_faults, depth_notes
from defect_jax.data.prepare.prepare import prepare
from defect_jax.runtime.errors import UserError


def scene(seed, bits=8, level=0.4, shift=0):
    """An image [h w 1] of a camera of so many bits, in a file of as many as it needs."""
    rng = np.random.default_rng(seed)
    shares = np.clip(rng.normal(level, 0.12, (40, 50, 1)), 0.02, 1.0)
    counts = np.rint(shares * (2**bits - 1))
    return counts.astype(np.uint8) if bits == 8 else counts.astype(np.uint16) << shift


def named(*images):
    return [(f"{number}.png", depth_of(image)) for number, image in enumerate(images)]


MANY = range(8)
MIXED = {  # images, names of those that are refused, and what is said of them
    "8 and 12 bits": (
        [*(scene(n) for n in MANY), scene(8, 12), scene(9, 12)],
        ["8.png", "9.png"],
        "has 16 bits, but 8 other images have 8 bits",
    ),
    "8 and 16 bits": (
        [*(scene(n) for n in MANY), scene(8, 16)],
        ["8.png"],
        "has 16 bits, but 8 other images have 8 bits",
    ),
    "12 and 8 bits": (
        [*(scene(n, 12) for n in MANY), scene(8)],
        ["8.png"],
        "has 8 bits, but 8 other images have 16 bits",
    ),
    "10 and 12 bits": (
        [*(scene(n, 10) for n in MANY), scene(8, 12)],
        ["8.png"],
        "holds about 4 times the values of 8 other images",
    ),
    "12 and 16 bits": (
        [*(scene(n, 16) for n in MANY), scene(8, 12)],
        ["8.png"],
        "holds about 1/16 of the values of 8 other images",
    ),
    "right and left": (
        [*(scene(n, 12) for n in MANY), *(scene(n, 12, shift=4) for n in (8, 9))],
        ["8.png", "9.png"],
        "holds about 16 times the values",
    ),
    "10 and 16 bits": (
        [*(scene(n, 16) for n in MANY), scene(8, 10)],
        ["8.png"],
        "holds about 1/64 of the values",
    ),
    "8 in 16 and 16": (
        [*(scene(n, 16) for n in MANY), scene(8).astype(np.uint16)],
        ["8.png"],
        "holds about 1/256 of the values",
    ),
    "12, 14 and 16 bits": (
        [scene(n, (12, 14, 16)[n % 3]) for n in range(9)] + [scene(9, 14)],
        ["0.png", "3.png", "6.png", "2.png", "5.png", "8.png"],
        "the values of 4 other images",
    ),
}
ALIKE = {
    "8 bits": [scene(n, level=0.1 + 0.1 * n) for n in MANY],
    "8 bits and their like in 16": [*(scene(n) for n in MANY), scene(8).astype(np.uint16) * 257],
    "12 bits, darker and brighter": [scene(n, 12, level=0.08 + 0.1 * n) for n in MANY],
    "thermal": [scene(n, 10) * 2 + np.uint16(7000) for n in MANY],
    "dark field, some with a glare": [
        *(np.full((40, 50, 1), 90 + n, np.uint16) for n in MANY),
        np.where(scene(8, 12) > 2000, np.uint16(4095), np.uint16(95)),
    ],
    "black": [*(scene(n, 12) for n in MANY), np.zeros((4, 5, 1), np.uint16)],
    "one": [scene(0, 12)],
    "colours": [np.repeat(scene(n, 16), 3, axis=2) for n in MANY],
}


@pytest.mark.parametrize("case", MIXED)
def test_images_of_another_depth_are_refused_by_name(case):
    images, names, what = MIXED[case]
    faults = depth_faults(named(*images))
    assert [fault.where for fault in faults] == names
    assert all(what in fault.what and "with the same depth" in fault.what for fault in faults)


@pytest.mark.parametrize("case", ALIKE)
def test_images_of_one_depth_go_together(case):
    assert depth_faults(named(*ALIKE[case])) == []


def test_an_image_that_is_refused_is_in_no_note_as_well():
    assert depth_notes(named(*MIXED["10 and 16 bits"][0])) == []


def test_much_darker_images_are_said():
    dark = [scene(n, 12, level=0.4) // 30 for n in (8, 9)]
    images = named(*(scene(n, 12) for n in MANY), *dark)
    assert depth_faults(images) == []
    (note,) = depth_notes(images)
    assert note.startswith("2 of 10 images of 16 bits are at least ") and "darker" in note
    assert note.endswith("8.png, 9.png")
    for case in ("8 bits", "thermal", "one", "colours", "12 bits, darker and brighter"):
        assert depth_notes(named(*ALIKE[case])) == []


def test_depth_is_seen_through_hot_pixels_and_in_large_images():
    image = scene(0, 12)
    image[3, :2] = 65535
    assert depth_of(image).top <= 4095 and not depth_of(image).widened
    large = np.random.default_rng(0).integers(0, 200, (1600, 1100, 1), np.uint16) * 257
    seen = depth_of(large)
    assert seen.widened and seen.middle == pytest.approx(np.median(large), rel=0.02)
    assert depth_of(scene(0)) == EIGHT_BITS


def test_check_and_prepare_name_the_file(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw")
    path = raw_data.write(root / "images/good/part_001.png", scene(1, 12)[:12, :16, 0])
    data = raw_data.config("folder", root, tmp_path)
    (fault,) = find_faults(data)
    assert fault.where == str(path) and "has 16 bits, but 14 other images have 8" in fault.what
    with pytest.raises(UserError, match=r"part_001.png: has 16 bits, but .* not known: save all"):
        prepare(data)
    assert not [p for p in (tmp_path / "prepared").rglob("*") if "partial" in p.name]


def spec_of(low, high, bits=16):
    framing = Letterbox((32, 48), 0.0, 1.0, 1.0)
    return InputSpec(framing, 1, bits, 1, IntensityRange(low, high), mean=0.4, std=0.12)


@pytest.mark.parametrize(
    ("spec", "image", "says"),
    [
        (spec_of(40, 4000), scene(0, 16), "holds about 16 times the values .* .40 to 4000"),
        (spec_of(40, 4000), scene(0, 14), "holds about 4 times"),
        (spec_of(40, 4000), scene(0, 10), "holds about 1/4 of"),
        (spec_of(600, 65000), scene(0, 12), "holds about 1/16 of"),
        (spec_of(40.0, 4000.0), scene(0), "has 8 bits, but .* values of about 40 to 4000, and"),
        (spec_of(600, 65000), scene(0), "has 8 bits, but .* not known: save it with 16 bits"),
        (spec_of(0, 255, bits=8), scene(0, 12), "has 1 channels of 16 bit"),
    ],
)
def test_an_image_of_another_depth_is_not_decided_on(spec, image, says):
    with pytest.raises(UserError, match=f"part_7: {says}"):
        spec.refuse_other_depth(image, "part_7")
        spec.common(image, "part_7")


def glare():
    image = scene(0, 12)
    image[:20, :20] = 16383
    return image


@pytest.mark.parametrize(
    ("spec", "image"),
    [
        (spec_of(40, 4000), scene(0, 12)),
        (spec_of(40, 4000), scene(0, 12, level=0.8)),
        (spec_of(40, 4000), scene(0, 12, level=0.15)),
        (spec_of(40, 4000), glare()),
        (spec_of(40, 4000), np.zeros((9, 9, 1), np.uint16)),
        (spec_of(7000, 9000), scene(0, 10) * 2 + np.uint16(6000)),
        (spec_of(0, 65535), scene(0)),  # a network from before, or one that learnt such images
        (spec_of(257 * 9, 257 * 200), scene(0)),
        (spec_of(0, 255, bits=8), scene(0)),
    ],
)
def test_brighter_and_darker_images_are_decided_on(spec, image):
    spec.refuse_other_depth(image, "part_7")
    assert spec.common(image, "part_7").dtype == spec.dtype


def test_a_predictor_names_the_image():
    predictor = tiny_predictor(
        **{"data_info.bit_depth": 16, "data_info.low": 0, "data_info.high": 4095}
    )
    images = [surface(32, 48, dtype=np.uint16) // 16 * factor for factor in (1, 16)]
    assert predictor.ready(images[0]).image.max() <= 1.0
    with pytest.raises(UserError, match="image 1: holds about 16 times the values"):
        predictor.predict(images)
    with pytest.raises(UserError, match="the image: has 8 bits"):
        predictor.predict(surface(32, 48))
