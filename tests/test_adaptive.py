"""Adaptive sampling: shares, caps and kinds are kept, and a resumed run draws the same."""

import pickle
import shutil
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict
from programs import CONFIG, SMALL, lines
from test_batches import assert_same, on_host, ready

from defect_jax.data.pipeline.adaptive import AdaptivePlan, parts_of, systematic
from defect_jax.data.pipeline.adaptive_batches import adaptive_batches
from defect_jax.data.pipeline.batches import training_batches
from defect_jax.data.pipeline.sampling import SamplingPlan
from defect_jax.distributed.sharding import make_mesh
from defect_jax.models.network import Outputs
from defect_jax.training.missed import NEWEST, Missed, all_missed, distance, updated

__all__ = ["ready"]  # a fixture
LABELS = (1, 0, 0, 0, 1, 0, 0, 0, 0, 1)
PARTS = (0, 0, 0, 1, 1, 2, 2, 3, 3, 3)
STRETCH = 60  # positions


def stretch(number, missed, most_often=4.0, fraction=0.5, good_of_good=True, seed=0):
    positions = range(number * STRETCH, (number + 1) * STRETCH)
    plan = SamplingPlan(LABELS, positions.stop, fraction, seed, good_of_good)
    return AdaptivePlan(plan, PARTS, np.float32(missed), most_often, positions)


def drawn(stretches, missed, **options):
    """How often each row comes as an element of each kind."""
    plans = [stretch(number, missed, **options) for number in range(stretches)]
    requests = [plan[position] for plan in plans for position in plan.positions]
    return Counter((request.row, request.defective) for request in requests)


@given(st.lists(st.floats(1.0, 4.0), min_size=1, max_size=40), st.integers(0, 200))
def test_a_share_is_rounded_down_or_up(weights, count):
    weights = np.array(weights)
    for offset in (0.0, 0.5, 0.999):
        turns = systematic(weights, count, offset)
        assert turns.sum() == count
        assert np.abs(turns - count * weights / weights.sum()).max() < 1.0 + 1e-9


@pytest.mark.parametrize("fraction", [0.5, 0.3])
def test_kinds_come_where_they_do_in_the_plain_order(fraction):
    missed = np.random.default_rng(0).random((4, 2))
    plain = SamplingPlan(LABELS, 4 * STRETCH, fraction, 0)
    for number in range(4):
        plan = stretch(number, missed, fraction=fraction)
        for position in plan.positions:
            assert plan[position].defective == plain[position].defective
            assert LABELS[plan[position].row] == plan[position].defective


def test_what_is_missed_wholly_comes_as_often_as_the_cap_says():
    missed = np.zeros((4, 2))
    missed[1] = 1.0  # of row 3 the good element, of row 4 the defective one
    counts = drawn(40, missed)
    for kind, easy, hard in ((False, (1, 2, 5, 6, 7, 8), 3), (True, (0, 9), 4)):
        each = [counts[row, kind] for row in easy]
        assert max(each) - min(each) <= 2  # no share is lost to rounding
        assert counts[hard, kind] == pytest.approx(4.0 * np.mean(each), abs=4)


def test_all_alike_is_an_even_order():
    for missed in (np.zeros((4, 2)), np.ones((4, 2))):
        counts = drawn(7, missed)  # 30 of each kind a stretch: 3 and 7 rows
        assert {counts[row, True] for row in (0, 4, 9)} == {70}
        assert {counts[row, False] for row in (1, 2, 3, 5, 6, 7, 8)} <= {29, 30, 31}


def test_good_tiles_of_defective_images_and_the_sets_own_shares():
    missed = np.zeros((4, 2))
    missed[0, 0] = 1.0  # good elements of part 0: rows 0, 1, 2
    counts = drawn(20, missed, good_of_good=False)
    assert counts[0, False] == pytest.approx(4 * counts[4, False], rel=0.1)
    assert counts[0, True] == pytest.approx(counts[4, True], rel=0.1)
    counts = drawn(20, missed, fraction=None)  # a row is of the kind of its label
    assert counts[1, None] == pytest.approx(4 * counts[0, None], rel=0.1)


def test_a_stretch_is_a_function_of_its_positions():
    missed = np.random.default_rng(1).random((4, 2))
    forward = [stretch(3, missed)[position] for position in range(180, 240)]
    again = pickle.loads(pickle.dumps(stretch(3, missed)))
    assert [again[position] for position in reversed(range(180, 240))] == forward[::-1]
    assert [stretch(3, missed, seed=1)[p] for p in range(180, 240)] != forward
    with pytest.raises(IndexError, match="position 240 of a plan of range"):
        again[240]


def test_golden_order():
    """Philox and the shares must give this on every machine and NumPy."""
    missed = np.array([[0.0, 1.0], [0.5, 0.0], [1.0, 0.0], [0.0, 0.25]])
    plan = stretch(1, missed)
    expected = [8, 0, 6, 0, 5, 0, 1, 0, 5, 9, 1, 4]
    assert [plan[position].row for position in range(60, 72)] == expected


def test_one_step_is_what_a_loop_over_the_batch_finds():
    rng = np.random.default_rng(0)
    before = Missed(*(np.float32(rng.random((3, 2))) for _ in range(2)))
    batch = {
        "part": np.int32([0, 2, 0, 0]),
        "label": np.float32([1, 0, 1, 0]),
        "valid": np.ones((4, 2, 2), bool),
    }
    batch["valid"][1, 0, 0] = False
    logits = np.float32(rng.normal(size=(1, 4, 2, 2, 1)))
    logits[0, 1, 0, 0] = 9.0  # of padding
    outputs = Outputs(jnp.asarray(logits), jnp.float32([0.0, 1.0, -2.0, 3.0]))
    expected, seen = before.now.copy(), {}
    for i, (part, label) in enumerate(zip(batch["part"], batch["label"], strict=True)):
        probability = 1 / (1 + np.exp(-logits[0, i, ..., 0]))
        highest = probability[batch["valid"][i]].max()
        of_label = 1 / (1 + np.exp(-float(outputs.label_logits[i])))
        error = (abs(highest - label) + abs(of_label - label)) / 2
        seen.setdefault((part, int(label)), []).append(error)
    for place, errors in seen.items():
        expected[place] += NEWEST * (np.mean(errors) - expected[place])
    within = updated(before, outputs, batch, jnp.int32(3), 5)
    at_end = updated(before, outputs, batch, jnp.int32(4), 5)
    np.testing.assert_allclose(within.now, expected, rtol=1e-5)
    np.testing.assert_array_equal(within.drawn_by, before.drawn_by)
    np.testing.assert_array_equal(at_end.drawn_by, at_end.now)
    alone = distance(outputs._replace(label_logits=None), batch)
    assert alone[1] == pytest.approx(1 / (1 + np.exp(-logits[0, 1][batch["valid"][1]].max())))


def test_devices_share_what_they_find():
    mesh, rng = make_mesh(8, 1), np.random.default_rng(0)
    batch = {
        "part": np.int32(rng.integers(0, 3, 16)),
        "label": np.float32(rng.integers(0, 2, 16)),
        "valid": np.ones((16, 2, 2), bool),
    }
    outputs = Outputs(jnp.float32(rng.normal(size=(1, 16, 2, 2, 1))), None)
    spread = jax.device_put(batch, NamedSharding(mesh, P(("data", "fsdp"))))
    parts = jax.device_put(outputs.mask_logits, NamedSharding(mesh, P(None, ("data", "fsdp"))))
    step = jax.jit(updated, static_argnums=4, out_shardings=NamedSharding(mesh, P()))
    found = step(all_missed(3), Outputs(parts, None), spread, 0, 1)
    assert found.now.is_fully_replicated
    alone = updated(all_missed(3), outputs, batch, 0, 1)
    np.testing.assert_allclose(found.now, alone.now, rtol=1e-6)


EVERY = 3  # steps a stretch


def take(ready, first_step=0, count=7, rows=range(8), **data):
    """Batches of a run that finds another thing missed after each step."""
    config, splits = ready
    config = ConfigDict(config.to_dict())
    config.data.update(data)
    config.data.adaptive = {"most_often": 4.0, "every_steps": EVERY}
    parts, found = max(parts_of(splits["train"].rows)) + 1, []

    def missed():
        began = (first_step + len(found)) // EVERY * EVERY
        return np.random.default_rng(began).random((parts, 2)).astype(np.float32)

    batches = adaptive_batches(splits["train"], config, rows, on_host, first_step, missed)
    for _ in range(count):
        found.append(next(batches))
    batches.close()
    return found


def test_batches_name_the_part_of_each_element_and_keep_their_kinds(ready):
    config, splits = ready
    plain = training_batches(splits["train"], config, range(8), on_host, 0)
    for batch, before in zip(take(ready), plain, strict=False):
        np.testing.assert_array_equal(batch["label"], before["label"])
        assert batch["part"].dtype == np.int32 and batch.keys() == before.keys() | {"part"}
    assert len(take(ready, first_step=6, count=2)) == 2  # the run ends within a stretch


def test_a_resumed_run_gets_the_batches_of_its_step(ready):
    """With pasted defects, as the plain order without them."""
    options = {"augment": {"paste": 0.5}}
    whole = take(ready, **options)
    assert_same(whole[4:], take(ready, first_step=4, count=3, **options))
    assert_same(whole[6:], take(ready, first_step=6, count=1, **options))
    assert_same(whole, take(ready, threads=4, **options))
    assert_same(whole[4:6], take(ready, first_step=4, count=2, workers=1, **options))
    part = take(ready, rows=[1, 6], **options)
    assert_same(part, [jax.tree.map(lambda leaf: leaf[[1, 6]], batch) for batch in whole])


def test_a_run_cut_off_within_a_stretch_goes_on_bit_for_bit(forked, tmp_path):
    """The checkpoint of step 4 is in the first stretch, which was drawn before anything was found;
    the second is drawn by what step 6 found."""
    asked = (*SMALL, "--config.data.adaptive.most_often=100.0", "--config.data.augment.paste=0.5")
    command = (CONFIG, *asked, f"--config.data.data_dir={tmp_path / 'data'}")
    every = "--config.data.adaptive.every_steps=6"
    whole = forked.run(*command, every, f"--workdir={tmp_path / 'run'}")
    assert whole.returncode == 0, whole.stderr
    before = lines(tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/8")
    again = forked.run(*command, every, f"--workdir={tmp_path / 'run'}")
    assert again.returncode == 0, again.stderr
    assert "going on from step 4" in again.stderr
    assert lines(tmp_path / "run") == before


def test_images_without_masks_come_where_they_do_in_the_plain_order():
    masked = (1, 1, 1, 1, 0, 1, 1, 1, 1, 0)  # of the rows 0, 4, 9 with a defect
    plain = SamplingPlan(LABELS, STRETCH, 0.5, 0, True, masked)
    plan = AdaptivePlan(plain, PARTS, np.ones((4, 2), np.float32), 4.0, range(STRETCH))
    for position in plan.positions:
        assert masked[plan[position].row] == masked[plain[position].row]
