"""What must hold of every rendering, whatever the record's texts are; each check can go red."""

from __future__ import annotations

import re
import unicodedata
from html.parser import HTMLParser

_BIDI = set("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def check_terminal(lines: list[tuple[str, dict[str, bool]]]) -> None:
    for text, markup in lines:
        acting = [char for char in text if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
        assert not acting, f"control characters in {text!r}"
        assert not _BIDI & set(text), f"a bidirectional control in {text!r}"
        assert len(text) < 1_200, f"a line of {len(text)} characters"
        assert all(isinstance(value, bool) for value in markup.values())
        text.encode("utf-8")


def tables(markdown: str) -> list[list[int]]:
    """The cell counts of the rows of every table, read as GitHub splits them."""
    found: list[list[int]] = []
    fence = None
    inside = False
    for line in markdown.split("\n"):
        opening = re.match(r"`{3,}", line)
        if fence is not None:
            fence = None if line == fence else fence
        elif opening:
            fence = opening.group()
        elif line.startswith("|"):
            if not inside:
                found.append([])
            found[-1].append(len(re.findall(r"(?<!\\)\|", line)) - 1)
        inside = fence is None and line.startswith("|")
    return found


def check_tables(markdown: str) -> None:
    for counts in tables(markdown):
        assert len(counts) > 2, "a table without rows, or a broken one"
        assert len(set(counts)) == 1, f"rows of {counts} cells"


class _Structure(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[object] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kept = [(name, value) for name, value in attrs if name != "title"]
        self.found.append((tag, *kept, *(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        self.found.append("a comment")

    def handle_decl(self, decl: str) -> None:
        self.found.append("a declaration")

    def handle_pi(self, data: str) -> None:
        self.found.append("a processing instruction")


def html_structure(html: str) -> list[object]:
    """The elements of a page with their attributes, without its texts."""
    parser = _Structure()
    parser.feed(html)
    parser.close()
    return parser.found


def check_balanced(html: str) -> None:
    """Every element is closed where it should be."""
    opened: list[str] = []
    for entry in html_structure(html):
        if isinstance(entry, tuple):
            opened.append(entry[0])
        else:
            assert opened.pop() == str(entry).removeprefix("/")
    assert not opened
