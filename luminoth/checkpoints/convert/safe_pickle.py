"""Reads pickles without running anything that stands in them.

A pickle is a program for a small stack machine, and Python's own machine calls whatever function it names. This
one knows the opcodes that make plain values (numbers, text, bytes, lists, tuples, dictionaries) and a table of names
given by the caller, each with a function of ours that checks its arguments; any other name is refused. Of a value
that was made nothing is called and no attribute is set, and the keys of dictionaries are text or numbers, whose
hashes cost nothing. The number of steps is bounded, and with it the memory that the values take beyond the file's
own bytes.

Reference for the opcodes: Python's `pickletools`, which also takes the file apart.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, Protocol, runtime_checkable

from luminoth.errors import CheckpointError


class PickleError(CheckpointError):
    """The pickle is damaged, or asks for something that is not allowed; says what, but not in which file."""


class Name:
    """A name that the pickle asked for and the table knows; calling it is the machine's business alone."""

    def __init__(self, name: str, call: Callable[..., Any] | None) -> None:
        self.name, self.call = name, call


@runtime_checkable
class Unfinished(Protocol):
    """A value whose content comes after it (opcode BUILD), such as an array of NumPy."""

    def set_pickled_state(self, state: Any) -> None:
        """Takes the content; raises PickleError when it is not what it should be."""


class BoundedReader:
    """A file for `pickletools`: reads no more than is there, so that a false length allocates nothing."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.tell, self.readline = file.tell, file.readline

    def read(self, count: int = -1) -> bytes:
        left = max(self._size - self.tell(), 0)
        return self._file.read(left if count < 0 else min(count, left))


def shown(text: str) -> str:
    """Text of a file as it may stand in a message: on one line, not too long, without what a terminal acts on."""
    return ascii(text)[1:-1][:80]


def read_pickle(
    file: BoundedReader,
    names: Mapping[str, Callable[..., Any] | None],
    *,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """The value of the pickle that begins where `file` stands; leaves `file` behind its end.

    Args:
        file: at the pickle's first byte.
        names: `module.name` -> what makes its value from the arguments; None: a name that is only passed on.
        persistent: gives the value of a persistent id; None: the pickle must have none.

    Raises:
        PickleError: the pickle ends too early, is damaged or asks for another name.
    """
    machine = _Machine(names, persistent)
    try:
        for steps, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if steps > _MOST_STEPS:
                raise PickleError(f"is a pickle of more than {_MOST_STEPS} steps; weights take some ten thousands")
            if opcode.name == "STOP":
                return machine.result()
            machine.step(opcode.name, argument)
    except PickleError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, EOFError) as error:
        raise PickleError(f"is damaged or cut short ({_first_line(error)})") from error
    raise PickleError("is cut short")


_MOST_STEPS = 1_000_000
_MARK = object()

_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_VALUES = frozenset((*_NUMBERS, *_TEXTS, *_BYTES))
_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING_TO_DO = frozenset(("PROTO", "FRAME"))
_IS_REMEMBERED = {"PUT", "BINPUT", "LONG_BINPUT"}
_IS_RECALLED = {"GET", "BINGET", "LONG_BINGET"}
_IS_PERSISTENT = {"PERSID", "BINPERSID"}


class _Machine:
    """The stack, the memo and what each opcode does with them."""

    def __init__(self, names: Mapping[str, Callable[..., Any] | None], persistent: Callable | None) -> None:
        self._names, self._persistent = names, persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        if len(self._stack) != 1:
            raise PickleError("is damaged: it does not end with one value")
        return self._stack[0]

    def step(self, opcode: str, argument: Any) -> None:
        stack = self._stack
        if opcode in _VALUES:
            stack.append(argument)
        elif opcode in _IS_REMEMBERED:
            self._memo[argument] = stack[-1]
        elif opcode in _IS_RECALLED:
            stack.append(self._memo[argument])
        elif opcode in _NEW:
            stack.append(_NEW[opcode]())
        elif opcode in _TUPLES:
            items = [self._pop() for _ in range(_TUPLES[opcode])]
            stack.append(tuple(reversed(items)))
        elif opcode in _IS_PERSISTENT:
            stack.append(self._load(self._pop() if opcode == "BINPERSID" else argument))
        elif opcode not in _NOTHING_TO_DO:
            act = getattr(self, f"_{opcode.lower()}", None)
            if act is None:
                raise PickleError(f"uses the pickle opcode {opcode}, which weights have no need of")
            act(argument)

    # --- One method an opcode: `_` and its name in lower case ---------------------------------------------------

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _pop_mark(self, _: Any) -> None:
        self._items()

    def _dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._items()))

    def _list(self, _: Any) -> None:
        self._stack.append(self._items())

    def _dict(self, _: Any) -> None:
        self._stack.append(dict(_pairs(self._items())))

    def _append(self, _: Any) -> None:
        item = self._pop()
        self._top(list).append(item)

    def _appends(self, _: Any) -> None:
        items = self._items()
        self._top(list).extend(items)

    def _setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._top(dict).update(_pairs([key, value]))

    def _setitems(self, _: Any) -> None:
        items = self._items()
        self._top(dict).update(_pairs(items))

    def _global(self, argument: str) -> None:
        self._stack.append(self._find(argument.replace(" ", ".", 1)))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise PickleError("is damaged: a name is no text")
        self._stack.append(self._find(f"{module}.{name}"))

    def _reduce(self, _: Any) -> None:
        arguments, called = self._pop(), self._pop()
        if not isinstance(called, Name) or called.call is None or not isinstance(arguments, tuple):
            raise PickleError("is damaged: it calls what cannot be called")
        self._stack.append(called.call(*arguments))

    _newobj = _reduce

    def _build(self, _: Any) -> None:
        state, value = self._pop(), self._stack[-1]
        if isinstance(value, dict):
            return  # attributes of a dictionary: torch notes versions there, no weights
        if not isinstance(value, Unfinished):
            raise PickleError(f"is damaged: it gives content to a {type(value).__name__}")
        value.set_pickled_state(state)

    # --- Details --------------------------------------------------------------------------------------------------

    def _find(self, name: str) -> Name:
        if name not in self._names:
            raise PickleError(
                f"asks for `{shown(name)}`, which is no tensor; nothing of it was run. Weights hold tensors only: "
                "if you trust the file, save the model's state dict alone with the program that wrote it"
            )
        return Name(name, self._names[name])

    def _load(self, identity: Any) -> Any:
        if self._persistent is None:
            raise PickleError("is damaged: it refers to something outside itself")
        return self._persistent(identity)

    def _pop(self, _: Any = None) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise PickleError("is damaged: a value is missing")
        return value

    def _items(self) -> list[Any]:
        """Takes everything above the last mark, and the mark, off the stack."""
        for position in range(len(self._stack) - 1, -1, -1):
            if self._stack[position] is _MARK:
                items = self._stack[position + 1 :]
                del self._stack[position:]
                return items
        raise PickleError("is damaged: a mark is missing")

    def _top(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise PickleError(f"is damaged: a {kind.__name__} was expected")
        return self._stack[-1]


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    if len(items) % 2:
        raise PickleError("is damaged: a key has no value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Others are refused: hashing a deep nest of tuples can end the process.
        if not isinstance(key, (str, int, float, bytes, type(None))):
            raise PickleError(f"has a {type(key).__name__} for a key")
        yield key, value


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
