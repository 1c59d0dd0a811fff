"""Zip files as they come: a damaged member costs itself alone, none is larger than it says."""

import stat
import struct
import tracemalloc
import zipfile

import pytest
import raw_data

from defect_jax.data.files.raw_files import open_root
from defect_jax.runtime.errors import UserError

ONE = b"one" * 999
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


@pytest.fixture
def packed(tmp_path):
    """Packs a.png, bad.png and z.png, changes the bytes of the file, and opens it."""

    def pack(change, method=zipfile.ZIP_DEFLATED):
        members = [(name, ONE) for name in ("a.png", "bad.png", "z.png")]
        path = raw_data.zip_of(tmp_path / "raw.zip", *members, compression=method)
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(data)
        return open_root(str(path))

    return pack


def entry(data, start, number=1):
    """Where the header of the second member begins."""
    place = -1
    for _ in range(number + 1):
        place = data.index(start, place + 1)
    return place


def both(data, name, at_local, at_central, form, value):
    struct.pack_into(form, data, entry(data, LOCAL) + at_local, value)
    struct.pack_into(form, data, entry(data, CENTRAL) + at_central, value)


def spoil_bytes(data):
    start = entry(data, LOCAL) + 30 + len("bad.png")
    data[start + 9 : start + 14] = b"\xff" * 5


def spoil_sum(data):
    both(data, "crc", 14, 16, "<L", 7)


def encrypt(data):
    both(data, "flags", 6, 8, "<H", 1)


def pack_unknown(data):
    both(data, "method", 8, 10, "<H", 97)


def a_version_to_come(data):
    struct.pack_into("<B", data, entry(data, CENTRAL) + 6, 99)


def not_utf_8(data):
    both(data, "flags", 6, 8, "<H", 0x800)
    for start, skip in ((LOCAL, 30), (CENTRAL, 46)):
        place = entry(data, start) + skip
        data[place : place + 3] = b"b\xff\xfe"


def another_name(data):
    place = entry(data, LOCAL) + 30
    data[place : place + 3] = b"odd"


def declare_more(data):
    struct.pack_into("<L", data, entry(data, CENTRAL) + 24, 4000)


def declare_less(data):
    struct.pack_into("<L", data, entry(data, CENTRAL) + 24, 40)


def lose_local_header(data):
    struct.pack_into("<L", data, entry(data, CENTRAL) + 42, 7)


def point_beyond_the_end(data):
    struct.pack_into("<L", data, entry(data, CENTRAL) + 42, 10**6)


DAMAGED = {
    spoil_bytes: "is damaged inside the archive",
    spoil_sum: "Bad CRC-32",
    encrypt: "is encrypted: pack it again without a password",
    pack_unknown: "is packed in a way that is not known",
    a_version_to_come: "is packed in a way that is not known",
    another_name: "File name in directory 'bad.png' and header b'odd.png' differ",
    declare_more: "is damaged inside the archive",
    declare_less: "Bad CRC-32",
    lose_local_header: "Bad magic number for file header",
    point_beyond_the_end: "is damaged inside the archive",
}


@pytest.mark.parametrize("change", DAMAGED)
def test_a_damaged_member_costs_itself_alone(packed, change):
    raw = packed(change)
    assert raw.names() == ["a.png", "bad.png", "z.png"]
    assert raw.read("a.png") == raw.read("z.png") == ONE
    with pytest.raises(OSError) as error:
        raw.read("bad.png")
    assert DAMAGED[change] in str(error.value)


@pytest.mark.parametrize("method", METHODS)
def test_damaged_bytes_of_every_method(packed, method):
    raw = packed(spoil_bytes, method)
    assert raw.read("a.png") == raw.read("z.png") == ONE
    with pytest.raises(OSError, match="is damaged inside the archive .*: pack it again"):
        raw.read("bad.png")


def test_a_name_that_is_not_utf_8_costs_itself_alone(packed):
    raw = packed(not_utf_8)
    assert raw.names() == ["a.png", "b??.png", "z.png"]
    assert raw.read("a.png") == ONE
    with pytest.raises(OSError, match="is damaged inside the archive .*can't decode byte 0xff"):
        raw.read("b??.png")


def test_a_member_without_a_name_is_not_left_out(tmp_path):
    path = raw_data.zip_of(tmp_path / "raw.zip", (zipfile.ZipInfo(""), ONE), ("a.png", ONE))
    raw = open_root(str(path))
    assert raw.names() == ["a.png"] and raw.read("a.png") == ONE
    assert raw.lost() == {"(a file without a name)": "has no name: pack it again"}


@pytest.mark.parametrize(
    "kind, why",
    [
        (stat.S_IFIFO, "is a FIFO, not a regular file: remove it"),
        (stat.S_IFCHR, "is a device, not a regular file: remove it"),
        (stat.S_IFSOCK, "is a socket, not a regular file: remove it"),
    ],
)
def test_a_member_that_is_no_file(tmp_path, kind, why):
    path = raw_data.zip_of(tmp_path / "raw.zip", (raw_data.zip_kind("a.png", kind), b""))
    with pytest.raises(OSError, match=why):
        open_root(str(path)).read("a.png")


def test_a_folder_is_none_and_one_with_bytes_is_named(tmp_path):
    path = raw_data.zip_of(tmp_path / "raw.zip", ("masks/", b""), ("images/1.png/", ONE))
    raw = open_root(str(path))
    assert raw.names() == ["images/1.png"]
    with pytest.raises(OSError, match="is a folder with bytes of its own: pack it again"):
        raw.read("images/1.png")


def test_a_name_that_python_would_cut_off_is_refused(tmp_path):
    path = raw_data.zip_of(tmp_path / "raw.zip", ("1.pngXreal.txt", b""), ("1.png", ONE))
    path.write_bytes(path.read_bytes().replace(b"1.pngXreal", b"1.png\0real"))
    raw = open_root(str(path))
    assert raw.names() == ["1.png", "1.png\ufffdreal.txt"] and raw.read("1.png") == ONE


def test_a_link_that_cannot_be_read_is_lost(tmp_path):
    long = (raw_data.zip_kind("long", stat.S_IFLNK), b"a/" * 3000)
    bad = (raw_data.zip_kind("bad", stat.S_IFLNK), b"needle" * 9)
    path = raw_data.zip_of(tmp_path / "raw.zip", long, bad)
    path.write_bytes(path.read_bytes().replace(b"needle" * 9, b"poodle" * 9))
    assert {name: why.split(":")[0] for name, why in open_root(str(path)).lost().items()} == {
        "bad": "is a link that cannot be read",
        "long": "is a link whose target is too long",
    }


@pytest.mark.parametrize("kept", [-30, -1, 100, 4])
def test_a_truncated_zip(packed, kept):
    def cut(data):
        del data[kept:]

    with pytest.raises(UserError, match="raw.zip is damaged .*: copy it again"):
        packed(cut)


def test_an_extra_field_that_python_cannot_read(packed):
    """A size that is said to stand in an extra field, which is not there."""

    def change(data):
        struct.pack_into("<L", data, entry(data, CENTRAL) + 24, 0xFFFFFFFF)
        place = entry(data, CENTRAL) + 46
        extra = struct.pack("<2H", 1, 0)
        struct.pack_into("<H", data, entry(data, CENTRAL) + 30, len(extra))
        data[place + 7 : place + 7] = extra
        end = data.index(b"PK\x05\x06")
        struct.pack_into("<L", data, end + 12, end - data.index(CENTRAL))

    raw = packed(change)
    assert raw.names() == ["a.png", "bad.png", "z.png"] and raw.read("z.png") == ONE
    with pytest.raises(OSError, match="is 4.3 GB, more than the"):
        raw.read("bad.png")


@pytest.mark.parametrize("second", [[("b.png", ONE)], []])
def test_two_archives_in_one_file(tmp_path, second):
    path = raw_data.zip_of(tmp_path / "raw.zip", ("a.png", ONE))
    other = raw_data.zip_of(tmp_path / "other.zip", *second)
    path.write_bytes(path.read_bytes() + other.read_bytes())
    with pytest.raises(UserError, match="raw.zip is damaged .its table of contents leaves out fi"):
        open_root(str(path))


def test_a_table_of_contents_that_would_fill_the_memory(packed, monkeypatch):
    monkeypatch.setattr("defect_jax.data.files.zip_table.MOST_TABLE_BYTES", 100)
    with pytest.raises(UserError, match="raw.zip is damaged .its table of contents takes 1.. byt"):
        packed(lambda data: None)


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_member_of_gigabytes_costs_neither_time_nor_memory(tmp_path, method):
    """What it declares is believed where it is too much, and is the limit where it is less."""
    huge = b"\0" * 40_000_000
    path = raw_data.zip_of(tmp_path / "raw.zip", ("a.png", huge), ("z.png", ONE),
                           compression=method)  # fmt: skip
    data = bytearray(path.read_bytes())
    assert len(data) < 60_000
    for declared, why in ((6 * 2**30 - 2**32, "is 2.1 GB, more than"), (1000, "Bad CRC-32")):
        struct.pack_into("<L", data, data.index(CENTRAL) + 24, declared)
        path.write_bytes(data)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        try:
            raw = open_root(str(path))
            with pytest.raises(OSError, match=why):
                raw.read("a.png")
            assert raw.read("z.png") == ONE
            # zlib makes no more than is asked for; the other two all of 4 KiB of what is packed.
            most = 3_000_000 if method == zipfile.ZIP_DEFLATED else 100_000_000
            assert tracemalloc.get_traced_memory()[1] - before < most
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("megabytes, read", [(64, True), (129, False), (4095, False)])
def test_a_dictionary_that_would_fill_the_memory(packed, megabytes, read):
    def enlarge(data):
        struct.pack_into("<L", data, entry(data, LOCAL) + 30 + len("bad.png") + 5, megabytes << 20)

    raw = packed(enlarge, zipfile.ZIP_LZMA)
    assert raw.read("a.png") == ONE
    if read:
        assert raw.read("bad.png") == ONE
    else:
        with pytest.raises(OSError, match="is packed with a dictionary of .* GB: pack it again wi"):
            raw.read("bad.png")


def test_a_corrupt_extra_field_is_no_reason_to_give_up(tmp_path):
    entry_ = zipfile.ZipInfo("bad.png")
    entry_.extra = struct.pack("<2H4s", 9, 4, b"abcd")
    path = raw_data.zip_of(tmp_path / "raw.zip", (entry_, ONE), ("a.png", ONE))
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<2H", 9, 4), struct.pack("<2H", 9, 400)))
    raw = open_root(str(path))
    assert raw.read("bad.png") == raw.read("a.png") == ONE
