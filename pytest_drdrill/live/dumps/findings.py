"""What is found of a dump and its restore: each finding has a name that stays, and a severity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_drdrill.text import one_line, shown

if TYPE_CHECKING:
    from collections.abc import Callable

Severity = Literal["serious", "warning", "notice"]

SEVERITIES: dict[str, Severity] = {
    "truncated": "serious",
    "checksum_mismatch": "serious",
    "clock_mismatch": "serious",
    "psql_command": "serious",
    "missing_role": "serious",
    "missing_extension": "serious",
    "missing_locale": "serious",
    "missing_tablespace": "serious",
    "missing_object": "serious",
    "already_exists": "serious",
    "constraint_violated": "serious",
    "not_permitted": "serious",
    "damaged_data": "serious",
    "failed_statement": "serious",
    "empty_restore": "serious",
    "too_few_rows": "serious",
    "sequence_behind": "serious",
    "view_unpopulated": "serious",
    "invalid_index": "serious",
    "not_valid_constraint": "warning",
    "unknown_setting": "warning",
    "not_checked": "warning",
    "existed_before": "notice",
    "nothing_to_drop": "notice",
}
"""Every name that a finding can have. Serious ones fail the drill unless they are ignored."""
_MESSAGES = 5
_MESSAGE_LIMIT = 300


@dataclass(frozen=True, slots=True)
class RestoreFinding:
    """One thing that is not as it should be in a dump, or in what was restored of it.

    Attributes:
        name: what kind of thing, a name that stays, such as ``"missing_role"``.
        severity: ``"serious"``, ``"warning"`` or ``"notice"``.
        text: it in words.
        ignored: the reason for which it is ignored, or None.
    """

    name: str
    severity: Severity
    text: str
    ignored: str | None = None

    @property
    def fails(self) -> bool:
        """Whether it fails the drill."""
        return self.severity == "serious" and self.ignored is None

    def __str__(self) -> str:
        reason = "" if self.ignored is None else f" (ignored: {self.ignored})"
        return f"{self.name}: {self.text}{reason}"


class Findings:
    """What has been found so far.

    Args:
        ignore: names to be ignored, each with a reason.
        tell: called with each finding once it is whole.

    Raises:
        TypeError: not a mapping of texts.
        ValueError: an unknown name, or an empty reason.
    """

    def __init__(
        self,
        ignore: Mapping[str, str] | None = None,
        tell: Callable[[RestoreFinding], None] | None = None,
    ) -> None:
        __tracebackhide__ = True
        self._ignore = _checked(ignore)
        self._tell = tell
        self._found: list[RestoreFinding] = []
        self._statements: dict[str, dict[str, list[str]]] = {}

    def add(self, name: str, text: str) -> None:
        """One more of that name."""
        finding = RestoreFinding(name, SEVERITIES[name], one_line(text), self._ignore.get(name))
        self._found.append(finding)
        if self._tell is not None:
            self._tell(finding)

    def add_statement(self, name: str, message: str, where: str) -> None:
        """A statement failed; those of one name become one finding when ``settle`` is called.

        Args:
            name: of the finding.
            message: what the server said, without any data of the statement.
            where: which statement it was.
        """
        self._statements.setdefault(name, {}).setdefault(message, []).append(where)

    def settle(self) -> None:
        """All statements have run: what failed of them becomes findings."""
        statements, self._statements = self._statements, {}
        for name, messages in statements.items():
            count = sum(len(places) for places in messages.values())
            told = [
                f"{one_line(message, _MESSAGE_LIMIT)} ({_places(places)})"
                for message, places in list(messages.items())[:_MESSAGES]
            ]
            if len(messages) > _MESSAGES:
                told.append(f"… {len(messages) - _MESSAGES} more")
            statement = "statement" if count == 1 else "statements"
            self.add(name, f"{count:,} {statement} failed: {'; '.join(told)}")

    def has(self, name: str) -> bool:
        """Whether there is one of that name."""
        return name in self._statements or any(each.name == name for each in self._found)

    @property
    def all(self) -> tuple[RestoreFinding, ...]:
        """In the order in which they were found."""
        return tuple(self._found)

    @property
    def failing(self) -> tuple[RestoreFinding, ...]:
        """Those that fail the drill."""
        return tuple(each for each in self._found if each.fails)


def _places(places: list[str]) -> str:
    first = one_line(places[0], _MESSAGE_LIMIT)
    return first if len(places) == 1 else f"{len(places):,} times, first: {first}"


def _checked(ignore: Mapping[str, str] | None) -> dict[str, str]:
    __tracebackhide__ = True
    if ignore is None:
        return {}
    if not isinstance(ignore, Mapping):
        raise TypeError(
            "ignore takes names of findings with a reason each, as in "
            f"{{'missing_role': 'terraform makes the roles'}}, not {shown(ignore)}"
        )
    for name, reason in ignore.items():
        if name not in SEVERITIES:
            raise ValueError(
                f"ignore: there is no finding {shown(name)}; the names are {', '.join(SEVERITIES)}"
            )
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(
                f"ignore: {name} needs a reason, which every report shows, not {shown(reason)}"
            )
    return {name: one_line(reason.strip()) for name, reason in ignore.items()}
