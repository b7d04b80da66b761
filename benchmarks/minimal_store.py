"""A minimal key-value machine: what is measured with it is the log, and hardly a state machine.

A command puts a value: one byte with the key's length, the key, the value. Its answer is empty. A
query is a key, and its answer the value, empty if there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from paxos.core.state_machine import Stamp

MACHINE = "minimal"
"""What clusters of the benchmarks call it."""

CHUNK_BYTES = 64 * 1024
_LENGTH_BYTES = 4


class MinimalStore:
    """The state machine: a dictionary."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}

    def apply(self, command: bytes, _at: Stamp) -> bytes:
        """Put a value."""
        end = 1 + command[0]
        self._values[command[1:end]] = command[end:]
        return b""

    def query(self, query: bytes) -> bytes:
        """Get a value."""
        return self._values.get(query, b"")

    def snapshot(self) -> Iterator[bytes]:
        """Return the commands that would make the state, each behind its length."""
        return _chunks(dict(self._values))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Run the commands of a snapshot."""
        self._values = {}
        for chunk in chunks:
            at = 0
            while at < len(chunk):
                begin = at + _LENGTH_BYTES
                at = begin + int.from_bytes(chunk[at:begin], "big")
                key_end = begin + 1 + chunk[begin]
                self._values[chunk[begin + 1 : key_end]] = chunk[key_end:at]


def put(key: bytes, value: bytes) -> bytes:
    """Return the command that puts ``value``."""
    return bytes((len(key),)) + key + value


def _chunks(values: dict[bytes, bytes]) -> Iterator[bytes]:
    chunk = bytearray()
    for key, value in values.items():
        command = put(key, value)
        chunk += len(command).to_bytes(_LENGTH_BYTES, "big") + command
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)
