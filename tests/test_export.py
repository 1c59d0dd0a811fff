"""Exported files: whole or not there, and deciding as the trained network does, without it."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import onnx
import pytest
from PIL import Image
from scipy import special
from tiny_predictor import RULE, surface, tiny_config, tiny_network, tiny_predictor

from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.decision import Combination
from defect_jax.decision.apply import Decision
from defect_jax.deploy import card, parity
from defect_jax.deploy import export as mode
from defect_jax.deploy.onnx import to_onnx
from defect_jax.deploy.program import make_program
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import weights_record
from defect_jax.workdir.best_weights import Trained
from defect_jax.workdir.weights_record import WeightsRecord

COLOUR = {"data_info.channels": 3, "data_info.bit_depth": 16}
CLASSES = {"model.num_classes": 3, "data_info.classes": ["a", "b", "c"]}
RICH = COLOUR | CLASSES | {"model.block": "separable"}
FILLED = {"data.max_scale": 3.0, "data.max_stretch": 2.0}
TESTS = Path(__file__).parent
SIZES = [(32, 48), (20, 30), (100, 61), (300, 1)]


def images(config):
    """Noisy surfaces of all sizes, black and white ones; each size is compiled anew."""
    channels = config.data_info.channels
    dtype = np.uint8 if config.data_info.bit_depth == 8 else np.uint16
    made = [surface(*size, channels, dtype, seed) for seed, size in enumerate(SIZES)]
    flat = SIZES[0] if channels == 1 else (*SIZES[0], channels)
    return [*made, np.zeros(flat, dtype), np.full(flat, np.iinfo(dtype).max, dtype)]


def assert_agree(decision, outputs, tolerance=2e-5):
    for name in ("rejected", "score_rejected", "mask_rejected"):
        assert bool(outputs[name][0]) == getattr(decision, name)
    for name in parity.PROBABILITIES:
        assert float(outputs[name][0]) == pytest.approx(getattr(decision, name), abs=tolerance)
    different = (outputs["mask"][0] != decision.mask).sum()
    assert different <= max(1, 1e-4 * decision.mask.size)  # at the very threshold


@pytest.mark.parametrize(
    "changes",
    [
        {},
        COLOUR,
        CLASSES,
        FILLED,
        {"model.classification_head": False},
        {"evaluation.flips": True},
        {"model.dtype": "bfloat16"},
    ],
)
def test_the_function_decides_as_the_predictor_does(changes):
    config = tiny_config(**changes)
    network, ema = tiny_network(config)
    deployed = jax.jit(make_program(network, config, ema, RULE))
    predictor = tiny_predictor(**changes)
    for image in images(config):
        batch = image.reshape(1, *image.shape[:2], -1)
        assert_agree(
            predictor.predict(image), dict(zip(Decision._fields, deployed(batch), strict=True))
        )


@pytest.mark.parametrize("decides", ["mask", "either", "logistic"])
def test_the_function_decides_in_the_way_that_the_rule_names(decides):
    config = tiny_config()
    network, ema = tiny_network(config)
    rule = dataclasses.replace(RULE, decides=decides, logistic=Combination(0.0, 0.5, 0.5, 0.95))
    rule = dataclasses.replace(rule, threshold=0.9982, mask_threshold=0.5)
    deployed = jax.jit(make_program(network, config, ema, rule))
    predictor = tiny_predictor(rule=rule)
    found = []
    for image in (surface(*SIZES[0], seed=seed) for seed in range(20)):
        decision = predictor.predict(image)
        answer = deployed(image.reshape(1, *image.shape, 1))
        assert_agree(decision, dict(zip(Decision._fields, answer, strict=True)))
        found.append((decision.rejected, decision.score_rejected))
    assert len({verdict for verdict, _ in found}) == 2  # or one constant would do
    assert any(verdict != by_score for verdict, by_score in found)


@pytest.fixture(scope="module", params=[{}, RICH], ids=["grey", "colour, classes, separable"])
def made(request, tmp_path_factory):
    """A folder of exported files and the config of the network in them."""
    config = tiny_config(**request.param)
    network, ema = tiny_network(config)
    folder = tmp_path_factory.mktemp("export") / "model"
    with pytest.MonkeyPatch.context() as patch:
        trained = Trained(network, config, ema, RULE)
        patch.setattr(mode, "restore_trained", lambda workdir, mesh: trained)
        mode.export(tmp_path_factory.mktemp("workdir"), str(folder))
    return folder, config, request.param


def test_both_files_decide_as_the_predictor_does(made):
    folder, config, changes = made
    predictor = tiny_predictor(**changes)
    models = [
        parity.of_stablehlo((folder / mode.STABLEHLO).read_bytes()),
        parity.of_onnx((folder / mode.ONNX).read_bytes()),
    ]
    for image in images(config):
        batch = image.reshape(1, *image.shape[:2], -1)
        for model in models:
            assert_agree(predictor.predict(image), model(batch))
            twice = model(np.concatenate([batch, batch[:, ::-1]]))
            assert_agree(predictor.predict(image), {k: v[:1] for k, v in twice.items()})


def run_without_internet(module, *arguments, **places):
    """Run a module of tests/ in a process that dies of opening an internet socket."""
    command = [sys.executable, str(TESTS / "no_network.py"), module, *map(str, arguments)]
    surroundings = os.environ | {name: str(place) for name, place in places.items()}
    surroundings["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    surroundings.pop("ORT_DISABLE_TELEMETRY", None)  # set by this process's import of the package
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
def test_export_calls_nobody_and_writes_nothing_elsewhere(tmp_path):
    """onnxruntime writes a device id into the user's home and asks a host for settings."""
    for name in ("home", "tmp", "images"):
        (tmp_path / name).mkdir()
    for seed in range(2):
        Image.fromarray(surface(32, 48, seed=seed)).save(tmp_path / "images" / f"{seed}.png")
    places = {"HOME": tmp_path / "home", "TMPDIR": tmp_path / "tmp", "XDG_CACHE_HOME": ""}
    paths = tmp_path / "images", tmp_path / "exported"
    done = run_without_internet("tiny_export", *paths, **places)
    assert done.returncode == 0, done.stderr
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {mode.STABLEHLO, mode.ONNX, mode.INT8, mode.CARD, "0.png", "1.png"}
    assert [*(tmp_path / "home").iterdir(), *(tmp_path / "tmp").iterdir()] == []


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
def test_a_process_without_internet_dies_of_opening_a_socket(tmp_path):
    """Or the test above could not fail."""
    (tmp_path / "opens.py").write_text("import socket; socket.socket(); print('open')")
    command = [sys.executable, str(TESTS / "no_network.py"), "opens"]
    done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True)
    assert (done.returncode, done.stdout) == (-signal.SIGSYS, b"")


WITHOUT_PACKAGE = """
import sys
sys.modules["defect_jax"] = sys.modules[{other!r}] = None
import numpy as np
images = np.load(sys.argv[2])
{run}
np.savez(sys.argv[3], *map(np.asarray, outputs))
"""
RUNS = {
    "onnxruntime": """
from jax import export
outputs = export.deserialize(bytearray(open(sys.argv[1], "rb").read())).call(images)
""",
    "jax": """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
outputs = session.run(None, {"image": images})
""",
}


@pytest.mark.parametrize(("other", "name"), [("onnxruntime", mode.STABLEHLO), ("jax", mode.ONNX)])
def test_a_file_runs_without_this_package(made, other, name, tmp_path):
    folder, config, changes = made
    image = images(config)[2]
    np.save(tmp_path / "in.npy", image.reshape(1, *image.shape[:2], -1))
    script = WITHOUT_PACKAGE.format(other=other, run=RUNS[other])
    paths = [folder / name, tmp_path / "in.npy", tmp_path / "out.npz"]
    subprocess.run([sys.executable, "-c", script, *map(str, paths)], check=True, timeout=300)
    with np.load(tmp_path / "out.npz") as arrays:
        outputs = dict(zip(Decision._fields, arrays.values(), strict=True))
    assert_agree(tiny_predictor(**changes).predict(image), outputs)


def test_the_card_says_what_goes_in_and_how_it_is_decided(made):
    folder, config, _ = made
    card = json.loads((folder / mode.CARD).read_text())
    assert card["input"]["shape"] == ["b", "h", "w", config.data_info.channels]
    assert card["input"]["dtype"] == f"uint{config.data_info.bit_depth}"
    assert card["classes"] == config.data_info.classes
    assert card["thresholds"]["threshold"] == RULE.threshold
    assert card["thresholds"]["chosen_on"] == "val"
    scaled = special.expit(special.logit(RULE.threshold) / RULE.temperature)
    threshold = pytest.approx(scaled, abs=1e-12)
    verdict = {"decides": "score", "probability_threshold": threshold, "chosen_on": "val"}
    assert card["verdict"] == verdict
    assert card["data"] == {"name": "synthetic", "fingerprint": "f"}
    assert card["metrics"] is None  # the workdir has no evaluation
    model = onnx.load(folder / mode.ONNX)
    assert (
        [output.name for output in model.graph.output]
        == list(card["outputs"])
        == [*Decision._fields]
    )
    assert set(card["files"]) == {mode.STABLEHLO, mode.ONNX}


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """Exports a tiny network below `tmp_path`."""
    config = tiny_config()
    network, ema = tiny_network(config)
    trained = Trained(network, config, ema, RULE)
    monkeypatch.setattr(mode, "restore_trained", lambda workdir, mesh: trained)
    return lambda name: mode.export(tmp_path / "workdir", str(tmp_path / name))


TILED = {"data.tile_overlap_px": 16}
EVERYTHING = TILED | COLOUR | CLASSES | {"evaluation.flips": True}
PRETRAINED = {"model.encoder": "efficientnet_lite0", "model.weights": "imagenet"}
PRETRAINED |= TILED | {"model.label_head": "rows"}
THROUGH_TILES = {"grey": TILED, "everything": EVERYTHING, "pretrained": PRETRAINED}


@pytest.mark.parametrize("changes", THROUGH_TILES.values(), ids=THROUGH_TILES)
def test_the_onnx_file_decides_through_tiles_as_the_predictor_does(changes):
    config = tiny_config(**changes)
    deployed, shape = make_program(*tiled_network(config)), mode.input_shape(InputSpec.of(config))
    model = parity.of_onnx(
        to_onnx(deployed, {"image": shape}, Decision._fields).SerializeToString()
    )
    predictor = tiny_predictor(**changes)
    dtype = np.dtype(f"uint{config.data_info.bit_depth}")
    for seed, size in enumerate([*SIZES, (33, 49), (1, 60)]):
        image = surface(*size, config.data_info.channels, dtype, seed)
        batch = image.reshape(1, *size, -1)
        outputs = model(np.concatenate([batch, batch[:, ::-1]]))
        first = {name: array[:1] for name, array in outputs.items()}
        assert_agree(predictor.predict(image), first, 1e-5)


@pytest.mark.parametrize("changes", [TILED, PRETRAINED], ids=["grey", "pretrained"])
def test_the_stablehlo_file_decides_through_tiles_as_the_predictor_does(changes):
    config = tiny_config(**changes)
    deployed, shape = make_program(*tiled_network(config)), mode.input_shape(InputSpec.of(config))
    data = mode.to_stablehlo(deployed, shape)
    assert b"heads.py" in data and str(TESTS.parent).encode() not in data  # files by name alone
    model, image = parity.of_stablehlo(data), surface(100, 61)
    assert_agree(tiny_predictor(**changes).predict(image), model(image[None, ..., None]), 1e-5)


def tiled_network(config):
    network, ema = tiny_network(config)
    return network, config, ema, RULE


def test_the_card_says_what_the_encoder_began_with_and_names_no_place(tmp_path):
    config = tiny_config(**PRETRAINED)
    config.model.weights = "/home/somebody/secret/lite0.safetensors"
    assert json.loads(card.card(config, RULE, tmp_path, {}, 0.0))["encoder_began_with"] is None
    record = WeightsRecord("efficientnet_lite0", "lite0.safetensors", "ab" * 32, "Apache-2.0")
    weights_record.keep(tmp_path, record)
    written = card.card(config, RULE, tmp_path, {}, 0.0)
    assert "secret" not in written and str(tmp_path) not in written
    fields = json.loads(written)
    assert fields["encoder_began_with"] == {
        "encoder": "efficientnet_lite0",
        "origin": "lite0.safetensors",
        "sha256": "ab" * 32,
        "licence": "Apache-2.0",
    }
    assert fields["model"]["weights"] == "lite0.safetensors"


def test_the_card_and_the_images_of_a_network_that_sees_tiles(tmp_path):
    config = tiny_config(**TILED, **{"data.min_scale": 0.9})
    rule = json.loads(card.card(config, RULE, tmp_path, {}, 0.0))["input"]["size_rule"]
    assert (rule["tile_px"], rule["overlap_px"], rule["scale"]) == ([32, 48], 16, 1.0)
    sizes = [images.shape[1:3] for images in parity.example_images(InputSpec.of(config))]
    assert (67, 95) in sizes  # several tiles along both sides: nothing is scaled, nor refused
    scaled = parity.example_images(InputSpec.of(tiny_config(**{"data.min_scale": 0.9})))
    assert (67, 25) not in [images.shape[1:3] for images in scaled] and (67, 25) in sizes


def test_models_that_disagree_are_not_written(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "MOST_PROBABILITY", -1.0)
    with pytest.raises(parity.Differs, match="probabilities differ"):
        exported("out")
    assert list(tmp_path.iterdir()) == []


def test_a_network_judged_in_another_dtype_is_refused(tmp_path, monkeypatch):
    config = tiny_config(**{"evaluation.dtype": "bfloat16"})
    trained = Trained(*tiny_network(config)[:1], config, None, RULE)
    monkeypatch.setattr(mode, "restore_trained", lambda workdir, mesh: trained)
    with pytest.raises(UserError, match="config.evaluation.dtype is bfloat16"):
        mode.export(tmp_path, str(tmp_path / "out"))


def test_a_folder_that_holds_something_is_left_alone(exported, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for name, says in (("mine", "mine is not empty"), ("mine/thesis.txt/below", "cannot be")):
        with pytest.raises(UserError, match=f"--output: .*{says}"):
            exported(name)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]
