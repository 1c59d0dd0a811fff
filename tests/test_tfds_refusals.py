"""What is wrong with a set that TFDS has prepared is one line that names it; no file is run."""

import json
import os
import shutil
import sys
import zlib

import numpy as np
import pytest
import raw_data
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2
from tfds_sets import features, part, parts, tfds_config, tfds_set

from defect_jax.data.files import tfds_features
from defect_jax.data.prepare.prepare import prepare
from defect_jax.runtime.errors import UserError

NAMED = dict(tfds_label="label", tfds_id="id")


@pytest.fixture(scope="module")
def prepared_by_tfds(tmp_path_factory):
    described = features(boxes=tfds.features.Sequence(tfds.features.BBoxFeature()))
    return tfds_set(tmp_path_factory.mktemp("tfds") / "data", described=described, splits={
        "train": parts(0, boxes=[]), "validation": parts(100, boxes=[]),
        "test": parts(200, boxes=[]),
    })  # fmt: skip


@pytest.fixture
def root(prepared_by_tfds, tmp_path):
    return shutil.copytree(prepared_by_tfds, tmp_path / "data")


def line_of(root, tmp_path, **changes):
    """The one line that preparing the set ends with."""
    with pytest.raises(UserError) as error:
        prepare(tfds_config(root, tmp_path, **{**NAMED, **changes}))
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "prepared").glob("tfds/[!.]*"))  # nothing that passes for whole
    return str(error.value)


def edit(root, name, change):
    path = root / "parts/1.2.0" / name
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


FEATURES = "the features of the set are boxes, id, image, label, mask"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(root=""), "config.data.root: not set: give the folder that TFDS prepares into"),
        (dict(root="/nowhere"), "config.data.root: /nowhere is no folder that is there: give the"),
        (dict(tfds=""), r"config.data.tfds: not set: give NAME\[/CONFIG\]\[:VERSION\]"),
        (dict(tfds="../parts"), "config.data.tfds: '../parts' names no set: give NAME"),
        (dict(tfds="parts/../../x"), "names no set: give NAME"),
        (dict(tfds="tiles"), "holds no set 'tiles'; there are parts: give one of them, or prepare"),
        (dict(tfds="parts/line"), "/parts holds no config 'line'; there are "),
        (dict(tfds="parts:2.0.0"), "/parts has no version 2.0.0; there are 1.2.0: give one of"),
        (dict(tfds_image=""), f"config.data.tfds_image: not set: {FEATURES}"),
        (dict(tfds_mask="", tfds_label=""), f"tfds_mask: not set, nor tfds_label: .*; {FEATURES}"),
        (dict(tfds_mask="gt"), f"config.data.tfds_mask: there is no feature 'gt': {FEATURES}"),
        (dict(tfds_label="image"), "tfds_label: 'image' is of .*Image uint8 .*: give a ClassLabel"),
        (dict(tfds_image="label"), "tfds_image: 'label' is of .*ClassLabel: give an Image, or a"),
        (dict(tfds_mask="boxes"), "tfds_mask: 'boxes' is of .*Sequence: give an Image, or a"),
        (dict(tfds_id="mask"), "config.data.tfds_id: 'mask' is of .*Image .*: give a Text, or one"),
        (dict(tfds_group="lot"), "config.data.tfds_group: there is no feature 'lot'"),
        (dict(classes=("good",)), "config.data.classes: 'good' is kept for good parts"),
    ],
)
def test_what_is_asked_for_and_is_not_there(changes, message, root, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        prepare(tfds_config(changes.pop("root", root), tmp_path, **{**NAMED, **changes}))
    assert "\n" not in str(error.value)


def test_a_folder_of_configs_says_which_there_are(root, tmp_path):
    (root / "lines").mkdir()
    (root / "parts").rename(root / "lines/second")
    line = line_of(root, tmp_path, tfds="lines")
    assert line.endswith("/lines holds no version, but lines/second: give one")


@pytest.mark.parametrize("written", ["tfrecord", "riegeli", None])
def test_what_only_tensorflow_reads_is_refused_with_what_to_do(written, root, tmp_path):
    def change(fields):
        del fields["fileFormat"]
        fields |= {"fileFormat": written} if written else {}

    edit(root, "dataset_info.json", change)
    line = line_of(root, tmp_path)
    assert f"/parts/1.2.0: is stored as {written or 'tfrecord'}, and only array_record" in line
    assert "file_format='array_record', or convert it" in line
    assert line.endswith(f"--dataset_version_dir={root}/parts/1.2.0 --out_file_format=array_record")


def split_change(**fields):
    return lambda found: found["splits"][0].update(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.update(name="../parts"), "has no name of a set, or no splits"),
        (lambda found: found.update(splits={}), "has no name of a set, or no splits"),
        (split_change(name="../train"), "has a split without a plain name"),
        (split_change(filepathTemplate="/etc/{SPLIT}"), "names the files of train in a way of"),
        (split_change(shardLengths=["-1"]), "has shardLengths of train that are no numbers"),
        (split_change(shardLengths=["9" * 10]), "has shardLengths of train that are no numbers"),
        (split_change(shardLengths=["14"]), "holds 15 examples, but dataset_info.json says 14"),
        (split_change(shardLengths=["8", "7"]), "00000-of-00002: No such file or directory: copy"),
        (split_change(name="test_set"), "parts-test_set.array_record-00000-of-00001: No such file"),
        (lambda found: found["splits"].pop(0), "its splits are test, validation: prepare it with"),
        (lambda found: found["splits"].clear(), "its splits are empty: prepare it with train"),
    ],
)
def test_a_dataset_info_that_does_not_fit(change, message, root, tmp_path):
    edit(root, "dataset_info.json", change)
    assert message in line_of(root, tmp_path)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (("train", "test_set"), "its splits are test_set, train: prepare it with train, and valid"),
        (("train", "val", "validation"), "val and validation are both val: keep one"),
        (("all_images",), "its splits are all_images: prepare it with train"),
    ],
)
def test_splits_of_other_names(splits, message, tmp_path):
    examples = {name: parts(100 * place) for place, name in enumerate(splits)}
    assert message in line_of(tfds_set(tmp_path / "data", examples), tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "No such file or directory: copy the set again"),
        (lambda path: path.write_bytes(path.read_bytes()[:999]), r"is damaged \(.*\): copy the"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is a FIFO, not a regular file: remove"),
    ],
)
def test_shards_that_are_damaged(damage, message, root, tmp_path):
    damage(root / "parts/1.2.0/parts-test.array_record-00000-of-00001")
    with pytest.raises(UserError, match=f"00000-of-00001:? {message}"):
        prepare(tfds_config(root, tmp_path))


def test_one_damaged_record_is_named(root, tmp_path):
    path = root / "parts/1.2.0/parts-test.array_record-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[data.index(b"part_203")] ^= 1
    path.write_bytes(bytes(data))
    assert "/parts/1.2.0 test[" in (line := line_of(root, tmp_path))
    assert "] image: is damaged (" in line and "hash mismatch" in line


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_files_beside_the_images_that_are_missing_or_no_json(name, root, tmp_path):
    path = root / "parts/1.2.0" / name
    path.write_text('{"a": NaN}')
    assert f"{path}: cannot be read: NaN is no number" in line_of(root, tmp_path)
    path.unlink()
    assert line_of(root, tmp_path) == f"{path}: is not there: copy or prepare the set again"


HOSTILE = """
import pathlib
pathlib.Path(__file__).with_name("was_run").touch()
"""


@pytest.mark.parametrize("place", ["mask", "boxes", "top", "legacy", "module"])
def test_no_module_that_a_foreign_set_names_is_imported(place, root, tmp_path, monkeypatch):
    (tmp_path / "hostile_feature.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    hostile = "hostile_feature.Image"

    def change(found):
        if place == "top":
            found["pythonClassName"] = hostile
        elif place == "legacy":
            found["type"] = found.pop("pythonClassName").replace("FeaturesDict", hostile)
        elif place in ("mask", "boxes"):
            found["featuresDict"]["features"][place]["pythonClassName"] = hostile

    edit(root, "features.json", change)
    if place == "module":
        edit(root, "dataset_info.json", lambda found: found.update(moduleName="hostile_feature"))
    expected = {
        "mask": "config.data.tfds_mask: 'mask' is of hostile_feature.Image: give an Image",
        "top": "features.json: is no FeaturesDict, as TFDS writes it today: prepare the set again",
        "legacy": "features.json: is no FeaturesDict",
    }
    if place in expected:
        assert expected[place] in line_of(root, tmp_path)
    else:  # what is not asked for is passed over
        assert len(prepare(tfds_config(root, tmp_path, **NAMED)).splits["test"].rows) == 15
    assert "hostile_feature" not in sys.modules and not (tmp_path / "was_run").exists()
    if place == "mask":  # the trap works: TFDS steps into it
        with pytest.raises(ValueError, match="Unrecognized FeatureConnector type: hostile_feature"):
            tfds.builder_from_directory(root / "parts/1.2.0")
        assert (tmp_path / "was_run").exists() and sys.modules.pop("hostile_feature")


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ([], "is no FeaturesDict"),
        ({"features": {"a": 3}}, "has a feature 'a' without a pythonClassName"),
        ({"features": []}, "has something else than fields in features"),
        (
            {"features": {"a": {"pythonClassName": f"{tfds_features.PLACE}tensor_feature.Tensor",
                                "tensor": {"shape": {"dimensions": ["many"]}}}}},
            "has a feature 'a' whose sizes are no numbers",
        ),
        (
            {"features": {"a": {"pythonClassName": f"{tfds_features.PLACE}tensor_feature.Tensor",
                                "tensor": {"encoding": "pickle"}}}},
            "has a feature 'a' of a kind that is not known",
        ),
    ],
)  # fmt: skip
def test_features_that_are_not_described_as_tfds_does(described, message):
    found = {"pythonClassName": tfds_features.GROUP, "featuresDict": described}
    with pytest.raises(tfds_features.NotTfds, match=message):
        tfds_features.all_features(found if described else described)


def one_bad(root, tmp_path, described=None, **changes):
    """The line for a set whose part 3 differs from a good part in these fields."""
    examples = [part(n, n % 3 == 0, **(changes if n == 3 else {})) for n in range(30)]
    return line_of(tfds_set(tmp_path / "own", {"train": examples}, described), tmp_path)


ANY_INT = dict(label=np.int64)


@pytest.mark.parametrize(
    ("described", "changes", "message"),
    [
        (None, dict(label=0), "mask: marks a defect, but its image is filed as good: correct"),
        (None, dict(label=-1), "image: its 'label' is -1, out of range: correct the label"),
        (ANY_INT, dict(label=-1), "image: its 'label' is -1, out of range: correct the label"),
        (None, dict(mask=raw_data.encoded(raw_data.defect_mask(12, 17))),
         "mask: is 17x12 px, but its image 16x12 px: save the mask at the image's size"),
        (None, dict(image=b"<html>"), "image: is "),
        (None, dict(id="part_4"), "config.data.tfds_id: 2 images have the id 'train/part_4'"),
        (None, dict(id="../../part"), "image: its 'id' '../../part' is no name: leave"),
        (None, dict(id=""), "image: its 'id' '' is no name: leave config.data.tfds_id empty"),
        (None, dict(id="a\x1b[2J"), "image: its 'id' 'a\\x1b[2J' is no name: leave"),
        (dict(label=tfds.features.ClassLabel(names=["flat", "dent"])), {},
         "the 2 classes of 'label' are flat, dent: one has to be called defect_free, good"),
    ],
)  # fmt: skip
def test_examples_that_are_wrong(described, changes, message, tmp_path):
    described = features(**described) if described else None
    assert message in one_bad(None, tmp_path, described, **changes)


def test_a_group_on_both_sides_of_the_stored_splits(tmp_path):
    splits = {"train": parts(0, piece="a"), "test": parts(100, piece="a")}
    root = tfds_set(tmp_path / "own", splits, features(piece=tfds.features.Text()))
    line = line_of(root, tmp_path, tfds_group="piece")
    assert "/parts/1.2.0: group 'a' is in test/ and train/: images of one group belong" in line


def test_a_tensor_that_would_not_fit_into_memory_is_refused_before_it_is_made(tmp_path):
    """A shape of 10^10 values, and 10^7 zeros in ten kilobytes."""
    feature = tfds_features.Feature("", "tensor", "uint8", (-1, -1), "zlib")

    def values(shape):
        example = tf_example_pb2.Example()
        example.features.feature["mask/value"].bytes_list.value.append(packed)
        example.features.feature["mask/shape"].int64_list.value.extend(shape)
        return example.features.feature

    packed = zlib.compress(bytes(10**7))
    for shape, message in (
        ([10**5, 10**5], "is a tensor of shape .100000, 100000.: raise config.data.max_megapix"),
        ([30, 40], "holds a 'mask' that is not of shape .30, 40."),
        ([-1, 40], "holds a 'mask' of shape .-1, 40."),
    ):
        with pytest.raises(OSError, match=message):
            tfds_features.picture(feature, "mask", values(shape), 10**6)
