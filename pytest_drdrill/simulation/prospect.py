"""How a request fares that begins now, known before it is made."""

from __future__ import annotations

from typing import NamedTuple


class Prospect(NamedTuple):
    """How a request fares.

    Attributes:
        refusal: why it is refused, at once; or ``""``.
        takes: microseconds until it is answered; None: no answer ever comes.
    """

    refusal: str
    takes: int | None


AT_ONCE, NEVER = Prospect("", 0), Prospect("", None)
