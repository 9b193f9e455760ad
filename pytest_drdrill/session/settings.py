"""What the command line and the ini file ask for: read once, checked with one sentence each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_drdrill.objectives import RecoveryMetrics


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line and the ini file ask for.

    Attributes:
        tiers: every known tier.
        only_tiers: tiers to run; empty for all. Likewise ``only_kinds``, ``only_services``.
        live: whether drills may touch systems that exist without them.
        reports: evidence files to write.
        repeat: how often each drill runs.
        fail_unverified: whether a drill that could not be verified fails the run.
        junit: whether JUnit files get the drill's properties.
    """

    tiers: dict[str, RecoveryMetrics]
    only_tiers: tuple[str, ...]
    only_kinds: tuple[str, ...]
    only_services: tuple[str, ...]
    live: bool
    reports: tuple[Path, ...]
    repeat: int
    fail_unverified: bool
    junit: bool

    @property
    def selective(self) -> bool:
        """Whether an option chooses among the drills."""
        return bool(self.only_tiers or self.only_kinds or self.only_services)


def read_settings(config: pytest.Config) -> Settings:
    """Read and check everything.

    Raises:
        pytest.UsageError: one sentence, naming the option or key, its value and what is accepted.
    """
    from pytest_drdrill.objectives import read_tiers  # only where drills are in play
    from pytest_drdrill.session.promise import KINDS  # likewise

    option = config.option
    try:
        tiers = read_tiers(config.getini("dr_tiers"))
    except ValueError as error:
        raise pytest.UsageError(f"dr_tiers: {error}") from None
    only_tiers = _names(option.dr_tier or config.getini("dr_tier"))
    _known("--dr-tier", "tier", only_tiers, tuple(tiers))
    only_kinds = _names(option.dr_kind or config.getini("dr_kind"))
    _known("--dr-kind", "kind", only_kinds, KINDS)
    services = option.dr_service or config.getini("dr_service")
    if any(not name.strip() for name in services):
        raise pytest.UsageError("--dr-service: an empty name; write the name of a service")
    return Settings(
        tiers=tiers,
        only_tiers=only_tiers,
        only_kinds=only_kinds,
        only_services=tuple(dict.fromkeys(services)),
        live=option.dr_live,
        reports=_reports(config),
        repeat=_repeat(option.dr_repeat or config.getini("dr_repeat")),
        fail_unverified=option.dr_fail_unverified or config.getini("dr_fail_unverified"),
        junit=config.getini("dr_junit"),
    )


def _names(values: list[str]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for value in values:
        # A comma too many is no name; nothing but an empty text is one, and an unknown one.
        parts = [part.strip() for part in value.split(",") if part.strip()]
        names.update(dict.fromkeys(parts or [""]))
    return tuple(names)


def _known(option: str, what: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            raise pytest.UsageError(
                f"{option}: unknown {what} {name!r}; known {what}s: {', '.join(known)}"
            )


def _repeat(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text[:9]) >= 1 or len(text) > 9:  # noqa: PLR2004
        raise pytest.UsageError(f"--dr-repeat: {text!r:.80} is no whole number from 1 on")
    return int(text)


def _reports(config: pytest.Config) -> tuple[Path, ...]:
    if given := config.option.dr_report:
        base = Path(config.invocation_params.dir)
    else:
        given, base = (
            config.getini("dr_report"),
            config.inipath.parent if config.inipath else Path(),
        )
    return tuple(dict.fromkeys(base / Path(path).expanduser() for path in given))
