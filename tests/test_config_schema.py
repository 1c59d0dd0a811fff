"""Whatever config.json holds, it is a config or one line; and no field is without its rule."""

import importlib
import json
import pathlib

import pytest
from edited_json import EDITS, paths, replaced, with_more, without
from ml_collections import ConfigDict

from defect_jax.configs import base, synthetic
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.sources import data_sets
from defect_jax.data.sources.synthetic import options
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import config_fields, config_schema, run_config, trackers
from defect_jax.workdir.config_before import BEFORE_IT_WAS
from defect_jax.workdir.config_fields import FIELDS

DATA_INFO = {
    "channels": 1,
    "bit_depth": 8,
    "classes": ["defect"],
    "mean": 0.4,
    "std": 0.2,
    "fingerprint": "f",
    "leaking": False,
    "defect_edges_px": [10, 10, 20, 30],
}
CONFIG = run_config.resolve(synthetic.get_config("debug"), DATA_INFO).to_dict()
CONFIG = json.loads(json.dumps(CONFIG))
PATHS = list(paths(CONFIG))
MODULES = sorted(path.stem for path in pathlib.Path(base.__file__).parent.glob("*.py"))
VARIANTS = ("", "cpu", "cpu_scaled", "cpu_scratch", "debug", "lite", "lite_small")


def shipped():
    """Yields every config of configs/, with each of its variants; of ablations, the base."""
    for name in MODULES:
        module = importlib.import_module(f"configs.{name}")
        for variant in VARIANTS if hasattr(module, "get_config") else ():
            try:
                config = module.get_config(variant)
            except (ValueError, KeyError):
                continue  # not one of its variants
            yield pytest.param(config.get("base", config), id=f"{name}:{variant}")


def loaded(folder, text):
    """What a workdir's config.json is read as, or the line that refuses it."""
    (folder / "config.json").write_text(text)
    try:
        config = run_config.load(folder)
        SegmentationNetwork(**config.model)
        if "data_info" in config:
            InputSpec.of(config)
        return config
    except UserError as error:
        assert str(folder / "config.json") in str(error) and "\n" not in str(error), error
        return None


@pytest.mark.parametrize("config", list(shipped()))
def test_every_shipped_config_is_one(config):
    run_config.check_values(config)
    assert set(config_schema.flat(config)) <= set(FIELDS)


def test_the_table_knows_every_data_set_with_its_fields_and_every_tracker():
    assert set(config_fields.DATA_SETS) == set(data_sets.DATA_SETS)
    for name, data_set in data_sets.DATA_SETS.items():
        assert {f"data.{option}" for option in data_set.options} <= set(FIELDS)
        only_its_own = set(data_set.options) - set(base.base().data)
        assert {f"data.{option}" for option in only_its_own} == set(config_fields.DATA_SETS[name])
    assert set(config_fields.DEFECT_KINDS) == set(options.DEFECTS)
    assert config_fields.TRACKERS == tuple(trackers.TRACKERS)
    for field, limits in options.LIMITS.items():
        for number in (limits[0] - 1, *limits, limits[1] + 1):
            assert FIELDS[f"data.{field}"].holds(number) == (limits[0] <= number <= limits[1])
    for px in (63, 64, 4096, 4097):
        assert FIELDS["data.picture_size"].holds([64, px]) == (64 <= px <= 4096)


def test_every_field_of_the_defaults_has_a_rule_and_older_workdirs_get_these_defaults():
    defaults = config_schema.flat(base.base())
    assert set(defaults) <= set(FIELDS)
    assert set(BEFORE_IT_WAS) <= set(defaults)


@pytest.mark.parametrize("edit", EDITS)
def test_a_value_replaced_by_anything_gives_a_config_or_one_line(edit, tmp_path):
    read = [loaded(tmp_path, replaced(CONFIG, path, EDITS[edit])) for path in PATHS]
    if edit in ("NaN", "infinity", "1e400", "400 digits", "5000 digits", "deep", "deep objects"):
        assert read == [None] * len(PATHS)
    for config in read:
        if config is not None:
            run_config.check_values(config)


def test_a_name_taken_away_is_a_line_or_an_older_workdirs_value(tmp_path):
    for path in PATHS:
        config = loaded(tmp_path, without(CONFIG, path))
        field = ".".join(map(str, path))
        if config is not None and field in FIELDS and field in config_schema.flat(config):
            value = config_schema.flat(config)[field]
            assert value == BEFORE_IT_WAS.get(field, "")  # "": places are of no workdir


def test_a_name_too_many_is_refused(tmp_path):
    for path in PATHS:
        assert loaded(tmp_path, with_more(CONFIG, path)) is None, path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]", "the file must be an object"),
        ("{", "it is not JSON"),
        ('{"seed": 1, "seed": 2}', "'seed' is there twice"),
        ("[" * 10**6, "more than 16 brackets"),
        (" " * 2**21, "more than 1,048,576 bytes"),
        (json.dumps(CONFIG | {"picture": {"mean": 0.4}}), "config.picture is not known"),
        (json.dumps(CONFIG | {"data.size": [32, 32]}), "config.data.size is not known"),
    ],
)
def test_what_is_no_config_is_named(text, says, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=f"config.json: .*{says}"):
        run_config.load(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data_info.std", 0.0),
        ("data_info.std", -0.2),
        ("data_info.mean", float("nan")),
        ("data_info.std", float("inf")),
        ("data_info.channels", 2),
        ("data_info.channels", True),
        ("data_info.bit_depth", 12),
        ("data_info.classes", ["a", "b"]),
        ("data_info.leaking", "no"),
        ("data_info.defect_edges_px", [1, 2, 3]),
        ("model.widths", [10**9, 10**9]),
        ("model.widths", [4096] * 3),
        ("data.size", [10**6, 10**6]),
        ("data.size", [8192, 8192]),
        ("train.batch_size", 10**9),
        ("data.parts", 10**9),
        ("model.num_classes", 256),
        ("data.threads", 10**6),
    ],
)
def test_numbers_that_cannot_be_are_refused(field, value, tmp_path):
    values = config_schema.flat(ConfigDict(CONFIG)) | {field: value}
    with pytest.raises(UserError, match=rf"config\.{field}|config\.train\.batch_size"):
        config_schema.check(values)
    text = json.dumps(config_schema.nested(values).to_dict())
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError):
        run_config.load(tmp_path)


@pytest.mark.parametrize(
    ("low", "high", "is_good"),
    [(0.1, 0.9, True), (0.9, 0.1, False), (0.5, 0.5, False), (0.1, None, False), (None, 1, False)],
)
def test_a_range_has_two_ends_in_their_order(low, high, is_good):
    ends = {"data_info.low": low, "data_info.high": high}
    given = {field: value for field, value in ends.items() if value is not None}
    values = config_schema.flat(ConfigDict(CONFIG)) | given
    if is_good:
        config_schema.check(values)
        return
    with pytest.raises(UserError, match=r"config\.data_info\.(high|low) is (missing|.*above)"):
        config_schema.check(values)


def test_a_config_without_what_the_data_decide_is_for_no_network(tmp_path):
    run_config.claim(tmp_path, synthetic.get_config("debug"))
    with pytest.raises(UserError, match=r"config\.json: config\.data_info is missing"):
        run_config.refuse_unresolved(run_config.load(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("mode", "field", "value"),
    [
        ("predict", "data_info.std", 0.0),
        ("predict", "data_info.mean", "NaN"),
        ("export", "data.size", [10**9, 10**9]),
        ("evaluate", "model", []),
    ],
)
def test_every_mode_refuses_an_edited_config_in_one_line(mode, field, value, forked, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "images").mkdir()
    text = replaced(CONFIG, field.split("."), value if value == "NaN" else json.dumps(value))
    (tmp_path / "run" / "config.json").write_text(text)
    flags = f"--workdir={tmp_path}/run", f"--input={tmp_path}/images", f"--output={tmp_path}/out"
    result = forked.run(f"--mode={mode}", *flags)
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert "config.json: " in result.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()
