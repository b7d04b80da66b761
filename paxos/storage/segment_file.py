"""One segment file while it is written: zeros first, then a header, then batch after batch.

Owns the single write. It must never know what a batch holds. It guards two rules: a file gets its
final name only when what it holds is durable, and a write that came up short is completed and
synced, or leaves no sector half old and half new.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from paxos.storage.directory import TEMPORARY_SUFFIX
from paxos.storage.disk import Disk, ReadableDisk
from paxos.storage.layout import BLOCK, ID_BYTES, SECTOR
from paxos.storage.recovery import Segment

_PIECE = 1024 * 1024
_ZERO_PIECE = bytes(_PIECE)
_ZERO_SECTOR = bytes(SECTOR)
_LISTINGS_MAX = 100
_NAME = re.compile(r"segment-(\d{10})\.log")


def segment_name(number: int) -> str:
    """Return the name of a segment's file."""
    return f"segment-{number:010d}.log"


def find_segments(disk: ReadableDisk, directory: Path) -> list[Segment]:
    """Return all segments of a log, in the order of their numbers, of each its first block.

    A node may be running on it. The size of a segment changes when another follows: so the names
    are looked at again, and all of it is done again while they change.
    """
    names = _segment_names(disk, directory)
    for _ in range(_LISTINGS_MAX):
        segments = [
            Segment(
                name,
                number,
                disk.size(directory / name),
                disk.read(directory / name, 0, BLOCK),
                partial(disk.read, directory / name),
            )
            for name, number in names
        ]
        before, names = names, _segment_names(disk, directory)
        if names == before:
            break
    return segments


def _segment_names(disk: ReadableDisk, directory: Path) -> list[tuple[str, int]]:
    found = [(name, _NAME.fullmatch(name)) for name in disk.names(directory)]
    return [(name, int(match[1])) for name, match in found if match is not None]


class SegmentFile:
    """A segment that this process made. ``OSError`` passes through.

    Attributes:
        number: Its place among the segments.
        id: Drawn at random; every batch in it repeats it.
        size: Bytes that were zero-written.
    """

    __slots__ = ("_beside", "_directory", "_disk", "_file", "id", "number", "size")

    def __init__(self, disk: Disk, directory: Path, number: int, size: int) -> None:
        """Zero-write a new file under a temporary name. On failure nothing of it is left."""
        self.number = number
        self.id = os.urandom(ID_BYTES)
        self.size = size
        self._disk = disk
        self._directory = directory
        self._beside = directory / f"segment-{number:010d}{TEMPORARY_SUFFIX}"
        self._file = disk.create(self._beside)
        try:
            self._fill()
            self._file.sync()
        except OSError:
            self._file.close()
            disk.remove(self._beside)
            raise

    def _fill(self) -> None:
        # In pieces, so that a batch that is synced meanwhile does not wait behind all of it.
        offset = 0
        while offset < self.size:
            piece = _ZERO_PIECE[: self.size - offset]
            offset += self._file.write((piece,), offset)

    def publish(self) -> None:
        """Give the file its name, durably. What was put into it so far must be durable."""
        self._disk.rename(self._beside, self._directory / segment_name(self.number))
        self._disk.sync_directory(self._directory)

    def put(self, buffers: Sequence[bytes], length: int, offset: int) -> None:
        """Write ``buffers``, ``length`` bytes in all, durably at ``offset``."""
        written = self._file.write_durably(buffers, offset)
        if written != length:
            self._complete(b"".join(buffers), offset, written)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _complete(self, data: bytes, offset: int, written: int) -> None:
        try:
            while written < len(data):
                taken = self._file.write_durably((data[written:],), offset + written)
                if taken == 0:
                    raise OSError(errno.EIO, "the disk takes no more bytes")
                written += taken
            self._file.sync()
        except OSError:
            self._blank(offset + written)
            raise

    def _blank(self, end: int) -> None:
        """Overwrite with zeros the sector in which a write ended that goes no further."""
        if end % SECTOR:
            try:
                self._file.write_durably((_ZERO_SECTOR,), end - end % SECTOR)
            except OSError:
                pass  # the write before it failed, and that is what will be told
