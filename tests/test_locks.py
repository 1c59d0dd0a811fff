"""One training in a workdir: the second command is refused in one line and changes nothing."""

import pytest
from etils import epath
from programs import CONFIG, SMALL

from defect_jax.runtime.errors import UserError
from defect_jax.workdir import locks


def state_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_command_given_twice_is_refused_while_the_first_one_runs(forked, tmp_path):
    workdir = tmp_path / "run"
    with locks.training(workdir):
        (workdir / "metrics.jsonl").write_text('{"step": 160}\n')
        before = state_of(tmp_path)
        data = f"--config.data.data_dir={tmp_path / 'data'}"
        second = forked.run(CONFIG, *SMALL, data, f"--workdir={workdir}")
        assert state_of(tmp_path) == before
    assert second.returncode == 2, second.stderr
    (line,) = second.stderr.splitlines()
    assert line.startswith(f"defect_jax: {workdir}: another process (")
    assert line.endswith("wait for its end, or stop it, or name another --workdir")


def test_results_and_a_training_do_not_wait_for_each_other(tmp_path):
    with locks.training(tmp_path), locks.results(tmp_path):
        with pytest.raises(UserError, match="writes there already"), locks.training(tmp_path):
            pass


def test_in_a_bucket_nothing_is_locked():
    workdir = epath.Path("gs://bucket/run")
    with locks.training(workdir), locks.training(workdir), locks.results(workdir):
        pass
