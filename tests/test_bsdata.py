"""BSData: what its names say, masks from polygons, and how the catalogue holds together."""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest
import raw_data

from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.images import decode_image
from defect_jax.data.files.record_encoding import decode_classes
from defect_jax.data.prepare.check import find_faults
from defect_jax.data.prepare.examine import examine
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.sources import bsdata
from defect_jax.data.sources.data_sets import data_set
from defect_jax.data.sources.records import SPLITS
from defect_jax.runtime.errors import UserError

STEM = "01_200901053521_277500_315_crop_1"
SQUARE = [[3, 2], [6, 2], [6, 4], [3, 4]]


@pytest.fixture
def root(tmp_path):
    return raw_data.bsdata_release(tmp_path / "release")


def catalogue(data, needed=SPLITS):
    return data_set("bsdata").catalogue(data_set("bsdata").open(data), data, needed)


def texts(found):
    return [str(fault) for fault in found.faults]


def mask_of(label, root, data):
    raw_data.write(root / f"label/{STEM}.json", label)
    return decode_classes(data_set("bsdata").open(data).read(f"label/{STEM}.json"))


@pytest.mark.parametrize("kind", ["folder", "tar", "zip with a folder"])
def test_the_release(root, tmp_path, kind):
    top = "BSData-main/" if "with" in kind else ""
    if kind == "tar":
        root = raw_data.pack_tar(root, tmp_path / "bsdata.tar")
    elif top:
        root = raw_data.pack_zip(root, tmp_path / "bsdata.zip", top)
    found = catalogue(raw_data.config("bsdata", root, tmp_path))
    assert not found.faults and not found.leaking and found.classes == ("pitting",)
    assert len(found.records) == 9 * 3 + 8
    (record,) = (record for record in found.records if record.id == f"data/{STEM}")
    assert (record.image, record.mask) == (f"{top}data/{STEM}.jpg", f"{top}label/{STEM}.json")
    assert (record.group, record.class_name, record.class_id) == ("01 turn 13", "pitting", None)
    (note,) = found.notes
    assert note.startswith("left out 3 images without a label, good or not: 01_201001053521_477")


def test_stretches_are_never_split(root, tmp_path):
    places = defaultdict(set)
    for seed in range(20):
        found = catalogue(raw_data.config("bsdata", root, tmp_path, seed=seed))
        for record in found.records:
            places[record.group, seed].add(record.split)
        assert set(Counter(record.split for record in found.records)) == set(SPLITS)
    assert len(places) == 20 * (7 + 5)
    assert all(len(splits) == 1 for splits in places.values())


def test_one_split_alone_and_the_seed(root, tmp_path):
    data = raw_data.config("bsdata", root, tmp_path)
    every = catalogue(data).records
    assert catalogue(data, ("test",)).records == [r for r in every if r.split == "test"]
    other = catalogue(raw_data.config("bsdata", root, tmp_path, seed=1)).records
    assert {r.id for r in other} == {r.id for r in every} and other != every


@pytest.mark.parametrize(
    "one, other, together",
    [
        ("01_200905233301_395000_270_crop_2", "01_200916071317_397500_315_crop_1", True),
        ("01_200905233301_395000_270_crop_2", "01_200905233301_430000_180_crop_2", False),
        ("01_200905233301_395000_270_crop_2", "02_200905233301_395000_270_crop_2", False),
        ("KGT2-V-318-A08_crop_3", "KGT2-V-319-A08_crop_3", True),
        ("KGT2-V-343-A09_crop_3", "KGT2-S-344-A09_crop_0", True),
        ("KGT2-V-319-A08_crop_3", "KGT2-V-327-A09_crop_3", False),
        ("KGT1-S-062-A02_crop_0", "KGT3-S-062-A02_crop_0", False),
    ],
)
def test_which_names_show_the_same_stretch(one, other, together):
    assert (bsdata.group_of(one) == bsdata.group_of(other)) == together


@pytest.mark.parametrize("name", ["mine", "01_2009_395000_270_crop_2", "KGT2-X-318-A08_crop_3"])
def test_names_of_another_kind(root, tmp_path, name):
    raw_data.write(root / f"data/{name}.jpg", raw_data.encoded(raw_data.noise(0), "JPEG"))
    raw_data.write(root / f"label/{name}.json", raw_data.bsdata_label(SQUARE))
    found = catalogue(raw_data.config("bsdata", root, tmp_path))
    assert bsdata.group_of(name) is None
    assert texts(found) == [
        f"{root}/data/{name}.jpg: has a name that does not tell what it shows: "
        "name it as the release does"
    ]
    assert len(found.records) == 35


def test_faults_of_names(root, tmp_path):
    (root / f"data/{STEM}.jpg").unlink()
    found = catalogue(raw_data.config("bsdata", root, tmp_path))
    assert texts(found) == [
        f"{root}/label/{STEM}.json: is a label without an image: add data/{STEM}.jpg or remove it"
    ]
    for label in root.glob("label/*"):
        label.unlink()
    with pytest.raises(UserError, match=r"config.data.root: .*/release holds no label/\*.json"):
        catalogue(raw_data.config("bsdata", root, tmp_path))


def test_polygons_are_drawn_as_one_mask(root, tmp_path):
    data = raw_data.config("bsdata", root, tmp_path)
    expected = (raw_data.defect_mask() > 0).astype(np.uint8)
    drawn = mask_of(raw_data.bsdata_label(SQUARE), root, data)
    np.testing.assert_array_equal(drawn, expected)
    far = [[10, 8], [10.2, 8], [10.2, 8.2]]
    two = mask_of(raw_data.bsdata_label(SQUARE, SQUARE[:3], far), root, data)
    assert two[8, 10] == 1 and two.sum() == expected.sum() + 1, "the smallest keeps a pixel"
    assert not mask_of(raw_data.bsdata_label(), root, data).any()
    assert mask_of(raw_data.bsdata_label([[0, 0], [16, 0], [16, 12], [0, 12]]), root, data).all()


@pytest.mark.parametrize(
    "label, reason",
    [
        (b"", "is no label of labelme (JSONDecodeError("),
        (b"\xff\xd8", "is no label of labelme (UnicodeDecodeError("),
        (b"[]", "is no label of labelme (TypeError("),
        (b'{"imageWidth": 16}', "is no label of labelme (KeyError('imageHeight')): copy it again"),
        (b'{"imageWidth": 1e999}', "is no label of labelme (OverflowError("),
        (b"[" * 100_000, "is no label of labelme, but nested deeply: copy it again"),
        (raw_data.bsdata_label(width=0), "speaks of an image of 0x12 px: copy it again"),
        (
            raw_data.bsdata_label(width=10**9),
            "speaks of an image of more than 1 megapixels: copy it again, "
            "or raise config.data.max_megapixels if you trust it",
        ),
        (raw_data.bsdata_label(SQUARE[:2]), "holds a shape that is no polygon: draw it as one"),
        (raw_data.bsdata_label([[1], [2], [3]]), "holds a shape that is no polygon"),
        (raw_data.bsdata_label(SQUARE).replace(b'"polygon"', b'"circle"'), "holds a shape that is"),
        (raw_data.bsdata_label([[1, 2], [3]]), "is no label of labelme (ValueError("),
        (raw_data.bsdata_label([[0, 0], [17, 0], [0, 12]]), "holds a polygon that leaves its"),
        (raw_data.bsdata_label([[0, 0], [float("nan"), 0], [0, 1]]), "holds a polygon that leaves"),
    ],
)
def test_labels_that_cannot_be_drawn(root, tmp_path, label, reason):
    data = raw_data.config("bsdata", root, tmp_path)
    with pytest.raises(BadImage) as caught:
        mask_of(label, root, data)
    assert str(caught.value).startswith(reason)
    found = [fault for fault in find_faults(data) if fault.where.endswith(".json")]
    assert [str(fault) for fault in found] == [f"{root}/label/{STEM}.json: {caught.value}"]


def test_a_label_of_another_size(root, tmp_path):
    data = raw_data.config("bsdata", root, tmp_path)
    raw_data.write(root / f"label/{STEM}.json", raw_data.bsdata_label(SQUARE, width=15))
    (record,) = (r for r in catalogue(data).records if r.id == f"data/{STEM}")
    (fault,) = examine(data_set("bsdata").open(data), data, 1, record).faults
    assert fault.where == f"{root}/label/{STEM}.json"
    assert fault.what.startswith("is 15x12 px, but its image 16x12 px")


def test_a_release_with_good_parts_is_prepared(tmp_path):
    root = raw_data.bsdata_release(tmp_path / "release", good=5)
    data = raw_data.config("bsdata", root, tmp_path)
    assert find_faults(data) == []
    prepared = prepare(data)
    rows = [row for split in prepared.splits.values() for row in split.rows]
    assert prepared.info.classes == ["pitting"] and prepared.info.channels == 3
    labels = Counter((row.class_name, row.label, row.defect_px) for row in rows)
    assert labels == {("pitting", 1, 12): 35, ("good", 0, 0): 5}
    element = next(iter(prepared.splits["test"].source))
    name = element["id"].decode()
    expected = decode_image((root / f"{name}.jpg").read_bytes())
    np.testing.assert_array_equal(decode_image(element["image"]), expected)
    shapes = json.loads((root / f"{name.replace('data', 'label')}.json").read_text())["shapes"]
    assert decode_classes(element["mask"]).any() == bool(shapes)


def test_the_release_itself_holds_no_good_part(root, tmp_path):
    data = raw_data.config("bsdata", root, tmp_path)
    assert find_faults(data) == []
    prepared = prepare(data)
    assert {row.label for split in prepared.splits.values() for row in split.rows} == {1}
