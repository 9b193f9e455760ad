"""Text from outside (node ids, names, errors), made safe to carry and to store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME_LIMIT = 500
"""Characters kept of a name, a service, an id."""
TEXT_LIMIT = 10_000
"""Characters kept of a note, a detail, an error."""
_KEY_LIMIT = 80
_KEYS_NAMED = 5


def storable(value: object, limit: int = TEXT_LIMIT) -> str:
    r"""Text that any UTF-8 file and any worker channel can take, of a bounded length.

    Lone surrogates, which UTF-8 can't hold, are written as ``\udc80``; what is cut off is counted.
    An object whose ``str()`` fails is named by its type: a bad note never breaks a drill.
    """
    if isinstance(value, str):
        value = str.__str__(value)  # of a subclass, as StrEnum's, the plain text
    else:
        try:
            value = str.__str__(str(value))
        except Exception as error:  # noqa: BLE001 - the user's own __str__ may raise anything
            value = f"<{type(value).__name__} whose str() raised {type(error).__name__}>"
    if len(value) > limit:
        value = f"{value[:limit]}… ({len(value) - limit:,} more characters)"
    if value.isascii():
        return value
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(value: object, limit: int = 80) -> str:
    """A value as code shows it, cut to a length; one whose ``repr()`` fails, by its type."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - the user's own __repr__ may raise anything
        text = f"<{type(value).__name__} whose repr() raised {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_line(value: object, limit: int = TEXT_LIMIT) -> str:
    """Storable text on one line, with control characters written as escapes.

    For messages that pytest itself prints, which takes them as they are.
    """
    text = storable(value, limit)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def named(keys: Sequence[object]) -> str:
    """Some keys on one line: the first few of them, and how many more there are."""
    first = ", ".join(one_line(key, _KEY_LIMIT) for key in keys[:_KEYS_NAMED])
    left = len(keys) - _KEYS_NAMED
    return f"{first}, … {left} more" if left > 0 else first
