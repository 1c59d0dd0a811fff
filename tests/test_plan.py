"""The plan of a run: what follows from the images and the machine, and what is named."""

import json
import math

import cv2
import numpy as np
import pytest
import raw_data
from hypothesis import given
from hypothesis import strategies as st
from programs import SMALL, lines

from defect_jax.configs import folder
from defect_jax.plan import plan as plans
from defect_jax.plan import rules
from defect_jax.plan.facts import DataFacts, unevenness, widest
from defect_jax.plan.frames import chosen_frame
from defect_jax.plan.machine import MachineFacts, machine_facts
from defect_jax.plan.scales import LARGE
from defect_jax.plan.scales import SMALL as SMALL_SCALE
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import run_config
from defect_jax.workdir.config_fields import PLANNED

LAPTOP = MachineFacts("cpu", 1, "CPU", 8.0, 1.3)
GPUS = MachineFacts("gpu", 8, "H200", 100.0, None)


def facts(height, width, defect_px, uneven=1.0, images=800, evaluated=540):
    return DataFacts(images, 200, 100, 40, evaluated, height, width, uneven, defect_px, 9.0, 200)


def values(data, machine=LAPTOP, minutes=10.0, **named):
    named = {field.replace("__", "."): value for field, value in named.items()}
    return {c.field: c.value for c in rules.choices(data, machine, minutes, named)}


@pytest.mark.parametrize("radius", [1, 2, 5, 20])
def test_the_width_of_a_defect_is_the_diameter_of_the_largest_circle_in_it(radius):
    mask = np.zeros((120, 120), np.uint8)
    cv2.circle(mask, (60, 60), radius, 3, -1)
    assert 2 * radius - 1.0 <= widest(mask) <= 2 * radius + 1.5  # a disc of whole pixels
    mask[0, :] = 1  # a long hair is no wider than it is, and touches the border
    assert 2 * radius - 1.0 <= widest(mask) <= 2 * radius + 1.5  # a disc of whole pixels


def test_a_hair_across_the_image_is_as_wide_as_it_is_and_nothing_has_no_width():
    mask = np.zeros((50, 90), np.uint8)
    assert widest(mask) == 0.0
    mask[:, 7] = 1
    assert widest(mask) == 1.0
    mask[:] = 1
    assert widest(mask) == 49.0 or widest(mask) == 50.0


def test_images_that_are_high_or_wide_by_turns_are_uneven():
    assert unevenness([0.4] * 20) == 1.0
    assert unevenness([0.5] * 10 + [1.0] * 11 + [2.0] * 10) == 2.0


@pytest.mark.parametrize(
    ("data", "size", "overlap_px", "stretch"),
    [
        (facts(325, 264, 4.657, uneven=2.043), (192, 192), 0, 2.0),  # Magnetic Tile
        (facts(1260, 500, 9.04), (320, 128), 0, 1.0),  # KolektorSDD
        (facts(160, 160, 1.828), (160, 160), 0, 1.0),  # generated: small images stay as they are
        (facts(320, 320, 7.485), (192, 192), 0, 1.0),
        (facts(64, 64, 3.0), (64, 64), 0, 1.0),
        (facts(50, 70, 3.0), (64, 96), 0, 1.0),  # padded, never enlarged
        (facts(460, 1130, 7.0), (160, 416), 0, 1.0),  # more pixels, for small defects
        (facts(3000, 4000, 10.0), (256, 256), 64, 1.0),  # gone in any frame
        (facts(3000, 4000, 0.0), (160, 224), 0, 1.0),  # no mask tells
    ],
)
def test_frames_keep_small_defects_visible(data, size, overlap_px, stretch):
    frame = chosen_frame(data, SMALL_SCALE)
    assert (frame.size, frame.overlap_px, frame.stretch) == (size, overlap_px, stretch)


@given(
    st.integers(1, 8000),
    st.integers(1, 8000),
    st.floats(0.0, 300.0),
    st.floats(1.0, 4.0),
    st.sampled_from([LAPTOP, GPUS]),
)
def test_what_is_chosen_is_always_a_config(height, width, defect_px, uneven, machine):
    config = folder.get_config()
    chosen = values(facts(height, width, defect_px, uneven), machine)
    assert tuple(chosen) and set(chosen) == set(PLANNED)
    config.unlock()
    config.update_from_flattened_dict(chosen)
    run_config.check_values(config)
    assert config.train.batch_size % machine.devices == 0
    scale = SMALL_SCALE if machine is LAPTOP else LARGE
    long = max(height, width) / min(height, width) > 20  # no side is below 32 px
    assert long or math.prod(config.data.size) <= 2.5 * scale.most_frame_px


def test_steps_fill_the_minutes():
    data = facts(325, 264, 4.657, uneven=2.043)
    ten, twenty = values(data), values(data, minutes=20.0)
    step_s = 1.3 * 16 * 192 * 192 / 1e6
    assert ten["train.batch_size"] == 16
    assert (twenty["train.steps"] - ten["train.steps"]) * step_s == pytest.approx(600.0, abs=20.0)
    assert ten["train.steps"] * step_s < 600.0 - rules.START_S
    assert values(data, minutes=0.1)["train.steps"] == rules.LEAST_STEPS
    assert values(data, GPUS)["train.steps"] == rules.MOST_STEPS


def test_what_is_named_is_what_the_rest_is_built_on():
    data = facts(325, 264, 4.657, uneven=2.043)
    chosen = values(data, data__size=[96, 96], train__steps=120)
    assert chosen["train.batch_size"] == 32  # smaller frames, more of them
    assert (chosen["train.log_every_steps"], chosen["train.eval_every_steps"]) == (10, 120)
    assert values(data, train__batch_size=8)["train.steps"] > values(data)["train.steps"]


def test_a_batch_fits_into_a_small_memory():
    data = facts(325, 264, 4.657, uneven=2.043)
    assert values(data, LAPTOP._replace(free_gb=0.8))["train.batch_size"] == 3


def test_an_accelerator_trains_the_full_network_with_what_fits_into_it():
    data = facts(1260, 500, 9.04)
    one, eight = values(data, GPUS._replace(devices=1)), values(data, GPUS)
    assert one["model.decoder"] == "unetplusplus" and one["data.size"] == [608, 256]
    assert (one["train.batch_size"], eight["train.batch_size"]) == (16, 32)  # four each
    small = values(data, GPUS._replace(devices=1, free_gb=8.0))
    assert small["train.batch_size"] == 5  # 0.8 of 8 GB, over 608 * 256 * 8000 bytes
    assert values(data, GPUS._replace(free_gb=8.0))["train.batch_size"] == 32


def test_evaluation_through_tiles_or_of_mirror_images_takes_its_share_of_the_minutes():
    data = facts(325, 264, 4.657, uneven=2.043)
    plain, flips = values(data), values(data, evaluation__flips=True)
    frame_s = 1.3 * 192 * 192 / 1e6 * rules.EVALUATION_SHARE * rules.PASSES * data.evaluated
    missing = (plain["train.steps"] - flips["train.steps"]) * 1.3 * 16 * 192 * 192 / 1e6
    assert missing == pytest.approx(3.0 * frame_s, abs=10.0)
    large = facts(3000, 4000, 10.0, evaluated=9)
    assert values(large)["train.steps"] < values(large._replace(evaluated=0))["train.steps"] - 100


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(2, 500), st.data())
def test_tiles_cover_an_image_and_none_of_them_could_go(height, width, tile_px, draw):
    overlap_px = draw.draw(st.integers(1, tile_px - 1))
    data = facts(height, width, 10.0)
    tiles = rules.evaluated_image_px(data, (tile_px, tile_px), overlap_px) / tile_px**2
    step_px = tile_px - overlap_px
    rows, columns = (len(range(0, max(1, side - overlap_px), step_px)) for side in (height, width))
    assert tiles == rows * columns


def test_a_short_run_warms_up_for_a_quarter_of_it():
    data = facts(325, 264, 4.657)
    chosen = values(data, train__steps=100)
    assert chosen["optimizer.warmup_steps"] == 25
    assert values(data, train__steps=3)["optimizer.warmup_steps"] == 1


def test_the_probe_tells_the_speed_of_this_machine():
    machine = machine_facts()
    assert machine.platform == "cpu" and machine.devices >= 1
    assert 0.0 < machine.free_gb and 0.0 < machine.step_s_per_mpx < 1000.0


@pytest.fixture
def own(tmp_path):
    return raw_data.folder_data(tmp_path / "parts")


def test_check_ends_with_the_plan_and_says_how_to_choose_otherwise(forked, own, tmp_path):
    result = forked.run("check", "--config=folder", f"--config.data.root={own}")
    assert result.returncode == 0, result.stderr
    plan = [line for line in result.stdout.splitlines() if line.startswith("plan: ")]
    assert "training images" in plan[0]
    assert any('--config.data.size="(' in line for line in plan)
    assert any("--config.train.steps=" in line and " minutes in all" in line for line in plan)
    named = forked.run(
        "check", "--config=folder", f"--config.data.root={own}", "--config.data.size=(64, 32)"
    )
    assert named.returncode == 0 and "data.size" not in named.stdout
    bad = forked.run("check", "--config=folder", f"--config.data.root={own}", "--config.minutes=0")
    assert bad.returncode == 2 and "config.minutes is 0.0: it must be" in bad.stdout
    assert "faults to mend: 1," in bad.stderr


def test_training_follows_its_plan_and_goes_on_with_it(forked, own, tmp_path):
    workdir = tmp_path / "run"
    given = [
        *("train", "--config=folder", f"--config.data.root={own}", *SMALL),
        *("--config.model.encoder=plain", "--config.model.label_head=deepest"),
        *("--config.train.steps=4", "--config.train.batch_size=4"),
        *(f"--config.data.data_dir={tmp_path / 'data'}", f"--workdir={workdir}"),
    ]
    whole = forked.run(*given)
    assert whole.returncode == 0, whole.stderr
    plan = json.loads((workdir / "plan.json").read_text())
    assert plan["chosen"]["data.size"]["value"] and "train.steps" not in plan["chosen"]
    assert plan["data"]["images"] > 0 and plan["machine"]["platform"] == "cpu"
    config = json.loads((workdir / "config.json").read_text())
    for field, chosen in plan["chosen"].items():
        found = config
        for name in field.split("."):
            found = found[name]
        assert found == chosen["value"], field
    again = forked.run(*given)
    assert again.returncode == 0 and "plan: " not in again.stderr
    assert [line["step"] for line in lines(workdir) if line["split"] == "val"] == [4]
    other = forked.run(*given, "--config.data.size=(32, 64)")
    assert other.returncode == 2 and "data.size was" in other.stderr
    judged = forked.run("evaluate", "--config=folder", f"--workdir={workdir}", *given[2:-2])
    assert judged.returncode == 0, judged.stderr


def test_a_config_that_was_never_planned_trains_nothing():
    with pytest.raises(UserError, match="config.minutes is -1"):
        config = folder.get_config()
        config.minutes = -1.0
        run_config.check_values(config)
    assert not plans.is_open(folder.get_config("cpu")) and plans.is_open(folder.get_config())
