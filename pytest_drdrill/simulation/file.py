"""One file of a simulated disk: what is safe of it, and what was written to it since."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class SimulatedFile:
    """A file of a simulated disk.

    Attributes:
        safe: what is there whatever happens.
        since: what was written and is not safe, in order, each with where it begins.
        size: bytes of it, safe or not.
        rotten: places of bytes in the safe part that are not as they were written.
    """

    safe: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes]] = field(default_factory=list)
    size: int = 0
    rotten: set[int] = field(default_factory=set)

    def write(self, at: int, data: bytes) -> None:
        """Write, which makes nothing safe."""
        self.since.append((at, data))
        self.size = max(self.size, at + len(data))

    def content(self) -> bytes:
        """What who reads it is given, damage included."""
        content = bytearray(self.safe)
        for at, data in self.since:
            _put(content, at, data)
        return bytes(content)

    @property
    def unsafe(self) -> int:
        """Bytes that were written and are not safe."""
        return sum(len(data) for _, data in self.since)

    def is_damaged(self) -> bool:
        """Whether a byte of what is read is not as it was written."""
        return any(not self._covers(each) for each in self.rotten)

    def settle(self, kept: int) -> None:
        """Make so many of the bytes that are not safe so, in their order; the rest never was."""
        pieces = []
        for at, data in self.since:
            pieces.append((at, data[:kept]))
            kept -= len(pieces[-1][1])
        self.since = [each for each in pieces if each[1]]
        self.rotten = {each for each in self.rotten if not self._covers(each)}
        for at, data in self.since:
            _put(self.safe, at, data)
        self.since, self.size = [], len(self.safe)

    def _covers(self, place: int) -> bool:
        return any(at <= place < at + len(data) for at, data in self.since)


def _put(content: bytearray, at: int, data: bytes) -> None:
    if at > len(content):
        content += bytes(at - len(content))  # a hole reads as zeros
    content[at : at + len(data)] = data
