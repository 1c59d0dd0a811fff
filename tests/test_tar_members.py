"""Tar files as no writer of ours makes them: hostile headers, holes, devices, missing ends."""

import io
import subprocess
import tarfile

import pytest
import raw_data
from raw_data import TAR_END, padded, tar_block

from defect_jax.data.files.raw_files import open_root
from defect_jax.runtime.errors import UserError

GOOD = tar_block("good.png", 3) + padded(b"one")
PAX, PAX_OF_ALL = tarfile.XHDTYPE, tarfile.XGLTYPE


def opened(tmp_path, data):
    return open_root(str(raw_data.write(tmp_path / "raw.tar", data)))


def record(key, value):
    """One record of a pax header; its length counts itself."""
    line = f" {key}={value}\n".encode("utf-8", "surrogateescape")
    length = len(line) + 1
    while len(str(length)) + len(line) != length:
        length += 1
    return str(length).encode() + line


def pax(*records, kind=PAX):
    content = b"".join(record(key, value) for key, value in records)
    return tar_block("pax", len(content), kind) + padded(content)


HOSTILE = {
    "a negative size": (GOOD + tar_block("2.png", -512), "has a size of -512 bytes"),
    "a negative size that leads back": (GOOD + tar_block("2.png", -1536), "a size of -1536 bytes"),
    "a size beyond the end": (GOOD + tar_block("2.png", 10**6) + bytes(600), "its end is missing"),
    "a size of 256 to the 11": (GOOD + tar_block("2.png", 256**11 - 1), "its end is missing"),
    "octal junk": (GOOD + tar_block("2.png", 0, at_124=b"9z\xff 8888888"), "invalid header at"),
    "a damaged sum": (GOOD + tar_block("2.png", 3)[:-1] + b"x" + padded(b"two"), "bad checksum at"),
    "text in place of a header": (GOOD + padded(b"text"), "bad checksum at byte 1,024"),
    "half a header": (GOOD + tar_block("2.png", 0)[:300], "its end is missing"),
    "no end": (GOOD, "its end is missing"),
    "another archive after the end": (GOOD + TAR_END + GOOD + TAR_END, "more follows its end"),
    "a pax header of a terabyte": (tar_block("pax", 10**12, PAX), "a header of 1,000,000,000,000"),
    "a long name of a gigabyte": (tar_block("x", 10**9, b"L"), "a header of 1,000,000,000 bytes"),
    "a pax header that is cut off": (tar_block("pax", 9000, PAX) + bytes(600), "end is missing"),
    "a pax header of junk": (
        tar_block("pax", 4, PAX) + padded(b"junk") + GOOD, "a pax header that cannot be read"),
    "a pax record longer than the header": (
        tar_block("pax", 10, PAX) + padded(b"99 path=a\n") + GOOD, "a pax header that cannot"),
    "a pax record of no length": (
        tar_block("pax", 9, PAX) + padded(b"0 path=a\n") + GOOD, "a pax header that cannot be"),
    "a pax size below zero": (pax(("size", "-1024")) + GOOD, "a size of b'-1024'"),
    "a pax size of many digits": (pax(("size", "9" * 5000)) + GOOD, "a size of b'9999"),
    "a pax size beyond the end": (pax(("size", str(10**15))) + GOOD, "its end is missing"),
    "one size for all": (pax(("size", "1"), kind=PAX_OF_ALL) + GOOD, "one header names or sizes"),
    "one name for all": (pax(("path", "a"), kind=PAX_OF_ALL) + GOOD, "one header names or sizes"),
    "a pax header of nothing": (GOOD + pax(("path", "2.png")), "speaks of is missing"),
    "holes without an end": (
        tar_block("1.png", 0, b"S", at_482=b"\x01") + b"\1" * 512, "its end is missing"),
    "5000 pax headers": (pax(("path", "a.png")) * 5000, "speaks of is missing"),
    "5000 long names": (
        (tar_block("x", 6, b"L") + padded(b"a.png\0")) * 5000, "speaks of is missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_refused_at_once(tmp_path, case):
    data, why = HOSTILE[case]
    has_end = "missing" in why and "speaks of" not in why
    data += b"" if has_end or "follows" in why else TAR_END
    with pytest.raises(UserError, match=f"raw.tar is damaged .*{why}.*: copy it again"):
        opened(tmp_path, data)


def test_an_end_that_never_ends(tmp_path):
    path = raw_data.write(tmp_path / "raw.tar", GOOD)
    with path.open("r+b") as file:
        file.truncate(30 * 10**9)
    with pytest.raises(UserError, match="more follows its end"):
        open_root(str(path))


KINDS = {
    "a FIFO": (tar_block("1.png", 0, tarfile.FIFOTYPE), "is a FIFO, not a regular file"),
    "a device": (tar_block("1.png", 0, tarfile.CHRTYPE), "is a device, not a regular file"),
    "a disk": (tar_block("1.png", 0, tarfile.BLKTYPE), "is a device, not a regular file"),
    "a part of a file": (
        tar_block("1.png", 3, b"M") + padded(b"one"), "is a part of a file that goes on in anoth"),
    "unknown": (tar_block("1.png", 3, b"Q") + padded(b"one"), "is of the unknown kind b'Q'"),
    "holes, as GNU wrote them": (
        tar_block("1.png", 3, b"S", at_483=b"%011o\0" % 700) + padded(b"one"),
        "is stored as a sparse file"),
    "holes, with more maps": (
        tar_block("1.png", 3, b"S", at_482=b"\1") + bytes(504) + b"\1" + bytes(519)
        + padded(b"one"), "is stored as a sparse file"),
    "holes, pax 0.0": (
        pax(("GNU.sparse.size", "700"), ("GNU.sparse.numblocks", "1"), ("GNU.sparse.offset", "512"),
            ("GNU.sparse.numbytes", "3")) + tar_block("1.png", 3) + padded(b"one"),
        "is stored as a sparse file"),
    "holes, pax 0.1": (
        pax(("GNU.sparse.size", "700"), ("GNU.sparse.map", "512,3"), ("GNU.sparse.name", "1.png"))
        + tar_block("GNUSparseFile.7/1.png", 3) + padded(b"one"), "is stored as a sparse file"),
    "holes, pax 1.0": (
        pax(("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "1.png"),
            ("GNU.sparse.realsize", "700"))
        + tar_block("GNUSparseFile.7/1.png", 515) + padded(b"1\n512\n3\n") + padded(b"one"),
        "is stored as a sparse file"),
    "a hard link to nothing": (
        tar_block("1.png", 0, tarfile.LNKTYPE, at_157=b"no.png"), "'no.png', which is not in the"),
    "a hard link outside": (
        tar_block("1.png", 0, tarfile.LNKTYPE, at_157=b"/etc/x"), "outside the archive"),
    "a hard link above": (
        tar_block("1.png", 0, tarfile.LNKTYPE, at_157=b"../x"), "leads out of the archive"),
    "a hard link to itself": (
        tar_block("1.png", 0, tarfile.LNKTYPE, at_157=b"1.png"), "which leads in a circle"),
    "a hard link to a FIFO": (
        tar_block("pipe", 0, tarfile.FIFOTYPE)
        + tar_block("1.png", 0, tarfile.LNKTYPE, at_157=b"pipe"), "is a FIFO, not a regular file"),
}  # fmt: skip


@pytest.mark.parametrize("case", KINDS)
def test_a_member_that_is_not_read_is_named_and_the_others_are_read(tmp_path, case):
    data, why = KINDS[case]
    raw = opened(tmp_path, data + GOOD + TAR_END)
    assert {"1.png", "good.png"} <= set(raw.names()) and raw.lost() == {}
    assert raw.read("good.png") == b"one"
    with pytest.raises(OSError) as error:
        raw.read("1.png")
    assert why in str(error.value)


def test_holes_of_the_system_s_own_tar_would_not_be_taken_for_black(tmp_path):
    """What Python's reader gives for these is right, but no file of ours needs it."""
    data = KINDS["holes, pax 1.0"][0] + TAR_END
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getmember("1.png").issparse()
    with pytest.raises(OSError, match="pack it again without --sparse"):
        opened(tmp_path, data).read("1.png")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_three_formats_are_read_as_python_reads_them(tmp_path, form):
    names = ["a/1.png", "d" * 50 + "/" + "e" * 40 + ".png"]
    if form != tarfile.USTAR_FORMAT:
        names += [
            "d" * 70 + "/" + "e" * 90 + ".png",
            "f" * 200 + ".png",
            "pr\u00fcf/" + "g" * 130 + ".png",
        ]
    members = [(name, name.encode()) for name in names]
    links = [raw_data.tar_link(f"link_{place}.png", name, tarfile.LNKTYPE)
             for place, name in enumerate(names)]  # fmt: skip
    folder = tarfile.TarInfo("./empty")
    folder.type = tarfile.DIRTYPE
    path = raw_data.tar_of(tmp_path / "raw.tar", folder, *members, *links, format=form)
    raw = open_root(str(path))
    with tarfile.open(path) as archive:
        expected = {m.name: archive.extractfile(m).read() for m in archive if not m.isdir()}
    assert {name: raw.read(name) for name in raw.names()} == expected


def test_a_tar_from_before_there_was_a_magic(tmp_path):
    old = tar_block("1.png", 3, b"\0", at_257=bytes(8)) + padded(b"one")
    folder = tar_block("a/", 0, b"\0", at_257=bytes(8))
    raw = opened(tmp_path, folder + old + TAR_END)
    assert raw.names() == ["1.png"] and raw.read("1.png") == b"one"


def test_times_of_an_incremental_tar_are_no_folders(tmp_path):
    raw_data.write(tmp_path / "parts/images/1.png", b"one")
    command = ["tar", "--format=gnu", "-g", tmp_path / "snapshot", "-cf", tmp_path / "raw.tar"]
    subprocess.run([*command, "-C", tmp_path, "parts"], check=True)
    with tarfile.open(tmp_path / "raw.tar") as archive:
        assert "parts/images/1.png" not in archive.getnames()  # Python's reader takes them so
    assert open_root(str(tmp_path / "raw.tar")).names() == ["parts/images/1.png"]


@pytest.mark.parametrize("end", [bytes(512), TAR_END, bytes(10240), bytes(2**20)])
def test_every_end_that_writers_make(tmp_path, end):
    assert opened(tmp_path, GOOD + end).names() == ["good.png"]


def test_names_that_are_not_utf_8_are_faults_of_their_own(tmp_path):
    raw = opened(tmp_path, tar_block("x", 0, at_0=b"\xff.png") + GOOD + TAR_END)
    assert raw.names() == ["good.png", "\ufffd.png"]
    with pytest.raises(OSError, match="has characters that cannot be written: rename it"):
        raw.read("\ufffd.png")


def test_what_is_no_file_is_passed_over(tmp_path):
    label = tar_block("My label", 0, b"V")
    dumped = tar_block("a/", 7, b"D") + padded(b"Y1.png\0")
    comment = pax(("comment", "of git"), kind=PAX_OF_ALL)
    raw = opened(tmp_path, comment + label + dumped + GOOD + TAR_END)
    assert raw.names() == ["good.png"] and raw.read("good.png") == b"one"
