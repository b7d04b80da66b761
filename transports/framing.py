"""Frames on a byte stream: msgpack ``bin`` objects, one after the other, and nothing else.

Owns cutting and wrapping. Knows nothing of sockets. It guards one promise: whatever bytes come,
and in whatever pieces, either whole frames come out or ``fault`` says why not; and no more is ever
held than one frame at its limit and one read, however large a length the bytes declare.

msgpack's own Unpacker does the cutting, in C, with every other type forbidden: a third of the cost
of slicing by a length prefix in Python.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import msgpack

from paxos.transport import FRAME_BYTES_MAX

READ_BYTES = 256 * 1024
"""What is read from a socket at once, and so the largest piece a cutter is fed."""

HEADER_BYTES_MAX = 5
"""Of a ``bin`` object: one byte for its type, up to four for its length."""

BUFFER_BYTES_FIRST = 16 * 1024
"""What a cutter holds at first; an idle connection never needs more."""

_BYTES_ONLY = frozenset({bytes})
_HEADERS_SHORT = tuple(bytes((0xC4, length)) for length in range(256))
_HEADER_16 = struct.Struct(">BH")
_HEADER_32 = struct.Struct(">BI")


def wrap(frames: Iterable[bytes], frame_bytes_max: int = FRAME_BYTES_MAX) -> bytes:
    """Return the bytes that carry ``frames``.

    Raises:
        ValueError: One is over the limit.
    """
    parts: list[bytes] = []
    for frame in frames:
        length = len(frame)
        if length > frame_bytes_max:
            raise ValueError(f"a frame of {length} bytes; the limit is {frame_bytes_max}")
        if length < 256:
            parts.append(_HEADERS_SHORT[length])
        elif length < 65536:
            parts.append(_HEADER_16.pack(0xC5, length))
        else:
            parts.append(_HEADER_32.pack(0xC6, length))
        parts.append(frame)
    return b"".join(parts)


class FrameCutter:
    """Cuts one direction of one stream into frames.

    Args:
        frame_bytes_max: The largest frame that is taken.
        piece_bytes_max: The largest piece that ``cut`` is given.
    """

    def __init__(
        self, frame_bytes_max: int = FRAME_BYTES_MAX, piece_bytes_max: int = READ_BYTES
    ) -> None:
        self.fault = ""
        """Why the stream makes no sense any more; empty while it does."""
        self._frame_bytes_max = frame_bytes_max
        buffer_bytes_max = frame_bytes_max + HEADER_BYTES_MAX + piece_bytes_max
        self._unpacker = msgpack.Unpacker(
            # Reserved at once, and grown only by bytes that came; the default would be a megabyte
            # for every idle client.
            read_size=min(BUFFER_BYTES_FIRST, buffer_bytes_max),
            max_buffer_size=buffer_bytes_max,
            max_bin_len=frame_bytes_max,
            max_str_len=0,
            max_array_len=0,
            max_map_len=0,
            max_ext_len=0,
        )

    def cut(self, piece: bytes | bytearray | memoryview) -> list[bytes]:
        """Return the frames that ``piece`` completes, in order.

        Sets ``fault`` when what follows them is no frame; from then on nothing is returned.
        """
        frames: list[Any] = []
        if self.fault:
            return frames
        try:
            self._unpacker.feed(piece)
            # Keeps what came before an error, unlike list(unpacker).
            frames.extend(self._unpacker)
        except msgpack.BufferFull:
            self.fault = f"a frame over the limit of {self._frame_bytes_max} bytes"
        # ValueError and its children for every other limit, UnpackException for the rest.
        except (ValueError, msgpack.UnpackException) as error:
            self.fault = f"not a frame, or one over the limit: {error or type(error).__name__}"
        return frames if set(map(type, frames)) <= _BYTES_ONLY else self._before_stranger(frames)

    def _before_stranger(self, objects: list[object]) -> list[bytes]:
        """Return the frames before the first object that is none."""
        frames: list[bytes] = []
        for each in objects:
            if not isinstance(each, bytes):
                self.fault = f"a {type(each).__name__} where a frame must be"
                break
            frames.append(each)
        return frames
