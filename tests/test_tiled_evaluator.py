"""A split judged through tiles: the predictor's numbers, and the same on one and eight devices."""

import jax
import numpy as np
import pytest
from forked import leave_plots_empty
from ml_collections import ConfigDict
from sklearn.metrics import average_precision_score
from tiny_predictor import tiny_network

from defect_jax.configs import synthetic
from defect_jax.data.distortions.disturbance import Disturbance, disturbed
from defect_jax.data.distortions.kinds import KINDS
from defect_jax.data.files.images import decode_image
from defect_jax.data.files.record_encoding import decode_classes
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.geometry.region import as_text
from defect_jax.data.geometry.stitching import iter_tile_rows
from defect_jax.data.geometry.tiles import Grid
from defect_jax.data.pipeline.batches import training_batches
from defect_jax.data.pipeline.decoded_cache import Decoded
from defect_jax.data.prepare.data_info import data_info
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.prepare.prepared import Split
from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import Thresholds
from defect_jax.deploy.predictor import Predictor, load
from defect_jax.distributed.sharding import make_mesh, one_device_mesh, replicated
from defect_jax.evaluation.evaluator import make_evaluator
from defect_jax.metrics.images import read_predictions
from defect_jax.runtime.errors import UserError
from defect_jax.training.train import train
from defect_jax.workdir.run_config import check_values, resolve

IMAGES = 5


def tiled(folder):
    """A config of tiny tiles: nine make an image."""
    config = ConfigDict(synthetic.get_config("debug").to_dict())
    config.data.update(size=(32, 32), tile_overlap_px=12, data_dir=str(folder))
    config.model.update(decoder="unet", widths=(4, 8), attention="none")
    config.train.update(steps=2, eval_every_steps=2)
    config.data.augment.update(shrink=0.2, stretch=0.2)
    return config


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    config = tiled(tmp_path_factory.mktemp("data"))
    prepared = prepare(config.data)
    split = prepared.splits["val"]
    defective_first = sorted(range(len(split.rows)), key=lambda row: -split.rows[row].label)
    chosen = [*defective_first[:1], *defective_first[1 - IMAGES :]]
    few = Split([split.source[row] for row in chosen], [split.rows[row] for row in chosen])
    assert sum(row.label for row in few.rows) == 1
    config = resolve(config, data_info(prepared, 1))
    return config, *tiny_network(config), few, prepared.splits["train"]


def scored(ready, mesh, thresholds):
    config, network, ema, split, _ = ready
    masks = {}
    placed = jax.device_put(ema, replicated(mesh))
    score = make_evaluator(network, split, config, mesh)
    return score(placed, thresholds, masks.__setitem__), masks


@pytest.fixture(scope="module")
def expected(ready):
    """Every image's map by the predictor's own way; and thresholds that split the images."""
    config, network, ema, split, _ = ready
    mesh = one_device_mesh()
    rule = DecisionRule(0.5, 0.5, 0.5, 0, IMAGES, 1)
    predictor = Predictor(network, config, ema, rule, mesh)
    maps = []
    for record in split.source:
        image = decode_image(record["image"])
        grid = Grid.of(image.shape[:2], config.data.size, config.data.tile_overlap_px)
        assert grid.rows.tiles == grid.columns.tiles == 3
        strips = iter_tile_rows(image, grid, predictor._marker._start, 8)
        maps.append(np.concatenate([strip.maps[..., 0] for strip in strips]))
    highest = np.array([one.max() for one in maps])
    chosen = np.float32(np.median(highest)), np.float32(np.quantile(maps, 0.9))
    return maps, highest, Thresholds(*chosen, np.int32(3))


@pytest.mark.parametrize("devices", [1, 8])
def test_a_split_is_judged_as_its_maps_are(ready, expected, devices):
    mesh = one_device_mesh() if devices == 1 else make_mesh(data=4, fsdp=2)
    maps, highest, thresholds = expected
    scores, masks = scored(ready, mesh, thresholds)
    np.testing.assert_allclose(scores.images["mask_score"], highest, atol=1e-6)
    truth = np.stack([decode_classes(record["mask"]) for record in ready[3].source]) > 0
    decided = np.stack([masks[row] for row in range(IMAGES)]) > 0
    by_hand = np.stack(maps) >= thresholds.pixel
    by_hand &= (highest >= thresholds.mask)[:, None, None]
    assert 0 < (decided != by_hand).sum() + by_hand.any(axis=(1, 2)).sum() < IMAGES
    assert (decided != by_hand).sum() <= 2  # pixels at the very threshold
    pixel_ap = scores.histogram.compute()["pixel_ap"]
    exact = average_precision_score(truth.ravel(), np.stack(maps).ravel())
    assert pixel_ap == pytest.approx(exact, abs=1e-3)
    assert scores.histogram.positives.to_numpy().sum() == truth.sum()
    assert scores.histogram.negatives.to_numpy().sum() == (~truth).sum()
    cells = (~decided & ~truth, decided & ~truth, ~decided & truth, decided & truth)
    counts = scores.counts.confusion.to_numpy().tolist()
    assert counts == [np.count_nonzero(cell) for cell in cells]
    by_image = scores.images["intersection_px"], scores.images["true_px"]
    np.testing.assert_array_equal(by_image[0], (decided & truth).sum(axis=(1, 2)))
    np.testing.assert_array_equal(by_image[1], truth.sum(axis=(1, 2)))


def test_a_disturbed_split_is_judged_by_the_same_programs(ready, expected):
    config, network, ema, split, _ = ready
    mesh, thresholds = one_device_mesh(), expected[2]
    judge = make_evaluator(network, split, config, mesh)
    placed = jax.device_put(ema, replicated(mesh))
    plain = judge(placed, thresholds)
    spec = InputSpec.of(config)
    shift = next(kind for kind in KINDS if kind.name == "shift")
    same = judge.on(disturbed(split, None))
    moved = same.on(disturbed(split, Disturbance(shift, 16.0, spec)))
    assert moved._compiled is same._compiled is judge._compiled is not None
    for name, values in same(placed, thresholds).images.items():
        np.testing.assert_array_equal(values, plain.images[name], name)
    found = moved(placed, thresholds)
    assert found.images["true_px"].sum() > 0
    by_hand = []
    for row, record in zip(split.rows, split.source, strict=True):
        shown = Decoded(decode_image(record["image"]), decode_classes(record["mask"]))
        by_hand.append(Disturbance(shift, 16.0, spec)(shown, row.id))
    expected_px = [np.count_nonzero(each.mask) for each in by_hand]
    np.testing.assert_array_equal(found.images["true_px"], expected_px)
    seen = found.histogram.positives.to_numpy().sum() + found.histogram.negatives.to_numpy().sum()
    assert seen == sum(np.count_nonzero(each.ignored == 0) for each in by_hand)
    assert not np.array_equal(found.images["mask_score"], plain.images["mask_score"])


def test_training_sees_tiles_of_both_kinds_and_goes_on_where_it_stopped(ready):
    config, *_, train_split = ready
    config = ConfigDict(config.to_dict())
    config.train.steps = 6

    def take(first, count):
        batches = training_batches(train_split, config, range(8), lambda batch: batch, first)
        return [next(batches) for _ in range(count)]

    batches = take(0, 4)
    for batch in batches:
        assert batch["image"].shape == (8, 32, 32, 1)
        assert batch["label"].tolist().count(1.0) == 4
        np.testing.assert_array_equal(batch["mask"].any(axis=(1, 2)), batch["label"] > 0)
    for one, two in zip(batches[2:], take(2, 2), strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, two)


PRETRAINED = {"encoder": "efficientnet_lite0", "weights": "imagenet", "label_head": "rows"}


@pytest.mark.parametrize(
    ("model", "judged_share"), [({}, 0.5), (PRETRAINED, 1.0)], ids=["plain, a region", "pretrained"]
)
def test_a_run_through_tiles_decides_as_the_predictor_of_its_workdir(
    model, judged_share, ready, tmp_path, monkeypatch
):
    leave_plots_empty(monkeypatch.setattr)
    config = tiled(ready[0].data.data_dir)
    config.model.update(model)
    row = ready[3].rows[0]
    judged = np.zeros((row.height, row.width), bool)
    judged[:, : int(judged_share * row.width)] = True
    config.data.region = as_text(judged) if judged_share < 1.0 else ""
    train(config, tmp_path / "run")
    predictor = load(tmp_path / "run")
    rows = read_predictions(tmp_path / "run/eval/test/predictions.csv")
    split = prepare(config.data).splits["test"]
    assert len(rows) == len(split.rows)
    for row, record in list(zip(rows, split.source, strict=True))[:4]:
        decision = predictor.predict(decode_image(record["image"]))
        assert decision.score == pytest.approx(row.score, abs=1e-5)
        assert decision.mask_score == pytest.approx(row.mask_score, abs=1e-5)
        assert np.count_nonzero(decision.mask) == pytest.approx(row.predicted_px, abs=2)
        assert not decision.mask[~judged].any()


@pytest.mark.parametrize("overlap_px", [-2, 3, 18])
def test_an_overlap_that_does_not_fit_is_refused(tmp_path, overlap_px):
    config = tiled(tmp_path)
    config.data.tile_overlap_px = overlap_px
    with pytest.raises(
        UserError, match=r"tile_overlap_px is .*(at most half .* by 2|from 0 to 8192)"
    ):
        check_values(config)
