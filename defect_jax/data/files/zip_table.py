"""The table of contents of a zip file, read although an entry of it is damaged."""

import lzma
import os
import struct
import zipfile
import zlib
from pathlib import Path

from defect_jax.data.files.archive_links import Damaged
from defect_jax.data.files.bounded import regular_handle

MOST_TABLE_BYTES = 64 * 2**20  # half a million names
MEMBER_START = b"PK\x03\x04"
ENTRY_START, ENTRY_BYTES = b"PK\x01\x02", 46  # before the name
UTF_8 = 0x800  # a flag
NEWEST_VERSION, NO_METHOD = 63, 0xFFFF  # of the format, as `zipfile` knows it

# What `zipfile` and the decoders below it raise for bytes that are no zip.
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


class _ZipFile:
    """The bytes of a zip file, for `zipfile`, and mended while it reads the table of contents.

    It gives up the whole archive for one entry that it cannot read. Such a one is changed so that
    it is read, and that opening the member is what fails.
    """

    def __init__(self, handle: int, with_extras: bool):
        """Take the file over; without extras the fields beside names and sizes are passed over."""
        self._handle, self._with_extras, self.is_listed = handle, with_extras, False
        self._file = os.fdopen(handle, "rb", closefd=False)
        self.seek, self.tell, self.seekable = self._file.seek, self._file.tell, self._file.seekable

    def read(self, size: int = -1) -> bytes:
        if self.is_listed:
            return self._file.read(size)
        if size > MOST_TABLE_BYTES:
            raise zipfile.BadZipFile(f"its table of contents takes {size:,} bytes")
        data = self._file.read(size)
        return _mended(data, self._with_extras) if data.startswith(ENTRY_START) else data

    def __del__(self) -> None:
        os.close(self._handle)  # nobody else does: an archive is kept open while it is known


def opened(path: Path) -> zipfile.ZipFile:
    """Open an archive; it stays open, and several threads may read it.

    Raises:
        Damaged: its table of contents cannot be read.
    """
    file = _ZipFile(regular_handle(path), with_extras=True)
    try:
        archive = zipfile.ZipFile(file)
    except UNPACKING_ERRORS as error:
        file = _ZipFile(regular_handle(path), with_extras=False)
        try:
            archive = zipfile.ZipFile(file)
        except UNPACKING_ERRORS:
            raise Damaged(str(error)) from error
    file.is_listed = True
    first = min((info.header_offset for info in archive.infolist()), default=None)
    file.seek(0)
    if file.read(len(MEMBER_START)) == MEMBER_START and first != 0:
        raise Damaged("its table of contents leaves out files, as when two archives are joined")
    return archive


def _mended(table: bytes, with_extras: bool) -> bytes:
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
        if not with_extras or not _is_well_formed(bytes(mended[extra])):
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
