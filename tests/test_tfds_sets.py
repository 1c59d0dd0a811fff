"""Sets that TFDS has prepared: what is read is what was written, and the splits that are made."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest
import raw_data
import tensorflow_datasets as tfds
from tfds_sets import features, grey, part, parts, tfds_config, tfds_set

from defect_jax.configs import tfds as tfds_run
from defect_jax.data.files.images import decode_image
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.files.record_encoding import decode_classes
from defect_jax.data.pipeline.batches import training_batches
from defect_jax.data.prepare.data_info import data_info
from defect_jax.data.prepare.folds import dealt_out
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.sources.data_sets import data_set
from defect_jax.workdir.run_config import resolve

NAMED = dict(tfds_label="label", tfds_id="id")


def found_in(data, needed=("train", "val", "test")):
    chosen = data_set("tfds")
    return chosen.catalogue(chosen.open(data), data, needed)


def stored(prepared):
    """Every image of a prepared set by its id: split, pixels, class ids, class."""
    return {
        row.id: (split, decode_image(one["image"]), decode_classes(one["mask"]), row.class_name)
        for split, images in prepared.splits.items()
        for row, one in zip(images.rows, images.source, strict=True)
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tfds_set(tmp_path_factory.mktemp("tfds") / "data")


def test_splits_labels_masks_and_pixels_are_those_that_were_written(root, tmp_path):
    prepared = prepare(tfds_config(root, tmp_path, **NAMED))
    images = stored(prepared)
    assert Counter(split for split, *_ in images.values()) == dict(train=15, val=15, test=15)
    for split, first in (("train", 0), ("val", 100), ("test", 200)):
        for number in range(first, first + 15):
            bad = number - first >= 10
            where, pixels, ids, class_name = images[f"{split}/part_{number}"]
            np.testing.assert_array_equal(pixels[..., 0], raw_data.noise(number))
            np.testing.assert_array_equal(ids, (raw_data.defect_mask() > 0) * bad)
            assert (where, class_name) == (split, "dent" if bad else "good")
    assert prepared.info.classes == ["defect"] and not prepared.info.leaking


def test_without_a_label_masks_say_what_is_good_and_without_an_id_places_are_ids(root, tmp_path):
    by_place = stored(prepare(tfds_config(root, tmp_path)))
    by_name = stored(prepare(tfds_config(root, tmp_path, **NAMED)))
    assert min(by_place) == "test/000000" and len(by_place) == 45
    kinds = {pixels.tobytes(): kind for _, pixels, _, kind in by_name.values()}
    for _, pixels, _, kind in by_place.values():
        assert (kind, kinds[pixels.tobytes()]) in {("defect", "dent"), ("good", "good")}


def test_stored_files_are_handed_on_byte_for_byte_and_stamped(root, tmp_path):
    raw = data_set("tfds").open(tfds_config(root, tmp_path))
    assert isinstance(raw, RawFiles) and len(raw.names()) == 90
    written = {raw_data.encoded(raw_data.noise(number)) for number in range(200, 215)}
    names = [name for name in raw.names() if name.startswith("test/") and ".image." in name]
    assert {raw.read(name) for name in names} == written
    assert raw.size(names[0]) == len(raw.read(names[0]))
    assert raw.where(names[3]) == f"{root}/parts/1.2.0 test[3] image"
    with pytest.raises(FileNotFoundError):
        raw.read("test/000015.image.png")
    stamp = raw.stamp()
    info = root / "parts/1.2.0/dataset_info.json"
    info.write_text(info.read_text() + "\n")
    assert data_set("tfds").open(tfds_config(root, tmp_path)).stamp() != stamp


def test_a_batch_for_training_holds_the_images_of_the_set(root, tmp_path):
    config = tfds_run.get_config("debug").copy_and_resolve_references()
    with config.unlocked():
        config.data.update(tfds_config(root, tmp_path, **NAMED, max_scale=1.0).to_dict())
    prepared = prepare(config.data)
    config = resolve(config, data_info(prepared, config.model.num_classes))
    batch = next(training_batches(prepared.splits["train"], config, range(8), lambda b: b, 0))
    assert batch["image"].shape == (8, 32, 32, 1) and np.isfinite(batch["image"]).all()
    assert sorted(batch["label"].ravel()) == [0] * 4 + [1] * 4
    assert (batch["mask"].reshape(8, -1).max(1) == batch["label"].ravel()).all()


def test_train_alone_is_split_by_the_named_group(tmp_path):
    examples = [
        part(n, n % 3 == 0, piece=n // 4) for n in range(120)
    ]  # pieces 0 to 29, of four images each
    described = features(piece=np.int64)
    root = tfds_set(tmp_path / "data", {"train": examples}, described)
    data = tfds_config(root, tmp_path, **NAMED, tfds_group="piece")
    found = found_in(data)
    splits = Counter(record.split for record in found.records)
    assert sum(splits.values()) == 120 and min(splits.values()) >= 12 and len(splits) == 3
    of_group = {record.group: record.split for record in found.records}
    assert len(of_group) == 30 and set(of_group) == {str(n) for n in range(30)}
    assert all(of_group[record.group] == record.split for record in found.records)
    assert found.grouped and not found.notes and not found.faults
    again = found_in(tfds_config(root, tmp_path, **NAMED, tfds_group="piece", seed=1))
    assert {r.id: r.split for r in again.records} != {r.id: r.split for r in found.records}


def test_a_stored_test_split_stays_and_validation_comes_out_of_train(tmp_path):
    root = tfds_set(tmp_path / "data", {"train": parts(0, 20, 10), "test": parts(100)})
    data = tfds_config(root, tmp_path, **NAMED, folds=2)
    found = found_in(data)
    ids = {split: {r.id for r in found.records if r.split == split} for split in ("val", "test")}
    assert ids["test"] == {f"test/part_{n}" for n in range(100, 115)} and 2 <= len(ids["val"]) <= 14
    assert found.notes == ["there is no val/: about a fifth of train/, by group, is used for "
                           "validation"]  # fmt: skip
    assert all(data_set("tfds").is_in_fixed_test(id) for id in ids["test"])
    assert not any(map(data_set("tfds").is_in_fixed_test, ids["val"]))
    dealt = dealt_out(prepare(data), data)
    assert {row.id for row in dealt.splits["test"].rows} == ids["test"]
    assert [r.split for r in found_in(data, ("test",)).records] == ["test"] * 15


def test_validation_without_a_test_split_is_the_test_split(tmp_path):
    root = tfds_set(tmp_path / "data", {"train": parts(0, 20, 10), "validation": parts(100)})
    found = found_in(tfds_config(root, tmp_path, **NAMED))
    assert found.notes[0] == "there is no test split: validation is used as test"
    test = {record.id for record in found.records if record.split == "test"}
    assert test == {f"test/part_{n}" for n in range(100, 115)}


def test_other_splits_are_left_out_where_train_and_test_are_there(tmp_path):
    splits = {"train": parts(0, 20, 10), "test": parts(100), "unlabeled": parts(200, 2, 0)}
    found = found_in(tfds_config(tfds_set(tmp_path / "data", splits), tmp_path, **NAMED))
    assert found.notes[0].endswith("none of train, validation, test: unlabeled")
    assert len(found.records) == 45


def test_copies_are_kept_in_one_split(tmp_path):
    examples = parts(0, 20, 10) + [part(n, n >= 20, id=f"copy_{n}") for n in range(30)]
    root = tfds_set(tmp_path / "data", {"train": examples})
    split = {r.id: r.split for r in found_in(tfds_config(root, tmp_path, **NAMED)).records}
    assert len(set(split.values())) == 3
    assert all(split[f"train/copy_{n}"] == split[f"train/part_{n}"] for n in range(30))


def tensor(shape, dtype=np.uint8, encoding="none"):
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding=encoding)


@pytest.mark.parametrize(
    ("image", "mask", "make_image", "make_mask"),
    [
        (tensor((12, 16)), tensor((12, 16)), np.asarray, np.asarray),
        (
            tensor((None, 16, 3)),
            tensor((12, None, 1), np.bool_),
            lambda pixels: np.stack([pixels, pixels // 2, pixels // 3], -1),
            lambda mask: mask[..., None] > 0,
        ),
        (
            tensor((None, None), np.uint16, "zlib"),
            tensor((None, None), np.int64, "bytes"),
            lambda pixels: pixels * np.uint16(131),
            lambda mask: (mask > 0) * np.int64(65535),
        ),
        (
            tensor((12, 16, 1), np.uint16, "bytes"),
            tensor((12, 16), np.int32),
            lambda pixels: pixels[..., None] * np.uint16(257),
            lambda mask: mask.astype(np.int32),
        ),
    ],
)
def test_tensors_are_read_bit_for_bit(image, mask, make_image, make_mask, tmp_path):
    def made(number, bad):
        pixels, defect = raw_data.noise(number), raw_data.defect_mask() * bad
        return part(number, bad, image=make_image(pixels), mask=make_mask(defect))

    examples = [made(number, number % 3 == 0) for number in range(30)]
    root = tfds_set(tmp_path / "data", {"train": examples}, features(image=image, mask=mask))
    images = stored(prepare(tfds_config(root, tmp_path, tfds_id="id")))
    for number in range(30):
        _, pixels, ids, kind = images[f"train/part_{number}"]
        expected = make_image(raw_data.noise(number))
        np.testing.assert_array_equal(pixels, expected.reshape(12, 16, -1))
        assert pixels.dtype == expected.dtype
        np.testing.assert_array_equal(ids > 0, (raw_data.defect_mask() > 0) * (number % 3 == 0))
        assert kind == ("good" if number % 3 else "defect")


def test_masks_of_class_ids_inside_another_feature(tmp_path):
    def made(number):
        mask = raw_data.class_mask(number % 3) if number % 3 else np.zeros((12, 16), np.uint8)
        truth = {"mask": raw_data.encoded(mask), "kind": [2, 0, 1][number % 3]}
        return {"image": raw_data.encoded(raw_data.noise(number)), "truth": truth}

    kind = tfds.features.ClassLabel(names=["scratch", "pit", "Defect-free"])
    mask = tfds.features.LabeledImage(labels=3, shape=(None, None, 1))
    described = {"image": grey(), "truth": {"mask": mask, "kind": kind}}
    root = tfds_set(tmp_path / "data", {"train": list(map(made, range(45)))}, described)
    names = dict(tfds_mask="truth/mask", classes=("scratch", "pit"))
    for label in ("", "truth/kind"):
        data = tfds_config(root, tmp_path, **names, tfds_label=label)
        prepared = prepare(data)
        images = stored(prepared)
        kinds = Counter(kind for *_, kind in images.values())
        assert kinds == {"good": 15, "scratch": 15, "pit": 15}
        for _, _, ids, kind in images.values():
            assert set(np.unique(ids)) - {0} == {"good": set(), "scratch": {1}, "pit": {2}}[kind]
        assert prepared.info.classes == ["scratch", "pit"]


@pytest.mark.parametrize(
    ("label", "value", "kinds"),
    [
        (np.bool_, lambda bad: bad, {"good", "defect"}),
        (np.int64, lambda bad: 7 * bad, {"good", "defect"}),
        (tfds.features.ClassLabel(num_classes=2), int, {"good", "defect"}),
        (tfds.features.ClassLabel(names=["NG", "OK"]), lambda bad: int(not bad), {"good", "NG"}),
        (tfds.features.ClassLabel(names=["0", "1"]), int, {"good", "defect"}),
    ],
)
def test_what_labels_mean(label, value, kinds, tmp_path):
    examples = [part(n, n % 3 == 0, label=value(n % 3 == 0)) for n in range(30)]
    root = tfds_set(tmp_path / "data", {"train": examples}, features(label=label))
    records = found_in(tfds_config(root, tmp_path, **NAMED)).records
    assert {r.class_name for r in records} == kinds
    assert {r.id for r in records if r.class_name != "good"} == {
        f"train/part_{n}" for n in range(0, 30, 3)
    }


def test_the_highest_version_is_read_unless_one_is_named_and_configs_are_folders(tmp_path):
    root = tfds_set(tmp_path / "data", {"train": parts(0)})
    versions = root / "parts"
    for version in ("1.10.0", "1.9.0"):
        copy = versions / version
        copy.mkdir()
        for file in (versions / "1.2.0").iterdir():
            (copy / file.name).write_bytes(file.read_bytes())

    def opened(name):
        return data_set("tfds").open(tfds_config(root, tmp_path, tfds=name)).folder.path

    assert opened("parts") == versions / "1.10.0"
    assert opened("parts:1.9.0") == versions / "1.9.0"
    (root / "lines").mkdir()
    (versions / "1.9.0").parent.rename(root / "lines/second")
    assert opened("lines/second:1.2.0") == root / "lines/second/1.2.0"


def test_a_set_that_was_also_stored_as_array_record_is_read(root, tmp_path):
    info = root / "parts/1.2.0/dataset_info.json"
    fields = json.loads(info.read_text())
    written = fields | {"fileFormat": "tfrecord", "alternativeFileFormats": ["array_record"]}
    try:
        info.write_text(json.dumps(written))
        assert len(found_in(tfds_config(root, tmp_path)).records) == 45
    finally:
        info.write_text(json.dumps(fields))


def test_jpeg_images_come_as_they_are(tmp_path):
    pixels = cv2.GaussianBlur(raw_data.noise(1, 40, 60, 3), (0, 0), 5)
    jpeg = raw_data.encoded(pixels, "JPEG")
    mask = raw_data.encoded(np.zeros((40, 60), np.uint8))
    described = features(image=tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"))
    examples = [part(0, False, image=jpeg, mask=mask)]
    root = tfds_set(tmp_path / "data", {"train": examples}, described)
    raw = data_set("tfds").open(tfds_config(root, tmp_path))
    assert raw.read("train/000000.image.png") == jpeg


def test_what_a_label_calls_defective_without_a_drawn_defect_teaches_its_label(root, tmp_path):
    prepared = prepare(tfds_config(root, tmp_path, **NAMED | {"tfds_mask": ""}))
    rows = [row for split in prepared.splits.values() for row in split.rows]
    assert Counter((row.label, row.masked) for row in rows) == {(0, 1): 30, (1, 0): 15}
    empty = raw_data.encoded(np.zeros((12, 16), np.uint8))
    splits = {
        name: [*parts(first), part(first + 50, True, mask=empty)]
        for name, first in (("train", 0), ("validation", 100), ("test", 200))
    }
    some = prepare(tfds_config(tfds_set(tmp_path / "some", splits), tmp_path, **NAMED))
    for split in some.splits.values():
        assert Counter((row.label, row.masked) for row in split.rows) == {
            (0, 1): 10, (1, 1): 5, (1, 0): 1,
        }  # fmt: skip
