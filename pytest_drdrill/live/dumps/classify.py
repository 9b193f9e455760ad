"""What a failed statement means, told from what the server said of it (in English: lc_messages=C).

Only the server's own primary message is looked at and kept: its details, and the statement itself,
hold data, and passwords of roles.
"""

from __future__ import annotations

import re

_PATTERNS = {
    "missing_role": [r'^(role|user) ".*" does not exist'],
    "missing_extension": [
        r'^extension ".*" (is not available|has no installation script)',
        r"could not (open|access) (extension control file|file \"\$libdir)",
        r'^(extension|access method|language) ".*" does not exist',
        r"is not supported by this build",
    ],
    "missing_locale": [
        r"^invalid (lc_\w+ )?locale name",
        r"^could not create locale",
        r"ICU is not",
    ],
    "missing_tablespace": [
        r'^tablespace ".*" does not exist',
        r'"default_tablespace"',
        r'^directory ".*" does not exist',
        r"could not set permissions on directory",
    ],
    "unknown_setting": [r"^unrecognized configuration parameter", r"^parameter .* cannot be"],
    "already_exists": [r"already exists"],
    "constraint_violated": [
        r"^could not create unique index",
        r"violates",
        r"^(check )?constraint .* is violated",
        r"contains null values",
    ],
    "not_permitted": [
        r"^permission denied",
        r"^must be (superuser|owner|member)",
        r"^only superuser",
    ],
    "damaged_data": [
        r"^invalid (input syntax|byte sequence|large-object|COPY)",
        r"^missing data for column",
        r"^extra data after last expected column",
        r"^unexpected end",
        r"out of range",
        r"^literal ",
        r"^end-of-copy",
        r"^syntax error",
        r"^unterminated",
    ],
    "missing_object": [r"does not exist", r"^could not find"],
}
_KINDS = [
    (name, re.compile("|".join(patterns), re.IGNORECASE)) for name, patterns in _PATTERNS.items()
]
_BUILT_IN = re.compile(r'^(role "postgres"|schema "public"|database "postgres") already exists')
_DROPS = re.compile(r"^\s*(DROP\s|ALTER\s+TABLE\s.*\sDROP\s)", re.IGNORECASE | re.DOTALL)
_FULL = re.compile(
    r"no space left on device|disk full|could not extend file|file too large", re.IGNORECASE
)


def kind_of(message: str, statement: str = "") -> str:
    """The name of the finding that a failed statement is.

    Args:
        message: the server's primary message.
        statement: the statement, as far as it is known.
    """
    if _BUILT_IN.search(message):
        return "existed_before"
    if "does not exist" in message and _DROPS.match(statement):
        return "nothing_to_drop"
    for name, pattern in _KINDS:
        if pattern.search(message):
            return name
    return "failed_statement"


def is_full_disk(message: str) -> bool:
    """Whether a message says that a disk is full."""
    return bool(_FULL.search(message))
