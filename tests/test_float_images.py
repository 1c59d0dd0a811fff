"""Float images are the 16-bit ones that their range makes of them, in files and in programs."""

import numpy as np
import pytest
import raw_data
from tiny_predictor import surface, tiny_predictor

from defect_jax.data.files.images import decode_image
from defect_jax.data.geometry.depth import of_floats
from defect_jax.data.prepare.check import find_faults
from defect_jax.data.prepare.prepare import prepare
from defect_jax.runtime.errors import UserError

ENDS = (-0.5, 2.0)


def as_floats(counts):
    return np.float32(ENDS[0] + counts.astype(np.float64) / 65535 * (ENDS[1] - ENDS[0]))


def counts_of(number):
    return raw_data.noise(number).astype(np.uint16) * 199 + 1000


def parts(root, encode):
    for number in range(20):
        raw_data.write(root / f"images/{number:02}.tif", encode(counts_of(number)))
        if number % 2:
            raw_data.write(
                root / f"masks/{number:02}.png", np.roll(raw_data.defect_mask(), number, 1)
            )
    return root


def tiff(pixels):
    return raw_data.encoded(pixels, "TIFF")


def test_float_files_are_prepared_as_those_of_16_bits(tmp_path):
    floats = parts(tmp_path / "floats", lambda counts: tiff(as_floats(counts)))
    found = prepare(raw_data.config("folder", floats, tmp_path, float_range=ENDS))
    assert found.info.bit_depth == 16
    for split in found.splits.values():
        for row, one in zip(split.rows, split.source, strict=True):
            expected = counts_of(int(row.id.rpartition("/")[2]))
            np.testing.assert_array_equal(decode_image(one["image"])[..., 0], expected)


def test_a_float_array_is_decided_on_as_its_counts():
    changes = {"data_info.bit_depth": 16, "data_info.low": 0, "data_info.high": 65535}
    predictor = tiny_predictor(**changes, **{"data.float_range": ENDS})
    counts = surface(30, 40, dtype=np.uint16, seed=3)
    one, two = predictor.predict(as_floats(counts)), predictor.predict(counts)
    assert (one.score, one.mask_score) == (two.score, two.mask_score)
    np.testing.assert_array_equal(one.mask, two.mask)
    np.testing.assert_array_equal(one.heat_map, two.heat_map)
    np.testing.assert_array_equal(one.overlay(as_floats(counts)), two.overlay(counts))
    with pytest.raises(UserError, match=r"the image: holds float32 values from -3 to -3, beyond "):
        predictor.predict(np.full((8, 8), -3.0, np.float32))


@pytest.mark.parametrize(
    ("ends", "value", "line"),
    [
        (
            (),
            0.5,
            "00.tif: holds float32 values from 0.5 to 0.5: set config.data.float_range=(LOW, ",
        ),
        (
            ENDS,
            2.5,
            "00.tif: holds float32 values from 2.5 to 2.5, beyond config.data.float_range=",
        ),
        (ENDS, np.nan, "00.tif: holds pixels that are no numbers: replace them"),
    ],
)
def test_what_is_wrong_with_floats_is_said_in_one_line(tmp_path, ends, value, line):
    root = parts(tmp_path / "raw", lambda counts: tiff(as_floats(counts)))
    raw_data.write(root / "images/00.tif", tiff(np.full((12, 16), value, np.float32)))
    found = [
        str(fault)
        for fault in find_faults(raw_data.config("folder", root, tmp_path, float_range=ends))
    ]
    assert any(line in fault for fault in found), found


def test_the_ends_are_the_ends():
    assert of_floats(np.array([-0.5, 2.0], np.float16), ENDS).tolist() == [0, 65535]
