"""What a user may give as a path, and what a bucket's faults become."""

import errno
import json
import pathlib
from types import SimpleNamespace

import fake_buckets
import pytest
import raw_data
from etils import epath
from ml_collections import ConfigDict

from defect_jax import command_line
from defect_jax.configs import synthetic
from defect_jax.data.prepare.prepare import prepare
from defect_jax.runtime import atomic_files, compilation, paths
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import as_path, is_remote, reached
from defect_jax.workdir import run_config


@pytest.fixture
def buckets(monkeypatch):
    with fake_buckets.fake_buckets(monkeypatch) as buckets:
        yield buckets


@pytest.mark.parametrize("text", ["runs/a", "/tmp/b", "gs", "runs/gs:/x", ".", "s3:bucket"])
def test_local_paths_are_pathlib(text):
    assert as_path(text) == pathlib.Path(text)
    assert not is_remote(as_path(text))


@pytest.mark.parametrize("text", ["gs://bucket/a/b", "s3://bucket"])
def test_urls_are_epath(buckets, text):
    path = as_path(text)
    assert isinstance(path, epath.Path) and is_remote(path)
    assert str(path) == str(as_path(f"{text}/")) == text
    assert as_path(path) is path
    assert str(path / "c" / "d.json") == f"{text}/c/d.json"


def test_a_local_epath_is_no_bucket():
    assert not is_remote(epath.Path("/tmp/x"))


@pytest.mark.parametrize(
    "text, message",
    [
        ("http://host/x", "http:// is not known: give gs://…, s3://… or a local path"),
        ("file:///tmp/x", "file:// is not known"),
        ("GS://bucket/x", "GS:// is not known"),
        ("gs://", "names no bucket"),
        ("s3:///x/", "names no bucket"),
    ],
)
def test_other_urls_are_refused(buckets, text, message):
    with pytest.raises(UserError, match=message):
        as_path(text)


@pytest.mark.parametrize("scheme, package", [("gs", "gcsfs"), ("s3", "s3fs")])
def test_a_missing_package_is_one_line_that_says_what_to_install(monkeypatch, scheme, package):
    monkeypatch.setattr(paths.importlib.util, "find_spec", lambda name: None)
    message = rf"^{scheme}://bucket/run: .*needs {package}: pip install 'defect_jax\[cloud\]'.*$"
    with pytest.raises(UserError, match=message):
        as_path(f"{scheme}://bucket/run")


def test_a_bucket_is_asked_once_at_the_start(buckets):
    assert str(reached("gs://bucket/not/there")) == "gs://bucket/not/there"
    buckets.fails.append(RuntimeError("no credentials\nsecond line"))
    with pytest.raises(UserError, match="cannot be reached: RuntimeError: no credentials$"):
        reached("gs://bucket/run")


def test_faults_of_a_bucket_are_os_errors_with_a_text(buckets):
    path = as_path("s3://bucket/x")
    with pytest.raises(FileNotFoundError) as missing:
        paths.read_bytes(path)
    assert (missing.value.errno, missing.value.filename) == (errno.ENOENT, str(path))
    buckets.fails.append(PermissionError("Forbidden"))  # as s3fs: neither errno nor strerror
    for act in (paths.read_bytes, paths.exists, lambda path: paths.write_bytes(path, b"")):
        with pytest.raises(OSError) as refused:
            act(path)
        assert (refused.value.errno, refused.value.strerror) == (
            errno.EIO,
            "PermissionError: Forbidden",
        )


def test_a_missing_bucket_is_said_when_it_is_written_to(buckets):
    buckets.fails.append(FileNotFoundError("The specified bucket does not exist"))
    with pytest.raises(FileNotFoundError, match="no such bucket: 's3://nobucket/x'"):
        atomic_files.write_text(as_path("s3://nobucket/x"), "text")


def test_local_faults_are_left_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="No such file"):
        paths.read_bytes(tmp_path / "x")


def test_texts_are_utf_8_and_one_put(buckets):
    path = as_path("gs://bucket/deep/er/x.txt")
    atomic_files.write_text(path, "ü\r\n–\n")
    assert path.read_bytes() == "ü\r\n–\n".encode()
    assert paths.read_text(path) == "ü\r\n–\n"
    assert buckets.log == ["put /bucket/deep/er/x.txt"]


def test_config_lives_in_a_bucket(buckets):
    workdir = as_path("s3://bucket/run")
    config = synthetic.get_config("debug")
    run_config.claim(workdir, config)
    assert json.loads(paths.read_text(workdir / "config.json"))["seed"] == 0
    run_config.claim(workdir, config)
    config.decision.rule = "target_recall"
    run_config.keep_decision(workdir, config)
    assert run_config.load(workdir).decision.rule == "target_recall"
    with pytest.raises(UserError, match="s3://bucket/run/config.json: this workdir belongs to"):
        run_config.claim(workdir, synthetic.get_config("cpu"))
    with pytest.raises(UserError, match="s3://bucket/other/config.json: not there; train first"):
        run_config.load(as_path("s3://bucket/other"))
    buckets.fails.append(RuntimeError("gone"))
    with pytest.raises(UserError, match="cannot be read: .*RuntimeError: gone"):
        run_config.load(workdir)


def test_prepared_data_stay_on_a_disk(buckets):
    data = ConfigDict({"name": "synthetic", "root": "", "data_dir": "gs://bucket/prepared"})
    with pytest.raises(UserError, match="config.data.data_dir: gs://bucket/prepared is no local"):
        prepare(data)


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_a_tilde_is_the_home_folder(home):
    assert as_path("~/runs/a") == home / "runs" / "a"
    assert as_path("~") == home
    assert reached("~/runs") == home / "runs"
    for text in ("a/~/b", "./~/b", "./~", "a~", "/~"):
        assert as_path(text) == pathlib.Path(text)


def test_a_home_that_nobody_has_is_no_folder_of_that_name(home):
    for text in ("~nobody-of-this-name/runs", "~nobody-of-this-name"):
        with pytest.raises(UserError, match=f"^{text}: there is no home folder ~nobody-of-this-"):
            as_path(text)
    pathlib.Path("~$open.png").write_text("as office programs leave them")
    assert as_path("~$open.png") == pathlib.Path("~$open.png")


def test_a_user_without_home_is_asked_for_a_folder(home, monkeypatch):
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    data = raw_data.config("folder", raw_data.folder_data(home / "raw"), home, data_dir="")
    with pytest.raises(
        UserError, match=r"config.data.data_dir: not set, and ~/.cache: there is no"
    ):
        prepare(data)


def test_every_path_of_the_data_may_begin_with_the_home_folder(home):
    raw_data.folder_data(home / "raw")
    data = raw_data.config("folder", "~/raw", home, data_dir="~/prepared")
    assert prepare(data).directory.is_relative_to(home / "prepared")
    data.root = str(home / "raw")
    assert prepare(data).directory in (home / "prepared" / "folder").iterdir()
    assert len(list((home / "prepared" / "folder").glob("[!.]*"))) == 1
    assert not pathlib.Path("~").exists()


def test_the_cache_of_programs_may_be_below_the_home_folder(home, monkeypatch):
    made = []
    monkeypatch.setattr(compilation, "cache_compilations", made.append)
    compilation.start_cache("~/programs")
    assert made == [home / "programs"]


def test_the_config_of_the_command_line_may_be_below_the_home_folder(home, monkeypatch):
    seen = []
    monkeypatch.setattr(command_line.flags, "FLAGS", lambda argv: seen.extend(argv) or [])
    monkeypatch.setattr(command_line, "CONFIG", SimpleNamespace(value=None))
    (home / "my.py").touch()
    command_line.parse_flags(["main", "--config=~/my.py:cpu", "--config.data.root=~/x", "--x=~/y"])
    assert seen == ["main", f"--config={home}/my.py:cpu", "--config.data.root=~/x", "--x=~/y"]
