"""The catalogue of each data set: which images, which split, which faults."""

import shutil
from collections import Counter, defaultdict

import numpy as np
import pytest
import raw_data

from defect_jax.data.files.raw_files import open_root
from defect_jax.data.prepare.builder import builder_class
from defect_jax.data.sources import folder, ksdd2, magnetic_tile
from defect_jax.data.sources.data_sets import DATA_SETS, data_set
from defect_jax.data.sources.records import SPLITS
from defect_jax.runtime.errors import UserError


def catalogue(data_set, data, needed=SPLITS):
    return data_set.catalogue(open_root(data.root), data, needed)


def texts(found):
    return [str(fault) for fault in found.faults]


def counts(found):
    return Counter(record.split for record in found.records)


def split_of(found):
    return {record.id: record.split for record in found.records}


def test_builders_are_named_as_the_data_sets():
    assert {name: builder_class(name).name for name in DATA_SETS} == {
        name: name for name in ("synthetic", "magnetic_tile", "ksdd2", "bsdata", "folder", "tfds")
    }
    with pytest.raises(UserError, match="config.data.name: 'mnist' is unknown: give synthetic"):
        data_set("mnist")


# Magnetic tile.


KINDS = ["MT_Free", "MT_Blowhole", "MT_Break", "MT_Crack", "MT_Fray", "MT_Uneven"]


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiles")
    root = raw_data.magnetic_tile_release(path / "release")
    return raw_data.pack_tar(root, path / "tiles.tar", top="Magnetic-tile/data")


def test_the_protocol_is_that_of_the_release():
    entries = magnetic_tile.protocol()
    assert len({entry.id for entry in entries}) == 1344
    assert Counter(entry.class_name for entry in entries) == {
        "MT_Free": 952, "MT_Blowhole": 115, "MT_Uneven": 103, "MT_Break": 85, "MT_Crack": 57,
        "MT_Fray": 32,
    }  # fmt: skip
    folds = defaultdict(set)
    for entry in entries:
        folds[entry.group].add(entry.fold)
    assert len(folds) == 202 and all(len(fold) == 1 for fold in folds.values())
    by_fold = Counter(entry.fold for entry in entries)
    assert [by_fold[fold] for fold in range(5)] == [269, 272, 267, 270, 266]


@pytest.mark.parametrize("fold", range(5))
def test_magnetic_tile_folds(tiles, tmp_path, fold):
    data = raw_data.config("magnetic_tile", tiles, tmp_path, fold=fold)
    found = catalogue(magnetic_tile, data)
    assert not found.faults and not found.leaking and len(found.records) == 1344
    assert found.classes == tuple(KINDS[1:])
    (note,) = found.notes
    assert note.startswith("of 4 defective images with an empty mask the label alone counts: MT_")
    assert all(name in note for name in raw_data.EMPTY_UNEVEN)
    folds = {entry.id: entry.fold for entry in magnetic_tile.protocol()}
    for record in found.records:
        expected = {fold: "test", (fold + 1) % 5: "val"}.get(folds[record.id], "train")
        assert record.split == expected
        assert record.class_id == max(1, KINDS.index(record.id.split("/")[0]))
        assert record.image == f"Magnetic-tile/data/{record.id}.jpg"
        assert (record.class_name == "good") == record.id.startswith("MT_Free/")


def test_magnetic_tile_random_split(tiles, tmp_path):
    data = raw_data.config("magnetic_tile", tiles, tmp_path, split="random")
    found = catalogue(magnetic_tile, data)
    assert found.leaking and any(note.startswith("leaking: ") for note in found.notes)
    assert counts(found).total() == 1344
    for name in ("good", "MT_Fray"):
        of_class = Counter(r.split for r in found.records if r.class_name == name)
        total = of_class.total()
        for split, share in folder.SHARES.items():
            assert abs(of_class[split] - share * total) < 3 * (total * share * (1 - share)) ** 0.5
    only_test = catalogue(magnetic_tile, data, ("test",))
    assert split_of(only_test) == {i: s for i, s in split_of(found).items() if s == "test"}


def test_magnetic_tile_faults(tmp_path):
    root = raw_data.magnetic_tile_release(tmp_path / "release")
    data = raw_data.config("magnetic_tile", root, tmp_path)
    test_entry = next(e for e in magnetic_tile.protocol() if e.fold == 0)
    train_entry = next(e for e in magnetic_tile.protocol() if e.fold == 3)
    (root / f"{test_entry.id}.jpg").unlink()
    (root / f"{train_entry.id}.png").unlink()
    raw_data.write(root / "MT_Crack/Imgs/mine.jpg", b"")
    assert sorted(texts(catalogue(magnetic_tile, data))) == sorted(
        [
            f"{root}/MT_Crack/Imgs/mine.jpg: is no image of the release, so it has no group and "
            "no fold: move it elsewhere",
            f"{root}/{test_entry.id}.jpg: is missing: copy the release again",
            f"{root}/{train_entry.id}.png: is missing: copy the release again",
        ]
    )
    only_test = texts(catalogue(magnetic_tile, data, ("test",)))
    assert not any(train_entry.id in text for text in only_test)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"fold": 5}, "config.data.fold: 5 is no fold: give 0 to 4"),
        ({"split": "tile"}, "config.data.split: 'tile' is unknown"),
    ],
)
def test_magnetic_tile_options(tiles, tmp_path, changes, reason):
    with pytest.raises(UserError, match=reason):
        catalogue(magnetic_tile, raw_data.config("magnetic_tile", tiles, tmp_path, **changes))


# KolektorSDD2.


@pytest.fixture(scope="module")
def kolektor(tmp_path_factory):
    return raw_data.ksdd2_release(tmp_path_factory.mktemp("ksdd2") / "release", scale=0.1)


@pytest.fixture(params=["folder", "zip", "zip with a folder"])
def kolektor_root(request, kolektor, tmp_path):
    if request.param == "folder":
        return kolektor
    top = "KolektorSDD2" if "with" in request.param else ""
    return raw_data.pack_zip(kolektor, tmp_path / "ksdd2.zip", top)


def test_ksdd2(kolektor_root, tmp_path):
    found = catalogue(ksdd2, raw_data.config("ksdd2", kolektor_root, tmp_path))
    assert not found.faults and found.classes == ("defect",)
    assert counts(found) == {"train": 27, "val": 3, "test": 10}, "a fifth on average"
    assert {record.class_id for record in found.records} == {1}
    classes = Counter((record.split, record.class_name) for record in found.records)
    assert classes["val", "defect"] == 1 and classes["test", "defect"] == 4
    assert len({record.id for record in found.records}) == 40
    assert all(record.id.startswith(("train/1", "test/2")) for record in found.records)
    (note,) = found.notes
    assert note.startswith("skipped 7 files") and "10301_GT (copy).png" in note
    assert not any("copy" in record.image for record in found.records)


def test_ksdd2_test_split_alone(kolektor, tmp_path):
    root = tmp_path / "release"
    shutil.copytree(kolektor / "test", root / "test")
    data = raw_data.config("ksdd2", root, tmp_path)
    found = catalogue(ksdd2, data, ("test",))
    assert not found.faults and counts(found) == {"test": 10}
    assert counts(catalogue(ksdd2, data)) == {"test": 10}


def test_ksdd2_seed(kolektor, tmp_path):
    def validation(seed):
        found = catalogue(ksdd2, raw_data.config("ksdd2", kolektor, tmp_path, seed=seed))
        return sorted(record.id for record in found.records if record.split == "val")

    assert validation(0) == validation(0) != validation(1)


def test_ksdd2_faults(kolektor, tmp_path):
    root = shutil.copytree(kolektor, tmp_path / "release")
    (root / "train/10003.png").unlink()
    (root / "test/20001_GT.png").unlink()
    data = raw_data.config("ksdd2", root, tmp_path)
    test_fault = f"{root}/test/20001.png: has no mask: add 20001_GT.png"
    assert texts(catalogue(ksdd2, data)) == [
        test_fault,
        f"{root}/train/10003_GT.png: is a mask without an image: add 10003.png or remove it",
    ]
    assert texts(catalogue(ksdd2, data, ("test",))) == [test_fault]


@pytest.mark.parametrize("name", ["magnetic_tile", "ksdd2", "bsdata", "folder"])
def test_a_root_without_the_layout(name, tmp_path):
    raw_data.write(tmp_path / "raw/other/1.png", raw_data.noise(0))
    data = raw_data.config(name, tmp_path / "raw", tmp_path)
    with pytest.raises(UserError, match=r"config.data.root: .*/raw holds no .*"):
        catalogue(DATA_SETS[name], data)


# The user's own folder.


def test_folder(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw", good=20, defective=10)
    raw_data.write(root / "masks/good/part_000.png", np.zeros((12, 16), np.uint8))
    raw_data.write(root / "notes.txt", b"about")
    found = catalogue(folder, raw_data.config("folder", root, tmp_path))
    assert not found.faults
    assert found.notes == ["ignored 1 files outside images/, masks/, bad/, ignore/: notes.txt"]
    assert counts(found) == {"train": 20, "val": 5, "test": 5}
    by_id = {record.id: record for record in found.records}
    empty = by_id["images/good/part_000"]
    assert (empty.mask, empty.class_name) == ("masks/good/part_000.png", "good")
    assert by_id["images/good/part_001"].mask is None
    assert by_id["images/bad/part_020"].class_name == "defect"
    classes = Counter((record.split, record.class_name) for record in found.records)
    assert [classes[split, "defect"] for split in SPLITS] == [6, 2, 2]
    assert found.classes == ("defect",) and {r.class_id for r in found.records} == {1}


NAMES = ("scratch", "dent", "stain")


def test_folder_with_classes(tmp_path):
    root = raw_data.class_data(tmp_path / "raw")
    raw_data.write(root / "masks/good/part_000.png", np.zeros((12, 16), np.uint8))
    found = catalogue(folder, raw_data.config("folder", root, tmp_path, classes=NAMES))
    assert not found.faults and found.classes == NAMES
    assert {record.class_id for record in found.records} == {None}
    called = {"good": "good", "1": "scratch", "2": "dent", "3": "stain"}
    assert all(r.class_name == called[r.id.split("/")[1]] for r in found.records)
    classes = Counter((record.split, record.class_name) for record in found.records)
    assert all(sum(classes[split, name] for split in SPLITS) == 5 for name in NAMES)
    assert {split for split, name in classes if name != "good"} == set(SPLITS)


def test_folder_with_one_named_class(tmp_path):
    root = raw_data.class_data(tmp_path / "raw")
    (record,) = (
        record
        for record in catalogue(
            folder, raw_data.config("folder", root, tmp_path, classes=("hole",))
        ).records
        if record.id == "images/1/part_000"
    )
    assert (record.class_name, record.class_id) == ("hole", None)


@pytest.mark.parametrize("names", [("dent", "dent"), ("", "dent"), ("good",), ("a",) * 256])
def test_folder_with_names_that_do_not_do(tmp_path, names):
    root = raw_data.class_data(tmp_path / "raw")
    with pytest.raises(UserError, match=r"^config\.data\.classes: "):
        catalogue(folder, raw_data.config("folder", root, tmp_path, classes=names))


@pytest.mark.parametrize("suffix", ["png", "PNG", "jpg", "JPEG", "bmp", "tif", "TIFF"])
def test_folder_suffixes(tmp_path, suffix):
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())
    raw_data.write(tmp_path / f"raw/images/a.b.{suffix}", raw_data.encoded(raw_data.noise(0), kind))
    raw_data.write(tmp_path / "raw/masks/a.b.png", raw_data.defect_mask())
    found = catalogue(folder, raw_data.config("folder", tmp_path / "raw", tmp_path))
    (record,) = found.records
    assert (record.id, record.class_name) == ("images/a.b", "defect") and not found.faults


@pytest.mark.parametrize("splits", [("train", "val", "test"), ("train", "test")])
def test_folder_with_fixed_splits(tmp_path, splits):
    for split in splits:
        raw_data.folder_data(tmp_path / "raw" / split)
    data = raw_data.config("folder", tmp_path / "raw", tmp_path)
    found = catalogue(folder, data)
    assert not found.faults
    if "val" in splits:
        assert counts(found) == {"train": 15, "val": 15, "test": 15} and not found.notes
        assert all(r.id.startswith(f"{r.split}/images/") for r in found.records)
    else:
        assert counts(found) == {"train": 12, "val": 3, "test": 15}
        assert found.notes == [
            "there is no val/: about a fifth of train/, by group, is used for validation"
        ]
    shutil.rmtree(tmp_path / "raw/train")
    only_test = catalogue(folder, data, ("test",))
    assert not only_test.faults and counts(only_test) == {"test": 15}


def test_folder_groups(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw", good=20, defective=10)
    ids = sorted(
        p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("images/**/*.png")
    )
    lines = [f"{id}, part {number // 3} " for number, id in enumerate(ids)]
    raw_data.write(root / "groups.csv", "\r\n".join(["\ufeffid,group", *lines, ""]).encode())
    found = catalogue(folder, raw_data.config("folder", root, tmp_path))
    assert not found.faults and not found.notes
    groups = {record.id: record.group for record in found.records}
    assert groups == {id: f"part {number // 3}" for number, id in enumerate(ids)}
    places = defaultdict(set)
    for record in found.records:
        places[record.group].add(record.split)
    assert all(len(splits) == 1 for splits in places.values())


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "groups.csv: begins with '', and not with the line 'id,group': add it"),
        ("name,part\n", "groups.csv: begins with 'name,part', and not with the line 'id,group'"),
        ("id,group\nimages/a\n", "groups.csv, line 2: is no pair id,group"),
        ("id,group\nimages/a,1,2\n", "groups.csv, line 2: is no pair id,group"),
        ("id,group\n\nimages/a,\n", "groups.csv, line 3: is no pair id,group"),
        (
            "id,group\nimages/a,1\nimages/a,2\n",
            "groups.csv, line 3: names 'images/a' a second time",
        ),
        ("id,group\nimages/a,1\nimages/b,1\n", "groups.csv: lists 'images/b', but no image"),
        ("id,group\nimages/b,1\n", "groups.csv: does not list 'images/a': add its line"),
        ('id,group\n"images/a,1\n', "groups.csv: is no CSV file in UTF-8"),
        ("id,group\nimages/\udcff,1\n", "groups.csv: is no CSV file in UTF-8"),
    ],
)
def test_folder_groups_that_are_malformed(tmp_path, text, reason):
    raw_data.write(tmp_path / "raw/images/a.png", raw_data.noise(0))
    raw_data.write(tmp_path / "raw/groups.csv", text.encode(errors="surrogateescape"))
    found = catalogue(folder, raw_data.config("folder", tmp_path / "raw", tmp_path))
    assert any(reason in fault for fault in texts(found))


def test_a_group_across_fixed_folders(tmp_path):
    for split in ("train", "test"):
        raw_data.write(tmp_path / f"raw/{split}/images/a.png", raw_data.noise(0))
    raw_data.write(tmp_path / "raw/groups.csv", b"id,group\ntrain/images/a,1\ntest/images/a,1\n")
    data = raw_data.config("folder", tmp_path / "raw", tmp_path)
    assert texts(catalogue(folder, data)) == [
        f"{tmp_path}/raw/groups.csv: group '1' is in test/ and train/: "
        "images of one group belong into one split"
    ]
    assert texts(catalogue(folder, data, ("test",))) == []


def test_folder_faults(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw")
    raw_data.write(root / "images/good/part_000.JPG", raw_data.encoded(raw_data.noise(0), "JPEG"))
    raw_data.write(root / "masks/bad/part_010.bmp", raw_data.encoded(raw_data.defect_mask(), "BMP"))
    raw_data.write(root / "masks/lost.png", raw_data.defect_mask())
    raw_data.write(root / "images/list.txt", b"text")
    raw_data.write(root / "images/.thumbnail.png", b"junk")
    assert texts(catalogue(folder, raw_data.config("folder", root, tmp_path))) == [
        f"{root}/images/list.txt: is not an image (.png .jpg .jpeg .bmp .tif .tiff): "
        "move it elsewhere",
        f"{root}/images/good/part_000.JPG: has the same id as part_000.png: keep one, or rename",
        f"{root}/masks/bad/part_010.bmp: has the same id as part_010.png: keep one, or rename",
        f"{root}/masks/lost.png: is a mask without an image: there is no images/lost.*",
    ]


def test_images_beside_fixed_splits(tmp_path):
    raw_data.folder_data(tmp_path / "raw")
    raw_data.folder_data(tmp_path / "raw/train")
    with pytest.raises(UserError, match="holds images/ beside train/: keep one of the two"):
        catalogue(folder, raw_data.config("folder", tmp_path / "raw", tmp_path))
