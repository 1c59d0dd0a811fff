"""Images with the same pixels: faults of the user's own files, notes of a release."""

import io

import numpy as np
import pytest
import raw_data
from PIL import Image, PngImagePlugin

from defect_jax.data.prepare.check import find_faults, inspect
from defect_jax.data.prepare.prepare import prepare
from defect_jax.runtime.errors import UserError


def faults(root, tmp_path, **changes):
    data = raw_data.config("folder", root, tmp_path, **changes)
    return [str(fault).replace(f"{root}/", "") for fault in find_faults(data)]


def again(image: bytes, how: str) -> tuple[bytes, str]:
    """Returns the same pixels in another file, and its suffix."""
    pixels = Image.open(io.BytesIO(image))
    if how == "the same file":
        return image, "png"
    if how == "with a comment":
        comment = PngImagePlugin.PngInfo()
        comment.add_text("Comment", "saved again")
        return raw_data.encoded(pixels, pnginfo=comment), "png"
    if how == "as BMP":
        return raw_data.encoded(pixels, "BMP"), "bmp"
    if how == "as TIFF":
        return raw_data.encoded(pixels, "TIFF"), "tif"
    if how == "as 16 bits":
        return raw_data.encoded(np.asarray(pixels).astype(np.uint16) * 257), "png"
    return raw_data.encoded(pixels.convert("RGB")), "png"


HOW = ["the same file", "with a comment", "as BMP", "as TIFF", "as RGB", "as 16 bits"]


@pytest.mark.parametrize("how", HOW)
def test_one_image_with_two_labels(tmp_path, how):
    root = raw_data.folder_data(tmp_path / "raw")
    data, suffix = again((root / "images/bad/part_012.png").read_bytes(), how)
    raw_data.write(root / f"images/good/zz.{suffix}", data)
    assert faults(root, tmp_path) == [
        f"images/good/zz.{suffix}: shows the very pixels of images/bad/part_012.png, but is good "
        "and that one defective: correct one, or keep one of the two"
    ]
    with pytest.raises(UserError, match="shows the very pixels of images/bad/part_012.png, but"):
        prepare(raw_data.config("folder", root, tmp_path))
    assert not list((tmp_path / "prepared/folder").glob("[!.]*"))


def test_twelve_of_them_are_all_named(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw", good=20, defective=14)
    for number in range(12):
        image = (root / f"images/good/part_{number:03}.png").read_bytes()
        raw_data.write(root / f"images/x/{number:02}.png", image)
        raw_data.write(root / f"masks/x/{number:02}.png", raw_data.defect_mask())
    assert faults(root, tmp_path) == [
        f"images/x/{number:02}.png: shows the very pixels of images/good/part_{number:03}.png, but "
        "is defective and that one good: correct one, or keep one of the two"
        for number in range(12)
    ]


def test_one_image_with_two_masks(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw")
    image = (root / "images/bad/part_010.png").read_bytes()
    for name, mask in (("same", raw_data.defect_mask()), ("other", raw_data.defect_mask()[::-1])):
        raw_data.write(root / f"images/x/{name}.png", image)
        raw_data.write(root / f"masks/x/{name}.png", np.ascontiguousarray(mask))
    assert faults(root, tmp_path) == [
        "images/x/other.png: shows the very pixels of images/bad/part_010.png, but the two masks "
        "differ: correct one, or keep one of the two"
    ]


def test_an_empty_mask_is_none(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw")
    raw_data.write(root / "images/x.png", (root / "images/good/part_000.png").read_bytes())
    raw_data.write(root / "masks/x.png", np.zeros((12, 16), np.uint8))
    inspected = inspect(raw_data.config("folder", root, tmp_path))
    assert inspected.faults == []
    assert (
        "1 images are copies of others, with the very same pixels: images/good/part_000 = images/x"
    ) in inspected.info.notes


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("home", ["{}/images", "images/{}"])
def test_one_image_in_two_fixed_splits(tmp_path, home, how):
    root = tmp_path / "raw"
    for number, split in enumerate(("train", "val", "test")):
        for part in range(4):
            name = f"{home.format(split)}/{part}.png"
            raw_data.write(root / name, raw_data.noise(10 * number + part))
            if part > 1:
                raw_data.write(root / name.replace("images", "masks"), raw_data.defect_mask())
    train, test = (home.format(split) for split in ("train", "test"))
    data, suffix = again((root / train / "0.png").read_bytes(), how)
    raw_data.write(root / test / f"copy.{suffix}", data)
    (fault,) = faults(root, tmp_path)
    assert f"{test}/copy.{suffix}" in fault and f"{train}/0.png" in fault
    assert "in train" in fault and "in test" in fault and fault.endswith("keep one of the two")


@pytest.mark.parametrize("how", HOW)
def test_the_same_pixels_stay_in_one_split(tmp_path, how):
    root = raw_data.folder_data(tmp_path / "raw", good=12, defective=8)
    for number in range(20):
        kind = "good" if number < 12 else "bad"
        data, suffix = again((root / f"images/{kind}/part_{number:03}.png").read_bytes(), how)
        raw_data.write(root / f"images/{kind}/z_{number:03}.{suffix}", data)
        if kind == "bad":
            raw_data.write(root / f"masks/{kind}/z_{number:03}.png", raw_data.defect_mask())
    data = raw_data.config("folder", root, tmp_path)
    inspected, prepared = inspect(data), prepare(data)
    splits = {row.id: name for name, split in prepared.splits.items() for row in split.rows}
    groups = {row.id: row.group for split in prepared.splits.values() for row in split.rows}
    assert len(splits) == 40 and inspected.faults == []
    assert splits == {record.id: record.split for record, _ in inspected.stored}
    for id, split in splits.items():
        assert split == splits[id.replace("z_", "part_")]
        assert groups[id] == id.replace("z_", "part_")
    assert inspected.info == prepared.info
    assert [len(split.source) for split in prepared.splits.values()] == [
        len(split.rows) for split in prepared.splits.values()
    ]


def test_a_release_stays_as_it_is(tmp_path):
    root = raw_data.ksdd2_release(tmp_path / "raw", scale=0.1)
    for source, name in (("train/10001", "test/20001"), ("train/10025", "train/10002")):
        raw_data.write(root / f"{name}.png", (root / f"{source}.png").read_bytes())
        with Image.open(root / f"{source}.png") as image:
            empty = np.zeros((image.height, image.width), np.uint8)
        raw_data.write(root / f"{name}_GT.png", empty)
    inspected = inspect(raw_data.config("ksdd2", root, tmp_path))
    assert not [fault for fault in inspected.faults if "pixels" in fault.what]
    notes = inspected.info.notes
    assert "1 of these images have two different masks in the release" in notes
    assert any(
        note.startswith("leaking: ") and note.endswith("images are in two splits of the release")
        for note in notes
    )
    assert "the release names no parts: every image counts as a part of its own" in notes
