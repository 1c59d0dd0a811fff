"""`--mode=check` says of the config what training would, beside what is wrong with the data."""

import sys

import pytest
import raw_data

from defect_jax.configs.folder import get_config
from defect_jax.data.prepare.prepare import prepare
from defect_jax.runtime.errors import UserError
from defect_jax.training.check import check, value_faults
from defect_jax.training.train import train


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return raw_data.folder_data(tmp_path_factory.mktemp("data") / "raw")


def config_of(root, tmp_path, **changes):
    config = get_config("debug")
    config.data.root, config.data.data_dir = str(root), str(tmp_path / "prepared")
    config.data.size = (32, 32)
    config.update_from_flattened_dict(changes)
    return config


def checked(config, capsys, output=None):
    """Returns the lines of a check, and the error's text."""
    try:
        check(config, output)
    except UserError as error:
        return capsys.readouterr().out.splitlines(), str(error)
    return capsys.readouterr().out.splitlines(), ""


def test_nothing_wrong(root, tmp_path, capsys):
    config = config_of(root, tmp_path)
    lines, error = checked(config, capsys)
    assert error == "" and lines[-1] == "folder: no fault found"
    assert "folder: train, good: 8 images, 0 with a mask, 8 without" in lines
    assert not (tmp_path / "prepared").exists()
    prepare(config.data)
    assert [f"folder: {note}" for note in prepare(config.data).info.notes] == lines[6:-1]


FAULTS = {
    "train.batch_size": (12345, "config.train.batch_size is 12345: it must be a multiple of"),
    "train.steps": (1, "config.train.steps is 1: it must be "),
    "optimizer.learning_rate": (-1.0, "config.optimizer.learning_rate is -1.0: it must be "),
    "data.size": ((32, 33), "config.data.size is [32, 33]: it must be "),
    "model.decoder": ("segnet", "config.model.decoder"),
    "model.num_classes": (3, "config.model.num_classes is 3: must be 1 (defect or not) or 1"),
    "balance.method": ("none", "config.balance.method is 'none': must be one of"),
    "balance.shared": ("nowhere", "config.balance.shared is 'nowhere': no parameter is shared"),
    "mesh.fsdp": (7, "config.mesh: data "),
    "decision.rule": ("guaranteed_miss_rate", "needs "),
    "data.min_scale": (1.0, "images/bad/part_010: 12x16 px does not fit"),
    "profile": ("1-2", "config.profile is '1-2'"),
}


@pytest.mark.parametrize("field", FAULTS)
def test_each_fault_that_training_finds(root, tmp_path, capsys, field):
    value, says = FAULTS[field]
    more = {"data.size": (8, 8)} if field == "data.min_scale" else {}
    lines, error = checked(config_of(root, tmp_path, **more | {field: value}), capsys)
    assert [line for line in lines if says in line], lines
    assert error.startswith("folder: faults to mend: ") and "no fault" not in lines[-1]


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_done(
    root, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import of it would fail
    config = config_of(root, tmp_path, track="wandb")
    lines, _ = checked(config, capsys)
    with pytest.raises(UserError, match="pip install 'defect_jax.wandb.'") as caught:
        train(config, tmp_path / "run")
    assert str(caught.value) in lines and not list(tmp_path.iterdir())


def test_faults_of_config_and_data_in_one_pass(tmp_path, capsys):
    root = raw_data.folder_data(tmp_path / "raw")
    raw_data.write(root / "masks/lost.png", raw_data.defect_mask())
    raw_data.write(root / "images/bad/part_013.png", b"")
    changes = {"train.steps": 1, "optimizer.learning_rate": 0.0, "balance.shared": "nowhere"}
    lines, error = checked(config_of(root, tmp_path, **changes), capsys)
    assert error == "folder: faults to mend: 5, listed above"
    starts = [line.split(":")[0].split(" is ")[0] for line in lines[-5:]]
    assert sorted(starts) == sorted(
        [
            "config.train.steps",
            "config.optimizer.learning_rate",
            "config.balance.shared",
            f"{root}/masks/lost.png",
            f"{root}/images/bad/part_013.png",
        ]
    )


def test_a_share_of_defective_images_where_there_are_none(tmp_path, capsys):
    root = raw_data.folder_data(tmp_path / "raw", defective=0)
    lines, _ = checked(config_of(root, tmp_path), capsys)
    assert any("config.data.positive_fraction is 0.5: must be None" in line for line in lines)


def test_data_that_are_not_there(tmp_path, capsys):
    lines, error = checked(config_of(tmp_path / "nowhere", tmp_path, **{"train.steps": 1}), capsys)
    assert error == "folder: faults to mend: 2, listed above"
    assert lines[0].startswith("config.train.steps") and lines[1].startswith("config.data.root: ")


def test_a_wrong_text_is_one_fault(root, tmp_path):
    config = config_of(root, tmp_path, **{"compilation_cache": "a\x1bb"})
    (fault,) = value_faults(config)
    assert str(fault).startswith(r"config.compilation_cache is 'a\x1bb': it must be ")


def test_values_alone(root, tmp_path):
    config = config_of(root, tmp_path, **{"train.steps": 0, "train.log_every_steps": 0})
    fields = [fault.where.split(" ")[0] for fault in value_faults(config)]
    assert {"config.train.steps", "config.train.log_every_steps"} <= set(fields)
    assert value_faults(config_of(root, tmp_path)) == []


def test_the_proposal_is_written_where_it_is_asked_for(root, tmp_path, capsys):
    lines, error = checked(config_of(root, tmp_path), capsys, tmp_path / "out")
    assert error == "" and f"folder: wrote {tmp_path}/out/groups.csv" in lines
    assert len((tmp_path / "out/groups.csv").read_text().splitlines()) == 16
