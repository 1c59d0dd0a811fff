"""PyTorch files read without pickle: as PyTorch reads them, or refused, and nothing ever runs."""

import base64
import hashlib
import io
import json
import os
import pathlib
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defect_jax.models.pretrained import pickle_stream
from defect_jax.models.pretrained.embedded import read_embedded
from defect_jax.models.pretrained.packages import EMBEDDED
from defect_jax.models.pretrained.pickle_stream import NotAllowed, read_stream
from defect_jax.models.pretrained.torch_file import parse_tensors, read_torch_file
from defect_jax.runtime.errors import UserError

# What PyTorch read, and a small file that it wrote: references/make_torch_file.py.
REFERENCE = json.loads(
    (pathlib.Path(__file__).parent / "references" / "torch_file.json").read_text()
)
SMALL = base64.b64decode(REFERENCE["small_file"])


def description(tensors):
    return [
        [name, list(array.shape), array.dtype.name]
        + [hashlib.sha256(array.tobytes("C")).hexdigest()[:16]]
        for name, array in tensors.items()
    ]


@pytest.mark.parametrize("number, encoder", list(enumerate(EMBEDDED)))
def test_the_installed_files_are_read_as_by_pytorch(number, encoder):
    assert description(read_embedded(encoder).tensors) == REFERENCE["lite"][number]


def test_arrays_are_native_contiguous_and_their_own():
    tensors = parse_tensors(SMALL)
    assert description(tensors) == REFERENCE["small"]
    for array in tensors.values():
        assert array.dtype.isnative and array.flags.c_contiguous and array.flags.owndata
        assert array.flags.writeable and array.flags.aligned


def test_pickle_is_not_asked(monkeypatch):
    def never(*_, **__):
        raise AssertionError("pickle was asked")

    for name in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"):
        monkeypatch.setattr(pickle, name, never)
    assert description(parse_tensors(SMALL)) == REFERENCE["small"]


# A writer of such files: instructions as bytes.

MARK, TUPLE, NONE, FALSE, EMPTY = b"(", b"t", b"N", b"\x89", b")"
START, STOP, REDUCE, PERSISTENT, BUILD = b"\x80\x02", b".", b"R", b"Q", b"b"


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value):
    data = value.to_bytes(33, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values):
    return MARK + b"".join(map(integer, values)) + TUPLE


def name(value):
    return b"c" + value.replace(" ", "\n").encode() + b"\n"


ORDERED_DICT = name("collections OrderedDict") + EMPTY + REDUCE


def storage(key="a", count=6, kind="torch FloatStorage", tag="storage", view=NONE):
    items = text(tag) + name(kind) + text(key) + text("cpu") + integer(count) + view
    return MARK + items + TUPLE + PERSISTENT


def tensor(where=None, offset=0, shape=(2, 3), strides=(3, 1), hooks=ORDERED_DICT):
    call = name("torch._utils _rebuild_tensor_v2") + MARK + (where or storage())
    return call + integer(offset) + numbers(shape) + numbers(strides) + FALSE + hooks + TUPLE + b"R"


def state(**tensors):
    items = b"".join(text(key) + value for key, value in tensors.items())
    return START + ORDERED_DICT + MARK + items + b"u" + STOP


MAGIC = START + integer(0x1950A86A20F9469CFC6C) + STOP
VERSION = START + integer(1001) + STOP
MACHINE = START + b"}(" + text("little_endian") + b"\x88u" + STOP
VALUES = np.arange(1, 7, dtype="<f4")


def keys(*names):
    return START + b"](" + b"".join(map(text, names)) + b"e" + STOP


def file_of(stream=None, names=("a",), count=6, head=None, listed=None):
    head = MAGIC + VERSION + MACHINE if head is None else head
    rest = struct.pack("<q", count) + VALUES.tobytes()
    return (
        head + (state(x=tensor()) if stream is None else stream) + (listed or keys(*names)) + rest
    )


def test_what_the_writer_writes_is_read():
    np.testing.assert_array_equal(parse_tensors(file_of())["x"], VALUES.reshape(2, 3))
    turned = state(x=tensor(offset=1, shape=(2, 1, 2), strides=(1, 10**70, 3)))
    np.testing.assert_array_equal(parse_tensors(file_of(turned))["x"], [[[2, 5]], [[3, 6]]])
    part = state(x=tensor(shape=(), strides=(), offset=5))
    assert parse_tensors(file_of(part))["x"] == 6


# Code.


class Bait:
    """Makes a file where a pickle of it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_calls_is_refused_and_calls_nothing(tmp_path, protocol):
    path = str(tmp_path / "made")
    stream = pickle.dumps(Bait(path), protocol)
    for data in (file_of(stream), stream + SMALL, file_of(head=stream), file_of(START + stream)):
        with pytest.raises(NotAllowed):
            parse_tensors(data)
    assert not os.path.exists(path)
    pickle.loads(stream)  # it is a real one
    assert os.path.exists(path)


SYSTEM = name("os system")
CALLS = {
    "os.system": SYSTEM + text("true") + b"\x85R.",
    "eval": name("builtins eval") + text("1") + b"\x85R.",
    "a name alone": SYSTEM + b".",
    "a name that begins as one of ours": name("torch FloatStorage.__init__") + b".",
    "torch.load": name("torch load") + text("x") + b"\x85R.",
    "INST": b"(" + text("true") + b"ios\nsystem\n.",
    "OBJ": b"(" + name("collections OrderedDict") + b"o.",
    "NEWOBJ": name("collections OrderedDict") + b")\x81.",
    "NEWOBJ_EX": name("collections OrderedDict") + b")}\x92.",
    "STACK_GLOBAL": b"\x8c\x02os\x8c\x06system\x93" + text("true") + b"\x85R.",
    "EXT1": b"\x82\x01.",
    "EXT2": b"\x83\x01\x00.",
    "EXT4": b"\x84\x01\x00\x00\x00.",
    "PERSID": b"Pstorage\n.",
    "BUILD on a name": name("collections OrderedDict") + b"}b.",
    "BUILD on a tensor": tensor() + b"}b.",
    "BUILD of other attributes": b"}}(" + text("__class__") + b"}ub.",
    "BUILD of slots": b"}}}\x86b.",
    "a dict with a factory": name("collections OrderedDict") + text("x") + b"\x85R.",
    "a storage that is called": name("torch FloatStorage") + b")R.",
    "a call of no name": text("x") + b")R.",
    "hooks": tensor(hooks=b"}(" + text("x") + b"}u") + b".",
}


@pytest.mark.parametrize("code", list(CALLS.values()), ids=list(CALLS))
def test_instructions_that_could_call_are_refused(code):
    for prefix in (START, b""):
        with pytest.raises(NotAllowed):
            read_stream(io.BytesIO(prefix + code))
    with pytest.raises(NotAllowed):
        parse_tensors(file_of(START + code))


# Damage and bombs.

WRONG = {
    "magic number": file_of(head=START + integer(1) + STOP + VERSION + MACHINE),
    "a newer version": file_of(head=MAGIC + START + integer(1002) + STOP + MACHINE),
    "True for a number": file_of(head=MAGIC + START + b"\x88" + STOP + MACHINE),
    "big endian": file_of(head=MAGIC + VERSION + MACHINE.replace(b"\x88", b"\x89")),
    "no facts of the machine": file_of(head=MAGIC + VERSION + START + b"}" + STOP),
    "the zip format": b"PK\x03\x04" + bytes(100),
    "nothing": b"",
    "no state dict": file_of(START + b"](e" + STOP),
    "an empty one": file_of(START + ORDERED_DICT + STOP),
    "a number in it": file_of(state(x=integer(1))),
    "a name twice": file_of(START + b"}(" + (text("x") + tensor()) * 2 + b"u" + STOP),
    "a key that is no text": file_of(START + b"}(" + integer(1) + tensor() + b"u" + STOP),
    "two values": file_of(START + integer(1) + state(x=tensor())[2:]),
    "an open mark": file_of(START + b"(" + state(x=tensor())[2:]),
    "another protocol": file_of(b"\x80\x04" + state(x=tensor())[2:]),
    "an unknown storage": file_of(state(x=tensor(storage(kind="torch HalfStorage")))),
    "a storage of a dict": file_of(state(x=tensor(storage(kind="collections OrderedDict")))),
    "a storage of another tag": file_of(state(x=tensor(storage(tag="module")))),
    "a view of a storage": file_of(state(x=tensor(storage(view=EMPTY)))),
    "a storage in two ways": file_of(
        state(x=tensor(shape=(1, 1)), y=tensor(storage(count=7), shape=(1, 1)))
    ),
    "a negative offset": file_of(state(x=tensor(offset=-1))),
    "an offset beyond": file_of(state(x=tensor(offset=1))),
    "a huge offset": file_of(state(x=tensor(offset=2**250))),
    "a negative stride": file_of(state(x=tensor(strides=(-3, 1)))),
    "strides beyond": file_of(state(x=tensor(strides=(4, 1)))),
    "huge strides": file_of(state(x=tensor(strides=(2**250, 1)))),
    "a stride too few": file_of(state(x=tensor(strides=(3,)))),
    "a size of zero": file_of(state(x=tensor(shape=(0, 2**62)))),
    "a negative size": file_of(state(x=tensor(shape=(-2, -3)))),
    "a huge size": file_of(state(x=tensor(shape=(2**62, 2**62), strides=(0, 0)))),
    "sizes that repeat numbers": file_of(state(x=tensor(shape=(7,), strides=(0,)))),
    "tensors that repeat numbers": file_of(state(x=tensor(), y=tensor())),
    "many axes": file_of(state(x=tensor(shape=(1,) * 70, strides=(1,) * 70))),
    "a huge storage": file_of(state(x=tensor(storage(count=2**250), shape=(2**40,), strides=(1,)))),
    "a storage of less": file_of(count=5),
    "a negative count": file_of(state(x=tensor(storage(count=-6))), count=-6),
    "a storage not listed": file_of(names=()),
    "a storage listed twice": file_of(names=("a", "a")),
    "another storage listed": file_of(names=("a", "b")),
    "storages that are no list": file_of(listed=START + integer(1) + STOP),
    "a list of lists": file_of(listed=START + b"](]e" + STOP),
    "something behind the end": file_of() + b"\0",
    "a memo that is empty": file_of(START + b"h\x05" + STOP),
    "a key without a value": file_of(START + b"}(" + text("x") + b"u" + STOP),
    "a value for a list": file_of(START + b"](" + text("x") + text("y") + b"u" + STOP),
}


@pytest.mark.parametrize("data", list(WRONG.values()), ids=list(WRONG))
def test_what_no_state_dict_is_is_refused(data):
    with pytest.raises(NotAllowed) as refused:
        parse_tensors(data)
    assert str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("whole, step", [(SMALL, 7), (file_of(), 1)], ids=["torch's", "ours"])
def test_a_file_cut_short_anywhere_is_refused(whole, step):
    for length in range(0, len(whole), step):
        with pytest.raises(NotAllowed):
            parse_tensors(whole[:length])


def doubling(levels):
    """A tuple of two of the one before: a thousand bytes that would print as 2**levels."""
    pairs = b"".join(b"h\x00h\x00\x86q\x00" for _ in range(levels))
    return b")q\x00" + pairs


BOMBS = {
    "doubled tuples": doubling(200) + b".",
    "doubled tuples as a name": b"}(" + doubling(200) + b"Nu.",
    "doubled tuples as a storage": doubling(200) + b"Q.",
    "doubled tuples for a tensor": name("torch._utils _rebuild_tensor_v2") + doubling(200) + b"R.",
    "the largest memo": b")r\xff\xff\xff\xff.",
    "nested tuples": b")" + b"\x85" * 5_000 + b".",
    "marks": b"(" * 5_000 + b".",
    "a text of 4 GB": b"X\xff\xff\xff\xffabc",
    "bytes of 2**63": b"\x8e" + b"\xff" * 7 + b"\x7fabc",
    "a long number": b"\x8b\xff\xff\xff\x7fabc",
    "decimals": b"L" + b"9" * 10_000 + b"L\n.",
    "a list in itself": b"]q\x00(h\x00e.",
}


@pytest.mark.parametrize("code", list(BOMBS.values()), ids=list(BOMBS))
def test_bombs_take_no_more_memory_than_the_file(code):
    data = file_of(START + code)
    tracemalloc.start()
    try:
        with pytest.raises(NotAllowed):
            parse_tensors(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000 + 200 * len(data)
    finally:
        tracemalloc.stop()


def test_a_stream_has_an_end(monkeypatch):
    monkeypatch.setattr(pickle_stream, "MOST_OPCODES", 100)
    with pytest.raises(NotAllowed, match="more than 100 instructions"):
        read_stream(io.BytesIO(START + b"N" * 100 + b"."))


PLACES = st.integers(0, len(SMALL) - 1)
FLIPS = st.lists(st.tuples(PLACES, st.integers(0, 255)), min_size=1, max_size=6)


@given(FLIPS)
def test_changed_bytes_give_arrays_or_are_refused(flips):
    data = bytearray(SMALL)
    for place, value in flips:
        data[place] = value
    try:
        tensors = parse_tensors(bytes(data))
    except NotAllowed:
        return
    assert sum(array.nbytes for array in tensors.values()) <= len(SMALL)


@pytest.mark.parametrize("value", [b"\0", b"\x93", b"R", b"Q", b".", b"\xff"])
def test_each_byte_of_a_short_stream_changed_gives_arrays_or_is_refused(value):
    whole = file_of()
    for place in range(len(MAGIC + VERSION + MACHINE), len(whole) - VALUES.nbytes):
        try:
            parse_tensors(whole[:place] + value + whole[place + 1 :])
        except NotAllowed:
            pass


@given(st.binary(max_size=60))
def test_any_bytes_for_a_stream_are_refused_or_data(code):
    try:
        read_stream(io.BytesIO(START + code))
    except NotAllowed:
        pass


# Files.


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_a_file_of_another_digest_is_not_looked_into(tmp_path, monkeypatch):
    path = tmp_path / "known.pth"
    path.write_bytes(SMALL)
    monkeypatch.setattr("defect_jax.models.pretrained.torch_file.parse_tensors", None)
    for size_bytes, sha256 in (
        (len(SMALL), digest(b"")),
        (len(SMALL) - 1, digest(SMALL[:-1])),
        (len(SMALL) + 1, digest(SMALL)),
    ):
        with pytest.raises(UserError, match="known.pth: is not the file that belongs there"):
            read_torch_file(path, size_bytes, sha256)


def test_a_known_file_is_read(tmp_path):
    path = tmp_path / "known.pth"
    path.write_bytes(SMALL)
    tensors = read_torch_file(path, len(SMALL), digest(SMALL))
    assert description(tensors) == REFERENCE["small"]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match="gone.pth: cannot be read: No such file"):
        read_torch_file(tmp_path / "gone.pth", 1, digest(b"x"))
    path = tmp_path / "bad.pth"
    path.write_bytes(b"bad")
    with pytest.raises(UserError, match="bad.pth: cannot be read: it is damaged, or cut short"):
        read_torch_file(path, 3, digest(b"bad"))
