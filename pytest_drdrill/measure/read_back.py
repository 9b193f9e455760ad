"""What a system gave back after a disaster, against what a client had written to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ACCEPTED = "it has to give a mapping of keys to values, or an iterable of (key, value) pairs"
_PAIR = 2


class ReadBack(NamedTuple):
    """One reading, in the order in which it was read.

    Attributes:
        survived: keys that are there, with the value that was written and no other.
        corrupted: keys with another value, and keys of the client's kind that it never sent.
        duplicated: keys that are there more than once.
    """

    survived: list[str]
    corrupted: list[str]
    duplicated: list[str]


def compare(found: object, value_of: Callable[[str], str | None], prefix: str) -> ReadBack:
    """Compare what was read with what was sent.

    Args:
        found: a mapping of keys to values, or pairs of both. Keys and values may be bytes of UTF-8,
            as many stores give them. What does not begin with the prefix is somebody else's.
        value_of: the value that was sent with a key; None for a key that never was.
        prefix: of the client's keys.

    Raises:
        TypeError: neither a mapping nor pairs.
    """
    values: dict[str, list[object]] = {}
    for key, value in _pairs(found):
        name = as_text(key)
        if isinstance(name, str) and name.startswith(prefix):
            values.setdefault(name, []).append(as_text(value))
    right = {key: all(each == value_of(key) for each in read) for key, read in values.items()}
    return ReadBack(
        survived=[key for key, is_right in right.items() if is_right],
        corrupted=[key for key, is_right in right.items() if not is_right],
        duplicated=[key for key, read in values.items() if len(read) > 1],
    )


def _pairs(found: object) -> Iterator[tuple[Any, Any]]:
    if isinstance(found, Mapping):
        yield from found.items()
        return
    if isinstance(found, str | bytes) or not isinstance(found, Iterable):
        raise TypeError(f"read_all() gave {shown(found)}; {_ACCEPTED}")
    for row in found:
        # Of a text, two letters would pass for a pair.
        if isinstance(row, str | bytes) or not isinstance(row, Sized) or len(row) != _PAIR:
            raise TypeError(f"read_all() gave an iterable with {shown(row)} in it; {_ACCEPTED}")
        pair: Any = row  # rows of databases are iterable, and seldom say so
        key, value = pair
        yield key, value


def as_text(value: object) -> object:
    """A key or a value as text, where it is text or its bytes."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    return value
