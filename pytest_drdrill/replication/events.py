"""What a replication did and found, as plain data that a timeline can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from pytest_drdrill.replication.changes import Change

EventKind: TypeAlias = Literal[
    "replication_started",
    "replication_stopped",
    "replication_failed",
    "promotion",
    "promotion_failed",
    "failback",
    "fenced",
    "rejoined",
    "writes_discarded",
    "snapshot_taken",
    "fallback",
    "fallback_ended",
    "unprotected",
    "lag_exceeded",
    "lag_recovered",
    "connection_lost",
    "connection_restored",
    "secondary_failed",
    "secondary_recovered",
    "callback_failed",
]

ALONE = "no other region follows it until one rejoins"
"""Why a primary is unprotected."""

AlertKind: TypeAlias = Literal["lag_exceeded", "connection_lost", "secondary_failed"]


@dataclass(frozen=True, slots=True)
class ReplicationEvent:
    """One thing that happened to the regions or to the changes between them.

    Attributes:
        moment: when, in UTC, aware; for people.
        monotonic: when, in seconds of the replication's clock; the difference of two is a span.
        kind: ``replication_started``, ``replication_stopped``, ``replication_failed``;
            ``promotion`` (a region took over), ``promotion_failed``, ``failback`` (a region took
            over without loss), ``fenced`` (a region takes no writes any more, and why that is
            sure); ``rejoined``, ``writes_discarded`` (a region gave up changes that the primary
            does not have), ``snapshot_taken`` (one was too far behind for the log);
            ``fallback`` (writes are acknowledged in a weaker mode than asked for),
            ``fallback_ended``, ``unprotected`` (no secondary follows the primary, after a promotion
            or at a start);
            ``lag_exceeded``, ``lag_recovered``, ``connection_lost``, ``connection_restored``,
            ``secondary_failed`` (one lost changes that it had flushed, or its store takes none, as
            on a full disk), ``secondary_recovered``, ``callback_failed``.
        region: name of the region concerned, or None.
        other: name of the other one: the old primary, or the far end of a connection; or None.
        reason: why, as a sentence for a reader; may be empty.
    """

    moment: datetime
    monotonic: float
    kind: EventKind
    region: str | None = None
    other: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReplicationAlert:
    """Something that whoever is on call should know.

    Attributes:
        kind: ``lag_exceeded``, ``connection_lost`` or ``secondary_failed``.
        region: the secondary that lags or fails, or one end of the connection.
        other: the primary, or the other end.
        message: one sentence.
    """

    kind: AlertKind
    region: str
    other: str
    message: str


class Lag(NamedTuple):
    """How far a secondary is behind its primary, as the primary knows by its answers.

    Attributes:
        changes: how many changes the secondary has not said that it flushed.
        size_bytes: bytes of their keys and values.
        time: how long ago the oldest of them was written; zero when there is none and heartbeats
            are answered, however long ago the last write was. Where there is none and they are not,
            the time since the secondary was last known to hold everything.
    """

    changes: int
    size_bytes: int
    time: timedelta


class Acknowledgement(NamedTuple):
    """The answer to a write.

    Attributes:
        position: the sequence number of the change.
        epoch: the epoch in which it was taken.
        region: the primary that took it.
    """

    position: int
    epoch: int
    region: str


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a change of the primary came to.

    Attributes:
        old: name of the region that was the primary.
        new: name of the one that is.
        epoch: its epoch.
        position: how far its copy went when it took over.
        lost: the acknowledged writes that it lacks, in order; once the old primary rejoins, they
            are among those that it discards.
        discarded: the changes that the new primary itself gave up before, as ``failback`` has it.
        unlisted: positions besides that it lacks and whose changes are no longer kept. Only where a
            region lost what it had flushed; how many of them were acknowledged nobody knows.
    """

    old: str
    new: str
    epoch: int
    position: int
    lost: tuple[Change, ...] = ()
    discarded: tuple[Change, ...] = ()
    unlisted: int = 0


@dataclass(frozen=True, slots=True)
class Rejoin:
    """How a region came back as a secondary.

    Attributes:
        region: its name.
        how: ``"resumed"`` (it held nothing that the primary lacks), ``"rewound"`` (it gave up
            changes) or ``"re-cloned"`` (its log or the primary's did not reach back far enough).
        position: up to which it holds the primary's changes by now.
        discarded: the changes that it gave up, in order, as far as its log reached back.
    """

    region: str
    how: Literal["resumed", "rewound", "re-cloned"]
    position: int
    discarded: tuple[Change, ...] = ()
