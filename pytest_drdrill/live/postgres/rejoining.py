"""A superseded primary becomes a standby of the new one: rewound, or else cloned anew."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Literal, NamedTuple

from pytest_drdrill.live.errors import ServerFailed
from pytest_drdrill.live.postgres.conninfo import conninfo
from pytest_drdrill.live.postgres.errors import PostgresError
from pytest_drdrill.live.postgres.following import (
    clone,
    follow,
    make_slot,
    wait_until_streaming,
)
from pytest_drdrill.live.postgres.template import USER

if TYPE_CHECKING:
    from pytest_drdrill.live.postgres.node import PostgresNode

_SOON = 20.0
"""Seconds in which a node that was rewound has to stream; else it is cloned."""
_PARTED = re.compile(r"diverged at WAL location ([0-9A-F]+/[0-9A-F]+)")


class Rejoined(NamedTuple):
    """How a node came to follow a new primary.

    Attributes:
        how: ``"rewound"``, ``"cloned"``, or ``"followed"`` where it had nothing that the other one
            lacks.
        parted_at: the position up to which both had the same; what the node had beyond is gone.
            None where that is not known, or there was nothing.
        why: why it was not rewound; empty where it was.
    """

    how: Literal["rewound", "cloned", "followed"]
    parted_at: str | None = None
    why: str = ""


def rejoin(node: PostgresNode, of: PostgresNode) -> Rejoined:
    """Have a node follow a new primary.

    Raises:
        PostgresError: that is none, or the node does not follow in the end.
    """
    if of is node or not of.is_primary():
        raise PostgresError(f"{of.name} is no primary, so {node.name} can't rejoin it")
    if node.is_paused:
        node.kill()
    elif node.is_running:
        node.stop()
    # Before a checkpoint the new primary's control file still has the timeline of the old one, and
    # pg_rewind says that there is nothing to do, with status 0.
    of.query("checkpoint")
    if node.slot:
        make_slot(node, of)
    done = _rewind(node, of)
    if done.how != "cloned":
        try:
            follow(node, of)
            node.superseded_by = None
            node.start()
            wait_until_streaming(node, of, timeout=_SOON)
        except (PostgresError, ServerFailed) as error:
            node.kill()
            done = Rejoined("cloned", done.parted_at, str(error).partition("\n")[0])
    if done.how == "cloned":
        node.free_data()
        shutil.rmtree(node.data, ignore_errors=True)
        clone(node, of)
        node.superseded_by = None
        node.start()
        wait_until_streaming(node, of)
    detail = f"{node.name} follows {of.name}: {done.how}"
    if done.parted_at is not None:
        detail += f"; what it alone had beyond {done.parted_at} is discarded"
    node.tell("rejoined", detail + (f"; not rewound: {done.why}" if done.why else ""))
    return done


def _rewind(node: PostgresNode, of: PostgresNode) -> Rejoined:
    source = conninfo(host="127.0.0.1", port=str(of.port), user=USER, dbname=USER)
    arguments = ["--target-pgdata", str(node.data), "--source-server", source, "--no-sync"]
    done = node.run_tool("pg_rewind", arguments, accept=True)
    said = done.stdout + done.stderr
    found = _PARTED.search(said)
    parted_at = found[1] if found else None
    if "no rewind required" in said:
        return Rejoined("followed", parted_at)
    # Its status alone is not to be trusted.
    if done.returncode == 0 and re.search(r"\bDone!", said):
        return Rejoined("rewound", parted_at)
    last = (said.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
    return Rejoined("cloned", parted_at, last)
