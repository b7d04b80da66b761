"""A state machine that holds one object of some data type under each key, and its words.

Commands, queries and answers are compact JSON: ``[operation, key, value]`` asks, a bare value
answers. A data type is two tables of pure functions. What is refused is refused by a text that is
the same on every replica, and leaves the state as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from paxos.core.state_machine import CommandFailed, Stamp

Command = Callable[[Any, Any], tuple[Any, Any]]
"""From an object and an argument to the object afterwards and the answer. Changes neither."""

Query = Callable[[Any], Any]
"""From an object to the answer."""


@dataclass(frozen=True, slots=True)
class DataType:
    """What stands under each key.

    Attributes:
        initial: The object of a key that was never written; JSON's types only, like every object.
        commands: What changes an object, by name.
        queries: What reads it, by name.
    """

    initial: Any
    commands: Mapping[str, Command]
    queries: Mapping[str, Query]


class KeyedMachine:
    """Objects of one data type by key. Each subclass names its data type and adds nothing."""

    data_type: ClassVar[DataType]

    def __init__(self) -> None:
        self._objects: dict[str, Any] = {}  # none that equals the initial one

    def apply(self, command: bytes, at: Stamp) -> bytes:
        """Run one operation on one key."""
        f, key, value = unpack(command)
        operation = self.data_type.commands.get(f)
        if operation is None:
            raise CommandFailed(f"no command {f!r}")
        after, answer = operation(self._object(key), value)
        if after == self.data_type.initial:
            self._objects.pop(key, None)
        else:
            self._objects[key] = after
        return pack(answer)

    def query(self, query: bytes) -> bytes:
        """Read one key."""
        f, key, _ = unpack(query)
        operation = self.data_type.queries.get(f)
        if operation is None:
            raise CommandFailed(f"no query {f!r}")
        return pack(operation(self._object(key)))

    def snapshot(self) -> Iterator[bytes]:
        """Return a chunk for each key that was written, in order; later commands do not show.

        Objects are replaced, never changed, so references to them are all that must be kept.
        """
        return _chunks(dict(self._objects))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state."""
        self._objects = dict(json.loads(chunk) for chunk in chunks)

    def _object(self, key: str) -> Any:
        return self._objects.get(key, self.data_type.initial)


def _chunks(objects: Mapping[str, Any]) -> Iterator[bytes]:
    for key in sorted(objects):
        yield pack([key, objects[key]])


def pack(value: Any) -> bytes:
    """Return a value as bytes: the same on every replica."""
    return json.dumps(value, separators=(",", ":")).encode()


def unpack(words: bytes) -> tuple[str, str, Any]:
    """Return the operation, key and value of a command or query.

    Raises:
        CommandFailed: They are something else.
    """
    try:
        fields = json.loads(words)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, list) or len(fields) != 3:
        raise CommandFailed("not [operation, key, value] in JSON")
    f, key, value = fields
    if not isinstance(f, str) or not isinstance(key, str):
        raise CommandFailed("not [operation, key, value] in JSON")
    return f, key, value
