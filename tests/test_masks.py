"""Masks: what a file shows is what is marked, or the file is refused with what to do."""

import io

import cv2
import imageio.v3 as imageio
import numpy as np
import pytest
import raw_data
from hypothesis import given
from hypothesis import strategies as st
from image_corpus import opencv, pillow, png, tiff
from PIL import Image, ImageFilter

from defect_jax.data.files.class_masks import inspect_classes
from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.masks import MaskRules, inspect_mask

DEFECT = np.zeros((40, 48), bool)
DEFECT[10:18, 20:28] = True  # 64 of 1920 px
MASK = DEFECT * np.uint8(255)
DEEP = DEFECT * np.uint16(65535)
WHITE_IS_0 = {"photometric": "miniswhite"}
ALPHA_LAST = {"extrasamples": ["unassalpha"]}
GREY_AND_ALPHA = {"photometric": "minisblack", "planarconfig": "contig", **ALPHA_LAST}
BORDERED = DEFECT + 2 * (cv2.dilate(MASK, np.ones((3, 3))) > MASK)  # 2: around the defect
VOID_BORDER = np.array([0, 1, 255])[BORDERED]
WHITE = np.full((*MASK.shape, 3), 255, np.uint8)


def palette(indices: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def jpeg(mask: np.ndarray, quality: int = 90) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(pillow(mask, "JPEG", quality=quality))))


def resized(mask: np.ndarray, factor: float, how: int) -> np.ndarray:
    height, width = mask.shape[:2]
    size = round(width * factor), round(height * factor)
    return np.asarray(Image.fromarray(mask).resize(size, how))


BLACK_AND_WHITE = (0, 0, 0), (255, 255, 255)
READ = {
    "grey": pillow(MASK, "PNG"),
    "grey, 1 for defect": pillow(DEFECT.astype(np.uint8), "PNG"),
    "grey, opencv": opencv(MASK, ".png"),
    "grey, imageio": imageio.imwrite("<bytes>", MASK, extension=".png"),
    "16 bits": pillow(DEEP, "PNG"),
    "16 bits, 1 for defect": pillow(DEFECT.astype(np.uint16), "PNG"),
    "16 bits, tiff": tiff(DEEP),
    "float, tiff": tiff(DEFECT.astype(np.float32)),
    "float, double": tiff(DEFECT.astype(np.float64)),
    "int32, tiff": tiff(DEFECT.astype(np.int32)),
    "1 bit": pillow(DEFECT, "PNG"),
    "1 bit, bmp": pillow(DEFECT, "BMP"),
    "1 bit, tiff": pillow(DEFECT),
    "1 bit, fax": pillow(DEFECT, compression="group4"),
    "palette, black first": pillow(palette(DEFECT, *BLACK_AND_WHITE), "PNG"),
    "palette, white first": pillow(palette(~DEFECT, *BLACK_AND_WHITE[::-1]), "PNG"),
    "palette, white first, 1 bit": pillow(palette(~DEFECT, *BLACK_AND_WHITE[::-1]), "PNG", bits=1),
    "palette, white first, bmp": pillow(palette(~DEFECT, *BLACK_AND_WHITE[::-1]), "BMP"),
    "palette, white first, tiff": pillow(palette(~DEFECT, *BLACK_AND_WHITE[::-1])),
    "palette, red": pillow(palette(DEFECT, (0, 0, 0), (128, 0, 0)), "PNG"),
    "palette of all greys": pillow(palette(DEFECT, *[(grey,) * 3 for grey in range(256)]), "PNG"),
    "white is 0": tiff(255 - MASK, **WHITE_IS_0),
    "white is 0, 16 bits": tiff(65535 - DEEP, **WHITE_IS_0),
    "white is 0, 16 bits, big-endian": tiff(65535 - DEEP, **WHITE_IS_0, byteorder=">"),
    "white is 0, 16 bits, deflate": tiff(65535 - DEEP, **WHITE_IS_0, compression="zlib"),
    "white is 0, 1 bit": tiff(~DEFECT, **WHITE_IS_0),
    "red": pillow(np.dstack([MASK, 0 * MASK, 0 * MASK]), "PNG"),
    "rgb in planes": tiff(np.stack([MASK] * 3), photometric="rgb", planarconfig="separate"),
    "opaque": pillow(np.dstack([MASK, MASK, MASK, 0 * MASK + 255]), "PNG"),
    "clear all over": pillow(np.dstack([MASK, MASK, MASK, 0 * MASK]), "PNG"),
    "half clear all over, tiff": tiff(
        np.dstack([MASK] * 3 + [0 * MASK + 99]), photometric="rgb", **ALPHA_LAST
    ),
    "resized without shades": pillow(resized(MASK[::2, ::2], 2, Image.Resampling.NEAREST), "PNG"),
}


@pytest.mark.parametrize("data", READ.values(), ids=READ)
def test_the_64_px_that_the_file_shows(data):
    mask = inspect_mask(data, 1.0, MaskRules())
    np.testing.assert_array_equal(mask.defect, DEFECT)
    assert len(mask.levels) == 2


TRANSPARENT = "transparency varies: set config.data.mask_alpha=True"
SOFT = "soft edges|a JPEG"
REFUSED = {
    "jpeg": (pillow(MASK, "JPEG"), "is a JPEG mask.*mask_threshold=127 .keeps 64 of"),
    "jpeg, several": (
        pillow(MASK, "MPO", save_all=True, append_images=[Image.fromarray(MASK)]),
        "is a JPEG mask",
    ),
    "jpeg in tiff": (
        pillow(MASK, compression="jpeg"),
        "is a mask in a TIFF with lossy compression",
    ),
    "webp": (pillow(MASK, "WEBP"), "is WebP"),
    "was a jpeg": (pillow(jpeg(MASK), "PNG"), SOFT),
    "was a jpeg, in colour": (pillow(jpeg(np.dstack([MASK] * 3)), "PNG"), SOFT),
    "was a jpeg, bmp": (pillow(jpeg(MASK, 50), "BMP"), SOFT),
    "blurred": (pillow(Image.fromarray(MASK).filter(ImageFilter.GaussianBlur(1)), "PNG"), SOFT),
    "blurred, 16 bits": (pillow(cv2.GaussianBlur(DEEP, (5, 5), 1), "PNG"), SOFT),
    "blurred, float": (tiff(cv2.GaussianBlur(DEFECT.astype(np.float32), (5, 5), 1)), SOFT),
    "drawn smoothly": (
        pillow(cv2.line(0 * MASK, (3, 4), (40, 33), 255, 2, cv2.LINE_AA), "PNG"),
        SOFT,
    ),
    "smooth palette": (pillow(Image.fromarray(resized(MASK, 1.5, 2)).quantize(16), "PNG"), SOFT),
    "255 to ignore": (
        pillow(DEFECT + np.uint8(255) * (np.arange(40) < 5)[:, None], "PNG"),
        "values 0, 1 and 255: no value means 'ignore'",
    ),
    "border of VOC, palette": (
        pillow(palette(VOID_BORDER, *[(i, 99, 0) for i in range(255)], (224, 224, 192)), "PNG"),
        "value 255 beside labels, which often means 'ignore'",
    ),
    "border of VOC, rgb": (
        pillow(np.array([(0, 0, 0), (128, 0, 0), (224, 224, 192)], np.uint8)[BORDERED], "PNG"),
        "colour #e0e0c0, which often means 'ignore'",
    ),
    "65535 to ignore": (
        pillow(DEFECT + np.uint16(65535) * (np.arange(40) < 5)[:, None], "PNG"),
        "'ignore'",
    ),
    "defect in alpha, on white": (pillow(np.dstack([WHITE, MASK]), "PNG"), TRANSPARENT),
    "defect in alpha, on black": (pillow(np.dstack([0 * WHITE, MASK]), "PNG"), TRANSPARENT),
    "defect in both": (pillow(np.dstack([MASK] * 4), "PNG"), TRANSPARENT),
    "grey and alpha": (pillow(np.dstack([0 * MASK, MASK]), "PNG"), TRANSPARENT),
    "16 bits, alpha": (opencv(np.dstack([DEEP] * 4), ".png"), TRANSPARENT),
    "tiff, alpha": (tiff(np.dstack([WHITE, MASK]), photometric="rgb", **ALPHA_LAST), TRANSPARENT),
    "tiff, alpha, 16 bits": (
        tiff(np.dstack([0 * DEEP, DEEP]), **GREY_AND_ALPHA),
        TRANSPARENT,
    ),
    "bmp, alpha": (opencv(np.dstack([WHITE, MASK]), ".bmp"), TRANSPARENT),
    "clear entry of a palette": (
        pillow(palette(DEFECT, *BLACK_AND_WHITE), "PNG", transparency=0),
        TRANSPARENT,
    ),
    "clear value of grey": (png(MASK, 8, 0, (b"tRNS", b"\0\0")), TRANSPARENT),
    "clear colour": (png(np.dstack([MASK] * 3), 8, 2, (b"tRNS", b"\0\0\0\0\0\0")), TRANSPARENT),
    "1 bit, written as white is 0": (tiff(DEFECT), "header says that 0 is white"),
    "no background": (pillow(MASK // 255 + np.uint8(1), "PNG"), "none of them 0.*mask_threshold"),
    "red on white": (pillow(WHITE - np.dstack([0 * MASK, MASK, MASK]), "PNG"), "none of them 0"),
    "palette that shows nothing": (
        pillow(palette(DEFECT, (0, 0, 0), (0, 0, 0)), "PNG"),
        "palette shows in one colour",
    ),
    "not finite": (tiff(np.where(DEFECT, np.float32("nan"), np.float32(0))), "not finite"),
    "below 0": (tiff(-DEFECT.astype(np.int16)), "below 0"),
}


@pytest.mark.parametrize("data, reason", REFUSED.values(), ids=REFUSED)
def test_what_leaves_the_defect_open_is_refused(data, reason):
    with pytest.raises(BadImage, match=reason) as refused:
        inspect_mask(data, 1.0, MaskRules())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("how", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize("factor", [0.5, 0.77, 1.5, 3])
@pytest.mark.parametrize("value", [64, 128, 255])
def test_resized_masks_are_noticed_and_a_threshold_settles_it(factor, how, value):
    moved = np.roll(DEFECT, (1, 1), (0, 1)) * np.uint8(value)
    soft = resized(moved, factor, how)
    with pytest.raises(BadImage, match=f"(?s){SOFT}.*config.data.mask_threshold"):
        inspect_mask(pillow(soft, "PNG"), 1.0, MaskRules())
    mask = inspect_mask(pillow(soft, "PNG"), 1.0, MaskRules(value // 2))
    np.testing.assert_array_equal(mask.defect, soft > value // 2)


@given(
    corner=st.tuples(st.integers(0, 30), st.integers(0, 38)),
    size=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    quality=st.integers(20, 95),
)
def test_a_mask_that_was_a_jpeg_is_read_rightly_or_refused(corner, size, quality):
    (top, left), (height, width) = corner, size
    mask = np.zeros((40, 48), np.uint8)
    mask[top : top + height, left : left + width] = 255
    try:
        found = inspect_mask(pillow(jpeg(mask, quality), "PNG"), 1.0, MaskRules())
    except BadImage:
        return
    np.testing.assert_array_equal(found.defect, mask > 0)


def labels(*values: int) -> np.ndarray:
    mask = np.zeros((40, 48), np.uint8)
    for place, value in enumerate(values):
        mask[4:16, 4 + 10 * place : 14 + 10 * place] = value
    return mask


@pytest.mark.parametrize("values", [(1, 2, 3), (50, 100, 150), (85, 170, 255), (128, 255)])
def test_labels_side_by_side_are_defects_all_of_them(values):
    mask = inspect_mask(pillow(labels(*values), "PNG"), 1.0, MaskRules())
    np.testing.assert_array_equal(mask.defect, labels(*values) > 0)
    assert mask.levels == ("0", *map(str, values))


def test_labels_in_colour():
    colours = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)], np.uint8)
    mask = inspect_mask(pillow(colours[labels(1, 2, 3)], "PNG"), 1.0, MaskRules())
    np.testing.assert_array_equal(mask.defect, labels(1, 2, 3) > 0)
    assert mask.levels == ("#000000", "#008000", "#800000", "#808000")


@pytest.mark.parametrize(
    "colours",
    [
        [(220, 20, 60)],  # one colour, whose darkest channel is near black
        [(255, 20, 147)],
        [(250, 50, 83), (51, 221, 255), (250, 125, 187)],  # those that CVAT proposes
        [(220, 20, 60), (119, 11, 32), (0, 0, 142)],  # of Cityscapes
        [(31, 119, 180), (255, 127, 14), (44, 160, 44)],  # of Matplotlib
    ],
)
def test_colours_that_people_draw_with_are_no_noise(colours):
    ids = labels(*range(1, len(colours) + 1))
    drawn = np.array([(0, 0, 0), *colours], np.uint8)[ids]
    mask = inspect_mask(pillow(drawn, "PNG"), 1.0, MaskRules())
    np.testing.assert_array_equal(mask.defect, ids > 0)
    with pytest.raises(BadImage, match=SOFT):
        inspect_mask(pillow(jpeg(drawn), "PNG"), 1.0, MaskRules())
    with pytest.raises(BadImage, match=SOFT):
        inspect_mask(pillow(resized(drawn, 1.5, 2), "PNG"), 1.0, MaskRules())


def test_what_a_threshold_would_leave_is_said():
    values = labels(80, 160, 240, 10)
    with pytest.raises(BadImage, match="threshold=120 .keeps 240 of the 480 px.*trust_masks=True"):
        inspect_mask(pillow(values, "PNG"), 1.0, MaskRules())
    found = inspect_mask(pillow(values, "PNG"), 1.0, MaskRules(trusted=True))
    np.testing.assert_array_equal(found.defect, values > 0)


def test_what_is_noise_to_one_is_asked_for_by_another():
    data = pillow(jpeg(MASK), "PNG")
    trusted = inspect_mask(data, 1.0, MaskRules(trusted=True)).defect
    np.testing.assert_array_equal(trusted, jpeg(MASK) > 0)
    assert trusted.sum() > 64
    for lossy in (data, pillow(MASK, "JPEG"), pillow(MASK, compression="jpeg")):
        np.testing.assert_array_equal(inspect_mask(lossy, 1.0, MaskRules(127)).defect, DEFECT)


ALPHA = {
    "on white": pillow(np.dstack([WHITE, MASK]), "PNG"),
    "on black": pillow(np.dstack([0 * WHITE, MASK]), "PNG"),
    "grey": pillow(np.dstack([0 * MASK, MASK]), "PNG"),
    "grey, 16 bits": png(np.dstack([0 * DEEP, DEEP]).astype(">u2"), 16, 4),
    "16 bits": opencv(np.dstack([0 * DEEP] * 3 + [DEEP]), ".png"),
    "palette": pillow(palette(DEFECT, *BLACK_AND_WHITE), "PNG", transparency=0),
    "clear value": png(MASK, 8, 0, (b"tRNS", b"\0\0")),
    "tiff": tiff(np.dstack([WHITE, MASK]), photometric="rgb", **ALPHA_LAST),
    "tiff in planes": tiff(
        np.stack([0 * MASK] * 3 + [MASK]), photometric="rgb", planarconfig="separate", **ALPHA_LAST
    ),
    "tiff, 16 bits": tiff(np.dstack([0 * DEEP, DEEP]), **GREY_AND_ALPHA),
}


@pytest.mark.parametrize("data", ALPHA.values(), ids=ALPHA)
def test_a_mask_drawn_in_transparency_is_read_when_asked_for(data):
    np.testing.assert_array_equal(inspect_mask(data, 1.0, MaskRules(alpha=True)).defect, DEFECT)


def test_transparency_that_is_not_there_or_is_soft_is_refused():
    with pytest.raises(BadImage, match="without transparency, but config.data.mask_alpha is True"):
        inspect_mask(pillow(MASK, "PNG"), 1.0, MaskRules(alpha=True))
    soft = np.dstack([WHITE, cv2.GaussianBlur(MASK, (5, 5), 1)])
    with pytest.raises(BadImage, match=SOFT):
        inspect_mask(pillow(soft, "PNG"), 1.0, MaskRules(alpha=True))
    assert not inspect_mask(
        pillow(np.dstack([WHITE, 0 * MASK]), "PNG"), 1.0, MaskRules(alpha=True)
    )[1].any()


CLASS_IDS = labels(1, 2, 3)
RED, GREEN, BLUE, BLACK, ANY_WHITE = (9, 0, 0), (0, 9, 0), (0, 0, 9), (0, 0, 0), (255, 255, 255)


@pytest.mark.parametrize(
    "colours, reason",
    [
        ((ANY_WHITE, BLACK, RED, GREEN), "shows its value 1 black, though 0 is the background"),
        ((BLACK, RED, BLACK, GREEN), "shows its value 2 in the colour of 0"),
        ((BLACK, RED), "shows its value 2 in the colour of 0"),  # readers add black to a short one
        ((RED, GREEN, BLUE, RED), "shows its value 3 in the colour of 0"),
    ],
)
def test_palettes_that_say_that_0_is_no_background(colours, reason):
    entries = np.array(colours, np.uint8).tobytes()
    with pytest.raises(BadImage, match=reason):
        inspect_classes(png(CLASS_IDS, 8, 3, (b"PLTE", entries)), 1.0, classes=3)


@pytest.mark.parametrize(
    "colours", [(ANY_WHITE, RED, GREEN, BLUE), (BLACK, (1, 1, 1), (2, 2, 2), (3, 3, 3))]
)
def test_class_ids_may_have_any_colours_but_that_of_the_background(colours):
    entries = np.array(colours, np.uint8).tobytes()
    data = png(CLASS_IDS, 8, 3, (b"PLTE", entries))
    np.testing.assert_array_equal(inspect_classes(data, 1.0, classes=3).ids, CLASS_IDS)


def test_class_ids_with_transparency_or_loss_are_refused():
    clear = np.dstack([CLASS_IDS] * 3 + [np.uint8(255) * (CLASS_IDS > 0)])
    with pytest.raises(BadImage, match="transparency varies"):
        inspect_classes(pillow(clear, "PNG"), 1.0, classes=3)
    for lossy in (pillow(CLASS_IDS, "JPEG"), pillow(CLASS_IDS, compression="jpeg")):
        with pytest.raises(BadImage, match="compression changes class ids"):
            inspect_classes(lossy, 1.0, classes=3)


def test_class_ids_follow_the_photometric_interpretation():
    for bits in (np.uint8, np.uint16):
        inverted = np.iinfo(bits).max - CLASS_IDS.astype(bits)
        data = tiff(inverted, **WHITE_IS_0)
        np.testing.assert_array_equal(inspect_classes(data, 1.0, classes=3).ids, CLASS_IDS)
    with pytest.raises(BadImage, match="holds the value 255"):
        inspect_classes(tiff(CLASS_IDS, **WHITE_IS_0), 1.0, classes=3)


def test_rules_come_from_the_config(tmp_path):
    data = raw_data.config("folder", tmp_path, tmp_path, mask_threshold=7)
    assert MaskRules.of(data) == MaskRules(7, False, False)
    data.update(mask_alpha=True, trust_masks=True)
    assert MaskRules.of(data) == MaskRules(7, True, True)
