"""Defective images that nobody has drawn: they teach the label, and count in every decision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import raw_data
from ml_collections import ConfigDict
from tiny_networks import class_batch

from defect_jax.configs import folder
from defect_jax.data.pipeline.sampling import MASKED_SHARE, SamplingPlan
from defect_jax.data.prepare.check import inspect
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.prepare.remarks import remarks
from defect_jax.data.sources.splits import HOLD_OUT_SHARES, SHARES, Member, grouped_split
from defect_jax.data.sources.supervision import masks_of
from defect_jax.losses.highest_pixel import highest_pixel_loss
from defect_jax.metrics.images import ImageRow, image_metrics
from defect_jax.models.network import Outputs
from defect_jax.training.tasks import task_losses

SIZE = (12, 16)
DRAWN = raw_data.defect_mask()


def plant(root, good=20, drawn=12, bad=12):
    """A plant's folder: good parts, some whose defects are drawn, others that are called bad."""
    for number in range(good + drawn):
        raw_data.write(root / f"images/{number:03}.png", raw_data.noise(number))
    for number in range(good, good + drawn):
        raw_data.write(root / f"masks/{number:03}.png", np.roll(DRAWN, number - good, axis=1))
    for number in range(bad):
        raw_data.write(root / f"bad/{number:03}.png", raw_data.noise(500 + number))
    return root


def rows_of(prepared):
    return {row.id: row for split in prepared.splits.values() for row in split.rows}


def test_a_folder_of_bad_parts_is_defective_without_masks(tmp_path):
    data = raw_data.config("folder", plant(tmp_path / "raw"), tmp_path)
    prepared = prepare(data)
    rows = rows_of(prepared)
    kinds = {id: (row.label, row.masked, row.defect_px > 0) for id, row in rows.items()}
    assert kinds["bad/000"] == (1, 0, False)
    assert kinds["images/000"] == (0, 1, False) and kinds["images/020"] == (1, 1, True)
    for split in prepared.splits.values():  # each kind is everywhere
        assert {(r.label, r.masked) for r in split.rows} == {(0, 1), (1, 1), (1, 0)}
    assert "12 defective images have a label and no mask" in prepared.info.notes
    said = "\n".join(remarks("parts", inspect(data)))
    assert "12 defective images have a label and no mask" in said


def test_labels_csv_calls_images_defective_that_have_no_mask_or_an_empty_one(tmp_path):
    root = plant(tmp_path / "raw", bad=0)
    raw_data.write(root / "masks/001.png", np.zeros(SIZE, np.uint8))
    (root / "labels.csv").write_text("id,label\n000,bad\nimages/001.png,NG\n002,ok\n020,1\n")
    rows = rows_of(prepare(raw_data.config("folder", root, tmp_path)))
    kinds = {id: (row.label, row.masked) for id, row in rows.items()}
    assert [kinds[f"images/{n:03}"] for n in (0, 1, 2, 3, 20)] == [
        (1, 0), (1, 0), (0, 1), (0, 1), (1, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("id,label\n000,perhaps\n", "labels.csv, line 2: the label 'perhaps' is none of good or "
         "bad, 0 or 1: correct it"),
        ("id,label\n020,good\n", "masks/020.png: marks a defect, but labels.csv calls its image "
         "good: correct one of the two"),
        ("id,label\n777,bad\n", "labels.csv: lists '777', but no image has that id: mend"),
        ("id,label\nimages/000,bad\nimages/000,good\n", "labels.csv, line 3: names "
         "'images/000' a second time, with another value: keep one line"),
        ("name;label\n", "labels.csv: begins with 'name;label', and not with the line 'id,label'"),
        ("id,label\n000\n", "labels.csv, line 2: is no pair id,label: give both, no more"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_labels_is_said_in_one_line(tmp_path, text, line):
    root = plant(tmp_path / "raw")
    (root / "labels.csv").write_text(text)
    found = [str(fault) for fault in inspect(raw_data.config("folder", root, tmp_path)).faults]
    assert any(line in fault for fault in found), found


def test_files_of_other_places_are_named(tmp_path):
    root = plant(tmp_path / "raw")
    raw_data.write(root / "masks/900.png", DRAWN)  # of no image
    raw_data.write(root / "masks/bad_one.png", DRAWN)
    raw_data.write(root / "bad/bad_one.png", raw_data.noise(9))
    (root / "sub").mkdir()
    (root / "sub/labels.csv").write_text("id,label\n")
    found = [str(fault) for fault in inspect(raw_data.config("folder", root, tmp_path)).faults]
    for line in (
        "masks/900.png: is a mask without an image: there is no images/900.*",
        "masks/bad_one.png: is a mask without an image: there is no images/bad_one.*, and those in "
        "bad/ have none: move the image into images/",
        "sub/labels.csv: is not read: call it labels.csv and put it beside images/",
    ):
        assert any(line in fault for fault in found), (line, found)


def test_fewer_masks_are_those_of_the_first_parts_and_nested(tmp_path):
    root = plant(tmp_path / "raw", bad=0)
    before, every = {}, None
    for count in (12, 6, 2, 0):
        prepared = prepare(raw_data.config("folder", root, tmp_path, masked_positives=count))
        rows = {r.id: r for n in ("train", "val") for r in prepared.splits[n].rows if r.label}
        masked = {id for id, row in rows.items() if row.masked}
        every = every or set(rows)
        assert set(rows) == every and len(masked) == min(count, len(every))
        assert not before or masked < before
        before = masked
        assert all(row.masked for row in prepared.splits["test"].rows)
    dropped = prepare(
        raw_data.config("folder", root, tmp_path, masked_positives=8, drop_unmasked=True)
    )
    left = [r for n in ("train", "val") for r in dropped.splits[n].rows if r.label]
    assert len(left) == 8 and all(row.masked for row in left)


def test_shots_of_a_part_lose_their_masks_part_by_part():
    found = [(f"{part}/{shot}", f"{part}") for part in range(6) for shot in range(3)]
    from defect_jax.data.sources.records import Record

    records = [Record(id, id, id, group, "pit", "train") for id, group in found]
    kept = [record.group for record in masks_of(records, 9, seed=0) if record.masked]
    assert sorted(kept.count(group) for group in set(kept)) == [3, 3, 3]


def test_every_kind_is_in_every_split():
    members = [Member(f"g{n}", f"g{n}", "good") for n in range(9)]
    members += [Member(f"d{n}", f"d{n}", "pit") for n in range(4)]
    members += [Member(f"u{n}", f"u{n}", "pit", masked=False) for n in range(4)]
    for seed in range(30):
        for shares in (SHARES, HOLD_OUT_SHARES):
            split_of = grouped_split(members, shares, seed)
            for kind in "gdu":
                assert {s for id, s in split_of.items() if id[0] == kind} == set(shares)


def test_every_batch_has_masks_labels_and_good_surface():
    labels, masked = [0] * 40 + [1] * 44, [1] * 44 + [0] * 40  # 4 drawn, 40 not
    plan = SamplingPlan(tuple(labels), 1600, 0.5, seed=3, masked=tuple(masked))
    rows = [plan[position].row for position in range(1600)]
    for start in range(0, 1600, 16):
        batch = rows[start : start + 16]
        kinds = [(labels[row], masked[row]) for row in batch]
        assert [kinds.count(k) for k in ((0, 1), (1, 1), (1, 0))] == [8, 4, 4]
    assert MASKED_SHARE == 0.5
    counts = np.bincount(rows, minlength=84)
    for kind in (slice(0, 40), slice(40, 44), slice(44, 84)):  # each kind least-used first
        assert np.ptp(counts[kind]) <= 1
    other = SamplingPlan(tuple(labels), 1600, 0.5, seed=3, masked=(1,) * 84)
    assert {other[n].row for n in range(1600)} == set(range(84))


def test_tiles_are_of_images_whose_mask_is_known():
    labels, masked = (0, 1, 1, 1), (1, 1, 0, 0)
    for fraction, rows in ((0.5, {0, 1}), (None, {0, 1})):
        plan = SamplingPlan(labels, 40, fraction, 0, good_are_of_good=False, masked=masked)
        assert {plan[position].row for position in range(40)} == rows


# Losses


def losses_of(batch, **loss):
    config = ConfigDict(folder.get_config("debug").to_dict())
    config.loss.update(loss)
    batch = {name: jnp.asarray(value) for name, value in batch.items()}

    def losses(params):
        found = task_losses(Outputs(params["mask"], params["label"]), batch, config)
        return found["segmentation"], found["classification"]

    shape = (2, *batch["mask"].shape, 1)
    params = {
        "mask": jax.random.normal(jax.random.key(0), shape),
        "label": jax.random.normal(jax.random.key(1), (len(batch["label"]),)),
    }
    return losses(params), jax.jacobian(losses)(params)


def test_an_image_without_a_mask_teaches_its_label_and_not_its_mask():
    batch = class_batch(classes=1)
    batch["masked"][[1, 3]] = 0.0
    (mask_loss, label_loss), (of_mask, of_label) = losses_of(batch)
    without = {name: np.delete(value, [1, 3], axis=0) for name, value in batch.items()}
    assert not np.any(of_mask["mask"][:, [1, 3]]) and np.all(of_mask["mask"][:, 0, 3:] != 0)
    assert np.all(of_label["label"] != 0)
    changed = batch | {"mask": batch["mask"].copy()}
    changed["mask"][[1, 3]] = 1  # whatever is there
    np.testing.assert_array_equal(losses_of(changed)[0][0], mask_loss)
    labels = np.asarray(jax.random.normal(jax.random.key(1), (8,)), np.float64)
    by_hand = np.log1p(np.exp(-np.where(batch["label"] > 0, labels, -labels))).mean()
    np.testing.assert_allclose(label_loss, by_hand, rtol=1e-6)
    assert len(without["label"]) == 6


def test_a_batch_without_any_mask_has_a_mask_loss_of_exactly_zero():
    batch = class_batch(classes=1)
    batch["masked"][:] = 0.0
    (mask_loss, _), (of_mask, _) = losses_of(batch)
    assert float(mask_loss) == 0.0 and not np.any(of_mask["mask"])  # `balance`: not there


def test_the_highest_pixel_is_taught_by_the_label_if_asked():
    batch = class_batch(classes=1)
    batch["masked"][:] = 0.0
    (mask_loss, _), (of_mask, _) = losses_of(batch, highest_pixel_weight=0.5)
    logits = np.asarray(jax.random.normal(jax.random.key(0), (2, 8, 16, 16, 1)), np.float64)
    highest = np.where(batch["valid"], logits[..., 0], -np.inf).max(axis=(2, 3))
    signed = np.where(batch["label"] > 0, highest, -highest)
    np.testing.assert_allclose(mask_loss, 0.5 * np.log1p(np.exp(-signed)).mean(), rtol=1e-5)
    assert np.count_nonzero(of_mask["mask"]) == 16  # one pixel of each image and head


def test_the_highest_pixel_of_several_classes_is_that_of_any_defect():
    logits = np.zeros((1, 1, 1, 2, 3), np.float32)
    logits[..., 1, :] = [0.0, 1.0, 2.0]
    loss = highest_pixel_loss(jnp.asarray(logits), jnp.ones(1), jnp.ones((1, 1, 2, 1)))
    odds = np.log(np.exp(1.0) + np.exp(2.0))
    np.testing.assert_allclose(loss, np.log1p(np.exp(-odds)), rtol=1e-6)


# Figures


def row(id, label, masked, rejected, iou, px):
    inside, true, predicted = px
    return ImageRow(id, id, label, 0.9 * rejected, 0.9 * rejected, rejected, int(predicted > 0),
                    iou, inside, true, predicted, 0.9 * rejected, rejected, masked)  # fmt: skip


def test_decisions_count_all_images_and_overlaps_those_with_masks():
    found = image_metrics([
        row("drawn", 1, 1, 1, 0.5, (20, 30, 30)),
        row("missed", 1, 1, 0, 0.0, (0, 10, 0)),
        row("undrawn", 1, 0, 1, None, (0, 0, 50)),
        row("undrawn too", 1, 0, 0, None, (0, 0, 0)),
        row("good", 0, 1, 0, None, (0, 0, 0)),
        row("alarm", 0, 1, 1, 0.0, (0, 0, 9)),
    ])  # fmt: skip
    assert (found["images"], found["defective"], found["masked_images"]) == (6, 4, 4)
    assert found["recall"] == found["seg_recall"] == 0.5
    assert found["seg_fpr"] == 0.5 and found["seg_accuracy"] == 0.5
    assert found["seg_miou"] == pytest.approx((0.5 + 0.0 + 0.0) / 3)
    assert found["seg_recall_hit"] == 0.5 and found["seg_recall_iou_50"] == 0.5


def test_shots_of_one_name_in_both_folders_keep_their_own_lights(tmp_path):
    for number in range(4):
        for light in (1, 2):
            for home in ("images", "bad"):
                pixels = raw_data.noise(10 * number + light + 100 * (home == "bad"))
                raw_data.write(tmp_path / f"raw/{home}/{number}.{light}.png", pixels)
    (tmp_path / "raw/bad/3.2.png").unlink()
    (tmp_path / "raw/images/3.1.png").unlink()
    found = inspect(raw_data.config("folder", tmp_path / "raw", tmp_path, lights=2))
    files = {record.id: record.files for record in found.found.records}
    assert files["bad/2"] == ("bad/2.1.png", "bad/2.2.png")
    assert files["images/2"] == ("images/2.1.png", "images/2.2.png")
    said = "\n".join(map(str, found.faults))
    assert "images/3.1.png: is missing" in said and "bad/3.2.png: is missing" in said
