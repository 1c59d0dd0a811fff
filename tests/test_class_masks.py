"""Masks of class ids: every kind of file gives its ids, or is refused with the reason."""

import struct
import zlib

import numpy as np
import pytest
import raw_data
from PIL import Image

from defect_jax.data.files.class_masks import checked_names, inspect_classes, main_class
from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.masks import decode_mask
from defect_jax.data.files.record_encoding import decode_classes, encode_classes
from defect_jax.runtime.errors import UserError

IDS = raw_data.noise(0) % 4
PALETTE = Image.fromarray(IDS)
PALETTE.putpalette([0, 0, 0, 200, 0, 0, 9, 9, 9, 0, 0, 200])


def grey_png(ids: np.ndarray, bits: int) -> bytes:
    """Writes a grey PNG of fewer than 8 bits, which Pillow and OpenCV cannot, by its definition."""
    height, width = ids.shape
    rows = b""
    for row in ids:
        digits = "".join(f"{value:0{bits}b}" for value in row)
        rows += b"\0" + int(digits, 2).to_bytes(width * bits // 8)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )


MASKS = {
    "8 bit": (raw_data.encoded(IDS), IDS),
    "8-bit bmp": (raw_data.encoded(IDS, "BMP"), IDS),
    "8-bit tiff": (raw_data.encoded(IDS, "TIFF"), IDS),
    "16 bit": (raw_data.encoded(IDS.astype(np.uint16)), IDS),
    "16-bit tiff": (raw_data.encoded(IDS.astype(np.uint16), "TIFF"), IDS),
    "palette": (raw_data.encoded(PALETTE), IDS),
    "palette of 2 bits": (raw_data.encoded(PALETTE, bits=2), IDS),
    "palette bmp": (raw_data.encoded(PALETTE, "BMP"), IDS),
    "palette tiff": (raw_data.encoded(PALETTE, "TIFF"), IDS),
    "4-bit grey": (grey_png(IDS, 4), IDS),
    "2-bit grey": (grey_png(IDS, 2), IDS),
    "1-bit grey": (grey_png(IDS % 2, 1), IDS % 2),
    "one bit": (raw_data.encoded(IDS > 1), IDS > 1),
    "one bit bmp": (raw_data.encoded(IDS > 1, "BMP"), IDS > 1),
    "one bit tiff": (raw_data.encoded(IDS > 1, "TIFF"), IDS > 1),
    "rgb, all channels equal": (raw_data.encoded(np.stack([IDS] * 3, -1)), IDS),
    "alpha does not count": (raw_data.encoded(Image.fromarray(IDS).convert("LA")), IDS),
    "16-bit rgb": (raw_data.encoded_16_bit_rgb(np.stack([IDS.astype(np.uint16)] * 3, -1)), IDS),
}


@pytest.mark.parametrize("data, ids", MASKS.values(), ids=MASKS)
def test_values_are_class_ids_in_every_kind_of_file(data, ids):
    found = inspect_classes(data, 1.0, classes=3).ids
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, ids)


@pytest.mark.parametrize(
    "data, reason",
    [
        (raw_data.encoded(IDS + np.uint8(4)), "holds the value 7, but config.data.classes names 3"),
        (
            raw_data.encoded(IDS.astype(np.uint16) + 256),
            "holds the value 259, but config.data.classes names 3: add the class, or correct",
        ),
        (raw_data.encoded(raw_data.defect_mask()), "holds the value 255, but"),
        (raw_data.encoded(IDS, "JPEG"), "is a JPEG mask, whose compression changes class ids"),
        (
            raw_data.encoded(np.stack([IDS, IDS, 0 * IDS], -1)),
            "is a colour mask, but values are class ids: save it as grey or palette PNG",
        ),
        (raw_data.encoded(IDS.astype(np.float32), "TIFF"), "holds float32 pixels"),
        (raw_data.encoded(IDS.astype(np.int32), "TIFF"), "holds int32 pixels"),
        (raw_data.encoded(IDS)[:-20], "is truncated"),
        (b"text", "is not an image"),
    ],
)
def test_masks_that_hold_no_usable_ids_are_refused(data, reason):
    with pytest.raises(BadImage, match=reason):
        inspect_classes(data, 1.0, classes=3)


def test_the_highest_id_of_255_classes():
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(inspect_classes(raw_data.encoded(ids), 1.0, classes=255).ids, ids)
    with pytest.raises(BadImage, match="holds the value 255, but config.data.classes names 254"):
        inspect_classes(raw_data.encoded(ids), 1.0, classes=254)


def test_a_mask_above_the_limit_on_pixels_is_refused():
    with pytest.raises(BadImage, match="config.data.max_megapixels"):
        inspect_classes(raw_data.encoded(np.zeros((1000, 1001), np.uint8)), 1.0, classes=3)


def test_stored_ids_come_back_and_their_defects_too():
    ids = np.arange(256, dtype=np.uint8).reshape(8, 32)
    stored = encode_classes(ids)
    np.testing.assert_array_equal(decode_classes(stored), ids)
    np.testing.assert_array_equal(decode_mask(stored, 0), ids > 0)


@pytest.mark.parametrize("pixels", [raw_data.noise(0, channels=3), IDS.astype(np.uint16)])
def test_what_was_not_stored_as_ids_is_refused(pixels):
    with pytest.raises(BadImage, match="not class ids of 8 bits"):
        decode_classes(raw_data.encoded(pixels))


def test_the_class_with_most_pixels():
    assert main_class(np.zeros((3, 3), np.uint8)) == 0
    assert main_class(np.array([[0, 0, 0, 7]], np.uint8)) == 7
    assert main_class(np.array([[3, 2, 2, 3, 0, 0, 0]], np.uint8)) == 2, "the lowest among equals"
    assert main_class(np.full((20, 20), 255, np.uint8)) == 255


def test_names_of_classes():
    assert checked_names(()) == ()
    assert checked_names(["dent", "deep scratch"]) == ("dent", "deep scratch")
    most = [f"class {number}" for number in range(255)]
    assert checked_names(most) == tuple(most)


@pytest.mark.parametrize(
    "names, reason",
    [
        (("dent", "scratch", "dent"), "'dent' is named twice"),
        (("dent", ""), "the name of class 2 is empty"),
        (("  ",), "the name of class 1 is empty"),
        (("good", "bad"), "'good' is kept for good parts"),
        ([f"class {number}" for number in range(256)], "names 256 classes: give at most 255"),
        ((1, 2), "is no list of names"),
        ("dent", "is no list of names"),
    ],
)
def test_names_that_do_not_do(names, reason):
    with pytest.raises(UserError, match=f"config.data.classes: .*{reason}"):
        checked_names(names)
