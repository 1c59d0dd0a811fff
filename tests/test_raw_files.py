"""A folder, a tar and a zip give the same files, and what is wrong with them is said."""

import io
import os
import tarfile
import zipfile

import pytest
import raw_data

from defect_jax.data.files.raw_files import RawFiles, open_root, top_folder
from defect_jax.runtime.errors import UserError

FILES = {"README.md": b"text", "a/1.png": b"one", "a/deep/er/ü 2.png": b"two", "b/3.png": b"" * 9}


@pytest.fixture
def folder(tmp_path):
    for name, data in FILES.items():
        raw_data.write(tmp_path / "raw" / name, data)
    for junk in (".hidden", ".git/config", "__MACOSX/a/1.png", "a/Thumbs.db", "a/.DS_Store"):
        raw_data.write(tmp_path / "raw" / junk, b"junk")
    return tmp_path / "raw"


@pytest.fixture(params=["folder", "tar", "zip"])
def root(request, folder, tmp_path):
    if request.param == "tar":
        return raw_data.pack_tar(folder, tmp_path / "raw.tar")
    if request.param == "zip":
        return raw_data.pack_zip(folder, tmp_path / "raw.zip")
    return folder


def test_names_and_bytes(root):
    raw = open_root(str(root))
    assert isinstance(raw, RawFiles)
    assert raw.names() == sorted(FILES)
    assert {name: raw.read(name) for name in raw.names()} == FILES
    assert str(root) in raw.where("a/1.png") and raw.where("a/1.png").endswith("a/1.png")


def test_the_stamp_changes_with_the_files_alone(root, folder):
    before = open_root(str(root)).stamp()
    assert open_root(str(root)).stamp() == before
    changed = folder / "a/1.png" if root == folder else root
    os.utime(changed, (1, 1))
    assert open_root(str(root)).stamp() != before


def test_a_new_file_changes_the_stamp(folder):
    before = open_root(str(folder)).stamp()
    raw_data.write(folder / "a/4.png", b"four")
    assert open_root(str(folder)).stamp() != before


def test_links_are_followed_but_not_in_circles(folder, tmp_path):
    raw_data.write(tmp_path / "elsewhere/5.png", b"five")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "a/back").symlink_to(folder)
    (folder / "gone.png").symlink_to(tmp_path / "nowhere")
    raw = open_root(str(folder))
    assert raw.names() == sorted([*FILES, "gone.png", "linked/5.png"])
    assert raw.read("linked/5.png") == b"five"
    assert raw.stamp() == open_root(str(folder)).stamp()
    with pytest.raises(OSError):
        raw.read("gone.png")


@pytest.mark.parametrize("root", [None, ""])
def test_a_root_that_is_not_set(root):
    with pytest.raises(UserError, match="config.data.root: not set"):
        open_root(root)


def test_a_root_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"config.data.root: .*nowhere: No such file"):
        open_root(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("data", [b"", b"text", b"\x1f\x8b" + b"\0" * 600])
def test_a_root_that_is_no_archive(tmp_path, data):
    path = raw_data.write(tmp_path / "raw.tar", data)
    with pytest.raises(UserError, match="no plain .tar and no .zip"):
        open_root(str(path))


@pytest.mark.parametrize("name", ["../up.png", "a/../../up.png", "/etc/up.png", "a\\b.png"])
def test_names_that_leave_the_archive(tmp_path, name):
    with tarfile.open(tmp_path / "raw.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"")
    for path in (tmp_path / "raw.tar", tmp_path / "raw.zip"):
        with pytest.raises(UserError, match="no plain path below the data"):
            open_root(str(path))


def test_names_that_cannot_be_written(tmp_path):
    (tmp_path / "raw").mkdir()
    with open(os.fsencode(tmp_path / "raw") + b"/bad\xff.png", "wb"):
        pass
    raw = open_root(str(tmp_path / "raw"))
    assert raw.names() == ["bad\ufffd.png"]
    with pytest.raises(OSError, match="has characters that cannot be written: rename it"):
        raw.read("bad\ufffd.png")


def test_top_folder():
    wanted = ("train", "test")
    assert top_folder(["train/1.png", "test/1.png", "old/train/1.png"], wanted, "root") == ""
    assert top_folder(["x/y/train/1.png", "x/y/test/2.png", "x/a.png"], wanted, "root") == "x/y/"
    assert top_folder(["1.png"], wanted, "root") == ""
    with pytest.raises(UserError, match="root: holds several data sets, a/, b/"):
        top_folder(["a/train/1.png", "b/test/1.png"], wanted, "root")
