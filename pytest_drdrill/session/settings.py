"""What the command line and the ini file ask for: read once, checked with one sentence each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_drdrill.evidence.types import Kind
    from pytest_drdrill.objectives import RecoveryMetrics

_Name = TypeVar("_Name", bound=str)


class Settings(NamedTuple):
    """What the command line and the ini file ask for.

    Attributes:
        tiers: every known tier.
        only_tiers: tiers to run; empty for all. Likewise ``only_kinds``, ``only_services``.
        live: whether drills may touch systems that exist without them.
        dry_run: whether they are only listed.
        reports: evidence files to write.
        repeat: how often each drill runs.
        check_replay: whether these are two runs with one seed, of simulated drills only.
        seed: of everything simulated.
        trace: the folder for the trace of each simulated drill, or None.
        fail_unverified: whether a drill that could not be verified fails the run.
        junit: whether JUnit files get the drill's properties.
    """

    tiers: dict[str, RecoveryMetrics]
    only_tiers: tuple[str, ...]
    only_kinds: tuple[Kind, ...]
    only_services: tuple[str, ...]
    live: bool
    dry_run: bool
    reports: tuple[Path, ...]
    repeat: int
    check_replay: bool
    seed: int
    trace: Path | None
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
    service_source, services = _given(config, "dr_service")
    if any(not name.strip() for name in services):
        raise pytest.UsageError(f"{service_source}: an empty name; write the name of a service")
    repeat_source, repeat_text = _given(config, "dr_repeat")
    repeat = _whole(repeat_source, repeat_text, least=1)
    check_replay = option.dr_check_replay or _flag(config, "dr_check_replay")
    if check_replay and repeat > 1:
        raise pytest.UsageError(
            f"{repeat_source}: {repeat_text!r} has no meaning with --dr-check-replay, which runs "
            "each simulated drill twice; write 1, or leave the one or the other out"
        )
    return Settings(
        tiers=tiers,
        only_tiers=_known(*_given(config, "dr_tier"), "tier", tiers),
        only_kinds=_known(*_given(config, "dr_kind"), "kind", KINDS),
        only_services=tuple(dict.fromkeys(services)),
        live=option.dr_live,
        dry_run=option.dr_dry_run,
        reports=_reports(config),
        repeat=2 if check_replay else repeat,
        check_replay=check_replay,
        seed=_whole(*_given(config, "dr_seed"), least=0),
        trace=_trace(config),
        fail_unverified=option.dr_fail_unverified or _flag(config, "dr_fail_unverified"),
        junit=_flag(config, "dr_junit"),
    )


def _given(config: pytest.Config, name: str) -> tuple[str, Any]:
    """A setting and where it comes from: the option, else the ini key."""
    value = getattr(config.option, name)
    if value is not None:
        return f"--{name.replace('_', '-')}", value
    return name, config.getini(name)


def _flag(config: pytest.Config, name: str) -> bool:
    try:
        return bool(config.getini(name))
    except (ValueError, pytest.UsageError) as error:  # which does not say whose value it is
        raise pytest.UsageError(f"{name}: {error}; write true or false") from None


def _known(source: str, values: list[str], what: str, known: Iterable[_Name]) -> tuple[_Name, ...]:
    names = {str(name): name for name in known}
    found: dict[_Name, None] = {}
    for value in values:
        # A comma too many is no name; nothing but an empty text is one, and an unknown one.
        for part in [part.strip() for part in value.split(",") if part.strip()] or [""]:
            if part not in names:
                raise pytest.UsageError(
                    f"{source}: unknown {what} {part!r}; known {what}s: {', '.join(names)}"
                )
            found[names[part]] = None
    return tuple(found)


def _whole(source: str, text: str, *, least: int) -> int:
    if not text.isascii() or not text.isdigit() or not int(text[:9]) >= least or len(text) > 9:  # noqa: PLR2004
        raise pytest.UsageError(f"{source}: {text!r:.80} is no whole number from {least} on")
    return int(text)


def _reports(config: pytest.Config) -> tuple[Path, ...]:
    source, given = _given(config, "dr_report")
    if any(not path.strip() for path in given):
        raise pytest.UsageError(f"{source}: an empty path; write the path of a .json or .md file")
    return tuple(dict.fromkeys(_path(config, source, path) for path in given))


def _trace(config: pytest.Config) -> Path | None:
    source, given = _given(config, "dr_trace")
    if source == "dr_trace" and not given:
        return None
    if not given.strip():
        raise pytest.UsageError(f"{source}: an empty path; write the path of a folder")
    return _path(config, source, given)


def _path(config: pytest.Config, source: str, given: str) -> Path:
    """A path relative to where pytest was called, or to the ini file that names it."""
    base = Path(config.invocation_params.dir)
    if not source.startswith("-"):
        base = config.inipath.parent if config.inipath else Path()
    try:
        return base / Path(given).expanduser()
    except RuntimeError as error:  # "~nobody-of-that-name/drill.json"
        text = str(error).rstrip(".")
        raise pytest.UsageError(f"{source}: {text[:1].lower()}{text[1:]}: {given!r}") from None
