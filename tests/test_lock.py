"""Locks: one holder at a time, none after a kill, and no folder left for nothing."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from defect_jax.runtime import lock
from defect_jax.runtime.errors import UserError


def test_a_second_holder_is_refused_and_told_who_holds_it_and_what_to_do(tmp_path):
    path = tmp_path / "run" / ".lock"
    with lock.refusing(path, "name another --workdir"):
        with pytest.raises(UserError) as refused, lock.refusing(path, "name another --workdir"):
            pass
        assert str(refused.value).startswith(f"{tmp_path / 'run'}: another process ({os.getpid()} ")
        assert str(refused.value).endswith("writes there already; name another --workdir")
    with lock.refusing(path, ""):  # given back
        pass


def test_a_folder_made_for_the_lock_alone_is_gone_in_the_end(tmp_path):
    with lock.refusing(tmp_path / "runs" / "new" / ".lock", ""):
        assert (tmp_path / "runs" / "new").is_dir()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["runs/new/result", "runs/result"])
def test_what_was_written_meanwhile_stays(tmp_path, name):
    with lock.refusing(tmp_path / "runs" / "new" / ".lock", ""):
        (tmp_path / name).write_text("kept")
    assert (tmp_path / name).read_text() == "kept"


def test_a_folder_that_was_there_stays_even_if_empty(tmp_path):
    with lock.refusing(tmp_path / ".lock", ""):
        pass
    with contextlib.suppress(UserError), lock.refusing(tmp_path / ".lock", ""):
        pass
    assert tmp_path.is_dir()


HOLD = """
import pathlib, sys, time
from defect_jax.runtime import lock
with lock.refusing(pathlib.Path(sys.argv[1]), ""):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / ".lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"another process \({holder.pid} on "):
            with lock.refusing(path, ""):
                pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with lock.refusing(path, ""):
            pass


def test_one_who_waits_goes_on_when_the_other_has_ended(tmp_path, monkeypatch):
    path, order, said = tmp_path / ".lock", [], []
    holding, waiting = threading.Event(), threading.Event()
    monkeypatch.setattr(lock, "say", lambda text: said.append(text) or waiting.set())

    def second():
        holding.wait()
        with lock.waiting(path):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with lock.waiting(path):
        holding.set()
        assert waiting.wait(60)
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and said[0].startswith("waiting for another process")


def test_a_lock_whose_file_was_taken_away_meanwhile_is_locked_anew(tmp_path, monkeypatch):
    path, opened = tmp_path / "new" / ".lock", []
    real = lock._opened

    def taken_away_once(path):
        file = real(path)
        if not opened:
            path.unlink()
            path.parent.rmdir()
        opened.append(file)
        return file

    monkeypatch.setattr(lock, "_opened", taken_away_once)
    with lock.refusing(path, ""):
        with pytest.raises(UserError, match="writes there already"), lock.refusing(path, ""):
            pass
    assert len(opened) == 3


def test_a_link_is_not_followed_and_what_it_names_is_untouched(tmp_path):
    (tmp_path / "letter").write_text("dear")
    (tmp_path / ".lock").symlink_to(tmp_path / "letter")
    with pytest.raises(UserError, match="is a link"), lock.refusing(tmp_path / ".lock", ""):
        pass
    assert (tmp_path / "letter").read_text() == "dear"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(UserError, match="no lock of ours"), lock.refusing(tmp_path / ".lock", ""):
        pass


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/run: cannot be written: Not a directory"):
        with lock.refusing(tmp_path / "file" / "run" / ".lock", ""):
            pass
