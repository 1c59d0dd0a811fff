"""One file: decoded to the right pixels, or refused with the reason."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import raw_data
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.images import check_image, decode_image, inspect_image
from defect_jax.data.files.masks import MaskRules, decode_mask, inspect_mask
from defect_jax.data.files.record_encoding import encode_mask, unpacked

GREY = raw_data.noise(0)
RGB = raw_data.noise(1, channels=3)
DEEP = GREY.astype(np.uint16) * 200 + 7
DEEP_RGB = RGB.astype(np.uint16) * 200 + 7
ALPHA = np.full((*GREY.shape, 1), 255, np.uint8)
PALETTE = Image.fromarray(GREY % 3)
PALETTE.putpalette([0, 0, 0, 200, 0, 0, 0, 100, 50])
COLOURS = np.array([[0, 0, 0], [200, 0, 0], [0, 100, 50]], np.uint8)

LOSSLESS = {
    "grey png": (raw_data.encoded(GREY), GREY[..., None]),
    "grey bmp": (raw_data.encoded(GREY, "BMP"), GREY[..., None]),
    "grey tiff": (raw_data.encoded(GREY, "TIFF"), GREY[..., None]),
    "grey tiff, lzw": (raw_data.encoded(GREY, "TIFF", compression="tiff_lzw"), GREY[..., None]),
    "16-bit grey png": (raw_data.encoded(DEEP), DEEP[..., None]),
    "16-bit grey tiff": (raw_data.encoded(DEEP, "TIFF"), DEEP[..., None]),
    "rgb png": (raw_data.encoded(RGB), RGB),
    "rgb bmp": (raw_data.encoded(RGB, "BMP"), RGB),
    "rgb tiff": (raw_data.encoded(RGB, "TIFF"), RGB),
    "16-bit rgb png": (raw_data.encoded_16_bit_rgb(DEEP_RGB), DEEP_RGB),
    "16-bit rgb tiff": (raw_data.encoded_16_bit_rgb(DEEP_RGB, ".tiff"), DEEP_RGB),
    "rgba png": (raw_data.encoded(np.concatenate([RGB, ALPHA], -1)), RGB),
    "grey png with alpha": (
        raw_data.encoded(Image.fromarray(GREY).convert("LA")),
        GREY[..., None],
    ),
    "one bit png": (raw_data.encoded(GREY > 99), np.uint8(255) * (GREY > 99)[..., None]),
    "palette png": (raw_data.encoded(PALETTE), COLOURS[GREY % 3]),
}


@pytest.mark.parametrize("data, pixels", LOSSLESS.values(), ids=LOSSLESS)
def test_lossless_images_decode_to_their_pixels(data, pixels):
    header, decoded = inspect_image(data, max_megapixels=1.0)
    assert decoded.dtype == pixels.dtype
    np.testing.assert_array_equal(decoded, pixels)
    assert (header.height, header.width) == pixels.shape[:2]


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_jpeg_equals_pillow(pixels):
    data = raw_data.encoded(pixels, "JPEG", quality=100, subsampling=0)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.atleast_3d(np.asarray(image))
    assert np.abs(decode_image(data).astype(int) - expected.astype(int)).max() <= 2


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_exif_rotation_is_not_followed(kind, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    header, turned = inspect_image(raw_data.encoded(RGB, kind, exif=exif), max_megapixels=1.0)
    np.testing.assert_array_equal(turned, decode_image(raw_data.encoded(RGB, kind)))
    assert header.turned
    assert not check_image(raw_data.encoded(RGB, kind), max_megapixels=1.0).turned


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [GREY, RGB, DEEP], ids=["grey", "rgb", "16-bit"])
def test_a_tiff_is_turned_the_same_way_as_its_mask(pixels, orientation):
    data = raw_data.encoded(pixels, "TIFF", tiffinfo={274: orientation})
    header, decoded = inspect_image(data, max_megapixels=1.0)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decoded, np.atleast_3d(np.asarray(image)))
    palette = Image.fromarray(GREY % 2)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    mask = decode_mask(raw_data.encoded(palette, "TIFF", tiffinfo={274: orientation}), 0)
    other = raw_data.encoded(GREY % 2, "TIFF", tiffinfo={274: orientation})
    np.testing.assert_array_equal(mask, decode_mask(other, 0))
    assert mask.shape == (header.height, header.width)


TRUNCATED = {
    f"{kind}, {cut} bytes": raw_data.encoded(RGB, kind)[:-cut]
    for kind, cuts in {
        "PNG": (1, 3, 12, 13, 40, 200),
        "JPEG": (1, 2, 40, 200),
        "BMP": (1, 2, 40, 200),
        "TIFF": (1, 40, 200),
    }.items()
    for cut in cuts
}


@pytest.mark.parametrize("data", TRUNCATED.values(), ids=TRUNCATED)
def test_truncated_files_are_refused(data):
    with pytest.raises(BadImage):
        inspect_image(data, max_megapixels=1.0)


def test_a_flipped_bit_in_a_png_is_noticed():
    data = bytearray(raw_data.encoded(GREY))
    data[len(data) // 2] ^= 4
    with pytest.raises(BadImage, match="truncated or damaged"):
        inspect_image(bytes(data), max_megapixels=1.0)


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "is empty"),
        (b"plain text", "is not an image"),
        (raw_data.encoded(GREY, "GIF"), "is GIF, whatever its name says: save it as PNG"),
        (
            raw_data.encoded(GREY, "TIFF", save_all=True, append_images=[Image.fromarray(GREY)]),
            "holds 2 images",
        ),
        (raw_data.encoded(GREY.astype(np.float32), "TIFF"), "holds float32 values"),
        (raw_data.encoded(GREY.astype(np.int32), "TIFF"), "int32 pixels"),
        (raw_data.encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "is a CMYK image"),
    ],
)
def test_files_that_are_no_usable_image_are_refused(data, reason):
    with pytest.raises(BadImage, match=reason):
        inspect_image(data, max_megapixels=1.0)


def test_the_limit_on_pixels_counts_the_header():
    data = raw_data.encoded(np.zeros((1000, 1100), np.uint8))
    assert check_image(data, max_megapixels=1.1).height == 1000
    for limit in (1.09, 0.5, 0.01):  # a little above the limit, and above twice the limit
        with pytest.raises(BadImage, match="config.data.max_megapixels"):
            check_image(data, max_megapixels=limit)


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    rows = b"\x00" * 40
    bomb = _png_header(60_000, 60_000) + rows
    with pytest.raises(BadImage, match="larger than 100 megapixels"):
        check_image(bomb, max_megapixels=100.0)


def _png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    return start + struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 40) + b"IDAT"


def test_pillows_settings_are_left_as_they_were():
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    check_image(raw_data.encoded(GREY), max_megapixels=1.0)
    with pytest.raises(BadImage):
        check_image(raw_data.encoded(GREY), max_megapixels=1e-6)
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


@given(data=st.binary(max_size=300), start=st.sampled_from([0, 8, 40]))
@example(data=b"\x00" * 300, start=40)
def test_any_bytes_are_an_image_or_a_bad_image(data, start):
    for kind in ("PNG", "JPEG", "BMP", "TIFF"):
        try:
            inspect_image(raw_data.encoded(GREY, kind)[:start] + data, max_megapixels=1.0)
        except BadImage as error:
            assert "\n" not in str(error)


DEFECT = GREY > 127
MASKS = {
    "8 bit": (raw_data.encoded(GREY), 127, DEFECT),
    "16 bit": (raw_data.encoded(DEEP), 200 * 127 + 7, DEFECT),
    "one bit": (raw_data.encoded(DEFECT), 127, DEFECT),
    "one bit bmp": (raw_data.encoded(DEFECT, "BMP"), 127, DEFECT),
    "float": (raw_data.encoded(DEFECT.astype(np.float32), "TIFF"), 0, DEFECT),
    "int32": (raw_data.encoded(DEFECT.astype(np.int32), "TIFF"), 0, DEFECT),
    "rgb": (raw_data.encoded(RGB), 250, (RGB > 250).any(-1)),
    "16-bit rgb, value 1": (
        raw_data.encoded_16_bit_rgb((RGB > 250).astype(np.uint16)),
        0,
        (RGB > 250).any(-1),
    ),
    "transparency does not count": (
        raw_data.encoded(Image.fromarray(np.zeros_like(GREY)).convert("LA")),
        0,
        np.zeros_like(DEFECT),
    ),
    "palette colours count": (raw_data.encoded(PALETTE), 150, GREY % 3 == 1),
    "palette tiff": (raw_data.encoded(PALETTE, "TIFF"), 0, GREY % 3 > 0),
}


@pytest.mark.parametrize("data, threshold, defect", MASKS.values(), ids=MASKS)
def test_masks_of_every_kind(data, threshold, defect):
    mask = inspect_mask(data, 1.0, MaskRules(threshold))[1]
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, defect)


def test_a_jpeg_mask_needs_a_threshold():
    data = raw_data.encoded(raw_data.defect_mask(40, 40), "JPEG")
    with pytest.raises(BadImage, match="config.data.mask_threshold"):
        inspect_mask(data, 1.0, MaskRules())
    mask = inspect_mask(data, 1.0, MaskRules(127))[1]
    np.testing.assert_array_equal(mask, raw_data.defect_mask(40, 40) > 0)


@pytest.mark.parametrize("data, pixels", LOSSLESS.values(), ids=LOSSLESS)
def test_unpacked_images_decode_to_the_same_pixels(data, pixels):
    stored = unpacked(data + b" " * 3000, decode_image(data))
    assert not stored.startswith(data[:4]) and len(stored) <= pixels.nbytes + 20
    decoded = decode_image(stored)
    assert decoded.dtype == pixels.dtype
    np.testing.assert_array_equal(decoded, pixels)


def test_what_would_grow_too_much_stays_packed():
    pixels = np.zeros((30, 10, 1), np.uint8)
    for length, packed in ((74, True), (75, False)):
        data = b"x" * length
        assert (unpacked(data, pixels) == data) == packed


def test_masks_are_stored_without_loss():
    mask = GREY > 100
    np.testing.assert_array_equal(decode_mask(encode_mask(mask), 0), mask)
    stored = decode_image(encode_mask(mask))
    assert stored.shape == (*mask.shape, 1) and set(np.unique(stored)) == {0, 255}
