"""Sparse files: where their data lies, and how a tar says so (GNU's sparse format 1.0 in pax)."""

from __future__ import annotations

import errno
import os

Segments = list[list[int]]
"""Where a sparse file has data: offset and length in bytes, ascending; all else is zero."""

LIMIT = 10_000
"""Segments that are kept apart; a file with more is taken whole, zeros and all."""


def segments(fd: int, size: int) -> Segments | None:
    """Where an open file has data; None for one without holes, or with too many.

    Where the file system can't tell, the whole file is data.
    """
    found: Segments = []
    at = 0
    try:
        while at < size:
            try:
                start = os.lseek(fd, at, os.SEEK_DATA)
                end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
            except OSError as error:
                # Only a hole up to the end; or it was cut off meanwhile, which its times tell.
                if error.errno == errno.ENXIO:
                    break
                raise
            if start >= size:
                break
            found.append([start, end - start])
            at = end
            if len(found) > LIMIT:
                return None
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return None
        raise
    finally:
        os.lseek(fd, 0, os.SEEK_SET)
    return None if not size or found == [[0, size]] else found


def sparse_map(data: Segments, size: int) -> bytes:
    """The map that stands before the data of a sparse member, not yet filled to whole blocks."""
    pieces = [*data]
    if not data or sum(data[-1]) < size:
        pieces.append([size, 0])  # so that the file gets its length
    return b"".join([b"%d\n" % len(pieces), *(b"%d\n%d\n" % (at, size) for at, size in pieces)])
