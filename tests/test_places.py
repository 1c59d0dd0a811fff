"""Where data are: kept with the user, never taken from a workdir, which may be somebody else's."""

import json
import shutil

import pytest

from defect_jax.configs import folder, synthetic
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import places, run_config

PLACES = {"root": "/raw", "data_dir": "/prepared"}


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """The user's own folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def asked(module=folder, **data):
    config = module.get_config("debug")
    with config.unlocked():
        config.data.update(data)
        config.compilation_cache, config.profile = "/programs", "1:2"
    return config


def test_config_json_names_no_place_and_the_user_who_trained_need_not_either(tmp_path):
    run_config.claim(tmp_path / "run", asked(**PLACES))
    text = (tmp_path / "run" / "config.json").read_text()
    assert "/raw" not in text and "/prepared" not in text and "/programs" not in text
    found = run_config.of_workdir(tmp_path / "run", None)
    assert (found.data.root, found.data.data_dir) == ("/raw", "/prepared")
    assert (found.compilation_cache, found.profile) == ("", "")
    places.refuse_unknown(found, tmp_path / "run")


def test_relative_places_hold_from_every_folder(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    run_config.claim(tmp_path / "run", asked(root="parts", data_dir="prepared"))
    monkeypatch.chdir(tmp_path / "there")
    found = run_config.of_workdir(tmp_path / "there" / ".." / "run", None).data
    assert (found.root, found.data_dir) == (f"{tmp_path}/parts", f"{tmp_path}/prepared")


def test_places_of_a_config_count_and_are_kept(tmp_path):
    run_config.claim(tmp_path, asked(**PLACES))
    moved = run_config.of_workdir(tmp_path, asked(root="/new"))
    assert (moved.data.root, moved.data.data_dir, moved.compilation_cache) == (
        "/new",
        "",
        "/programs",
    )
    assert run_config.of_workdir(tmp_path, None).data.root == "/new"
    run_config.claim(tmp_path, asked(root="/newer"))
    assert run_config.of_workdir(tmp_path, None).data.root == "/newer"


@pytest.mark.parametrize("module", [folder, synthetic])
def test_a_workdir_from_elsewhere_is_asked_for_its_data_unless_they_are_generated(module, tmp_path):
    run_config.claim(tmp_path / "mine", asked(module, **PLACES))
    shutil.copytree(tmp_path / "mine", tmp_path / "theirs")
    found = run_config.of_workdir(tmp_path / "theirs", None)
    assert (found.data.root, found.data.data_dir) == ("", "")
    if module is synthetic:
        places.refuse_unknown(found, tmp_path / "theirs")
        return
    says = "theirs: where its data are is not recorded on this machine: give --config=… --config.da"
    with pytest.raises(UserError, match=says):
        places.refuse_unknown(found, tmp_path / "theirs")


@pytest.mark.parametrize(
    "planted",
    [
        {"compilation_cache": "programs"},
        {"profile": "1:2"},
        {"data.root": "raw"},
        {"data.data_dir": "prepared"},
    ],
)
def test_places_in_a_planted_config_json_are_not_looked_at(planted, tmp_path):
    run_config.claim(tmp_path, asked(root="/mine"))
    path = tmp_path / "config.json"
    config = run_config.load(tmp_path)
    config.update_from_flattened_dict({n: str(tmp_path / v) for n, v in planted.items()})
    path.write_text(json.dumps(config.to_dict()))
    found = run_config.of_workdir(tmp_path, None)
    assert str(tmp_path) not in json.dumps(found.to_dict())
    assert found.data.root == "/mine"


@pytest.mark.parametrize("why", ["no home", "a file in the way"])
def test_without_a_folder_of_its_own_a_run_says_so_and_goes_on(why, tmp_path, monkeypatch, capsys):
    if why == "no home":
        monkeypatch.delenv("XDG_STATE_HOME")
        monkeypatch.setenv("HOME", "/proc/no/such/home")
    else:
        (tmp_path / "state").write_text("")
    run_config.claim(tmp_path / "run", asked(**PLACES))
    assert "could not be kept" in capsys.readouterr().err
    assert run_config.of_workdir(tmp_path / "run", None).data.root == ""


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"data.root": 1, "data.data_dir": ""}'])
def test_a_damaged_note_is_named(text, tmp_path, state):
    run_config.claim(tmp_path / "run", asked(**PLACES))
    (note,) = (state / "defect_jax" / "workdirs").iterdir()
    assert json.loads(note.read_text())["workdir"] == str(tmp_path / "run")
    note.write_text(text)
    with pytest.raises(UserError, match=note.name):
        run_config.of_workdir(tmp_path / "run", None)


def test_predict_makes_no_cache_that_a_workdir_names(forked, tmp_path):
    """A program planted in that folder would run, and decide as its author likes."""
    run_config.claim(tmp_path / "run", asked(synthetic))
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text()) | {"compilation_cache": str(tmp_path / "run" / "cache")}
    path.write_text(json.dumps(config))
    (tmp_path / "images").mkdir()
    flags = f"--workdir={path.parent}", f"--input={tmp_path / 'images'}", f"--output={tmp_path}/out"
    result = forked.run("--mode=predict", *flags)
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert not (tmp_path / "run" / "cache").exists()
