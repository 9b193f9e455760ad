"""What a plain dump says of itself, in its first lines and its last ones."""

from __future__ import annotations

import re
from typing import NamedTuple

TAIL = 4096
_LINE = {
    "server": re.compile(rb"^-- Dumped from database version ([^\r\n]+)", re.MULTILINE),
    "pg_dump": re.compile(rb"^-- Dumped by pg_dump version ([^\r\n]+)", re.MULTILINE),
    "began": re.compile(rb"^-- Started on ([^\r\n]+)", re.MULTILINE),
    "encoding": re.compile(rb"^SET client_encoding = '([^'\r\n]+)'", re.MULTILINE),
    "key": re.compile(rb"^\\restrict ([A-Za-z0-9]+)", re.MULTILINE),
}
_END = re.compile(
    rb"^-- PostgreSQL database (?P<all>cluster )?dump complete\r?\n--\s*"
    rb"(?:\\unrestrict (?P<key>[A-Za-z0-9]+)\s*)?\Z",
    re.MULTILINE,
)


class Heading(NamedTuple):
    """The beginning of a plain dump.

    Attributes:
        server: the version of the server that was dumped; empty where it does not say.
        pg_dump: the version of the program that dumped it; likewise.
        began: when that began, as written by ``pg_dump -v``; likewise.
        encoding: of its text.
        key: of psql's restricted mode, which newer dumps begin and end with.
    """

    server: str
    pg_dump: str
    began: str
    encoding: str
    key: str


def read_heading(head: bytes) -> Heading:
    """What the first bytes of a plain dump say."""
    found = {name: pattern.search(head) for name, pattern in _LINE.items()}
    texts = {name: match[1].decode("utf-8", "replace") for name, match in found.items() if match}
    return Heading(*(texts.get(name, "").strip() for name in Heading._fields))


def is_end(tail: bytes, heading: Heading) -> bool:
    """Whether the last bytes of a plain dump are those that pg_dump ends it with.

    Nothing else tells a whole one from one that was cut between two statements.
    """
    found = _END.search(tail)
    if found is None:
        return False
    # That of all databases has left the restricted mode before.
    return found["all"] is not None or (found["key"] or b"").decode() == heading.key
