"""One pickle stream of a PyTorch file, read without Python's pickle: it can only become data.

A pickle is a program that may call anything. Here each of its instructions is looked up in a short
list, and what the three calls of a state dict would do is done by code of ours.
"""

import pickletools
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

PROTOCOL = 2  # the one that torch.save writes
MOST_OPCODES = 1_000_000  # a state dict takes 36 for each tensor
ORDERED_DICT = "collections OrderedDict"
REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
STORAGE_DTYPES = {"torch FloatStorage": "<f4", "torch LongStorage": "<i8"}


class NotAllowed(ValueError):
    """A stream is damaged, or asks for anything but tensors."""


class Name(NamedTuple):
    """What a GLOBAL instruction names; nothing is imported for it."""

    text: str


class Storage(NamedTuple):
    """A run of numbers that follows the streams."""

    key: str
    dtype: str
    count: int


class StoredTensor(NamedTuple):
    """A tensor as its place in a storage; offset and strides are counted in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_stream(file: BytesIO) -> Any:
    """Return what the stream at the position of `file` describes, and move behind it.

    Raises:
        NotAllowed: an instruction, a name or a value that no state dict needs, or damage.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count == MOST_OPCODES:
                raise NotAllowed(f"a stream has more than {MOST_OPCODES:,} instructions")
            machine.run(opcode.name, argument)
    except NotAllowed:
        raise
    except (ValueError, IndexError, OverflowError):  # as `genops` and an empty stack say it
        raise NotAllowed("it is damaged, or cut short") from None
    return machine.result()


class _Machine:
    """The stack that the instructions work on; each of them has a method, a line or a constant."""

    def __init__(self):
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}

    def run(self, opcode: str, argument: Any) -> None:
        if opcode in CONSTANTS:
            self._stack.append(CONSTANTS[opcode]())
        elif opcode in WITH_ARGUMENT:
            self._stack.append(argument)
        elif opcode in INSTRUCTIONS:
            INSTRUCTIONS[opcode](self, argument)
        else:
            raise NotAllowed(f"the instruction {opcode} is not one that tensors need")

    def result(self) -> Any:
        value = self._stack.pop() if self._stack else None
        if self._stack or self._outer or value is None:
            raise NotAllowed("it is damaged: a stream does not end in one value")
        return value

    def protocol(self, number: int) -> None:
        if number != PROTOCOL:
            raise NotAllowed(f"it is pickled by protocol {number}, not {PROTOCOL}")

    def stop(self, _: None) -> None:
        """Leave the value for `result`: `genops` ends here."""

    def name(self, text: str) -> None:
        if text not in (ORDERED_DICT, REBUILD_TENSOR, *STORAGE_DTYPES):
            raise NotAllowed(f"it asks for {text[:80]!r}, which is not one that tensors need")
        self._stack.append(Name(text))

    def mark(self, _: None) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise NotAllowed(f"it is damaged: nothing was kept as number {index}")
        self._stack.append(self._memo[index])

    def tuple_since_mark(self, _: None) -> None:
        items = self.since_mark()  # which puts another stack in place
        self._stack.append(tuple(items))

    def tuple_of(self, count: int) -> None:
        items = [self._stack.pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    def appends(self, _: None) -> None:
        items = self.since_mark()
        _checked(self._stack[-1], list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = _checked(self._stack[-1], dict)
        for key, value in zip(items[::2], items[1::2], strict=True):  # a ValueError if one is over
            if _checked(key, str) in target:
                raise NotAllowed(f"it has {key[:80]!r} twice")
            target[key] = value

    def set_item(self, _: None) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self.set_items([key, value])

    def persistent(self, _: None) -> None:
        self._stack.append(_storage(self._stack.pop()))

    def call(self, _: None) -> None:
        arguments, function = self._stack.pop(), _checked(self._stack.pop(), Name)
        _checked(arguments, tuple)
        if function.text == ORDERED_DICT and not arguments:
            self._stack.append({})
        elif function.text == REBUILD_TENSOR:
            self._stack.append(_tensor(arguments))
        else:
            raise NotAllowed(f"it calls {function.text} in a way that tensors do not need")

    def build(self, _: None) -> None:
        """Pass over the versions of the modules, which torch hangs on to a state dict."""
        attributes = _checked(self._stack.pop(), dict)
        _checked(self._stack[-1], dict)
        if list(attributes) != ["_metadata"]:
            raise NotAllowed("it sets attributes that no state dict has")


def _storage(identifier: Any) -> Storage:
    tag, kind, key, _, count, view = _items(identifier, 6)
    if _checked(tag, str) != "storage" or view is not None:
        raise NotAllowed("it refers to something other than a storage")
    if _checked(kind, Name).text not in STORAGE_DTYPES:
        raise NotAllowed(f"it has a storage of the kind {kind.text}")
    return Storage(_checked(key, str), STORAGE_DTYPES[kind.text], _checked(count, int))


def _tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    storage, offset, shape, strides, _, hooks = _items(arguments, 6)
    if _checked(hooks, dict):
        raise NotAllowed("a tensor has hooks, which are code")
    return StoredTensor(
        _checked(storage, Storage), _checked(offset, int), _integers(shape), _integers(strides)
    )


def _integers(value: Any) -> tuple[int, ...]:
    return tuple(_checked(item, int) for item in _checked(value, tuple))


def _items(value: Any, count: int) -> tuple[Any, ...]:
    if len(_checked(value, tuple)) != count:
        raise NotAllowed(f"it is damaged: {len(value)} values where {count} belong")
    return value


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:  # True is an int, and each of ours is a tuple, for isinstance
        raise NotAllowed(f"it is damaged: a {type(value).__name__} where a {kind.__name__} belongs")
    return value


CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
WITH_ARGUMENT = ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE")
INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.protocol,
    "STOP": _Machine.stop,
    "GLOBAL": _Machine.name,
    "MARK": _Machine.mark,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "TUPLE": _Machine.tuple_since_mark,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "BINPERSID": _Machine.persistent,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}
