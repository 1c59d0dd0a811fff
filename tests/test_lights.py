"""Shots of several lights: their files, their channels, what is refused of them by name."""

import io

import cv2
import numpy as np
import pytest
import raw_data
from image_corpus import ALPHA, GREY, GREY_ALPHA, RGB, RGB_16, RGBA, pillow, tiff
from light_data import LIGHTS, light_data, paged, shot, write_shot
from PIL import Image

from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.lights import lights_in, pages
from defect_jax.data.files.raw_files import open_root
from defect_jax.data.files.record_encoding import decode_lights, decode_stored, encode_lights
from defect_jax.data.geometry.channels import in_channels, to_show
from defect_jax.data.prepare.check import find_faults, inspect
from defect_jax.data.prepare.data_info import data_info
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.sources import folder
from defect_jax.data.sources.records import SPLITS
from defect_jax.runtime.errors import UserError

AS_RGB = np.repeat(GREY[..., None], 3, axis=2)
CLEAR = np.full_like(ALPHA, 255)
# What a file of one light holds -> the channels that count, or why it is refused.
FORMS = {
    "grey": (pillow(GREY, "PNG"), 1),
    "grey as RGB": (pillow(AS_RGB, "PNG"), 1),
    "grey as RGB of 16 bits": (tiff(AS_RGB.astype(np.uint16) * 257, photometric="rgb"), 1),
    "grey as RGB in a JPEG": (pillow(AS_RGB, "JPEG", quality=95), 1),
    "grey, all opaque": (pillow(np.dstack([GREY, CLEAR]), "PNG"), 1),
    "grey as RGB, all opaque": (pillow(np.dstack([AS_RGB, CLEAR]), "PNG"), 1),
    "RGB": (pillow(RGB, "PNG"), 3),
    "RGB of 16 bits": (tiff(RGB_16, photometric="rgb"), 3),
    "RGB, all opaque": (pillow(np.dstack([RGB, CLEAR]), "PNG"), 3),
    "RGB, all clear": (pillow(np.dstack([RGB, 0 * CLEAR]), "PNG"), 3),
    "RGB, all opaque, in a TIFF": (
        tiff(np.dstack([RGB, CLEAR]), photometric="rgb", extrasamples=["unassalpha"]),
        3,
    ),
    "RGB with content in alpha": (pillow(RGBA, "PNG"), "has transparency that varies"),
    "grey with content in alpha": (
        pillow(Image.fromarray(GREY_ALPHA, "LA"), "PNG"),
        "has transparency that varies",
    ),
    "RGB with content in alpha, in a TIFF": (
        tiff(RGBA, photometric="rgb", extrasamples=["unassalpha"]),
        "has transparency that varies",
    ),
    "float": (tiff(GREY.astype(np.float32)), "holds float32 values from "),
    "several pages": (paged(shot(0)), "holds 6 images: .* set config.data.lights"),
}


@pytest.mark.parametrize("data, expected", FORMS.values(), ids=FORMS)
def test_grey_and_colour_are_told_by_the_pixels(data, expected):
    if isinstance(expected, str):
        with pytest.raises(BadImage, match=expected):
            lights_in(data, 1, max_megapixels=1.0)
        return
    (light,) = lights_in(data, 1, max_megapixels=1.0)
    assert light.pixels.shape == (*GREY.shape, expected)
    (stored,) = decode_lights(encode_lights([light]))
    np.testing.assert_array_equal(stored, light.pixels)
    if "JPEG" not in str(data[:20]):
        shown = np.atleast_3d(GREY) if expected == 1 else RGB
        if light.pixels.dtype == np.uint8 and not data.startswith(b"\xff\xd8"):
            np.testing.assert_array_equal(light.pixels, shown)


@pytest.mark.parametrize(
    ("forms", "channels", "note"),
    [
        (["grey"], 1, ""),
        (["grey as RGB"], 1, "16 of 16 images are grey, saved as RGB, and count as grey"),
        (["grey", "grey as RGB"], 1, "8 of 16 images are grey, saved as RGB, and count as grey"),
        (["grey", "RGB"], 3, "8 of 16 images are grey and used as RGB, like the others"),
        (["grey as RGB", "RGB"], 3, "8 of 16 images are grey and used as RGB, like the others"),
        (["RGB, all opaque"], 3, ""),
    ],
)
def test_the_channels_of_a_set(forms, channels, note, tmp_path):
    root = raw_data.folder_data(tmp_path / "raw", good=11, defective=5)
    for number, path in enumerate(sorted((root / "images").rglob("*.png"))):
        grey = raw_data.noise(number)
        kinds = {
            "grey": grey,
            "grey as RGB": np.repeat(grey[..., None], 3, axis=2),
            "RGB": raw_data.noise(number, channels=3),
            "RGB, all opaque": np.dstack([raw_data.noise(number, channels=3), grey * 0 + 255]),
        }
        raw_data.write(path, pillow(kinds[forms[number % len(forms)]], "PNG"))
    info = inspect(raw_data.config("folder", root, tmp_path)).info
    assert info.channels == channels and info.lights == []
    assert [each for each in info.notes if "grey" in each][-1:] == ([note] if note else [])


def test_lights_become_channels_in_the_order_of_their_numbers(tmp_path):
    root, written = light_data(tmp_path / "raw", lights=11)  # 10 and 11 sort before 2
    prepared = prepare(raw_data.config("folder", root, tmp_path, lights=11))
    assert (prepared.info.channels, prepared.info.lights) == (11, [1] * 11)
    found = {}
    for split in prepared.splits.values():
        for record in map(split.source.__getitem__, range(len(split.rows))):
            found[record["id"].decode()] = decode_stored(record["image"])
    assert found.keys() == written.keys()
    for id, pixels in written.items():
        np.testing.assert_array_equal(found[id], pixels)


def test_range_mean_and_deviation_are_those_of_each_light(tmp_path):
    root, written = light_data(tmp_path / "raw", lights=3)
    prepared = prepare(raw_data.config("folder", root, tmp_path, lights=3))
    info = data_info(prepared, 1)
    rows = prepared.splits["train"].rows
    train = np.stack([written[row.id] for row in rows]).reshape(-1, 3)
    assert info["lights"] == [1, 1, 1] and info["channels"] == 3
    for light in range(3):
        values = np.sort(train[:, light])
        low, high = (values[round(share * (len(values) - 1))] for share in (0.001, 0.999))
        assert abs(info["low"][light] - low) <= 1 and abs(info["high"][light] - high) <= 1
        shares = (train[:, light] - info["low"][light]) / (info["high"][light] - info["low"][light])
        assert info["mean"][light] == pytest.approx(shares.mean(), abs=1e-4)
        assert info["std"][light] == pytest.approx(shares.std(), abs=1e-4)


def test_a_light_in_colour_among_grey_ones_has_three_channels(tmp_path):
    root, written = light_data(tmp_path / "raw", lights=2)
    for number, id in enumerate(list(written)[::2]):
        colour = raw_data.noise(number, channels=3)
        raw_data.write(root / f"{id}.2.png", colour)
        written[id] = np.dstack([written[id][..., :1], colour])
    prepared = prepare(raw_data.config("folder", root, tmp_path, lights=2))
    assert (prepared.info.channels, prepared.info.lights) == (4, [1, 3])
    assert "7 of 15 images are grey in light 2 and used as RGB" in " ".join(prepared.info.notes)
    info = data_info(prepared, 1)
    assert info["lights"] == [1, 3] and len(set(info["mean"][1:])) == 1 and len(info["low"]) == 4


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"writer": {"bigtiff": True}},
        {"writer": {"byteorder": ">"}},
        {"compression": "zlib"},
        {"rowsperstrip": 5},
        {"photometric": "miniswhite"},
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_pages_of_a_tiff_are_lights(options, dtype):
    pixels = shot(3, dtype=dtype)
    found = lights_in(paged(pixels, **options), LIGHTS, 1.0)
    shown = np.iinfo(dtype).max - pixels if "photometric" in options else pixels
    np.testing.assert_array_equal(np.dstack([light.pixels for light in found]), shown)
    np.testing.assert_array_equal(decode_stored(encode_lights(found)), shown)


def test_pages_by_pillow_with_lzw_are_lights():
    pixels, file = shot(4), io.BytesIO()
    first, *others = (Image.fromarray(np.ascontiguousarray(p)) for p in np.moveaxis(pixels, 2, 0))
    first.save(file, "TIFF", save_all=True, append_images=others, compression="tiff_lzw")
    found = lights_in(file.getvalue(), LIGHTS, 1.0)
    np.testing.assert_array_equal(np.dstack([light.pixels for light in found]), pixels)


def test_another_number_of_pages_is_refused():
    data = paged(shot(0, 5))
    with pytest.raises(BadImage, match=r"holds 5 images, but a shot has 6 lights \(config.data.li"):
        pages(data, 6)
    with pytest.raises(BadImage, match="holds one image, but a shot has 2 lights"):
        pages(pillow(GREY, "PNG"), 2)
    in_one_page = tiff(shot(0), photometric="minisblack", planarconfig="contig")
    with pytest.raises(BadImage, match="has 6 channels: .*, or each channel as a page"):
        lights_in(in_one_page, 1, 1.0)
    with pytest.raises(BadImage, match="is truncated"):
        lights_in(data[:-20], 5, 1.0)


def test_a_set_of_paged_files_is_the_set_of_single_ones(tmp_path):
    root, written = light_data(tmp_path / "raw", lights=2)
    data = raw_data.config("folder", root, tmp_path, lights=2)
    infos = [data_info(prepare(data), 1)]
    for id, pixels in written.items():
        (root / f"{id}.1.png").unlink(), (root / f"{id}.2.png").unlink()
        raw_data.write(root / f"{id}.tif", paged(pixels))
    infos.append(data_info(prepare(data), 1))
    assert infos[0].pop("fingerprint") != infos[1].pop("fingerprint")  # of the files
    assert infos[0] == infos[1]


def test_ids_and_groups_are_of_shots(tmp_path):
    root, written = light_data(tmp_path / "raw", lights=2)
    lines = [
        f"{id.removeprefix('images/')},part {number // 2}" for number, id in enumerate(written)
    ]
    (root / "groups.csv").write_text("\n".join(["id,group", *lines]))
    data = raw_data.config("folder", root, tmp_path, lights=2)
    found = folder.catalogue(open_root(data.root), data, SPLITS)
    assert not found.faults and len({record.group for record in found.records}) == 8
    assert {record.id for record in found.records} == written.keys()
    first = min(found.records, key=lambda record: record.image)
    assert first.files == (f"{first.id}.1.png", f"{first.id}.2.png")


def test_every_missing_strange_and_unlike_light_is_named(tmp_path):
    root, _ = light_data(tmp_path / "raw", lights=3)
    good, bad = root / "images/good", root / "images/bad"
    (good / "part_000.2.png").unlink()
    (good / "part_001.3.png").rename(good / "part_001.4.png")
    raw_data.write(good / "part_002.02.png", raw_data.noise(77))
    raw_data.write(good / "plain.png", raw_data.noise(78))
    raw_data.write(good / "part_004.3.png", raw_data.noise(79, 13, 16))
    raw_data.write(good / "part_005.2.png", raw_data.noise(80).astype(np.uint16) * 9)
    raw_data.write(root / "masks/bad/part_010.1.png", raw_data.defect_mask())
    raw_data.write(good / "paged.tif", paged(shot(9, 2)))
    (bad / "part_011.3.png").write_bytes(b"GIF89a")
    data = raw_data.config("folder", root, tmp_path, lights=3)
    said = "\n".join(map(str, find_faults(data)))
    for where, what in (
        ("images/good/part_000.2.png", "is missing: light 2 of 3, beside part_000.1.png"),
        ("images/good/part_001.3.png", "is missing: light 3 of 3"),
        ("images/good/part_001.4.png", "is light 4, but config.data.lights is 3"),
        ("images/good/part_002.2.png", "is light 2 once more, beside part_002.02.png"),
        ("images/good/plain.png", "has no number of a light: call the 3 files of a shot x.1.png"),
        ("images/good/part_004.3.png", "has 16x13 px, but the first light of its shot 16x12"),
        ("images/good/part_005.2.png", "has 16 bits, but the first light of its shot 8"),
        (
            "masks/bad/part_010.1.png",
            "a shot has one mask for all its lights: call it bad/part_010",
        ),
        ("images/good/paged.tif", "holds 2 images, but a shot has 3 lights"),
        ("images/bad/part_011.3.png", "is GIF"),
    ):
        assert f"{where}: " in said and what in said, (where, said)
    assert said.count("\n") == 9
    with pytest.raises(UserError, match="part_000.2.png: is missing: .*and 9 more"):
        prepare(data)


def test_numbered_images_are_single_ones_unless_the_config_says_otherwise(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw", good=0, defective=0)
    for number in range(1, 17):
        raw_data.write(root / f"images/part.{number}.png", raw_data.noise(number))
        if number > 11:
            raw_data.write(root / f"masks/part.{number}.png", raw_data.defect_mask())
    data = raw_data.config("folder", root, tmp_path)
    assert inspect(data).info.channels == 1 and not find_faults(data)


def test_a_mask_of_a_whole_shot_hints_at_the_lights(tmp_path):
    root, _ = light_data(tmp_path / "raw", lights=3)
    data = raw_data.config("folder", root, tmp_path)
    said = "\n".join(map(str, find_faults(data)))
    assert "there is no images/bad/part_010.*; where the images to part_010.3 are 3 lights" in said
    notes = folder.catalogue(open_root(data.root), data, SPLITS).notes
    assert "all images are called x.1 to x.3: if these are 3 lights of one shot" in notes[0]
    (root / "images/bad/part_011.3.png").unlink()
    notes = folder.catalogue(open_root(data.root), data, SPLITS).notes
    assert not any("lights" in note for note in notes)


def test_more_channels_than_there_may_be_are_refused(tmp_path):
    root, written = light_data(tmp_path / "raw", lights=6)
    for number, light in enumerate(range(1, 7)):
        raw_data.write(root / f"{list(written)[0]}.{light}.png", raw_data.noise(number, channels=3))
    (fault,) = find_faults(raw_data.config("folder", root, tmp_path, lights=6))
    says = "config.data.lights: is 6, of which 6 show colours: 18 channels, and 16 at most are used"
    assert str(fault).startswith(says)


def test_a_light_may_be_in_bad_without_a_mask(tmp_path):
    root, written = light_data(tmp_path / "raw", lights=2)
    for light in (1, 2):
        pixels = written["images/good/part_000"][..., light - 1]
        raw_data.write(root / f"bad/undrawn.{light}.png", 255 - pixels)
    data = raw_data.config("folder", root, tmp_path, lights=2)
    found = folder.catalogue(open_root(data.root), data, SPLITS)
    (record,) = [record for record in found.records if not record.masked]
    assert record.id == "bad/undrawn" and len(record.files) == 2 and not found.faults


def test_a_copied_shot_is_found_and_one_of_equal_first_lights_is_none(tmp_path):
    root, written = light_data(tmp_path / "raw", lights=2)
    ids = list(written)
    write_shot(root, "good/copy", written[ids[0]])
    other = np.dstack([written[ids[1]][..., 0], shot(99, 2)[..., 1]])
    write_shot(root, "good/other", other)
    notes = inspect(raw_data.config("folder", root, tmp_path, lights=2)).info.notes
    assert "1 images are copies of others, with the very same pixels" in " ".join(notes)


@pytest.mark.parametrize("change", [lambda b: b[:20], lambda b: b + b"x", lambda b: b[:7] + b"\0"])
def test_a_damaged_record_is_refused(change):
    stored = encode_lights(lights_in(paged(shot(0)), LIGHTS, 1.0))
    with pytest.raises(BadImage, match="damaged"):
        decode_lights(change(stored))


def test_channels_are_widened_and_narrowed_without_loss():
    colour = raw_data.noise(0, channels=3)
    assert in_channels(colour, 1) is None and in_channels(colour, 3) is colour
    assert in_channels(shot(0, 2), 1) is None and in_channels(np.zeros((4, 4, 2)), 1) is None
    np.testing.assert_array_equal(in_channels(AS_RGB, 1), GREY[..., None])
    np.testing.assert_array_equal(in_channels(GREY[..., None], 3), AS_RGB)
    np.testing.assert_array_equal(to_show(shot(0)), np.rint(shot(0).mean(2, keepdims=True)))
    assert to_show(colour) is colour and cv2.cvtColor(to_show(colour), cv2.COLOR_RGB2GRAY).any()
