"""Configs: all shipped ones are valid, a bad value or another config is refused with its field."""

import json
import pathlib

import pytest
from ml_collections import ConfigDict

from configs import folder, ksdd2, magnetic_tile, synthetic
from defect_jax import configuration, runtime
from defect_jax.errors import UserError

ALL = [
    (module, variant)
    for module in (synthetic, magnetic_tile, ksdd2, folder)
    for variant in ("", "cpu", "debug")
]


@pytest.mark.parametrize(("module", "variant"), ALL)
def test_shipped_configs_are_valid_and_survive_json(module, variant, tmp_path):
    config = module.get_config(variant)
    configuration.check(config)
    configuration.claim(tmp_path, config)
    configuration.claim(tmp_path, config)  # the same again is welcome
    assert json.loads(json.dumps(config.to_dict())) == configuration.load(tmp_path).to_dict()


def test_an_unknown_variant_lists_the_known_ones():
    with pytest.raises(ValueError, match="no variant 'gpu'; there are cpu, debug"):
        synthetic.get_config("gpu")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train.steps", 1),
        ("train.batch_size", 0),
        ("train.log_every_steps", 0),
        ("train.eval_every_steps", 75),
        ("data.positive_fraction", 1.0),
        ("data.size", (100, 128)),
        ("data.size", (128, 128, 1)),
        ("data.threads", -1),
        ("data.workers", -1),
        ("data.max_scale", 0.0),
        ("data.max_stretch", 0.9),
        ("optimizer.average_decay", 1.0),
        ("optimizer.learning_rate", 0.0),
    ],
)
def test_a_bad_value_is_refused_with_its_field(field, value):
    config = synthetic.get_config()
    with config.unlocked():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=rf"config\.{field} is .*: it must be "):
        configuration.check(config)


def test_another_config_is_refused_with_the_fields_that_differ(tmp_path):
    configuration.claim(tmp_path, synthetic.get_config("debug"))
    other = synthetic.get_config("debug")
    other.optimizer.learning_rate = 0.5
    other.data.parts = 61
    with pytest.raises(UserError) as caught:
        configuration.claim(tmp_path, other)
    assert "data.parts was 60, is 61" in str(caught.value)
    assert "optimizer.learning_rate was 0.001, is 0.5" in str(caught.value)


def test_where_the_data_are_and_how_they_are_read_may_change(tmp_path):
    configuration.claim(tmp_path, synthetic.get_config("debug"))
    other = synthetic.get_config("debug")
    other.data.data_dir, other.data.threads, other.mesh.fsdp = "elsewhere", 7, 2
    configuration.claim(tmp_path, other)
    used = configuration.of_workdir(tmp_path, other)
    assert (used.data.data_dir, used.data.threads, used.mesh.fsdp) == ("elsewhere", 7, 2)
    assert configuration.of_workdir(tmp_path, None).data.threads == 2


def test_a_missing_or_damaged_workdir_names_the_file(tmp_path):
    with pytest.raises(UserError, match=r"config\.json: not there"):
        configuration.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: cannot be read"):
        configuration.load(tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError, match="--workdir .* cannot be written"):
        configuration.claim(file / "below", ConfigDict())


def test_checkpoints_without_a_config_are_not_adopted(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=r"checkpoints but no config\.json"):
        configuration.claim(tmp_path, synthetic.get_config())


def test_compilation_cache_must_be_private(tmp_path):
    folder_: pathlib.Path = tmp_path / "open"
    folder_.mkdir(mode=0o755)
    folder_.chmod(0o755)
    with pytest.raises(UserError, match="chmod 700"):
        runtime.cache_compilations(folder_)
