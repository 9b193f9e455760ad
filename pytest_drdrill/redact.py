"""Secrets kept out of text: those that somebody gave to this package, and what looks like one."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote

from pytest_drdrill.text import shown

_HIDDEN = "***"
_LEAST = 4
"""Characters below which a secret would be found in every text."""
_COMMON = frozenset({"postgres", "redis", "root", "admin", "user", "test", "default"})
"""Passwords that are names: hidden, they would leave holes in every sentence, and so be told."""
_USER_INFO = re.compile(r"(?<=://)(?!user@)[^\s<>]*@")
_NAMED = re.compile(
    r"""(?ix)
    (
        (?: password | passwd | pwd | secret | token | authorization )
            ["']? [ \t]* [=:] (?!=) [ \t]*
        | password [ \t]+ (?=')  # of SQL
    )
    ( '(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*" | (?: (?:bearer|basic)[ ] )? [^\s&]+ )
    """
)
_PAIR = re.compile(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|\S*)")
"""Of a connection string of libpq."""
_known: set[str] = set()


def keep_secret(*secrets: str | None) -> None:
    """Remember secrets of this process, so that no text shows them from now on.

    Args:
        secrets: as they were given; those that are too short to be told from other text are left
            to what they look like.
    """
    found = {each for each in secrets if each and len(each) >= _LEAST and each not in _COMMON}
    if not found <= _known:
        _known.update(found)
        _pattern.cache_clear()


def secrets_of(text: str) -> tuple[str, ...]:
    """The passwords that an address holds, as it was written."""
    found = [value for key, value in _PAIR.findall(text) if "password" in key.lower()]
    if "://" in text:
        user = text.partition("://")[2].rpartition("@")[0]
        query = text.partition("?")[2].split("&")
        found += [user.partition(":")[2], *(pair.partition("=")[2] for pair in query)]
    return tuple(value.strip("'") for value in found if value)


def without_secrets(text: str) -> str:
    """Text without what is known to be secret, or looks like a password; of URLs the user too."""
    if _known:
        text = _pattern().sub(_HIDDEN, text)
    if "@" in text:
        text = _USER_INFO.sub(f"{_HIDDEN}@", text)
    return _NAMED.sub(rf"\1{_HIDDEN}", text)


def quoted(text: str) -> str:
    """As code shows it, where it can hold no secret."""
    secret = any(sign in text for sign in ("@", "=", "://"))
    return "an address that may hold a password (not shown)" if secret else shown(text)


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    known = sorted(_known)
    forms = {form for each in known for form in (each, quote(each, safe=""), unquote(each))}
    alternatives = [_whole(form) for form in sorted(forms, key=len, reverse=True)]
    for form in forms:
        for at in range(_LEAST, len(form)):  # as pytest cuts what is long in its middle
            alternatives += (
                rf"{_escaped(form[:at])}(?=\.\.\.)",
                rf"(?<=\.\.\.){_escaped(form[-at:])}",
            )
    return re.compile("|".join(alternatives))


def _whole(form: str) -> str:
    """A whole word alone: a password that is part of a name hides nothing of that."""
    first = r"(?<!\w)" if _is_word(form[0]) else ""
    return first + _escaped(form) + (r"(?!\w)" if _is_word(form[-1]) else "")


def _escaped(form: str) -> str:
    """Likewise as code shows it, and as code shows that."""
    return "".join(
        rf"\\*{re.escape(each)}" if each in "\\'\"" else re.escape(each) for each in form
    )


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
