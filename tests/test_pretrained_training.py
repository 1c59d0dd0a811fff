"""What a run with a pretrained encoder begins with, and where that is written down."""

import json

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file
from tiny_predictor import tiny_config

from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.models.encoders.names import variables_of
from defect_jax.models.initialise import initial_variables
from defect_jax.models.pretrained.embedded import read_embedded
from defect_jax.models.pretrained.packages import EMBEDDED
from defect_jax.runtime.errors import UserError
from defect_jax.training import pretrained
from defect_jax.training.fit import initial_state, make_network
from defect_jax.training.optimizer import make_tx
from defect_jax.training.pretrained import pretrained_encoder
from defect_jax.workdir import weights_record
from defect_jax.workdir.weight_shapes import image_shape
from defect_jax.workdir.weights_record import WeightsRecord

LITE0 = "efficientnet_lite0"
ON_LITE0 = {"model.encoder": LITE0, "model.weights": "imagenet", "model.widths": (4, 4, 4)}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_state_of_step_0_is_the_weights_in_the_encoder_and_else_as_drawn(channels, tmp_path):
    config = tiny_config(**ON_LITE0, **{"data_info.channels": channels})
    network, mesh = make_network(config), one_device_mesh()
    learnt = pretrained_encoder(config, tmp_path)
    state, _ = initial_state(network, make_tx(config), config, mesh, learnt)
    embedded = variables_of(read_embedded(LITE0).tensors, LITE0, channels, rows=3)
    drawn = flatten_dict(initial_variables(network, image_shape(config), config.seed))
    begun = {"params": state.params, "batch_stats": state.batch_stats}
    begun, published = flatten_dict(jax.device_get(begun)), flatten_dict(embedded)
    assert begun.keys() == drawn.keys()
    inside = {(path[0], *path[2:]): path for path in begun if path[1] == "encoder"}
    assert inside.keys() == published.keys() and 0 < len(inside) < len(begun)
    for path, value in begun.items():
        of_weights = (path[0], *path[2:])
        expected = published[of_weights] if path in inside.values() else drawn[path]
        np.testing.assert_array_equal(value, expected, err_msg=str(path))
    assert not np.array_equal(published["params", "conv_stem", "kernel"], 0.0)
    known = EMBEDDED[LITE0]
    assert weights_record.read(tmp_path) == WeightsRecord(
        LITE0, f"{known.name} {known.version}", known.sha256, "Apache-2.0"
    )


@pytest.mark.parametrize(
    "changes",
    [{}, {"model.encoder": "plain"}, {"model.weights": ""}],
    ids=["as before", "plain", "drawn"],
)
def test_without_weights_nothing_is_read_and_nothing_written(changes, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "read_weights", None)
    asked = {} if not changes else ON_LITE0 | changes
    assert pretrained_encoder(tiny_config(**asked), tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_of_a_file_its_name_is_written_down_and_not_where_it_is(tmp_path):
    folder = tmp_path / "secret"
    folder.mkdir()
    save_file(read_embedded(LITE0).tensors, folder / "own.safetensors")
    config = tiny_config(**ON_LITE0 | {"model.weights": str(folder / "own.safetensors")})
    got = pretrained_encoder(config, tmp_path)
    record = weights_record.read(tmp_path)
    assert (record.encoder, record.origin, record.licence) == (LITE0, "own.safetensors", "")
    assert "secret" not in json.dumps(record)
    embedded = pretrained_encoder(tiny_config(**ON_LITE0), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, got, embedded)


def test_weights_of_another_encoder_are_refused_and_leave_nothing(tmp_path):
    save_file(read_embedded("efficientnet_lite2").tensors, tmp_path / "two.safetensors")
    config = tiny_config(**ON_LITE0 | {"model.weights": str(tmp_path / "two.safetensors")})
    with pytest.raises(UserError, match="weights of efficientnet_lite0: tensor "):
        pretrained_encoder(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["two.safetensors"]
