"""Configs: all shipped ones are valid, a bad value or another config is refused with its field."""

import json
import pathlib

import pytest
from ml_collections import ConfigDict

from defect_jax.configs import (
    bsdata,
    folder,
    ksdd2,
    lpcnet_folder,
    lpcnet_magnetic_tile,
    magnetic_tile,
    synthetic,
    synthetic_gaps,
)
from defect_jax.data.prepare.data_info import class_names
from defect_jax.decision import DecisionRule
from defect_jax.runtime import compilation
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import run_config
from defect_jax.workdir.best_weights import decision_for

VARIANTS = ("", "cpu", "debug")
ALL = [(module, variant) for module in (synthetic, magnetic_tile, ksdd2) for variant in VARIANTS]
ALL += [(folder, variant) for variant in ("full", "cpu", "debug")]  # tests/test_plan.py has ""
ALL += [
    (module, variant)
    for module in (synthetic_gaps, lpcnet_magnetic_tile, lpcnet_folder)
    for variant in VARIANTS
]
ALL += [
    (module, variant)
    for module in (synthetic, magnetic_tile, ksdd2, folder)
    for variant in ("lite", "lite_small")
]
ALL += [(bsdata, variant) for variant in (*VARIANTS, "cpu_scaled")]
ALL += [(module, "cpu_scratch") for module in (magnetic_tile, ksdd2, folder, bsdata)]


@pytest.mark.parametrize(("module", "variant"), ALL)
def test_shipped_configs_are_valid_and_survive_json(module, variant, tmp_path):
    config = module.get_config(variant)
    run_config.check_values(config)
    run_config.claim(tmp_path, config)
    run_config.claim(tmp_path, config)  # the same again is welcome
    assert json.loads(json.dumps(config.to_dict())) == run_config.load(tmp_path).to_dict()


def test_lite_changes_the_model_alone():
    whole, lite = (run_config.decisive(ksdd2.get_config(variant)) for variant in ("", "lite"))
    changed = {field for field in whole if whole[field] != lite[field]}
    assert changed == {f"model.{name}" for name in ("encoder", "label_head", "block", "widths")}


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
        ("data.mask_threshold", -1),
        ("evaluation.dtype", "float64"),
        ("data.workers", -1),
        ("data.cache_mb", -1),
        ("data.max_scale", 0.0),
        ("data.max_stretch", 0.9),
        ("optimizer.average_decay", 1.0),
        ("optimizer.learning_rate", 0.0),
        ("loss.defect_weight", -1.0),
        ("loss.weight_dilation_px", -1),
        ("loss.refined_share", 1.5),
        ("loss.weight_localised", True),  # without localisation
        ("train.localisation_steps", 5),  # without localisation
        ("train.localisation_steps", -1),
    ],
)
def test_a_bad_value_is_refused_with_its_field(field, value):
    config = synthetic.get_config()
    with config.unlocked():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=rf"config\.{field} is .*: it must be "):
        run_config.check_values(config)


def test_masks_drawn_in_transparency_hold_no_class_ids():
    config = ConfigDict(synthetic.get_config("debug").to_dict())
    config.data.mask_alpha = True
    run_config.check_values(config)
    config.data.classes = ("dent", "scratch")
    with pytest.raises(
        UserError, match=r"config\.data\.mask_alpha is True: it must be False where"
    ):
        run_config.check_values(config)


@pytest.mark.parametrize(
    ("localisation", "field", "value", "is_good"),
    [
        ("backbone", "train.localisation_steps", 1, False),
        ("backbone", "train.localisation_steps", 2, True),
        ("backbone", "loss.weight_localised", True, True),
        ("backbone", "data.size", (48, 40), False),  # cells of 16 px
        ("encoder", "data.size", (48, 40), True),
        ("none", "data.size", (48, 40), True),
    ],
)
def test_what_localisation_allows(localisation, field, value, is_good):
    config = ConfigDict(synthetic.get_config("debug").to_dict())
    config.model.localisation = localisation
    config.update_from_flattened_dict({field: value})
    if is_good:
        run_config.check_values(config)
        return
    with pytest.raises(UserError, match=rf"config\.{field} is .*: it must be "):
        run_config.check_values(config)


@pytest.mark.parametrize(
    ("asked", "masks", "names"),
    [
        (1, ["defect"], ["defect"]),
        (1, ["crack", "pit"], ["defect"]),
        (2, ["crack", "pit"], ["crack", "pit"]),
        (3, ["crack", "pit"], None),
        (2, ["defect"], None),
    ],
)
def test_the_network_tells_all_classes_of_the_masks_apart_or_none(asked, masks, names):
    if names:
        assert class_names(asked, masks) == names
        return
    with pytest.raises(UserError, match=f"config.model.num_classes is {asked}: must be 1 .* or "):
        class_names(asked, masks)


def test_another_config_is_refused_with_the_fields_that_differ(tmp_path):
    run_config.claim(tmp_path, synthetic.get_config("debug"))
    other = synthetic.get_config("debug")
    other.optimizer.learning_rate = 0.5
    other.data.parts = 61
    with pytest.raises(UserError) as caught:
        run_config.claim(tmp_path, other)
    assert "data.parts was 60, is 61" in str(caught.value)
    assert "optimizer.learning_rate was 0.001, is 0.5" in str(caught.value)


def test_intervals_follow_the_steps_unless_they_are_named():
    config = folder.get_config("cpu")
    assert (config.train.log_every_steps, config.train.eval_every_steps) == (50, 300)
    config.train.steps = 20
    assert (config.train.log_every_steps, config.train.eval_every_steps) == (2, 12)
    run_config.check_values(config)
    config.train.log_every_steps = 1
    assert config.train.eval_every_steps == 12
    config = folder.get_config("cpu")
    config.train.eval_every_steps = 4
    config.train.steps = 40
    assert (config.train.log_every_steps, config.train.eval_every_steps) == (4, 4)


def test_a_workdir_may_be_given_more_steps_and_nothing_else(tmp_path):
    config = synthetic.get_config("debug")
    run_config.claim(tmp_path, config)
    config.train.steps = 80
    run_config.claim(tmp_path, config)
    kept = run_config.load(tmp_path).train
    assert (kept.steps, kept.log_every_steps, kept.eval_every_steps) == (80, 20, 40)
    config.train.steps = 40
    with pytest.raises(UserError, match="train.steps was 80, is 40"):
        run_config.claim(tmp_path, config)
    config.train.steps, config.seed = 160, 1
    with pytest.raises(UserError, match="seed was 0, is 1"):
        run_config.claim(tmp_path, config)
    assert run_config.load(tmp_path).train.steps == 80


def test_where_the_data_are_and_how_they_are_read_may_change(tmp_path):
    run_config.claim(tmp_path, synthetic.get_config("debug"))
    other = synthetic.get_config("debug")
    other.data.data_dir, other.data.threads, other.mesh.fsdp = "elsewhere", 7, 2
    other.track = "wandb"
    run_config.claim(tmp_path, other)
    used = run_config.of_workdir(tmp_path, other)
    assert (used.data.data_dir, used.data.threads, used.mesh.fsdp) == ("elsewhere", 7, 2)
    assert run_config.of_workdir(tmp_path, None).data.threads == 2


LITE0 = {"model.encoder": "efficientnet_lite0", "model.widths": (4, 8)}


def test_of_a_file_of_weights_only_the_name_is_kept(tmp_path):
    def named(weights):
        config = synthetic.get_config("debug")
        config.update_from_flattened_dict(LITE0 | {"model.weights": weights})
        return config

    run_config.claim(tmp_path, named("/home/somebody/secret/lite0.safetensors"))
    assert "secret" not in (tmp_path / "config.json").read_text()
    assert run_config.load(tmp_path).model.weights == "lite0.safetensors"
    run_config.claim(tmp_path, named("gs://elsewhere/lite0.safetensors"))  # it may have been moved
    with pytest.raises(UserError, match=r"weights was lite0\.safetensors, is other\.safetensors"):
        run_config.claim(tmp_path, named("/home/somebody/secret/other.safetensors"))


def test_a_workdir_of_before_there_were_encoders_belongs_to_the_same_config(tmp_path):
    config = synthetic.get_config("debug")
    run_config.claim(tmp_path, config)
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text())
    for name in ("encoder", "weights", "frozen_statistics", "label_head"):
        del fields["model"][name]
    del fields["optimizer"]["encoder_rate"]
    path.write_text(json.dumps(fields))
    assert run_config.load(tmp_path).to_dict() == json.loads(json.dumps(config.to_dict()))
    run_config.claim(tmp_path, config)
    config.model.encoder = "efficientnet_lite0"
    with pytest.raises(UserError, match="model.encoder was plain, is efficientnet_lite0"):
        run_config.claim(tmp_path, config)


def test_what_is_pruned_may_change_and_is_kept_with_the_decision(tmp_path):
    run_config.claim(tmp_path, synthetic.get_config("debug"))
    other = synthetic.get_config("debug")
    other.model.prune, other.decision.rule = 2, "target_recall"
    run_config.claim(tmp_path, other)
    assert run_config.load(tmp_path).model.prune == 0  # nothing is decided yet
    used = run_config.of_workdir(tmp_path, other)
    assert (used.model.prune, used.decision.rule) == (2, "target_recall")
    run_config.keep_decision(tmp_path, used)
    kept = run_config.load(tmp_path)
    assert (kept.model.prune, kept.decision.rule) == (2, "target_recall")
    other.model.block = "separable"
    with pytest.raises(UserError, match="model.block was plain, is separable"):
        run_config.of_workdir(tmp_path, other)


@pytest.mark.parametrize(
    ("step", "prune", "rule", "fits"),
    [
        (8, 2, "best_f1", True),
        (4, 2, "best_f1", False),
        (8, 0, "best_f1", False),
        (8, 1, "best_f1", False),
        (8, 2, "target_recall", False),
    ],
)
def test_a_decision_holds_for_one_checkpoint_pruned_so_and_one_wish(
    step, prune, rule, fits, tmp_path
):
    config = synthetic.get_config("debug")
    made = DecisionRule(0.5, 0.4, 0.3, 8, 10, 5, prune=2, options=config.decision.to_dict())
    made.to_json(tmp_path / "decision.json")
    config.model.prune, config.decision.rule = prune, rule
    assert decision_for(tmp_path, step, prune, config.decision.to_dict()) == (
        made if fits else None
    )


def test_a_decision_of_before_pruning_is_of_the_whole_network(tmp_path):
    path, config = tmp_path / "decision.json", synthetic.get_config("debug")
    DecisionRule(0.5, 0.4, 0.3, 8, 10, 5, options=config.decision.to_dict()).to_json(path)
    fields = json.loads(path.read_text())
    del fields["prune"]
    path.write_text(json.dumps(fields))
    assert decision_for(tmp_path, 8, 0, config.decision.to_dict()).prune == 0


def test_a_decision_older_than_its_newest_options_was_made_with_what_they_were(tmp_path):
    config = synthetic.get_config("debug")
    newer = ("decides", "sequential", "early_miss_rate", "early_false_alarm_rate")
    options = {key: value for key, value in config.decision.items() if key not in newer}
    made = DecisionRule(0.5, 0.4, 0.3, 8, 10, 5, options=options)
    made.to_json(tmp_path / "decision.json")
    assert decision_for(tmp_path, 8, 0, config.decision.to_dict()) == made
    config.decision.sequential = "wald"
    assert decision_for(tmp_path, 8, 0, config.decision.to_dict()) is None


def test_a_missing_or_damaged_workdir_names_the_file(tmp_path):
    with pytest.raises(UserError, match=r"config\.json: not there"):
        run_config.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: cannot be read"):
        run_config.load(tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError, match="--workdir .* cannot be written"):
        run_config.claim(file / "below", ConfigDict())


def test_checkpoints_without_a_config_are_not_adopted(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=r"checkpoints but no config\.json"):
        run_config.claim(tmp_path, synthetic.get_config())


def test_a_workdir_whose_run_saved_nothing_may_belong_to_another_config(tmp_path):
    run_config.renew(tmp_path, synthetic.get_config("debug"))
    assert not list(tmp_path.iterdir())  # a new one is claimed, not renewed
    run_config.claim(tmp_path, synthetic.get_config("debug"))
    other = synthetic.get_config("debug")
    other.train.batch_size = 1
    run_config.renew(tmp_path, other)
    run_config.claim(tmp_path, other)
    assert run_config.load(tmp_path).train.batch_size == 1


def test_compilation_cache_must_be_private(tmp_path):
    folder_: pathlib.Path = tmp_path / "open"
    folder_.mkdir(mode=0o755)
    folder_.chmod(0o755)
    with pytest.raises(UserError, match="chmod 700"):
        compilation.cache_compilations(folder_)
