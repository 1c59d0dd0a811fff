"""Batches: deterministic, resumable by slicing, every evaluated image exactly once."""

import dataclasses
import signal
import sys

import jax
import numpy as np
import pytest
import raw_data
from ml_collections import ConfigDict

from defect_jax.configs import folder, synthetic
from defect_jax.data.files.record_encoding import encode_classes
from defect_jax.data.geometry.framing import Letterbox
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.geometry.intensity import IntensityRange
from defect_jax.data.pipeline import batches
from defect_jax.data.pipeline.batches import (
    canvas_px,
    evaluation_batches,
    evaluation_steps,
    training_batches,
)
from defect_jax.data.pipeline.loading import LoadNative, decoded
from defect_jax.data.prepare.data_info import data_info
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.prepare.prepared import Split, SplitRow
from defect_jax.distributed.sharding import make_mesh, to_global
from defect_jax.runtime.errors import UserError
from defect_jax.workdir.run_config import resolve


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    config = synthetic.get_config("debug").copy_and_resolve_references()
    config.data.data_dir = str(tmp_path_factory.mktemp("data"))
    prepared = prepare(config.data)
    return resolve(config, data_info(prepared, 1)), prepared.splits


def on_host(batch):
    return jax.tree.map(np.asarray, batch)


def take(ready, first_step=0, count=3, rows=None, **data):
    config, splits = ready
    config = ConfigDict(config.to_dict())
    config.data.update(data)
    rows = range(config.train.batch_size) if rows is None else rows
    batches = training_batches(splits["train"], config, rows, on_host, first_step)
    return [next(batches) for _ in range(count)]


def assert_same(left, right):
    for one, two in zip(left, right, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, two)


def test_batches_are_balanced_and_shaped_for_the_network(ready):
    for batch in take(ready):
        assert batch["image"].shape == (8, 32, 32, 1) and batch["image"].dtype == np.float32
        assert batch["mask"].dtype == np.uint8 and batch["valid"].dtype == bool
        assert batch["mask"].max() == 1
        assert batch["label"].tolist().count(1.0) == 4
        np.testing.assert_array_equal(batch["mask"].any(axis=(1, 2)), batch["label"] > 0)


def test_order_and_augmentation_do_not_depend_on_threads(ready):
    assert_same(take(ready, threads=0), take(ready, threads=4))


def test_order_and_augmentation_do_not_depend_on_worker_processes(ready):
    assert_same(take(ready, count=2), take(ready, count=2, workers=2))


def test_resuming_at_a_step_gives_the_batches_of_that_step(ready):
    assert_same(take(ready, count=5)[2:], take(ready, first_step=2, count=3))


def test_hosts_load_their_rows_of_the_same_batches(ready):
    whole = take(ready, first_step=1)
    for rows in ([0, 1, 2, 3], [4, 5, 6, 7], [1, 6]):
        part = take(ready, first_step=1, rows=rows)
        assert_same(part, [jax.tree.map(lambda leaf, r=rows: leaf[r], batch) for batch in whole])


def test_another_seed_gives_another_order(ready):
    config, splits = ready
    other = ConfigDict(config.to_dict())
    other.seed = 1
    changed = next(training_batches(splits["train"], other, range(8), on_host, 0))
    assert not np.array_equal(changed["image"], take(ready)[0]["image"])


def test_evaluation_sees_every_image_once_and_pads_the_last_batch(ready):
    config, splits = ready
    val = splits["val"]
    batches = list(evaluated(val, config, to_global(make_mesh(8, 1))))
    rows = np.concatenate([batch["row"] for batch in batches])
    assert len(batches) == evaluation_steps(val, config.train.batch_size)
    assert rows[: len(val.rows)].tolist() == list(range(len(val.rows)))
    assert set(rows[len(val.rows) :].tolist()) <= {-1}
    last = batches[-1]
    padding = np.asarray(last["row"]) < 0
    assert padding.any() and not np.asarray(last["valid"])[padding].any()
    native = np.concatenate([batch["native_mask"] for batch in batches])
    assert native.shape[1:] == canvas_px(val)
    assert native.dtype == np.uint8
    assert native.sum(axis=(1, 2))[: len(val.rows)].tolist() == [r.defect_px for r in val.rows]


@pytest.fixture(scope="module")
def three_classes(tmp_path_factory):
    """A config whose network tells three classes apart, and the folder to learn them from."""
    path = tmp_path_factory.mktemp("classes")
    config = folder.get_config("debug").copy_and_resolve_references().unlock()
    config.data.root = str(raw_data.class_data(path / "raw"))
    config.data.data_dir = str(path / "prepared")
    config.data.classes = ("scratch", "dent", "stain")
    config.model.num_classes = 3
    prepared = prepare(config.data)
    return resolve(config, data_info(prepared, 1)), prepared.splits


def expected_ids(row):
    """The mask that `raw_data.class_data` wrote for an image."""
    kind = row.id.split("/")[1]
    mask = raw_data.class_mask(int(kind) if kind != "good" else 0)
    mask[8, 8] = kind == "2"
    return mask


def test_masks_of_batches_are_class_ids(three_classes):
    config, splits = three_classes
    for batch in take(three_classes, count=5):
        assert batch["mask"].dtype == np.uint8 and set(np.unique(batch["mask"])) <= {0, 1, 2, 3}
        np.testing.assert_array_equal(batch["mask"].any(axis=(1, 2)), batch["label"] > 0)
    assert set(batch["label"].tolist()) == {0.0, 1.0}
    rows = splits["test"].rows
    batches = list(evaluated(splits["test"], config))
    native = np.concatenate([batch["native_mask"] for batch in batches])[: len(rows)]
    np.testing.assert_array_equal(native[:, :12, :16], [expected_ids(row) for row in rows])
    framed = np.concatenate([batch["mask"] for batch in batches])[: len(rows)]
    inside = np.s_[:, 10:22, 8:24]  # 12x16 px in the middle of 32x32, not scaled
    np.testing.assert_array_equal(framed[inside], native[:, :12, :16])
    assert framed.sum() == framed[inside].sum()


def test_a_network_of_one_class_sees_all_classes_as_one(three_classes):
    config, splits = three_classes
    binary = ConfigDict(config.to_dict())
    binary.model.num_classes = 1
    assert InputSpec.of(binary).classes == 1
    for ours, theirs in zip(batches_of(binary, splits), batches_of(config, splits), strict=True):
        for name in ours:
            change = np.uint8(theirs[name] > 0) if "mask" in name else theirs[name]
            np.testing.assert_array_equal(ours[name], change)
            assert ours[name].dtype == theirs[name].dtype


def evaluated(split, config, to_device=on_host):
    spec = InputSpec.of(config)
    return evaluation_batches(split, spec, config.data, config.train.batch_size, to_device)


def input_spec(size_px, low=0, high=None, **known):
    intensity = IntensityRange(low, high or 2 ** known["bit_depth"] - 1)
    framing = Letterbox(size_px, 0.0, 1.0, 1.0)
    return InputSpec(framing, **known, intensity=intensity, mean=0.5, std=0.2)


def batches_of(config, splits):
    training = training_batches(splits["train"], config, range(8), on_host, 0)
    evaluation = evaluated(splits["test"], config)
    return [next(training), next(training), *evaluation]


def test_regions_are_those_of_any_class(tmp_path):
    """Two defects of different classes that touch are one region, and weigh as one."""
    ids = raw_data.class_mask(1, 2)
    image = raw_data.encoded(raw_data.noise(0))
    record = {"id": b"a", "image": image, "mask": encode_classes(ids), "label": 1}
    split = Split([record], [SplitRow("a", "a", "scratch", 1, 12, 16, 24)])
    frame = input_spec((16, 16), channels=1, bit_depth=8, classes=2)
    element = LoadNative(split, frame, (16, 16)).map(0)
    assert element["regions"] == 1
    weight = np.zeros((16, 16), np.float32)
    weight[:12][ids > 0] = 1 / 24
    np.testing.assert_allclose(element["region_weight"], weight, rtol=1e-6)


def test_grey_joins_colour_and_eight_bit_joins_sixteen():
    frame = input_spec((4, 4), channels=3, bit_depth=16, classes=1)
    widened = frame.common(np.array([[[0], [255]]], np.uint8), "x")
    assert widened.dtype == np.uint16
    assert widened.tolist() == [[[0, 0, 0], [65535, 65535, 65535]]]


def test_a_share_of_images_that_are_not_there_is_refused(ready):
    config, splits = ready
    train = splits["train"]
    one_sided = Split(train.source, [row for row in train.rows if row.label])
    with pytest.raises(UserError, match="positive_fraction is 0.5: .* no training image is good"):
        training_batches(one_sided, config, range(8), on_host, 0)


@pytest.mark.parametrize("image", [np.eye(3, dtype=np.uint8)[None], np.zeros((2, 2, 1), np.uint16)])
def test_images_beyond_what_the_network_knows_are_refused_by_name(image):
    frame = input_spec((4, 4), channels=1, bit_depth=8, classes=1)
    with pytest.raises(UserError, match="part_3: has .* trained on 1 of 8 bit"):
        frame.common(image, "part_3")


@pytest.mark.parametrize("wrong", ["order", "label"])
def test_a_table_that_is_not_of_its_images_is_refused(ready, wrong):
    """Two rows of a prepared set's split.csv that were exchanged, or one that was edited."""
    config, splits = ready
    first, second, *rest = splits["test"].rows
    rows = {"order": [second, first], "label": [first._replace(label=1 - first.label), second]}
    edited = dataclasses.replace(splits["test"], rows=rows[wrong] + rest)
    with pytest.raises(UserError, match="is another image in the prepared set than in its split"):
        decoded(edited, 0, InputSpec.of(config))


def test_what_gives_back_the_loaders_memory_outlives_a_closed_terminal(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", [])
    inherited = []

    def started():
        inherited.append((signal.pthread_sigmask(signal.SIG_BLOCK, ()), [*sys.warnoptions]))

    monkeypatch.setattr(batches.resource_tracker, "ensure_running", started)
    batches._start_tracker()
    batches._start_tracker()
    assert all(signal.SIGHUP in blocked for blocked, _ in inherited)
    assert inherited[1][1] == ["ignore:resource_tracker:UserWarning"]
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
