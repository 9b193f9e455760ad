"""What can be said without a test: ``python -m pytest_drdrill what-if haproxy inter=2s``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from pytest_drdrill.durations import format_duration
from pytest_drdrill.failover.presets import (
    ConsulPreset,
    ConsulTTLPreset,
    HAProxyPreset,
    KeepalivedPreset,
    PatroniPreset,
    SentinelPreset,
)
from pytest_drdrill.failover.presets.base import FAULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_drdrill.failover.presets import Preset

_PRESETS: dict[str, type[Preset]] = {
    "haproxy": HAProxyPreset,
    "keepalived": KeepalivedPreset,
    "sentinel": SentinelPreset,
    "patroni": PatroniPreset,
    "consul": ConsulPreset,
    "consul-ttl": ConsulTTLPreset,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pytest_drdrill",
        description="What can be said without running a test.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = commands.add_parser(
        "what-if",
        help="the recovery time with a tool's settings, predicted and simulated",
        description="Predicts when a tool moves traffic after a disaster, by its own formula, and "
        "simulates the same beside it.",
        epilog="The tools and their settings, with the defaults:\n" + _known_settings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    asked.add_argument("tool", choices=_PRESETS, help="whose settings they are: %(choices)s")
    asked.add_argument(
        "settings",
        nargs="*",
        metavar="name=value",
        help="a setting under the tool's own name, such as inter=2s; times have a unit",
    )
    asked.add_argument(
        "--fault",
        action="append",
        choices=FAULTS,
        help="only this way to fail; repeatable. "
        + "; ".join(f"{fault}: {meaning}" for fault, meaning in FAULTS.items()),
    )
    asked.add_argument(
        "--samples", type=int, default=100, help="simulated disasters of each way (%(default)s)"
    )
    asked.add_argument("--seed", type=int, default=0, help="of their chance (%(default)s)")
    asked.add_argument("--markdown", action="store_true", help="a table for Markdown")
    given = parser.parse_args(arguments)

    from pytest_drdrill.simulation import what_if  # the help needs no simulation

    try:
        preset = _preset(given.tool, given.settings)
        found = what_if(preset, given.fault, samples=given.samples, seed=given.seed)
    except (TypeError, ValueError) as error:
        asked.error(str(error))
    _write(found.markdown() if given.markdown else f"{found}\n")
    return 0


def _write(text: str) -> None:
    """Write to the standard output, in its encoding, which may be ASCII."""
    encoding = sys.stdout.encoding
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.replace(" … ", "...").replace("…", "...")  # as wide, so columns stay
        text = text.encode(encoding, "replace").decode(encoding)
    sys.stdout.write(text)


def _preset(tool: str, settings: Sequence[str]) -> Preset:
    kind = _PRESETS[tool]
    defaults = _defaults(kind)
    chosen: dict[str, object] = {}
    for each in settings:
        name, equals, value = each.partition("=")
        name = name.replace("-", "_")
        if not equals or not value:
            raise ValueError(f"{each!r} is no setting; write name=value, such as inter=2s")
        if name not in defaults:
            raise ValueError(f"{tool} has no setting {name!r}; it has {', '.join(defaults)}")
        if name in chosen:
            raise ValueError(f"{name} is set twice")
        whole = type(defaults[name]) is int and value.isascii() and value.isdigit()
        chosen[name] = int(value) if whole else value
    return kind(**chosen)


def _defaults(kind: type[Preset]) -> dict[str, Any]:
    return {each.name: each.default for each in fields(kind)}  # type: ignore[arg-type] # each is a dataclass


def _known_settings() -> str:
    lines = []
    for tool, kind in _PRESETS.items():
        written = [
            name
            if value is None
            else f"{name}={value if isinstance(value, int) else format_duration(value)}"
            for name, value in _defaults(kind).items()
        ]
        lines.append(f"  {tool}: {' '.join(written)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
