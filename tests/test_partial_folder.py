"""Folders that appear whole: two writers do not meet, and remains of the dead are cleared."""

import os
import pathlib
import subprocess
import sys

import pytest

from defect_jax.runtime.partial_folder import beside, take_place


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_two_write_the_same_folder_at_once_and_the_last_one_stands(tmp_path):
    final = tmp_path / "test"
    with beside(final) as one, beside(final) as other:
        assert one != other
        (one / "file").write_text("one")
        (other / "file").write_text("other")
        take_place(one, final)
        assert (final / "file").read_text() == "one" and (other / "file").exists()
        take_place(other, final)
    assert names(tmp_path) == ["test"] and (final / "file").read_text() == "other"


def test_what_did_not_take_its_place_is_removed(tmp_path):
    with pytest.raises(ZeroDivisionError), beside(tmp_path / "test") as folder:
        (folder / "half").write_text("")
        raise ZeroDivisionError
    assert names(tmp_path) == []


KILLED = """
import os, pathlib, sys
from defect_jax.runtime.partial_folder import beside
with beside(pathlib.Path(sys.argv[1])) as folder:
    (folder / "half").write_text("")
    os._exit(9)
"""


def test_the_remains_of_a_killed_process_are_cleared_and_nobody_elses(tmp_path):
    final = tmp_path / "[test]"
    subprocess.run([sys.executable, "-c", KILLED, str(final)], check=False)
    (remains,) = names(tmp_path)
    (tmp_path / ".[test].mine.partial").mkdir()  # of the user: not a name of ours
    with beside(final) as living, beside(final):
        assert living.exists() and not (tmp_path / remains).exists()
    assert names(tmp_path) == [".[test].mine.partial"]


def test_where_the_renaming_fails_the_folder_before_stays(tmp_path, monkeypatch):
    final, renamed = tmp_path / "test", []
    final.mkdir()
    (final / "kept").write_text("")
    real = pathlib.Path.rename

    def second_fails(path, target):
        renamed.append(target)
        if len(renamed) == 2:
            raise OSError("full")
        return real(path, target)

    with beside(final) as folder:
        monkeypatch.setattr(pathlib.Path, "rename", second_fails)
        with pytest.raises(OSError, match="full"):
            take_place(folder, final)
    assert names(tmp_path) == ["test"] and names(final) == ["kept"]


def test_the_folder_has_the_mode_that_others_have(tmp_path):
    (tmp_path / "ordinary").mkdir()
    with beside(tmp_path / "test") as folder:
        assert os.stat(folder).st_mode == os.stat(tmp_path / "ordinary").st_mode
