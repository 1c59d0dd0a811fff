"""Data sets in the layout of their release, through the whole program."""

import json

import pytest
import raw_data
from conftest import AS_USERS_DO
from programs import ROWS, SMALL, lines


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def test_the_ksdd2_release_trains_and_evaluates(forked, home):
    root = raw_data.ksdd2_release(home / "ksdd2", train=(30, 15), test=(6, 4))
    workdir = home / "ksdd2-run"
    where = [f"--config.data.root={root}", f"--config.data.data_dir={home / 'data'}"]
    command = ["--config=configs/ksdd2.py:debug", ROWS, *where, f"--workdir={workdir}"]
    result = forked.run(*command, compiler=AS_USERS_DO)
    assert result.returncode == 0, result.stderr
    assert "10301 (copy).png" in result.stderr and "10301_GT (copy).png" in result.stderr
    metrics = json.loads((workdir / "eval/test/metrics.json").read_text())
    assert (metrics["images"], metrics["defective"], metrics["good"]) == (10, 4, 6)
    assert "leaking" not in metrics


def test_numbers_of_a_leaking_split_are_labelled(forked, home):
    root = raw_data.magnetic_tile_release(home / "tiles")
    workdir = home / "leaking"
    where = [f"--config.data.root={root}", f"--config.data.data_dir={home / 'data'}"]
    random = ["--config=configs/magnetic_tile.py:debug", "--config.data.split=random", *SMALL]
    random += ["--config.data.size=(16, 16)", "--config.train.steps=4"]  # of a thousand images
    result = forked.run(*random, *where, f"--workdir={workdir}")
    assert result.returncode == 0, result.stderr
    assert json.loads((workdir / "eval/test/metrics.json").read_text())["leaking"] == 1
    assert all(line["leaking"] == 1 for line in lines(workdir) if line["split"] == "val")
    assert "leaking" in (workdir / "eval/report.html").read_text()
