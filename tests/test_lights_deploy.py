"""A network of six lights decides the same in evaluation, prediction, Python and exported files."""

import json
import shutil

import jax
import numpy as np
import pytest
import raw_data
from light_data import LIGHTS, light_data, paged, shot
from ml_collections import ConfigDict
from tiny_predictor import RULE, tiny_network

from defect_jax.configs import folder as folder_config
from defect_jax.data.files.masks import decode_mask
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.prepare.data_info import data_info
from defect_jax.data.prepare.prepare import prepare
from defect_jax.decision.apply import Decision, Thresholds
from defect_jax.deploy import card, parity
from defect_jax.deploy import predict as mode
from defect_jax.deploy.export import INPUT, input_shape, to_stablehlo
from defect_jax.deploy.inputs import ExampleImages, open_input
from defect_jax.deploy.onnx import to_onnx
from defect_jax.deploy.predictor import Predictor
from defect_jax.deploy.program import make_program
from defect_jax.distributed.sharding import make_mesh, one_device_mesh, replicated
from defect_jax.evaluation.evaluator import make_evaluator
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import config_schema, run_config

SIDES = {"height": 40, "width": 60}


@pytest.fixture(scope="module", params=[0, 8], ids=["scaled", "tiles"])
def ready(request, tmp_path_factory):
    """A resolved config, its network, a split and the pixels of all shots."""
    home = tmp_path_factory.mktemp("lights")
    root, written = light_data(home / "raw", **SIDES)
    config = ConfigDict(folder_config.get_config("debug").to_dict())
    config.model.update(decoder="unet", widths=(4, 8), attention="none")
    config.data.update(root=str(root), data_dir=str(home / "prepared"), lights=LIGHTS)
    config.data.update(size=(32, 48), tile_overlap_px=request.param)
    prepared = prepare(config.data)
    config = run_config.resolve(config, data_info(prepared, 1))
    return config, *tiny_network(config), prepared.splits["train"], written


@pytest.fixture(scope="module")
def predictor(ready):
    config, network, ema, *_ = ready
    return Predictor(network, config, ema, RULE, one_device_mesh(), batch_size=4)


def test_the_config_is_one_and_comes_back_from_json(ready, tmp_path):
    config = ready[0]
    config_schema.check(config_schema.flat(config))
    run_config.claim(tmp_path, config)
    kept = run_config.load(tmp_path)
    assert InputSpec.of(kept) == InputSpec.of(config) and len(set(kept.data_info.mean)) > 1
    run_config.refuse_differences(kept, config, tmp_path)
    for field, value in (
        ("data_info.mean", [0.5] * 5),
        ("data_info.lights", [1] * 5),
        ("data_info.lights", [2] * 3),
        ("data_info.high", [0.0] * 6),
        ("data.lights", 17),
    ):
        values = config_schema.flat(config) | {field: value}
        with pytest.raises(UserError, match=r"config\.data_info|config\.data\.lights"):
            config_schema.check(values)


@pytest.mark.parametrize("devices", [1, 8])
def test_evaluation_decides_as_the_predictor(ready, predictor, devices):
    config, network, ema, split, written = ready
    mesh = one_device_mesh() if devices == 1 else make_mesh(data=4, fsdp=2)
    masks = {}
    score = make_evaluator(network, split, config, mesh)
    scores = score(
        jax.device_put(ema, replicated(mesh)), Thresholds.of(RULE), masks.__setitem__
    ).images
    for row, told in enumerate(split.rows):
        decision = predictor.predict(written[told.id])
        assert scores["score"][row] == pytest.approx(decision.score, abs=2e-5)
        assert scores["mask_score"][row] == pytest.approx(decision.mask_score, abs=2e-5)
        assert ((masks[row] > 0) != (decision.mask > 0)).sum() <= 1
    assert np.ptp(scores["mask_score"]) > 1e-3  # or nothing would be told apart


def test_prediction_groups_the_files_of_a_shot_and_names_a_missing_light(
    ready, predictor, monkeypatch, tmp_path, capsys
):
    root, written = tmp_path / "in", ready[-1]
    shutil.copytree(ready[0].data.root, root)
    id, (gone, unlike, *_) = "images/good/part_000", sorted(written)[-2:]
    for light in range(LIGHTS):
        (root / f"{id}.{light + 1}.png").unlink()
    raw_data.write(root / f"{id}.tiff", paged(written[id]))
    (root / f"{gone}.4.png").unlink()
    raw_data.write(root / f"{unlike}.2.png", np.zeros((4, 4), np.uint8))
    monkeypatch.setattr(mode, "load", lambda *given: predictor)
    run = [str(root), str(tmp_path / "out"), tmp_path, 1.0, False, None, LIGHTS]
    with pytest.raises(UserError, match="2 of 15 images cannot be used"):
        mode.predict(*run)
    said = capsys.readouterr().err
    assert f"{gone}.4.png: is missing: light 4 of 6, beside part_008.1.png" in said
    assert f"{unlike}.2.png: has 4x4 px, but the first light of its shot 60x40" in said
    lines = (tmp_path / "out/predictions.jsonl").read_text().splitlines()
    decided = {line["id"]: line for line in map(json.loads, lines) if "fault" not in line}
    assert decided.keys() == written.keys() - {gone, unlike}
    for id, line in decided.items():
        decision = predictor.predict(written[id])
        assert line["score"] == pytest.approx(decision.score, abs=2e-5)
        mask = decode_mask((tmp_path / f"out/masks/{id}.png").read_bytes(), 0)
        np.testing.assert_array_equal(mask, decision.mask > 0)
    with pytest.raises(UserError, match="2 of 15"):  # what was decided before is known again
        mode.predict(*run)
    assert "13 were decided on before" in capsys.readouterr().err


def test_exported_files_decide_as_the_predictor_and_say_which_light_is_which(
    ready, predictor, tmp_path
):
    config, network, ema, _, written = ready
    if config.data.tile_overlap_px:
        return  # tests/test_tiles_jax.py: whatever the channels
    program, shape = make_program(network, config, ema, RULE), input_shape(InputSpec.of(config))
    stablehlo = to_stablehlo(program, shape)
    onnx = to_onnx(program, {INPUT: shape}, Decision._fields).SerializeToString()
    image = written["images/bad/part_010"]
    decision = predictor.predict(image)
    for outputs in (parity.of_onnx(onnx), parity.of_stablehlo(stablehlo)):
        answer = outputs(image[None])
        assert float(answer["score"][0]) == pytest.approx(decision.score, abs=2e-5)
        assert (answer["mask"][0] != decision.mask).sum() <= 1
    told = json.loads(card.card(config, RULE, tmp_path, {}, 0.0))["input"]
    assert told["shape"] == ["b", "h", "w", 6]
    assert told["channels"] == "light 1, light 2, light 3, light 4, light 5, light 6"
    assert told["trained_on_values"][5] == [config.data_info.low[5], config.data_info.high[5]]


def test_wrong_numbers_of_channels_are_one_line(ready, predictor):
    says = r"has shape \[40, 60\]: give \[height, width, 6\] for light 1, light 2, "
    with pytest.raises(UserError, match=says):
        predictor.predict(np.zeros((40, 60), np.uint8))
    with pytest.raises(UserError, match=r"has shape \[6, 40, 60\] \(channels come last\)"):
        predictor.predict(np.zeros((6, 40, 60), np.uint8))
    with pytest.raises(UserError, match="x: has 3 lights, but the network was trained on 6"):
        predictor.spec.shot([np.zeros((4, 4, 1), np.uint8)] * 3, "x")
    coloured = [raw_data.noise(0, channels=3)] + [shot(0, 1)] * 5
    with pytest.raises(UserError, match=r"has 8 channels of 8 bit, .* on 6 \(light 1, light 2"):
        predictor.spec.shot(coloured, "x")


def test_what_is_not_judged_is_filled_with_the_mean_of_each_light(ready, predictor):
    """The network sees what it would see of a caller who fills the pixels himself."""
    image, ignored = ready[-1]["images/bad/part_010"], np.zeros((40, 60), bool)
    ignored[:, 30:] = True
    info = ready[0].data_info
    means = np.array(info.low) + np.array(info.mean) * np.subtract(info.high, info.low)
    assert predictor.spec.fill == np.rint(means).tolist() and len(set(predictor.spec.fill)) > 1
    filled = np.where(ignored[..., None], predictor.spec.fill, image).astype(np.uint8)
    decision = predictor.predict(image, ignored=ignored)
    assert decision.score == predictor.predict(filled).score != predictor.predict(image).score
    assert not decision.mask[:, 30:].any()
    np.testing.assert_array_equal(decision.heat_map == 0, ignored)
    assert decision.overlay(image).shape == (40, 60, 3)


def test_images_for_eight_bits_are_shots_too(ready):
    config = ready[0]
    (first, *others) = ExampleImages(config.data.root, config)
    assert first.shape == (1, 40, 60, 6) and len(others) == 14
    np.testing.assert_array_equal(first[0], ready[-1]["images/bad/part_010"])
    assert len(open_input(config.data.root, lights=LIGHTS).images) == 15
