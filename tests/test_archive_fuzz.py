"""Any bytes that begin like an archive: refused in one line or read, in little time and memory."""

import contextlib
import os
import signal
import stat
import struct
import tarfile
import tracemalloc
import zipfile

import hypothesis
import hypothesis.strategies as st
import pytest
import raw_data

from defect_jax.data.files.raw_files import open_root
from defect_jax.runtime.errors import UserError

SECONDS = 20
# The largest dictionary of LZMA that is let through, and twice the largest picture of those below.
MOST_BYTES = 2**27 + 50_000_000
WORDS = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.sampled_from([
        b"\xff" * 12, b"\x80" + bytes(11), b"77777777777\0", b"\0", b"/", b"../", b"g", b"x", b"L",
        b"1", b"2", b"S", b"PK\x01\x02", b"\xff\xff\xff\xff", b"\0\0", b"\x01\0", b"GNU.sparse.",
    ]),
)  # fmt: skip
PLACES = st.integers(0, 2**14)
EDITS = st.lists(st.tuples(PLACES, WORDS), max_size=6)


def a_tar(path):
    names = ["images/1.png", "images/" + "l" * 120 + ".png", "masks/1.png"]
    links = [raw_data.tar_link("masks/2.png", "1.png"), raw_data.tar_link("more", "masks"),
             raw_data.tar_link("masks/3.png", "masks/1.png", tarfile.LNKTYPE)]  # fmt: skip
    files = [(name, bytes(range(256)) * 5) for name in names]
    raw_data.tar_of(path.with_name("pax.tar"), *files, *links, format=tarfile.PAX_FORMAT)
    raw_data.tar_of(path, *files, *links, format=tarfile.GNU_FORMAT)
    return [path.read_bytes(), path.with_name("pax.tar").read_bytes()]


def a_zip(path):
    archives = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        members = [("images/1.png", bytes(2000)), ("masks/pr\u00fcf.png", bytes(range(256))),
                   (raw_data.zip_kind("more", stat.S_IFLNK), b"masks")]  # fmt: skip
        archives.append(raw_data.zip_of(path, *members, compression=method).read_bytes())
    return archives


@contextlib.contextmanager
def bounded():
    """Fails what takes too long or too much."""

    def too_long(*_):
        raise AssertionError(f"still reading after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def read_all(path):
    """Reads what there is; whatever is raised beyond these two fails the test."""
    with bounded():
        try:
            raw = open_root(str(path), max_megapixels=1.0)
        except UserError as error:
            assert "\n" not in str(error)
            return
        assert raw.names() == sorted(set(raw.names()))
        for name in raw.names():
            assert ".." not in name.split("/") and not name.startswith("/")
            with contextlib.suppress(OSError):
                assert len(raw.read(name)) == raw.size(name)


def edited(data, edits, cut):
    data = bytearray(data[: len(data) - cut])
    for place, word in edits:
        start = place % max(1, len(data))
        data[start : start + len(word)] = word
    return data


def with_sums(data):
    """Mends the sum of each block that has the place for one, so that the header is believed."""
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b"ustar":
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    return data


class Archives(dict):
    """What is mutated, by its kind; hypothesis prints it where an example fails."""

    def __repr__(self):
        return "archives"


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    return Archives({"tar": a_tar(folder / "raw.tar"), "zip": a_zip(folder / "raw.zip")})


def test_what_is_mutated_was_readable(archives, tmp_path):
    for kind, files in archives.items():
        for data in files:
            raw = open_root(str(raw_data.write(tmp_path / f"whole.{kind}", data)))
            assert "more/1.png" in raw.names() or "more/pr\u00fcf.png" in raw.names()
            assert all(raw.read(name) for name in raw.names())


@pytest.mark.fuzz
@hypothesis.given(st.integers(0, 1), EDITS, st.sampled_from([0, 0, 0, 1, 512, 3000]), st.booleans())
def test_tars(archives, tmp_path_factory, which, edits, cut, mended):
    data = edited(archives["tar"][which], edits, cut)
    path = tmp_path_factory.getbasetemp() / f"fuzz_{os.getpid()}.tar"
    read_all(raw_data.write(path, bytes(with_sums(data) if mended else data)))


@pytest.mark.fuzz
@hypothesis.given(st.integers(0, 3), EDITS, st.sampled_from([0, 0, 0, 1, 22, 300]))
def test_zips(archives, tmp_path_factory, which, edits, cut):
    path = tmp_path_factory.getbasetemp() / f"fuzz_{os.getpid()}.zip"
    read_all(raw_data.write(path, bytes(edited(archives["zip"][which], edits, cut))))


# Where the numbers of an entry of the table of contents are, and how wide they are.
NUMBERS = st.lists(
    st.tuples(
        st.sampled_from([6, 8, 10, 16, 20, 24, 28, 30, 32, 36, 38, 40, 42]),
        st.sampled_from(["<H", "<L"]),
        st.sampled_from([0, 1, 9, 12, 14, 0x800, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]),
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.fuzz
@hypothesis.given(st.integers(0, 3), st.integers(0, 2), NUMBERS)
def test_zips_whose_table_of_contents_lies(archives, tmp_path_factory, which, entry, numbers):
    data, start = bytearray(archives["zip"][which]), -1
    for _ in range(entry + 1):
        start = data.index(b"PK\x01\x02", start + 1)
    for place, form, value in numbers:
        struct.pack_into(form, data, start + place, value & (0xFFFF if form == "<H" else 2**32 - 1))
    path = tmp_path_factory.getbasetemp() / f"fuzz_{os.getpid()}.zip"
    read_all(raw_data.write(path, bytes(data)))


@pytest.mark.fuzz
@hypothesis.given(st.sampled_from([b"PK\x03\x04", b"PK\x05\x06", b"text"]), st.binary(max_size=300))
def test_bytes_that_were_never_an_archive(tmp_path_factory, start, rest):
    path = tmp_path_factory.getbasetemp() / f"fuzz_{os.getpid()}.bin"
    read_all(raw_data.write(path, start + rest))
