"""Every fault of a data set in one pass, and nothing changed."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import raw_data
from PIL import Image

from defect_jax.data.files.raw_files import open_root
from defect_jax.data.prepare.check import find_faults, inspect
from defect_jax.data.prepare.examine import examine
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.prepare.unprepared import unprepared
from defect_jax.data.sources import magnetic_tile
from defect_jax.data.sources.records import Record
from defect_jax.runtime.console import answer
from defect_jax.runtime.errors import UserError


def state(root: Path) -> dict:
    return {
        path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in root.rglob("*")
        if path.is_file()
    }


def texts(data) -> set[str]:
    return {str(fault).removeprefix(f"{data.root}/") for fault in find_faults(data)}


def test_a_data_set_without_faults(tmp_path):
    data = raw_data.config("folder", raw_data.folder_data(tmp_path / "raw"), tmp_path)
    inspected = inspect(data)
    assert inspected.faults == [] and len(inspected.stored) == 15
    prepared = prepare(data)
    assert inspected.info == prepared.info
    rows = {split: part.rows for split, part in unprepared(data, inspected).splits.items()}
    assert {split: [row.id for row in part] for split, part in rows.items()} == {
        split: [row.id for row in part.rows] for split, part in prepared.splits.items()
    }
    example = unprepared(data, inspected).splits["test"].source[1]
    stored = prepared.splits["test"].source[1]
    assert (example["image"], example["mask"]) == (stored["image"], stored["mask"])


def test_all_faults_in_one_pass(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw")
    whole = raw_data.encoded(raw_data.noise(5))
    cmyk = Image.fromarray(raw_data.noise(0, channels=3)).convert("CMYK")
    for name, content in {
        "images/good/part_000.png": whole[:-60],
        "images/good/part_001.png": b"text",
        "images/good/part_002.png": b"",
        "images/good/part_003.png": np.zeros((1000, 1001), np.uint8),
        "images/good/part_003b.jpg": raw_data.encoded(cmyk, "JPEG"),
        "images/good/part_004.jpg": raw_data.encoded(raw_data.noise(4), "JPEG"),
        "images/good/part_005.txt": b"text",
        "images/good/part_006.tif": raw_data.encoded(
            raw_data.noise(6),
            "TIFF",
            save_all=True,
            append_images=[Image.fromarray(raw_data.noise(7))],
        ),
        "masks/good/part_006.png": b"text",
        "masks/bad/part_010.png": raw_data.defect_mask(16, 12),
        "masks/bad/part_011.png": raw_data.encoded(raw_data.defect_mask())[:-4],
        "masks/bad/lost.png": raw_data.defect_mask(),
        "groups.csv": b"id,group\nimages/nowhere,1\n",
    }.items():
        raw_data.write(root / name, content)
    (root / "images/good/part_006.png").unlink()
    (root / "masks/bad/part_012.png").unlink()
    jpeg_mask = raw_data.encoded(raw_data.defect_mask(), "JPEG")
    raw_data.write(root / "masks/bad/part_012.jpg", jpeg_mask)
    data = raw_data.config("folder", root, tmp_path)
    before = state(tmp_path)
    found = texts(data)
    expected = {
        "images/good/part_000.png: is truncated or damaged",
        "images/good/part_001.png: is not an image, or its beginning is damaged",
        "images/good/part_002.png: is empty: copy it again",
        "images/good/part_003.png: is larger than 1 megapixels",
        "images/good/part_003b.jpg: is a CMYK image: save it as grey or RGB",
        "images/good/part_004.jpg: has the same id as part_004.png",
        "images/good/part_005.txt: is not an image",
        "images/good/part_006.tif: holds 2 images",
        "masks/good/part_006.png: is not an image",
        "masks/bad/part_010.png: is 12x16 px, but its image 16x12 px",
        "masks/bad/part_011.png: is truncated",
        "masks/bad/part_012.jpg: is a JPEG mask",
        "masks/bad/lost.png: is a mask without an image",
        "groups.csv: lists 'images/nowhere', but no image has that id",
        "groups.csv: does not list 'images/good/part_007'",
    }
    assert not [text for text in expected if not any(one.startswith(text) for one in found)]
    assert all("\n" not in text for text in found)
    assert len(found) == 14 + 16, "as above, and a line for each image that groups.csv forgot"
    assert state(tmp_path) == before
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize(
    "name, root, fault",
    [
        ("folder", "", "config.data.root: not set"),
        ("folder", "nowhere", "config.data.root: "),
        ("mnist", "", "config.data.name: 'mnist' is unknown"),
    ],
)
def test_nothing_to_read(tmp_path, name, root, fault):
    data = raw_data.config(name, root and tmp_path / root, tmp_path)
    (found,) = find_faults(data)
    assert str(found).startswith(fault)


def test_one_sided_and_empty_splits(tmp_path):
    raw_data.folder_data(tmp_path / "raw/train", defective=0)
    raw_data.folder_data(tmp_path / "raw/val", good=0, defective=3)
    data = raw_data.config("folder", tmp_path / "raw", tmp_path)
    assert texts(data) == {
        "split 'train': none of its 10 parts is defective: add defective parts with masks",
        "split 'val': none of its 3 parts is good: add good parts",
        "split 'test': holds no image: add some",
    }


def test_a_mask_that_contradicts_the_class(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw")
    data = raw_data.config("folder", root, tmp_path)
    names = "images/bad/part_010.png", "masks/bad/part_010.png"
    record = Record("id", *names, group="id", class_name="good", split="train")
    (fault,) = examine(open_root(data.root), data, 1, record).faults
    assert str(fault) == (
        f"{root}/masks/bad/part_010.png: marks a defect, but its image is filed as good: "
        "correct one of the two"
    )
    record = Record("id", names[0], None, group="id", class_name="MT_Crack", split="train")
    (fault,) = examine(open_root(data.root), data, 1, record).faults
    assert "marks no defect, but its image is filed as MT_Crack" in fault.what


def test_a_good_part_with_a_marked_mask_in_a_release_of_classes(tmp_path):
    root = raw_data.magnetic_tile_release(tmp_path / "raw")
    entry = next(entry for entry in magnetic_tile.protocol() if entry.class_name == "MT_Free")
    raw_data.write(root / f"{entry.id}.png", np.full((6, 8), 255, np.uint8))
    data = raw_data.config("magnetic_tile", root, tmp_path)
    assert texts(data) == {
        f"{entry.id}.png: marks a defect, but its image is filed as good: correct one of the two"
    }


def test_masks_that_hold_no_class_ids(tmp_path):
    root = raw_data.class_data(tmp_path / "raw")
    data = raw_data.config("folder", root, tmp_path, classes=("scratch", "dent", "stain"))
    assert find_faults(data) == []
    palette = Image.fromarray(raw_data.class_mask(1, 4))
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    (root / "masks/3/part_001.png").unlink()
    for name, content in {
        "masks/1/part_000.png": raw_data.class_mask(1, 7),
        "masks/1/part_001.png": raw_data.encoded(palette),
        "masks/2/part_000.png": np.stack([raw_data.class_mask(n) for n in (1, 2, 3)], -1),
        "masks/2/part_001.png": raw_data.class_mask(2)[:, :12],
        "masks/3/part_000.png": raw_data.encoded(raw_data.class_mask(3))[:-30],
        "masks/3/part_001.jpg": raw_data.encoded(raw_data.class_mask(3), "JPEG"),
    }.items():
        raw_data.write(root / name, content)
    names = "but config.data.classes names 3: add the class, or correct the mask"
    found = sorted(texts(data))
    assert found.pop(4).startswith("masks/3/part_000.png: is truncated")
    assert found == [
        f"masks/1/part_000.png: holds the value 7, {names}",
        f"masks/1/part_001.png: holds the value 4, {names}",
        "masks/2/part_000.png: is a colour mask, but values are class ids: "
        "save it as grey or palette PNG",
        "masks/2/part_001.png: is 12x12 px, but its image 16x12 px: "
        "save the mask at the image's size",
        "masks/3/part_001.jpg: is a JPEG mask, whose compression changes class ids: save it as PNG",
    ]
    with pytest.raises(UserError, match=r"holds the value 7, .* \(and 5 more: --mode=check"):
        prepare(data)


def test_class_names_that_do_not_do(tmp_path):
    root = raw_data.class_data(tmp_path / "raw")
    (found,) = find_faults(raw_data.config("folder", root, tmp_path, classes=("dent", "dent")))
    assert found.where == "config.data.classes"
    assert found.what == "'dent' is named twice: give each class its own name"


def test_a_file_that_cannot_be_read(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw")
    (root / "images/good/part_000.png").unlink()
    (root / "images/good/part_000.png").symlink_to(tmp_path / "nowhere")
    data = raw_data.config("folder", root, tmp_path)
    assert texts(data) == {
        f"images/good/part_000.png: is a link to '{tmp_path / 'nowhere'}', which cannot be "
        "followed: mend or remove it"
    }


def test_a_turned_image_is_named_where_sizes_differ(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw")
    exif = Image.Exif()
    exif[0x112] = 6
    turned = raw_data.encoded(raw_data.noise(0), exif=exif)
    raw_data.write(root / "images/bad/part_010.png", turned)
    raw_data.write(root / "masks/bad/part_010.png", raw_data.defect_mask(16, 12))
    (fault,) = find_faults(raw_data.config("folder", root, tmp_path))
    assert "carries an EXIF rotation, which does not count" in fault.what


@pytest.mark.parametrize(
    ("group", "shown"),
    [("\u202eg1", r"\u202e"), ("g\x1b]52;c;aGk=\x07", r"\x1b\x07"), ("a\nb", r"\n")],
)
def test_a_group_that_drives_a_terminal_is_a_fault_and_is_shown_harmless(
    tmp_path, capsys, group, shown
):
    root = raw_data.folder_data(tmp_path / "raw")
    ids = [f"images/{kind}/part_{n:03}" for n in range(15) for kind in (["good", "bad"][n > 9],)]
    lines = "".join(f'{id},"{group if n == 3 else n}"\n' for n, id in enumerate(ids))
    raw_data.write(root / "groups.csv", f"id,group\n{lines}".encode())
    data = raw_data.config("folder", root, tmp_path)
    (fault,) = find_faults(data)
    answer(str(fault))
    said = capsys.readouterr()
    assert f"its group has the characters {shown}: rename it" in said.out
    assert not set(said.out + said.err) & set("\x1b\x07\u202e")
    with pytest.raises(UserError, match="its group has the characters"):
        prepare(data)


def test_images_whose_masks_would_be_one_file_are_faults(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw")
    for name in ("a.jpg", "a.png/b.png", "good/PART_003.png"):
        raw_data.write(root / "images" / name, raw_data.encoded(raw_data.noise(9), "PNG"))
    found = texts(raw_data.config("folder", root, tmp_path))
    pairs = [("a.jpg", "a.png/b.png"), ("good/part_003.png", "good/PART_003.png")]
    for one, other in [*pairs, (pairs[1][1], pairs[1][0])]:
        assert (
            f"images/{one}: 'images/{one}' and 'images/{other}' would write the same files on some "
            "disks: rename one of them"
        ) in found
