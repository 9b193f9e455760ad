r"""A plain dump, cut into the statements and data that it consists of, as psql would cut it.

It is not given to psql, since that runs commands of its own, a shell's among them, wherever it
meets a backslash outside of quotes: in a dump that somebody wrote to, and in rows of a table that
could not be created, which it takes for statements. Here nothing but SQL ever reaches anything.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BLOCK = 1 << 16
_TOKEN = re.compile(
    rb"(?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)"
    rb"|(?P<number>\$?[0-9][0-9A-Za-z_.]*)"
    rb"|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)"
    rb"|(?P<line>--)|(?P<block>/\*)|(?P<mark>['\";\\()])"
)
_COMMENT_MARK = re.compile(rb"/\*|\*/")
_PLAIN_END = re.compile(rb"'")
_ESCAPED_END = re.compile(rb"''|'|\\.", re.DOTALL)
_NAME_END = re.compile(rb'"')
_ROUTINE = re.compile(rb"\s*CREATE\s+(OR\s+REPLACE\s+)?(FUNCTION|PROCEDURE)\s", re.IGNORECASE)
_COPY = re.compile(rb"\s*COPY\s.*\sFROM\s+stdin\b", re.IGNORECASE | re.DOTALL)
_CONFORMING = re.compile(
    rb"\s*SET\s+standard_conforming_strings\s*(=|TO)\s*'?(on|off)\b", re.IGNORECASE
)


class Statement(NamedTuple):
    """One SQL statement.

    Attributes:
        line: where it begins, from 1.
        text: it, without the semicolon.
        takes_data: whether it is a COPY whose rows follow: ask ``Script.data`` for them.
    """

    line: int
    text: bytes
    takes_data: bool


class Command(NamedTuple):
    r"""A command for psql, such as ``\connect orders``.

    Attributes:
        line: where it is, from 1.
        name: without the backslash.
        argument: the rest of its line.
    """

    line: int
    name: bytes
    argument: bytes


class Script:
    """Reads a plain dump once, from its first line to its last.

    Args:
        lines: its lines, with their ends.

    Attributes:
        line: how many lines were read.
        in_data: whether the rows of a COPY are being read: at the end of the dump, that it was cut.
        unfinished: whether the dump ended in the middle of a statement.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self.line = 0
        self.in_data = False
        self.unfinished = False
        self._conforming = True
        self._closing: re.Pattern[bytes] | None = None  # ends the quotes or comment that we are in
        self._comment_depth = 0
        self._dollar: bytes | None = None
        self._parens = self._begins = 0
        self._text = bytearray()
        self._began = 0
        self._was_e = False

    def __iter__(self) -> Iterator[Statement | Command]:
        for line in self._lines:
            self.line += 1
            yield from self._parse(line)
        self.unfinished = bool(self._text.strip())

    def data(self) -> Iterator[bytes]:
        """The rows that follow a COPY, in blocks; all of them have to be read."""
        self.in_data = True
        block = bytearray()
        for line in self._lines:
            self.line += 1
            if line.startswith(b"\\.") and line.rstrip(b"\r\n") == b"\\.":
                self.in_data = False
                break
            block += line
            if len(block) > _BLOCK:
                yield bytes(block)
                block.clear()
        if block:
            yield bytes(block)

    def _parse(self, line: bytes) -> Iterator[Statement | Command]:
        at = 0
        while at < len(line):
            if self._dollar is not None or self._closing is not None:
                at = self._skip(line, at)
                continue
            token = _TOKEN.search(line, at)
            self._take(line[at : len(line) if token is None else token.start()])
            if token is None:
                return
            escaped, self._was_e = self._was_e and token.start() == at, False
            text, at = token.group(), token.end()
            if text == b"\\":
                yield self._command(line[at:])
                return
            if text == b"--":
                self._text += b"\n" if self._text else b""
                return
            if text == b";" and not self._parens and not self._begins:
                if statement := self._end():
                    yield statement
                    if statement.takes_data:
                        return  # what follows on its line is nothing
                continue
            self._enter(token.lastgroup, text, escaped)

    def _take(self, text: bytes) -> None:
        """Into the statement, which begins with what is no space."""
        if not self._text:
            text = text.lstrip()
            self._began = self.line
        self._text += text

    def _end(self) -> Statement | None:
        text = bytes(self._text.rstrip())
        self._text.clear()
        self._parens = self._begins = 0
        if not text:
            return None
        if found := _CONFORMING.match(text):
            self._conforming = found[2].lower() == b"on"
        return Statement(self._began, text, bool(_COPY.match(text)))

    def _enter(self, kind: str | None, text: bytes, escaped: bool) -> None:
        """What begins or ends with a token."""
        if kind != "block" or self._text:
            self._take(text)
        if kind == "word":
            self._was_e = text in {b"e", b"E"}
            self._count_begins(text)
        elif kind == "dollar":
            self._dollar = text
        elif kind == "block":
            self._closing, self._comment_depth = _COMMENT_MARK, 1
        elif text == b"'":
            self._closing = _ESCAPED_END if escaped or not self._conforming else _PLAIN_END
        elif text == b'"':
            self._closing = _NAME_END
        elif text == b"(":
            self._parens += 1
        elif text == b")" and self._parens:
            self._parens -= 1

    def _count_begins(self, word: bytes) -> None:
        """The body of a routine in SQL, BEGIN ATOMIC ... END, holds statements of its own."""
        if len(word) > len(b"BEGIN"):
            return
        upper = word.upper()
        if upper == b"BEGIN" and not self._begins:
            self._begins = int(bool(_ROUTINE.match(self._text)))
        elif self._begins and upper in {b"BEGIN", b"CASE"}:
            self._begins += 1
        elif self._begins and upper == b"END":
            self._begins -= 1

    def _skip(self, line: bytes, at: int) -> int:
        """Go to the end of what we are in, quotes or a comment, or of the line; gives where."""
        is_comment = self._closing is _COMMENT_MARK
        end = self._end_of_quotes(line, at)
        if self._text or not is_comment:
            self._take(line[at:end])
        return end

    def _end_of_quotes(self, line: bytes, at: int) -> int:
        if self._dollar is not None:
            found = line.find(self._dollar, at)
            if found < 0:
                return len(line)
            end = found + len(self._dollar)
            self._dollar = None
            return end
        assert self._closing is not None
        for mark in self._closing.finditer(line, at):
            if self._closing is _COMMENT_MARK:
                self._comment_depth += 1 if mark.group() == b"/*" else -1
                ends = not self._comment_depth
            else:
                ends = (
                    len(mark.group()) == 1
                )  # where doubled quotes are two texts, they are as good
            if ends:
                self._closing = None
                return mark.end()
        return len(line)

    def _command(self, rest: bytes) -> Command:
        """A statement that it interrupts is none: psql itself might run it, or forget it."""
        self._end()
        name, _, argument = rest.strip().partition(b" ")
        return Command(self.line, name, argument.strip())
