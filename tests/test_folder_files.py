"""Folders as they are on disks: links, FIFOs, devices, files with holes, and what NAS boxes add."""

import os
import socket

import pytest
import raw_data

from defect_jax.data.files import folder_files
from defect_jax.data.files.folder_files import Folder
from defect_jax.data.files.raw_files import open_root
from defect_jax.runtime.errors import UserError


@pytest.fixture
def folder(tmp_path):
    raw_data.write(tmp_path / "raw/images/1.png", b"one")
    return tmp_path / "raw"


def fifo(path):
    os.mkfifo(path)


def link_to_fifo(path):
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to(path.with_name("pipe"))


def socket_file(path):
    os.chdir(path.parent)  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


def endless(path):
    path.symlink_to("/dev/zero")


def with_holes(path):
    with path.open("wb") as file:
        file.truncate(30 * 10**9)


def grown(path):
    path.write_bytes(b"text" * 10)
    os.truncate(path, 900 * 10**6)


@pytest.mark.parametrize(
    "make, why",
    [
        (fifo, "is a FIFO, not a regular file: remove it"),
        (link_to_fifo, "is a FIFO, not a regular file: remove it"),
        (socket_file, "is a socket, not a regular file: remove it"),
        (endless, "is a device, not a regular file: remove it"),
        (with_holes, r"is 30.0 GB, more than the 816.8 MB that 100 megapixels can take: make it"),
        (grown, r"is 900.0 MB, more than the 816.8 MB that"),
    ],
)
def test_what_is_no_picture_is_refused_without_a_byte_read(folder, make, why, monkeypatch):
    monkeypatch.chdir(folder)
    make(folder / "images/2.png")
    raw = Folder(folder)
    assert "images/2.png" in raw.names() and raw.stamp()
    with pytest.raises(OSError, match=why):
        raw.read("images/2.png")
    assert raw.read("images/1.png") == b"one"


def test_the_limit_of_bytes_follows_the_limit_of_pixels(folder):
    with_holes(folder / "images/2.png")
    os.truncate(folder / "images/2.png", 30 * 10**6)
    with pytest.raises(OSError, match="more than the 24.8 MB that 1 megapixels can take"):
        Folder(folder, 1.0).read("images/2.png")
    assert len(Folder(folder, 2.0).read("images/2.png")) == 30 * 10**6


def test_a_table_has_a_limit_of_its_own(folder):
    with_holes(folder / "groups.csv")
    with pytest.raises(OSError, match="is 30.0 GB, more than the 268.4 MB that a table"):
        Folder(folder, 1e6).read("groups.csv")


@pytest.mark.parametrize("make", [fifo, endless, socket_file])
def test_a_root_that_is_no_file(tmp_path, make, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "raw.tar")
    with pytest.raises(UserError, match="config.data.root: .*raw.tar: is a .*, not a regular file"):
        open_root(str(tmp_path / "raw.tar"))


def test_a_file_that_changes_while_it_is_read(folder, monkeypatch):
    size = os.stat(folder / "images/1.png")
    shorter = os.stat_result((*size[:6], 2, *size[7:]))
    monkeypatch.setattr(os, "fstat", lambda _: shorter)
    with pytest.raises(OSError, match="changes while it is read"):
        Folder(folder).read("images/1.png")


def test_links_that_lead_to_each_other_are_walked_once(folder):
    for name in "ab":
        raw_data.write(folder / name / f"{name}.png", b"")
    (folder / "a/to_b").symlink_to("../b")
    (folder / "b/to_a").symlink_to("../a")
    (folder / "to_itself").symlink_to(".")
    (folder / "round").symlink_to("round")
    raw = Folder(folder)
    assert raw.names() == [
        "a/a.png", "a/to_b/b.png", "b/b.png", "b/to_a/a.png", "images/1.png"
    ]  # fmt: skip
    assert list(raw.lost()) == ["round"]


def test_links_that_double_at_each_step_end(folder, monkeypatch):
    monkeypatch.setattr(folder_files, "MOST_BY_LINKS", 100)
    for step in range(12):
        (folder / f"{step}").mkdir()
        for name in ("x", "y"):
            (folder / f"{step}" / name).symlink_to(f"../{step + 1}")
    (folder / "12").mkdir()
    with pytest.raises(UserError, match="links to folders lead to more than 100 files"):
        Folder(folder)


@pytest.mark.parametrize("name, lost", [("masks", True), ("masks/2.png", False), ("v1.0", True)])
def test_a_link_to_nowhere_may_have_hidden_a_folder(folder, name, lost):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to("/not/there")
    raw = Folder(folder)
    why = "is a link to '/not/there', which cannot be followed: mend or remove it"
    assert raw.lost() == ({name: why} if lost else {})
    if not lost:
        with pytest.raises(OSError, match="is a link to '/not/there'"):
            raw.read(name)


def test_folders_of_the_system_are_counted_and_never_opened_in_vain(folder, monkeypatch):
    for number in range(5):
        raw_data.write(folder / f"images/@eaDir/{number}.png/THUMB.png", b"")
    (folder / "lost+found").mkdir(mode=0)  # root's own
    (folder / ".Trash").symlink_to("/")
    raw = Folder(folder)
    assert raw.names() == ["images/1.png"]
    assert raw.skipped() == {"@eaDir": 5, ".Trash": 1}
    monkeypatch.setattr(folder_files, "MOST_COUNTED", 3)
    assert Folder(folder).skipped()["@eaDir"] == 3


def test_a_name_of_macos_is_read_from_its_own_file(folder):
    decomposed = "pru\u0308f.png"
    raw_data.write(folder / f"images/{decomposed}", b"two")
    raw = Folder(folder)
    assert raw.names() == ["images/1.png", "images/pr\u00fcf.png"]
    assert raw.read("images/pr\u00fcf.png") == b"two"
    assert raw.where("images/pr\u00fcf.png").endswith(decomposed)
