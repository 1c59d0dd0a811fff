"""A network whose answer is no number: nobody gets a decision from it, and everybody is told."""

import json

import cv2
import jax
import numpy as np
import pytest
from tiny_predictor import RULE, surface, tiny_config, tiny_network

from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.prepare.prepare import prepare
from defect_jax.decision.apply import Decision, Thresholds
from defect_jax.deploy import export, parity
from defect_jax.deploy import predict as mode
from defect_jax.deploy.int8 import change
from defect_jax.deploy.onnx import to_onnx
from defect_jax.deploy.predictor import Predictor
from defect_jax.deploy.program import make_program
from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.evaluation.evaluator import make_evaluator
from defect_jax.evaluation.result_files import ResultFolder
from defect_jax.runtime.errors import UserError

TILES = {"data.size": (16, 16), "data.tile_overlap_px": 4}
CASES = {  # what is broken: of the parameters, or of the config
    "head": ("label_head", {}),
    "mask": ("mask_heads", {}),
    "no head": ("mask_heads", {"model.classification_head": False}),
    "deviation 0": ("", {"data_info.std": 0.0}),
    "mask, tiles": ("mask_heads", TILES),
}


def broken(case):
    """A config, its network and weights, one of which is NaN."""
    part, changes = CASES[case]
    config = tiny_config(**changes)
    network, ema = tiny_network(config)
    if part:
        leaves, tree = jax.tree.flatten(ema["params"][part])
        spoilt = np.array(leaves[0])
        spoilt.flat[0] = np.nan
        ema["params"][part] = tree.unflatten([spoilt, *leaves[1:]])
    return config, network, ema


@pytest.fixture(scope="module", params=CASES)
def spoilt(request):
    return broken(request.param)


@pytest.fixture(scope="module")
def images():
    return [surface(32, 48), surface(40, 20, seed=1)]


def test_the_predictor_refuses_by_position_and_rejects_where_it_may_not(spoilt, images):
    config, network, ema = spoilt
    predictor = Predictor(network, config, ema, RULE, one_device_mesh())
    with pytest.raises(UserError, match="the image: not decided: the network's .*no number"):
        predictor.predict(images[0])
    with pytest.raises(UserError, match="image 0: not decided: the network's .*score is (nan|inf)"):
        predictor.predict(images)
    for decision in predictor.decide_each([predictor.ready(image) for image in images]):
        assert decision.rejected is True
        assert not (np.isfinite(decision.score) and np.isfinite(decision.mask_score))
        assert decision.mask_rejected or np.isfinite(decision.mask_score)


@pytest.mark.parametrize("case", ["deviation 0", "mask, tiles"])
def test_exported_programs_reject_and_are_not_written(case, images):
    config, network, ema = broken(case)
    program, spec = make_program(network, config, ema, RULE), InputSpec.of(config)
    shape = export.input_shape(spec)
    onnx = to_onnx(program, {export.INPUT: shape}, Decision._fields).SerializeToString()
    batch = np.stack([surface(24, 40, seed=seed) for seed in range(2)])[..., None]
    stablehlo = export.to_stablehlo(program, shape)
    for run in (parity.of_stablehlo(stablehlo), parity.of_onnx(onnx)):
        outputs = run(batch)
        numbers = np.isfinite(outputs["score"]) & np.isfinite(outputs["mask_score"])
        assert outputs["rejected"].all() and not numbers.any()
        assert (outputs["mask_rejected"] | np.isfinite(outputs["mask_score"])).all()
    with pytest.raises(UserError, match="is (nan|inf) on images of .*px, which is no number"):
        parity.check(stablehlo, onnx, spec)
    with pytest.raises(UserError, match="which is no number: nothing is written"):
        change(onnx, onnx, [batch[:1]])


def test_prediction_names_the_image_and_decides_on_the_rest(images, tmp_path, monkeypatch, capsys):
    config, network, ema = tiny_config(), *tiny_network(tiny_config())
    predictor = Predictor(network, config, ema, RULE, one_device_mesh())
    whole = predictor.decide_each

    def one_without_a_number(ready):
        first, *rest = whole(ready)
        return [first._replace(score=float("nan")), *rest]

    monkeypatch.setattr(predictor, "decide_each", one_without_a_number)
    monkeypatch.setattr(mode, "load", lambda *given: predictor)
    (tmp_path / "in").mkdir()
    for name, image in zip("ab", images, strict=True):
        cv2.imwrite(str(tmp_path / "in" / f"{name}.png"), image)
    with pytest.raises(UserError, match="1 of 2 images"):
        mode.predict(str(tmp_path / "in"), str(tmp_path / "out"), tmp_path, 1.0, False)
    assert "a.png: not decided: the network's score is nan" in capsys.readouterr().err
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    faulty, decided = map(json.loads, lines)
    assert "not decided" in faulty["fault"] and decided["id"] == "b" and "fault" not in decided
    assert not (tmp_path / "out" / "masks" / "a.png").exists()
    table = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in table[1:]] == ["b"]


@pytest.mark.parametrize("case", ["head", "mask, tiles"])
def test_evaluation_names_the_image_and_leaves_nothing(case, tmp_path):
    config, network, ema = broken(case)
    config.data.update(parts=20, data_dir=str(tmp_path / "prepared"))
    split = prepare(config.data, {"test"}).splits["test"]
    score = make_evaluator(network, split, config, one_device_mesh())
    says = f"{split.rows[0].id}: not decided: .*no number, and so are {len(split.rows) - 1} others"
    with pytest.raises(UserError, match=says), ResultFolder(tmp_path / "eval" / "test") as results:
        score(jax.device_put(ema), Thresholds.of(RULE), results.mask_of(split))
    assert not list((tmp_path / "eval").iterdir())
