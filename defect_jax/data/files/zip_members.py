"""What is in a zip file, and the bytes of one member, which are no more than it declares."""

import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from defect_jax.data.files.archive_links import Damaged, Member
from defect_jax.data.files.bounded import BadFile, kind_of, regular_handle
from defect_jax.data.files.raw_names import Refused

MOST_TABLE_BYTES = 64 * 2**20  # of the table of contents: half a million names
MOST_TARGET_BYTES = 4096  # of a link's path
# 4 KiB of LZMA or bzip2 become 80 MB at worst, and `zipfile` unpacks all that it is given of them;
# with others it stops at the number of bytes that is asked for.
CHUNK_BYTES = {zipfile.ZIP_STORED: 2**20, zipfile.ZIP_DEFLATED: 2**20}
SMALL_CHUNK_BYTES = 4096
UNIX, ENCRYPTED, UTF_8 = 3, 0x1, 0x800
ENTRY_START, ENTRY_BYTES = b"PK\x01\x02", 46  # of the table of contents, before the name
NEWEST_VERSION, NO_METHOD = 63, 0xFFFF  # of the format, as `zipfile` knows it


class _ZipFile:
    """The bytes of a zip file, for `zipfile`, and mended while it reads the table of contents.

    It gives up the whole archive for one entry that it cannot read. Such a one is changed so that
    it is read, and that opening the member is what fails.
    """

    def __init__(self, path: Path):
        self._handle, self.is_listed = regular_handle(path), False
        self._file = os.fdopen(self._handle, "rb", closefd=False)
        self.seek, self.tell, self.seekable = self._file.seek, self._file.tell, self._file.seekable

    def read(self, size: int = -1) -> bytes:
        if self.is_listed:
            return self._file.read(size)
        if size > MOST_TABLE_BYTES:
            raise zipfile.BadZipFile(f"its table of contents takes {size:,} bytes")
        data = self._file.read(size)
        return _mended(data) if data.startswith(ENTRY_START) else data

    def __del__(self) -> None:
        os.close(self._handle)  # nobody else does: an archive is kept open while it is known


def opened(path: Path) -> zipfile.ZipFile:
    """Open an archive; it stays open, and several threads may read it.

    Raises:
        Damaged: its table of contents cannot be read.
    """
    file = _ZipFile(path)
    try:
        archive = zipfile.ZipFile(file)
    except (*UNPACKING_ERRORS, MemoryError) as error:
        raise Damaged(str(error)) from error
    file.is_listed = True
    return archive


def _mended(table: bytes) -> bytes:
    """Return the table of contents without what makes `zipfile` give up all of it."""
    mended, start = bytearray(table), 0
    while mended[start : start + 4] == ENTRY_START and start + ENTRY_BYTES <= len(mended):
        (version,) = struct.unpack_from("<B", mended, start + 6)
        (flags,) = struct.unpack_from("<H", mended, start + 8)
        lengths = struct.unpack_from("<3H", mended, start + 28)
        name = slice(start + ENTRY_BYTES, start + ENTRY_BYTES + lengths[0])
        extra = slice(name.stop, name.stop + lengths[1])
        if version > NEWEST_VERSION:
            struct.pack_into("<BBHH", mended, start + 6, NEWEST_VERSION, 0, flags, NO_METHOD)
        if flags & UTF_8:
            mended[name] = _as_utf_8(bytes(mended[name]))
        if not _is_well_formed(bytes(mended[extra])):
            mended[extra] = bytes(len(mended[extra]))  # fields of number 0 without content
        start = extra.stop + lengths[2]
    return bytes(mended)


def _as_utf_8(name: bytes) -> bytes:
    """Return a name of the same length, with a question mark for each byte that is not UTF-8."""
    text = name.decode("utf-8", "surrogateescape")
    return "".join("?" if "\ud800" <= c <= "\udfff" else c for c in text).encode()


def _is_well_formed(extra: bytes) -> bool:
    position = 0
    while position + 4 <= len(extra):
        position += 4 + struct.unpack_from("<H", extra, position + 2)[0]
    return position <= len(extra)


def zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    """Yield the files and links of an archive."""
    for info in archive.infolist():
        # `zipfile` cuts a name at its first zero byte.
        name = info.orig_filename if "\0" in info.orig_filename else info.filename
        mode = info.external_attr >> 16 if info.create_system == UNIX else 0
        if name.endswith("/"):
            if info.file_size:
                yield Member(name, Refused("is a folder with bytes of its own: pack it again"))
        elif stat.S_ISLNK(mode):
            yield _link(archive, info, name)
        elif stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR):
            yield Member(name, info)
        else:
            why = f"is {kind_of(mode)}, not a regular file: remove it"
            yield Member(name, Refused(why))


def _link(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Member:
    """Return a link: its target is what would else be the bytes of the file."""
    if info.file_size > MOST_TARGET_BYTES:
        return Member(name, Refused("is a link whose target is too long: pack it again", True))
    try:
        target = read_member(archive, info).decode("utf-8", "surrogateescape")
    except OSError as error:
        return Member(name, Refused(f"is a link that cannot be read: it {error}", True))
    return Member.symbolic_link(name, target)


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Unpack a member, no further than the size that it declares.

    Raises:
        OSError: it is damaged, encrypted, or packed in a way that is not known.
    """
    if info.flag_bits & ENCRYPTED:
        raise BadFile("is encrypted: pack it again without a password")
    chunk_bytes = CHUNK_BYTES.get(info.compress_type, SMALL_CHUNK_BYTES)
    try:
        with archive.open(info) as member:
            data = b"".join(iter(partial(member.read, chunk_bytes), b""))
    except NotImplementedError as error:
        raise BadFile(f"is packed in a way that is not known ({error}): use deflate") from error
    except (*UNPACKING_ERRORS, OSError) as error:
        raise BadFile(f"is damaged inside the archive ({error!s:.99}): pack it again") from error
    if len(data) != info.file_size:
        text = f"is damaged inside the archive ({len(data)} of {info.file_size} bytes)"
        raise BadFile(f"{text}: pack it again")
    return data


UNPACKING_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,  # a name that is not UTF-8
    struct.error,
    IndexError,
    KeyError,
    OverflowError,
)
