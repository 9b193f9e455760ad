"""Text from outside, made safe to show: nothing invisible acts, nothing is endless."""

from __future__ import annotations

import re
from unicodedata import combining, east_asian_width

# C0 and C1 controls, invisible marks, bidirectional controls, line and paragraph separators, lone
# surrogates, byte-order marks, interlinear annotations, non-characters, tag characters, fillers and
# marks that show as nothing. Of variation selectors the one that makes an emoji coloured stays.
_UNSAFE = (
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufe00-\ufe0e\ufeff\uffa0\ufff9-\ufffb"
    "\ufffe\uffff\U0001d173-\U0001d17a\U000e0000-\U000e01ef]"
)
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_TAB = 4


def visible(text: str, limit: int) -> str:
    r"""One line of at most ``limit`` characters that shows what it holds.

    Control characters, bidirectional overrides, other invisible marks and lone surrogates become
    escapes such as ``\x1b`` and ``\u202e``; text that is longer ends in ``…``.
    """
    # Escapes only lengthen, so what lies beyond the limit can't be shown anyway.
    shown = text[: limit + 1]
    if not (shown.isascii() and shown.isprintable()):
        shown = re.sub(_UNSAFE, _escape, shown)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def first_lines(text: str, count: int, limit: int) -> list[str]:
    """The first ``count`` lines that are not blank, each made visible; ``…`` ends a longer text."""
    # Cut before splitting: a megabyte of line ends is no reason to build a million lines.
    text = text.strip()
    window = text[: 4 * (count + 1) * (limit + 1)]
    found = [line for line in window.splitlines() if line.strip()]
    shown = [visible(line.expandtabs(_TAB).rstrip(), limit) for line in found[:count]]
    if shown and (len(found) > count or len(text) > len(window)):
        shown.append("…")
    return shown


def width(text: str) -> int:
    """Columns that a text takes on a terminal: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text
    )


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """A text filled with spaces to a number of columns."""
    fill = " " * (columns - width(text))
    return fill + text if right else text + fill


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    code = ord(char)
    if char in _NAMED:
        return _NAMED[char]
    if code <= 0xFF:  # noqa: PLR2004 - what two hex digits hold
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - likewise
