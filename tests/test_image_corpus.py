"""Files of many kinds: their very pixels, as they are and as they are stored, or a plain no."""

import io
import struct

import cv2
import image_corpus
import numpy as np
import pytest
import tifffile
from image_corpus import (
    BMP_FILES,
    GREY,
    PNG_FILES,
    RGB,
    RGBA,
    TIFF_FILES,
    bmp,
    pillow,
    tiff,
    with_tags,
)
from PIL import Image, ImageCms, PngImagePlugin

from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.images import decode_image, inspect_image
from defect_jax.data.files.record_encoding import unpacked

KNOWN = PNG_FILES | BMP_FILES | TIFF_FILES


@pytest.mark.parametrize("data, shown", KNOWN.values(), ids=KNOWN)
def test_pixels_are_those_that_were_written(data, shown):
    header, pixels = inspect_image(data, max_megapixels=1.0)
    shown = np.atleast_3d(shown)
    assert pixels.dtype == shown.dtype
    assert pixels.shape[:2] == shown.shape[:2] == (header.height, header.width)
    # A palette of greys is grey to one reader and RGB to another: the same to the network.
    channels = max(pixels.shape[2], shown.shape[2])
    np.testing.assert_array_equal(
        np.broadcast_to(pixels, (*pixels.shape[:2], channels)),
        np.broadcast_to(shown, (*shown.shape[:2], channels)),
    )
    np.testing.assert_array_equal(decode_image(data), pixels)
    np.testing.assert_array_equal(decode_image(unpacked(data, pixels)), pixels)


def test_a_tiff_that_stays_small_is_stored_in_a_form_that_is_read_fast():
    pixels = np.zeros((400, 400, 3), np.uint16)
    pixels[3, 5] = 7, 300, 65535
    planes = np.moveaxis(pixels, -1, 0)
    data = tiff(planes, photometric="rgb", planarconfig="separate", compression="zlib")
    _, read = inspect_image(data, 1.0)
    stored = unpacked(data, read)
    assert stored.startswith(b"\x89PNG") and len(stored) < pixels.nbytes / 4
    np.testing.assert_array_equal(decode_image(stored), pixels)


JPEG_FILES = {
    f"{name}, {how}": pillow(pixels, "JPEG", **options)
    for how, options in {
        "quality 20": {"quality": 20},
        "quarter colour": {"quality": 90, "subsampling": 2},
        "progressive": {"quality": 95, "progressive": True},
        "full colour": {"quality": 100, "subsampling": 0},
        "stored as RGB": {"keep_rgb": True},
    }.items()
    for name, pixels in (("grey", GREY), ("rgb", RGB))
    if name == "rgb" or how != "stored as RGB"
} | {
    "opencv": image_corpus.opencv(RGB, ".jpg"),
    "with restarts": image_corpus.opencv(RGB, ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
}


@pytest.mark.parametrize("data", JPEG_FILES.values(), ids=JPEG_FILES)
def test_jpeg_equals_pillow_but_for_rounding(data):
    with Image.open(io.BytesIO(data)) as image:
        expected = np.atleast_3d(np.asarray(image)).astype(int)
    pixels = inspect_image(data, 1.0)[1]
    assert np.abs(pixels.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_jpeg_within_tiff_equals_pillow(pixels):
    data = pillow(pixels, compression="jpeg", quality=90)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.atleast_3d(np.asarray(image))
    np.testing.assert_array_equal(inspect_image(data, 1.0)[1], expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("planes", [False, True], ids=["whole", "planes"])
def test_every_reader_of_tiff_turns_it_alike(orientation, planes):
    """Pillow has the first, OpenCV the second, tifffile the third; written by one writer."""
    tag = [(274, "H", 1, orientation, True)]
    eight = tiff(RGB, photometric="rgb", extratags=tag)
    deep = RGB.astype(np.uint16) * 257
    layout = {"planarconfig": "separate"} if planes else {}
    sixteen = tiff(
        np.moveaxis(deep, -1, 0) if planes else deep, photometric="rgb", extratags=tag, **layout
    )
    expected = inspect_image(eight, 1.0)[1]
    assert expected.shape == ((48, 40, 3) if orientation > 4 else (40, 48, 3))
    np.testing.assert_array_equal(inspect_image(sixteen, 1.0)[1], expected.astype(np.uint16) * 257)


def test_colours_multiplied_by_alpha_are_divided_again_as_pillow_does():
    data = tiff(RGBA, photometric="rgb", extrasamples=["assocalpha"])
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image)[..., :3]
    np.testing.assert_array_equal(inspect_image(data, 1.0)[1], expected)


CMYK = Image.fromarray(RGB).convert("CMYK")
ISO = b"\0\0\0\x18ftyp"
WHITE_IS_0 = {"photometric": "miniswhite"}
REFUSED = {
    "webp": (pillow(RGB, "WEBP"), "is WebP, whatever its name says: save it as PNG"),
    "gif": (pillow(GREY, "GIF"), "is GIF"),
    "jpeg 2000": (pillow(RGB, "JPEG2000"), "is JPEG 2000"),
    "avif": (pillow(RGB, "AVIF"), "is AVIF"),
    "netpbm": (pillow(RGB, "PPM"), "is Netpbm"),
    "icon": (pillow(Image.fromarray(RGB), "ICO"), "is an icon"),
    "heic": (ISO + b"heic\0\0\0\0mif1heic", "is HEIC"),
    "cr3": (ISO + b"crx \0\0\0\1crx ", "is a camera's raw file"),
    "cr2": (b"II*\0\x10\0\0\0CR\2\0" + b"\0" * 40, "camera's raw file"),
    "jpeg xl": (b"\0\0\0\x0cJXL \r\n\x87\n", "is JPEG XL"),
    "bare jpeg xl": (b"\xff\x0a\xfa\x1f", "is JPEG XL"),
    "jpeg-ls": (b"\xff\xd8\xff\xf7\0\x0b\x08", "is JPEG-LS"),
    "psd": (b"8BPS\0\1" + b"\0" * 20, r"is a Photoshop file \(PSD\)"),
    "pdf": (b"%PDF-1.7\n", "is PDF"),
    "svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "is SVG"),
    "html": (b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "is a page of HTML.*no image"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS.*git lfs pull"),
    "dicom": (b"\0" * 128 + b"DICM\2\0", "is DICOM"),
    "exr": (b"\x76\x2f\x31\x01\2\0\0\0", "is OpenEXR"),
    "numpy": (b"\x93NUMPY\1\0", "is a NumPy array"),
    "zip": (b"PK\x03\x04\x14\0", "is an archive"),
    "zeros": (b"\0" * 5000, "holds zeros alone"),
    "appledouble": (b"\0\5\x16\7\0\2\0\0", "AppleDouble"),
    "bmp of 16 bits": (
        bmp(GREY.tobytes() * 2, 16),
        "is a BMP whose pixels two readers read differently",
    ),
    "bmp of strange masks": (
        bmp(RGBA.tobytes(), 32, 3, struct.pack("<III", 0xFF, 0xFF00, 0xFF0000)),
        "is a BMP of a kind that is not read",
    ),
    "cmyk jpeg": (pillow(CMYK, "JPEG"), "is a CMYK image: save it as grey or RGB"),
    "cmyk tiff": (pillow(CMYK), "is a TIFF that holds CMYK"),
    "lab tiff": (pillow(Image.fromarray(RGB).convert("LAB")), "is a TIFF that holds CIELAB"),
    "ycbcr tiff": (pillow(Image.fromarray(RGB).convert("YCbCr")), "is a YCbCr image"),
    "int8": (tiff(GREY.view(np.int8)), "holds int8 pixels"),
    "int16": (tiff(GREY.astype(np.int16)), "holds int16 pixels"),
    "uint32": (tiff(GREY.astype(np.uint32)), "holds uint32 pixels"),
    "float16": (tiff(GREY.astype(np.float16)), "holds float16 values"),
    "float64": (tiff(GREY.astype(np.float64)), "holds float64 values"),
    "five channels": (
        tiff(np.dstack([RGBA, GREY]), photometric="rgb", planarconfig="contig"),
        "has 5 channels",
    ),
    "two channels more": (
        tiff(np.dstack([RGB, GREY, GREY]), photometric="minisblack", planarconfig="contig"),
        "has 5 channels",
    ),
    "layers": (tiff(np.stack([GREY, GREY]), photometric="minisblack"), "holds 2 images"),
    "multiplied by alpha, 16 bits": (
        tiff(image_corpus.RGBA_16, photometric="rgb", extrasamples=["assocalpha"]),
        "has colours multiplied by their alpha",
    ),
    "12 bits, packed": (
        with_tags(tiff(image_corpus.GREY_16), ImageWidth=64, BitsPerSample=12),
        "is a TIFF of a kind that is not read .12 bits",
    ),
    "a predictor for floats": (
        with_tags(
            tiff(image_corpus.GREY_16, compression="zlib", predictor=True, **WHITE_IS_0),
            Predictor=3,
        ),
        "is a TIFF of a kind that is not read .*predictor",
    ),
    "16 bits in colour, lzma": (
        tiff(image_corpus.RGB_16, photometric="rgb", compression="lzma"),
        "is a TIFF of a kind that is not read .*compression lzma",
    ),
}


@pytest.mark.parametrize("data, reason", REFUSED.values(), ids=REFUSED)
def test_what_is_not_read_is_named(data, reason):
    with pytest.raises(BadImage, match=reason) as refused:
        inspect_image(data, max_megapixels=1.0)
    assert "damaged" not in str(refused.value)


@pytest.mark.parametrize("compression", [34712, 50001, 50002, 34887, 65000])
@pytest.mark.parametrize("pixels", [GREY, image_corpus.RGB_16], ids=["grey", "rgb 16"])
def test_a_compression_that_is_not_read_is_named(compression, pixels):
    options = {"photometric": "rgb"} if pixels.ndim == 3 else {}
    data = with_tags(tiff(pixels, **options), Compression=compression)
    with pytest.raises(BadImage, match=r"compression .* is not read|is not read \(.*compression"):
        inspect_image(data, 1.0)


def test_a_tiff_that_would_unpack_to_more_than_its_size_is_refused():
    planes = np.moveaxis(np.zeros((64, 64, 3), np.uint16), -1, 0)
    data = tiff(planes, photometric="rgb", planarconfig="separate", compression="zlib")
    data = with_tags(data, ImageWidth=8, ImageLength=8, RowsPerStrip=8)
    with pytest.raises(BadImage, match="unpacks to more than its size"):
        inspect_image(data, 1.0)


@pytest.mark.parametrize("cut", [1, 100, 3000])
@pytest.mark.parametrize("name", ["rgb 16 in planes, plain", "rgb 16 in planes, deflate"])
def test_a_tiff_of_the_third_reader_that_is_cut_off_is_refused(name, cut):
    with pytest.raises(BadImage, match="truncated|damaged"):
        inspect_image(TIFF_FILES[f"tiff {name}"][0][:-cut], 1.0)


def test_the_limit_on_pixels_counts_for_tiff():
    data = tiff(np.zeros((1000, 1001), np.uint8), compression="zlib")
    with pytest.raises(BadImage, match="larger than 1 megapixels.*config.data.max_megapixels"):
        inspect_image(data, 1.0)
    assert inspect_image(data, 1.1)[1].shape == (1000, 1001, 1)


@pytest.mark.parametrize("pixels", [GREY, RGB, image_corpus.RGB_16], ids=["grey", "rgb", "16 bits"])
def test_smaller_copies_behind_an_image_are_not_counted(pixels):
    kind = {"photometric": "rgb" if pixels.ndim == 3 else "minisblack"}
    copy = {"subfiletype": 1, **kind}
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(pixels, **kind)
        writer.write(np.ascontiguousarray(pixels[::2, ::2]), **copy)
        writer.write(np.ascontiguousarray(pixels[::4, ::4]), **copy)
    shown = inspect_image(file.getvalue(), 1.0)[1]
    np.testing.assert_array_equal(shown.squeeze(), pixels)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(np.ascontiguousarray(pixels[::2, ::2]), **copy)
        writer.write(pixels, **kind)
    with pytest.raises(BadImage, match="holds 2 images"):
        inspect_image(file.getvalue(), 1.0)


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_profiles_that_libpng_dislikes_print_nothing(pixels, capfd):
    for space in ("sRGB", "LAB"):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()
        data = image_corpus.pillow(pixels, "PNG", icc_profile=profile)
        shown = inspect_image(data, 1.0)[1]
        np.testing.assert_array_equal(shown.squeeze(), pixels)
        np.testing.assert_array_equal(decode_image(data), shown)
    assert capfd.readouterr() == ("", "")


def test_a_text_that_names_a_profile_is_none():
    info = PngImagePlugin.PngInfo()
    info.add_text("iCCP", "iCCP")
    data = image_corpus.pillow(GREY, "PNG", pnginfo=info)
    np.testing.assert_array_equal(inspect_image(data, 1.0)[1][..., 0], GREY)


def test_a_raw_file_of_a_camera_is_not_read_as_its_thumbnail():
    thumbnail = tiff(RGB, photometric="rgb", extratags=[(50706, "B", 4, b"\1\4\0\0", True)])
    with pytest.raises(BadImage, match="is a camera's raw file: develop it"):
        inspect_image(thumbnail, 1.0)


def test_a_file_of_several_jpegs_is_read_as_its_first():
    data = pillow(RGB, "MPO", save_all=True, append_images=[Image.fromarray(255 - RGB)])
    header, pixels = inspect_image(data, 1.0)
    assert header.lossy
    np.testing.assert_array_equal(pixels, inspect_image(pillow(RGB, "JPEG"), 1.0)[1])
