"""Tar and zip alike: links are followed, what else there is is refused by name."""

import stat
import tarfile
import zipfile

import pytest
import raw_data

from defect_jax.data.files.raw_files import open_root
from defect_jax.runtime.errors import UserError


@pytest.fixture(params=["tar", "zip"])
def pack(request, tmp_path):
    """Packs files, given as bytes, and symbolic links, given as text; returns the raw files."""

    def packed(files):
        if request.param == "tar":
            members = [
                raw_data.tar_link(name, data) if isinstance(data, str) else (name, data)
                for name, data in files
            ]
            path = raw_data.tar_of(tmp_path / "raw.tar", *members)
        else:
            members = [
                (raw_data.zip_kind(name, stat.S_IFLNK), data.encode())
                if isinstance(data, str)
                else (name, data)
                for name, data in files
            ]
            path = raw_data.zip_of(tmp_path / "raw.zip", *members)
        return open_root(str(path))

    return packed


def contents(raw):
    return {name: raw.read(name) for name in raw.names()}


MENDED = "pack it again with the files themselves"
FILE = ("real/1.png", b"one")


@pytest.mark.parametrize(
    "links, names",
    [
        ([("masks/1.png", "../real/1.png")], ["masks/1.png"]),
        ([("a.png", "b.png"), ("b.png", "c.png"), ("c.png", "./real//1.png")],
         ["a.png", "b.png", "c.png"]),
        ([("masks", "real")], ["masks/1.png"]),
        ([("masks", "real/"), ("more/masks", "../masks")], ["masks/1.png", "more/masks/1.png"]),
        ([("masks", "real"), ("a.png", "masks/1.png")], ["masks/1.png", "a.png"]),
        ([("masks/1.png", "../masks/../real/1.png")], ["masks/1.png"]),
    ],
)  # fmt: skip
def test_links_inside_are_followed(pack, links, names):
    raw = pack([*links, FILE])
    assert contents(raw) == dict.fromkeys(["real/1.png", *names], b"one")
    assert raw.lost() == {}


@pytest.mark.parametrize(
    "target, why",
    [
        ("/etc/passwd", f"is a link to '/etc/passwd', outside the archive: {MENDED}"),
        ("../../etc/passwd", "which leads out of the archive: "),
        ("nothing.png", f"is a link to 'masks/nothing.png', which is not in the archive: {MENDED}"),
        ("1.png", "which leads in a circle: "),
        ("2.png", "which leads in a circle: "),
    ],
)
def test_links_that_lead_nowhere_are_faults(pack, target, why):
    raw = pack([("masks/1.png", target), ("masks/2.png", "1.png"), FILE])
    assert raw.names() == ["masks/1.png", "masks/2.png", "real/1.png"]
    with pytest.raises(OSError) as error:
        raw.read("masks/1.png")
    assert why in str(error.value)


@pytest.mark.parametrize("target", ["/data/masks", "../masks", "nothing", "masks"])
def test_a_folder_of_masks_that_is_a_link_to_nowhere_is_not_left_out(pack, target):
    raw = pack([("images/1.png", b"one"), ("masks", target)])
    assert raw.names() == ["images/1.png"]
    assert "is a link to " in raw.lost()["masks"]


def test_links_to_a_folder_above_are_walked_once(pack):
    raw = pack([("a/up", ".."), ("a/itself", "."), ("a/to_b", "../b"), ("b/to_a", "../a"),
                ("a/1.png", b"one")])  # fmt: skip
    assert raw.names() == ["a/1.png", "b/to_a/1.png"]


def test_what_lies_below_a_link_or_a_file_is_named(pack):
    raw = pack([("masks", "real"), ("masks/1.png", b"two"), FILE])
    assert raw.lost() == {"masks": "is a file and a folder at once: pack it again"}


def test_a_link_to_one_of_two_members_of_one_name_is_refused(pack):
    raw = pack([("a/1.png", b"one"), ("a//1.png", b"two"), ("2.png", "a/1.png")])
    for name in ("a/1.png", "2.png"):
        with pytest.raises(OSError, match="is there twice, as 'a/1.png' and 'a//1.png'"):
            raw.read(name)


def test_few_links_that_lead_to_very_many_files_are_refused(pack, monkeypatch):
    monkeypatch.setattr("defect_jax.data.files.archive_links.MOST_BY_LINKS", 1000)
    links = [(f"{step}/{name}", f"../{step + 1}") for step in range(30) for name in "xy"]
    with pytest.raises(UserError, match="links to folders lead to more than 1,000 files"):
        pack([*links, ("30/1.png", b"one")])


def test_folders_of_the_system_are_counted(pack):
    raw = pack([("images/@eaDir/1.png/M.png", b""), ("__MACOSX/images/._1.png", b""), FILE])
    assert raw.names() == ["real/1.png"]
    assert raw.skipped() == {"@eaDir": 1, "__MACOSX": 1}


@pytest.mark.parametrize("size", [24_777_216, 24_777_217])
def test_a_member_is_as_large_as_a_picture_at_most(tmp_path, size):
    """One megapixel of 8 bytes a pixel, and 16 MiB."""
    tar = raw_data.tar_of(tmp_path / "raw.tar", ("1.png", bytes(size)))
    deflated = {"compression": zipfile.ZIP_DEFLATED}
    packed = raw_data.zip_of(tmp_path / "raw.zip", ("1.png", bytes(size)), **deflated)
    for path in (tar, packed):
        raw = open_root(str(path), max_megapixels=1.0)
        if size == 24_777_216:
            assert raw.size("1.png") == len(raw.read("1.png")) == size
        else:
            with pytest.raises(OSError, match="is 24.8 MB, more than the 24.8 MB that 1 mega"):
                raw.read("1.png")


@pytest.mark.parametrize(
    "start, kind",
    [
        (b"\x1f\x8b", "compressed with gzip"),
        (b"\xfd7zXZ\0", "compressed with xz"),
        (b"BZh9", "compressed with bzip2"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a", "a RAR archive"),
        (b"PK\x07\x08", "one part of a divided zip"),
    ],
)
def test_other_archives_are_refused_by_what_they_are(tmp_path, start, kind):
    path = raw_data.write(tmp_path / "raw.tar", start + bytes(600))
    with pytest.raises(UserError, match=f"raw.tar is {kind}, no folder, no plain .tar and no .zip"):
        open_root(str(path))


def test_a_compressed_tar_of_python_is_refused_by_what_it_is(tmp_path):
    with tarfile.open(tmp_path / "raw.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("1.png"))
    with pytest.raises(UserError, match="is compressed with gzip, .*: unpack it and give the fol"):
        open_root(str(tmp_path / "raw.tar.gz"))


def test_a_tar_that_changes_after_it_was_listed(tmp_path):
    path = raw_data.tar_of(tmp_path / "raw.tar", FILE)
    raw = open_root(str(path))
    raw_data.tar_of(path, ("another.png", bytes(30_000)), FILE)
    with pytest.raises(OSError, match="is in an archive that has changed since: start again"):
        raw.read("real/1.png")
