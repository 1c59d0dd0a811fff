"""Which split the folders of a user's own data fix, and what is refused or named."""

from collections import Counter

import pytest
import raw_data

from defect_jax.data.files.raw_files import open_root
from defect_jax.data.sources import folder
from defect_jax.data.sources.folder_layout import place_of
from defect_jax.data.sources.records import SPLITS
from defect_jax.runtime.errors import UserError


def write_parts(root, home, good=2, defective=2, masks=None):
    """Writes parts below `home`, an images folder, and masks of the defective ones."""
    masks = home.lower().replace("images", "masks") if masks is None else masks
    for number in range(good + defective):
        name = f"{home.strip('/').replace('/', '_')}_{number}.png"
        seed = 100 * len(list(root.rglob("*.png"))) + number
        raw_data.write(root / home / name, raw_data.noise(seed))
        if number >= good:
            raw_data.write(root / masks / name, raw_data.defect_mask())


def catalogue(root, tmp_path, needed=SPLITS):
    data = raw_data.config("folder", root, tmp_path)
    return folder.catalogue(open_root(data.root), data, needed)


def kinds(found):
    return Counter((record.split, record.class_name) for record in found.records)


WHOLE = {(split, kind): 2 for split in SPLITS for kind in ("good", "defect")}


@pytest.mark.parametrize(
    "homes",
    [
        ("train/images", "val/images", "test/images"),
        ("images/train", "images/val", "images/test"),
        ("train/images", "valid/images", "test/images"),
        ("Training/images", "Validation/images", "Testing/images"),
        ("images/TRAIN", "images/Valid", "images/Test"),
        ("Images/train", "Images/validation", "Images/test"),
        ("release/v1/images/train", "release/v1/images/val", "release/v1/images/test"),
        ("release/train/images/a/b", "release/valid/images/a/b", "release/test/images/a/b"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_splits_that_folders_fix(tmp_path, homes, packed):
    root = tmp_path / "raw"
    for home in homes:
        write_parts(root, home)
    files = raw_data.pack_tar(root, tmp_path / "raw.tar") if packed else root
    found = catalogue(files, tmp_path)
    assert not found.faults and not found.notes
    assert kinds(found) == WHOLE
    homes_of = {split: home.lower() for split, home in zip(SPLITS, homes, strict=True)}
    for record in found.records:
        assert record.image.lower().startswith(homes_of[record.split])
        assert f"{record.id}.png" == record.image.removeprefix("release/v1/").removeprefix(
            "release/"
        )
    only = catalogue(files, tmp_path, ("test",))
    assert {record.split for record in only.records} == {"test"} and len(only.records) == 4


def test_masks_may_have_the_other_arrangement(tmp_path):
    for split in SPLITS:
        write_parts(tmp_path / "raw", f"{split}/images", masks=f"masks/{split}")
    found = catalogue(tmp_path / "raw", tmp_path)
    assert not found.faults and kinds(found) == WHOLE


@pytest.mark.parametrize("home", ["images/train", "train/images"])
def test_a_split_for_validation_is_taken_from_train_where_there_is_none(tmp_path, home):
    for split in ("train", "test"):
        write_parts(tmp_path / "raw", home.replace("train", split), good=5, defective=5)
    found = catalogue(tmp_path / "raw", tmp_path)
    counts = Counter(record.split for record in found.records)
    assert counts["test"] == 10 and counts["train"] + counts["val"] == 10 and counts["val"] >= 2


@pytest.mark.parametrize(
    "homes, says",
    [
        (("train/images", "images/val"), "raw holds images/val/ beside train/: put the splits"),
        (("images/train", "images"), "raw holds images/ beside images/train/: keep one"),
        (("images/train", "images/holdout"), "raw holds images/ beside images/train/: keep one"),
        (("images/line_1", "train/images"), "raw holds images/ beside train/: keep one"),
        (("val/images", "valid/images", "train/images"), "val/images/ beside valid/images/ for"),
        (("images/val", "images/Validation"), "images/Validation/ beside images/val/ for"),
        (("images", "Images"), "holds Images/ beside images/ for images: keep one"),
        (("images/line_1/train", "images/line_1/test"), "holds 4 images in images/line_1/te"),
        (("train/images/a/val", "test/images"), "holds 4 images in train/images/a/val/: to fix"),
        (("holdout/images", "dev/images"), "holds several data sets, dev/, holdout/"),
    ],
)
def test_folders_that_contradict_each_other(tmp_path, homes, says):
    for home in homes:
        write_parts(tmp_path / "raw", home)
    with pytest.raises(UserError, match=says) as error:
        catalogue(tmp_path / "raw", tmp_path)
    assert str(tmp_path / "raw") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("stray", ["holdout/images", "dev/images", "eval/masks", "images_test"])
def test_a_folder_that_looks_like_a_split_is_named(tmp_path, stray):
    for split in SPLITS:
        write_parts(tmp_path / "raw", f"{split}/images")
    write_parts(tmp_path / "raw", stray, good=3, defective=0)
    found = catalogue(tmp_path / "raw", tmp_path)
    assert kinds(found) == WHOLE
    first, second = found.notes
    assert first.startswith("ignored 3 files outside images/, masks/, bad/, ignore/: ")
    assert second.startswith(
        f"3 of them are images, in {stray}/ (3): only images/, masks/, bad/, ignore/ "
    )


@pytest.mark.parametrize(
    "home, masks", [("images", "masks/train"), ("images/train", "masks"), ("train/images", "masks")]
)
def test_no_part_turns_good_because_its_mask_is_elsewhere(tmp_path, home, masks):
    write_parts(tmp_path / "raw", home, masks=masks)
    found = catalogue(tmp_path / "raw", tmp_path)
    assert len(found.faults) == 2
    assert all("is a mask without an image" in fault.what for fault in found.faults)


def test_files_that_are_no_images_beside_the_splits(tmp_path):
    write_parts(tmp_path / "raw", "images/train")
    raw_data.write(tmp_path / "raw/images/list.webp", b"RIFF")
    found = catalogue(tmp_path / "raw", tmp_path)
    assert [fault.where for fault in found.faults] == [f"{tmp_path}/raw/images/list.webp"]


@pytest.mark.parametrize("name", ["images.png", "train/1.png", "notes/images/1.png", "train/a/b"])
def test_no_place(name):
    assert place_of(name) is None


@pytest.mark.parametrize("name", ["part_003_mask", "part_003-GT", "part_003_ground_truth"])
def test_a_mask_that_lies_beside_its_image_is_a_fault(tmp_path, name):
    root = raw_data.folder_data(tmp_path / "raw")
    raw_data.write(root / f"images/good/{name}.png", raw_data.defect_mask())
    raw_data.write(root / "images/good/lonely_mask.png", raw_data.noise(77))  # of no image: a part
    (fault,) = catalogue(root, tmp_path).faults
    assert fault.where.endswith(f"images/good/{name}.png")
    assert fault.what.startswith("seems to be the mask of part_003.png: move it into masks/")
