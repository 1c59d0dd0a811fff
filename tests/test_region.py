"""What is not judged: nothing under it changes a decision, from files to the exported network."""

import base64
import dataclasses
import json
import struct

import numpy as np
import pytest
import raw_data
from jax import export as jax_export
from ml_collections import ConfigDict
from tiny_predictor import RULE, surface, tiny_config, tiny_network, tiny_predictor

from defect_jax.configs import folder
from defect_jax.data.files.region_files import read_region
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.geometry.region import HIDDEN, PREFIX, UNSURE, as_text, from_text, together
from defect_jax.data.pipeline.batches import evaluation_batches, training_batches
from defect_jax.data.prepare.check import find_faults
from defect_jax.data.prepare.data_info import data_info
from defect_jax.data.prepare.prepare import prepare
from defect_jax.decision.apply import Decision
from defect_jax.deploy import export, parity
from defect_jax.deploy.onnx import to_onnx
from defect_jax.deploy.program import make_program
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import run_config

SIZE = (12, 16)
RIGHT = np.arange(16)[None] >= np.full((12, 1), 8)  # half of each image


def parts(root, seed, hidden, defects_at=2):
    """Twenty parts whose pixels under `hidden` are noise of a seed; the others never change."""
    for number in range(20):
        image, noise = raw_data.noise(number), raw_data.noise(1000 + 50 * seed + number)
        raw_data.write(root / f"images/{number}.png", np.where(hidden, noise, image))
        if number % 2:
            mask = np.zeros(SIZE, np.uint8)
            mask[3:6, defects_at : defects_at + 3] = 255
            raw_data.write(root / f"masks/{number}.png", mask)


def config_of(root, tmp_path, **data):
    config = ConfigDict(folder.get_config("debug").to_dict())
    config.data.update(root=str(root), data_dir=str(tmp_path / "prepared"), size=SIZE, **data)
    config.train.update(steps=2, batch_size=4)
    read_region(config.data)
    return config


def batches(config):
    """All that a run sees of a set: its facts, training and validation batches."""
    prepared = prepare(config.data)
    info = data_info(prepared, 1)
    config.data_info = info
    splits, every = prepared.splits, range(config.train.batch_size)
    train = list(training_batches(splits["train"], config, every, lambda b: b, 0))
    spec, val = InputSpec.of(config), []
    if not config.data.tile_overlap_px:
        val = list(evaluation_batches(splits["val"], spec, config.data, 4, lambda b: b))
    facts = {name: value for name, value in info.items() if name != "fingerprint"}
    return facts, train, val


@pytest.mark.parametrize("how", ["region", "ignore", "tiles"])
def test_noise_under_what_is_hidden_changes_no_number_of_training_or_validation(tmp_path, how):
    found = []
    for seed in range(2):
        root = tmp_path / f"raw{seed}"
        parts(root, seed, RIGHT)
        changes = {"tile_overlap_px": 4} if how == "tiles" else {}
        if how == "ignore":
            for number in range(20):
                raw_data.write(root / f"ignore/{number}.png", RIGHT.astype(np.uint8) * 255)
        else:
            raw_data.write(tmp_path / "region.png", (~RIGHT).astype(np.uint8) * 255)
            changes["region"] = str(tmp_path / "region.png")
        found.append(batches(config_of(root, tmp_path, **changes)))
    (facts, *streams), (other_facts, *others) = found
    assert facts == other_facts
    for stream, other in zip(streams, others, strict=True):
        for batch, same in zip(stream, other, strict=True):
            assert batch.keys() == same.keys()
            for name in batch:
                np.testing.assert_array_equal(batch[name], same[name], name)
    *_, train, val = found[0]
    assert all(0.2 < batch["valid"].mean() < 0.6 for batch in train)
    assert all((batch["native_ignored"] == HIDDEN).any() for batch in val)


def test_a_defect_that_is_not_judged_leaves_a_good_part(tmp_path):
    root = tmp_path / "raw"
    parts(root, 0, RIGHT, defects_at=2)
    mask = np.zeros(SIZE, np.uint8)
    mask[3:6, 10:13] = 255
    raw_data.write(root / "masks/1.png", mask)
    raw_data.write(root / "ignore/1.png", RIGHT.astype(np.uint8) * 255)
    prepared = prepare(config_of(root, tmp_path).data)
    rows = {row.id: row for split in prepared.splits.values() for row in split.rows}
    assert (rows["images/1"].label, rows["images/1"].defect_px) == (0, 0)
    assert (rows["images/3"].label, rows["images/3"].defect_px) == (1, 9)
    assert {id for id, row in rows.items() if row.ignored_px} == {"images/1"}
    assert rows["images/1"].ignored_px == 96


def test_unsure_pixels_are_seen_and_neither_trained_on_nor_counted(tmp_path):
    root = tmp_path / "raw"
    parts(root, 0, np.zeros(SIZE, bool))
    mask = np.zeros(SIZE, np.uint8)
    mask[2:7, 1:6], mask[3:6, 2:5] = 255, 1
    for number in range(1, 20, 2):
        raw_data.write(root / f"masks/{number}.png", mask)
    config = config_of(root, tmp_path, ignore_value=255)
    _, train, val = batches(config)
    rows = prepare(config.data).splits["val"].rows
    assert {row.defect_px for row in rows} == {0, 9} and {r.ignored_px for r in rows} == {0, 16}
    spec = InputSpec.of(config)
    for batch in val:
        for label, ignored, valid in zip(
            batch["label"], batch["native_ignored"], batch["valid"], strict=True
        ):
            assert np.count_nonzero(ignored == UNSURE) == 16 * label
            assert label == 0 or np.count_nonzero(~valid) == 16
    assert spec.region == "" and len(train) == 2


def masked_with(value):
    def make(root):
        mask = np.zeros(SIZE, np.uint8)
        mask[2:5, 2:5] = value
        raw_data.write(root / "masks/1.png", mask)

    return make


def region_of(shape, value=255):
    return lambda root: raw_data.write(root.parent / "region.png", np.full(shape, value, np.uint8))


REFUSED = {
    "of another size": (
        region_of((20, 30)), {"region": "region.png"},
        "images/0.png: is 16x12 px, but config.data.region 30x20 px: one region is for images of "
        "one size; put regions of single images into ignore/",
    ),
    "black": (
        region_of(SIZE, 0), {"region": "region.png"},
        "config.data.region: {tmp}/region.png is black all over, so nothing would be judged: draw "
        "what is judged in white",
    ),
    "missing": (
        lambda root: None, {"region": "none.png"},
        "config.data.region: {tmp}/none.png cannot be read: No such file or directory",
    ),
    "no image": (
        lambda root: (root.parent / "region.png").write_text("text"), {"region": "region.png"},
        "config.data.region: {tmp}/region.png is not an image, or its beginning is damaged",
    ),
    "of no image": (
        lambda root: raw_data.write(root / "ignore/99.png", np.full(SIZE, 255, np.uint8)), {},
        "ignore/99.png: is a region to ignore without an image: there is no images/99.*",
    ),
    "ignore of another size": (
        lambda root: raw_data.write(root / "ignore/1.png", np.full((5, 5), 255, np.uint8)), {},
        "ignore/1.png: is 5x5 px, but its image 16x12 px: save it at the image's size",
    ),
    "nothing left": (
        lambda root: raw_data.write(root / "ignore/1.png", np.full(SIZE, 255, np.uint8)), {},
        "ignore/1.png: leaves no pixel to judge",
    ),
    "nothing but unsure": (
        masked_with(255), {"ignore_value": 255},
        "masks/1.png: marks nothing but config.data.ignore_value: draw what is defect for certain",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said_in_one_line(tmp_path, case):
    make, data, line = REFUSED[case]
    root = tmp_path / "raw"
    parts(root, 0, np.zeros(SIZE, bool))
    make(root)
    if "region" in data:
        data = data | {"region": str(tmp_path / data["region"])}
    try:
        said = [str(fault) for fault in find_faults(config_of(root, tmp_path, **data).data)]
    except UserError as error:
        said = [str(error)]
    assert any(line.format(tmp=tmp_path) in each for each in said), said


def test_a_region_is_the_same_text_whatever_file_it_came_from():
    judged = raw_data.noise(0) > 90
    assert (from_text(as_text(judged)) == judged).all()
    assert together(None, np.ones(SIZE, bool)) is None
    with pytest.raises(ValueError, match="is no region"):
        from_text("somewhere/region.png")


def test_a_region_of_somebody_elses_config_is_bounded_and_names_no_file(tmp_path):
    huge = bytearray(base64.b64decode(as_text(HALF).removeprefix(PREFIX)))
    huge[16:24] = struct.pack(">II", 1 << 20, 1 << 20)
    with pytest.raises(ValueError, match="1048576x1048576 px are too many"):
        from_text(PREFIX + base64.b64encode(huge).decode())
    for region in (PREFIX + base64.b64encode(huge).decode(), f"{PREFIX}%", "/etc/passwd"):
        config = tiny_config(**{"data.region": region}).to_dict()
        del config["data_info"]  # what is wrong with the rest comes first
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(UserError, match="config.json.*data.region is .* as a run writes"):
            run_config.load(tmp_path)


HALF = np.arange(60)[None] < np.full((40, 1), 30)  # judged, of images of 40x60 px


@pytest.mark.parametrize("tile_overlap_px", [0, 8])
def test_noise_under_the_region_changes_no_decision_of_the_predictor(tile_overlap_px):
    changes = {"data.tile_overlap_px": tile_overlap_px}
    predictor = tiny_predictor(**changes, **{"data.region": as_text(HALF)})
    free = tiny_predictor(**changes)
    moved = 0
    for seed in range(4):
        image, noise = surface(40, 60, seed=seed), surface(40, 60, seed=90 + seed)
        one, two = (predictor.predict(np.where(HALF, i, noise)) for i in (image, image + 1))
        same = predictor.predict(np.where(HALF, image, 255 - noise))
        first = predictor.predict(np.where(HALF, image, noise))
        assert_same(first, same)
        assert not first.mask[:, 30:].any()
        # The very decision of a caller who says so of one image, and who fills it himself.
        own = free.predict(np.where(HALF, image, noise), ignored=~HALF)
        assert_same(first, own)
        filled = free.predict(np.where(HALF, image, predictor.spec.fill).astype(np.uint8))
        assert filled.score == first.score
        moved += one.score != two.score
    assert moved
    with pytest.raises(UserError, match="is 16x12 px, but the network judges one region of images"):
        predictor.predict(np.zeros(SIZE, np.uint8))
    with pytest.raises(UserError, match=r"ignored has shape \[2, 2\], but the image \[40, 60\]"):
        free.predict(surface(40, 60), ignored=np.zeros((2, 2), bool))


def assert_same(one, two):
    for name in Decision._fields:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), name)


def test_noise_under_the_region_changes_no_bit_of_an_exported_file():
    config = tiny_config(**{"data.region": as_text(HALF)})
    network, ema = tiny_network(config)
    program, spec = make_program(network, config, ema, RULE), InputSpec.of(config)
    shape = export.input_shape(spec)
    assert shape.shape[1:] == (40, 60, 1)
    onnx = to_onnx(program, {"image": shape}, Decision._fields).SerializeToString()
    stablehlo = export.to_stablehlo(program, shape)
    assert jax_export.deserialize(bytearray(stablehlo)).in_avals[0].shape[1:] == (40, 60, 1)
    predictor = tiny_predictor(**{"data.region": as_text(HALF)})
    for run in (parity.of_onnx(onnx), parity.of_stablehlo(stablehlo)):
        images = np.stack([surface(40, 60, seed=seed) for seed in range(3)])[..., None]
        noise = np.stack([surface(40, 60, seed=90 + seed) for seed in range(3)])[..., None]
        one, two = (run(np.where(HALF[..., None], images, n)) for n in (noise, 255 - noise))
        for name in Decision._fields:
            np.testing.assert_array_equal(one[name], two[name], name)
        ours = predictor.predict(list(images))
        np.testing.assert_allclose(one["score"], [d.score for d in ours], atol=1e-5)
        assert one["rejected"].tolist() == [d.rejected for d in ours]
        assert (one["mask"] == np.stack([d.mask for d in ours])).mean() > 0.999
    assert dataclasses.replace(spec, region="").region_px is None
