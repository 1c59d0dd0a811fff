"""Every data set through it all: raw files, records, a network's input, a decision, the card."""

import importlib
import json

import numpy as np
import pytest
import raw_data
import tfds_sets
from tiny_predictor import tiny_network

from defect_jax.data.files.images import decode_image
from defect_jax.data.prepare.data_info import data_info
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.sources.data_sets import DATA_SETS
from defect_jax.decision import DecisionRule
from defect_jax.deploy.card import card
from defect_jax.deploy.predictor import Predictor
from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.workdir import run_config

# Name -> writes raw files below a folder. A new data set needs a line here.
RAW = {
    "synthetic": lambda root: "",
    "folder": raw_data.folder_data,
    "ksdd2": lambda root: raw_data.ksdd2_release(root, scale=0.1),
    "bsdata": raw_data.bsdata_release,
    "magnetic_tile": raw_data.magnetic_tile_release,
    "tfds": tfds_sets.tfds_set,
}


def small_config(name, tmp_path):
    """The shipped config of a data set, with a tiny network."""
    config = importlib.import_module(f"configs.{name}").get_config("debug")
    config = config.copy_and_resolve_references()
    config.unlock()
    config.model.update(decoder="unet", widths=(4, 8), attention="none")
    config.data.update(root=str(RAW[name](tmp_path / "raw")), data_dir=str(tmp_path / "prepared"))
    config.data.size = (32, 32)
    if name == "tfds":
        config.data.tfds = "parts"
    run_config.check_values(config)
    return config


@pytest.mark.parametrize("name", DATA_SETS)
def test_raw_files_become_a_decision_and_a_card_with_their_licence(name, tmp_path):
    config = small_config(name, tmp_path)
    prepared = prepare(config.data)
    config = run_config.resolve(config, data_info(prepared, config.model.num_classes))
    rule = DecisionRule(0.5, 0.5, 0.5, checkpoint_step=8, pictures=10, defective=5)
    network, ema = tiny_network(config)
    predictor = Predictor(network, config, ema, rule, one_device_mesh(), batch_size=1)
    test = prepared.splits["test"]
    image = decode_image(test.source[0]["image"])
    decision = predictor.predict(image)
    assert decision.mask.shape == image.shape[:2] and 0.0 < decision.probability < 1.0
    assert decision.rejected == np.bool_(decision.score >= rule.threshold)

    written = json.loads(card(config, rule, tmp_path / "workdir", {"model.onnx": b""}, 0.0))
    assert written["data"] == {"name": name, "fingerprint": prepared.info.fingerprint}
    assert written["input"]["shape"] == ["b", "h", "w", image.shape[-1]]
    assert written["input"]["dtype"] == str(image.dtype)
    before, _, licence = written["licence"].partition("network: ")
    assert before == "program: Apache-2.0; " and licence.startswith("trained on ")
