"""Frames on a byte stream: msgpack ``bin`` objects, one after the other, and nothing else.

Owns cutting and wrapping. Knows nothing of sockets. It guards one promise: whatever bytes come,
and in whatever pieces, either whole frames come out or ``fault`` says why not; and no more is ever
held than one frame at its limit and one read, however large a length the bytes declare.

msgpack's own Unpacker does the cutting, in C, with every other type forbidden: a third of the cost
of slicing by a length prefix in Python (SPEED.md section 1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import msgpack

from paxos.transport import FRAME_BYTES_MAX

READ_BYTES = 256 * 1024
"""What is read from a socket at once, and so the largest piece a cutter is fed."""

HEADER_BYTES_MAX = 5
"""Of a ``bin`` object: one byte for its type, up to four for its length."""

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
        if length < 256:
            parts.append(_HEADERS_SHORT[length])
        elif length > frame_bytes_max:
            raise ValueError(f"a frame of {length} bytes; the limit is {frame_bytes_max}")
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
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=frame_bytes_max + HEADER_BYTES_MAX + piece_bytes_max,
            max_bin_len=frame_bytes_max,
            max_str_len=0,
            max_array_len=0,
            max_map_len=0,
            max_ext_len=0,
        )
        self._fed = 0

    def cut(self, piece: bytes | bytearray | memoryview) -> list[bytes]:
        """Return the frames that ``piece`` completes, in order.

        Sets ``fault`` when what follows them is no frame; from then on nothing is returned.
        """
        frames: list[bytes] = []
        if self.fault:
            return frames
        self._fed += len(piece)
        try:
            self._unpacker.feed(piece)
            # Keeps what came before an error, unlike list(unpacker).
            frames.extend(self._unpacker)
        # ValueError and its children for every limit, UnpackException for the rest: FormatError,
        # StackError, BufferFull.
        except (ValueError, msgpack.UnpackException) as error:
            self.fault = f"not a frame, or one over the limit: {error or type(error).__name__}"
        for position, frame in enumerate(frames):
            if type(frame) is not bytes:
                self.fault = f"a {type(frame).__name__} where a frame must be"
                return frames[:position]
        return frames

    @property
    def partial(self) -> bool:
        """Whether the bytes so far end in the middle of a frame."""
        return bool(self._fed != self._unpacker.tell())
