"""The client's side of edge configuration: typed requests to bytes, bytes to typed answers.

The upper half is pure: builders make commands and queries, decoders read answers, and neither does
I/O. ``EdgeConfigClient`` below joins them over any object with three async methods; it knows no
event loop, no connection and no node. It guards two things: what the state machine would refuse
without looking at its state is refused here, before it is sent; and a watch hands on every event
once and in order, or ends with an error that says why it cannot.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from msgpack import UnpackException, packb, unpackb

from paxos.core.state_machine import CommandFailed
from statemachines import edge_config_format as form
from statemachines.edge_config_format import BYTES, DEFAULT_LIMITS, FORMAT, JSON, EdgeConfigLimits
from statemachines.machine_client import Level, MachineClient

IMPORT_BYTES_MAX = 512 * 1024
"""Values in one transaction of an import, unless a single value is longer: half a batch."""


class RequestInvalid(ValueError):
    """The caller asked for something no state could satisfy. Nothing was sent."""


class AnswerInvalid(ValueError):
    """A node answered what this client cannot read: it runs another version, or another machine."""


class RevisionCompacted(CommandFailed):
    """The revision asked for is no longer kept. Read the present state and go on from there.

    Attributes:
        revision: The revision that is gone.
        oldest: The oldest revision that can be read or watched from.
    """

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(str(form.compacted(revision, oldest)))
        self.revision = revision
        self.oldest = oldest


class RevisionInFuture(CommandFailed):
    """The revision asked for has not come yet, or not to the node that answered.

    Attributes:
        revision: The revision asked for.
        present: The present revision of the node that answered.
    """

    def __init__(self, revision: int, present: int) -> None:
        super().__init__(str(form.future_revision(revision, present)))
        self.revision = revision
        self.present = present


# --- what requests are made of --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Put:
    """Write a value. In a transaction, and an entry of an import."""

    key: str
    value: bytes
    content_type: str = BYTES


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key, if it is there."""

    key: str


@dataclass(frozen=True, slots=True)
class Get:
    """Read a key as the operations before it in the transaction left it."""

    key: str


Operation = Put | Delete | Get

_FIELDS = {
    "value": form.VALUE,
    "revision": form.REVISION,
    "created": form.CREATED,
    "version": form.VERSION,
}
_COMPARISONS = {"==": form.EQUAL, "!=": form.NOT_EQUAL, "<": form.LESS, ">": form.GREATER}


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold of a key before a transaction changes anything.

    Attributes:
        key: The key.
        field: "value" (bytes, None for an absent key), "revision" (of its last change), "created"
            (the revision at which it came to be) or "version" (how often it was written since);
            the last three are 0 for an absent key.
        comparison: "==", "!=", "<" or ">". The last two never hold for an absent value.
        operand: What the field is compared with.
    """

    key: str
    field: str
    comparison: str
    operand: bytes | int | None


# --- what answers are made of ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key that is there.

    Attributes:
        key: The key.
        value: Its value.
        content_type: Its value's content type.
        create_revision: The revision at which it came to be.
        mod_revision: The revision of its last change.
        version: How often it was written since it came to be, from 1.
        time: Replicated time of its last change, microseconds since the Unix epoch.
    """

    key: str
    value: bytes
    content_type: str
    create_revision: int
    mod_revision: int
    version: int
    time: int

    def json(self) -> Any:
        """Return the value read as JSON; raises ValueError if it is none."""
        return json.loads(self.value)


@dataclass(frozen=True, slots=True)
class KeySummary:
    """A key that is there, without its value; ``size`` is the value's length in bytes."""

    key: str
    size: int
    content_type: str
    create_revision: int
    mod_revision: int
    version: int
    time: int


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one key. The value of a "delete" is None; several may share a revision."""

    type: Literal["put", "delete"]
    key: str
    value: bytes | None
    content_type: str
    revision: int
    create_revision: int
    version: int
    time: int


# ``slot`` in all of these is the log slot the answer reflects (reads) or was decided in (commands).


@dataclass(frozen=True, slots=True)
class PutResult:
    """The revision the put made."""

    revision: int
    slot: int = 0


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """Whether the key was there, and the revision the deletion made (or the present one)."""

    revision: int
    deleted: bool
    slot: int = 0


@dataclass(frozen=True, slots=True)
class CompareAndSetResult:
    """Whether the value was set; if not, ``current`` is the key as it is, None if absent."""

    succeeded: bool
    revision: int
    current: KeyValue | None
    slot: int = 0


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """Whether the conditions held, and what the operations of the branch that ran gave.

    ``results`` has one entry per operation: True for a Put, whether the key was there for a
    Delete, a KeyValue or None for a Get. ``revision`` is the one the transaction made, or the
    present one if it changed nothing.
    """

    succeeded: bool
    revision: int
    results: tuple[KeyValue | bool | None, ...]
    slot: int = 0


@dataclass(frozen=True, slots=True)
class RetentionResult:
    """The oldest revision that can be read after a compaction or a change of policy."""

    oldest_revision: int
    slot: int = 0


@dataclass(frozen=True, slots=True)
class GetResult:
    """The key at ``revision``, or None if it was not there."""

    item: KeyValue | None
    revision: int
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Keys in order, as they were at ``revision``.

    More may follow if ``next_key`` is not None, even when this page is empty: ask again with
    ``start=next_key`` and ``revision=revision``.
    """

    items: tuple[KeyValue, ...]
    revision: int
    next_key: str | None
    slot: int = 0


@dataclass(frozen=True, slots=True)
class SummaryPage:
    """As ``Page``, without the values."""

    items: tuple[KeySummary, ...]
    revision: int
    next_key: str | None
    slot: int = 0


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Kept changes of one key, oldest first; ask again with ``after=next_after`` unless None."""

    events: tuple[Event, ...]
    revision: int
    next_after: int | None
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """The configuration in numbers.

    Attributes:
        revision: The present revision.
        oldest_revision: The oldest that can be read, and watched from.
        keys: Keys that are there.
        versions: Versions kept, deletions among them.
        keep_revisions: The retention policy.
        slot: The log slot this reflects.
    """

    revision: int
    oldest_revision: int
    keys: int
    versions: int
    keep_revisions: int
    slot: int = 0


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """All events after the revision asked from, up to and including ``revision``.

    Empty if none of them matched. Going on with ``after=revision`` misses and repeats nothing.
    """

    events: tuple[Event, ...]
    revision: int
    slot: int = 0


@dataclass(frozen=True, slots=True)
class ImportResult:
    """How much an import wrote; ``revision`` and ``slot`` are those of its last transaction."""

    entries: int
    transactions: int
    revision: int
    slot: int = 0


# --- commands -------------------------------------------------------------------------------------


def put_command(
    key: str, value: bytes, content_type: str = BYTES, limits: EdgeConfigLimits = DEFAULT_LIMITS
) -> bytes:
    """Write a value. A value of type application/json must be JSON (RFC 8259, in UTF-8).

    Raises:
        RequestInvalid: The key, value or content type is not allowed.
    """
    _check(form.check_key, key, limits)
    _check_typed_value(value, content_type, limits)
    return _bytes(form.PUT, key, value, content_type)


def delete_command(key: str, limits: EdgeConfigLimits = DEFAULT_LIMITS) -> bytes:
    """Delete a key; it is no error if it is absent."""
    _check(form.check_key, key, limits)
    return _bytes(form.DELETE, key)


def compare_and_set_command(
    key: str,
    expected: int | bytes | None,
    value: bytes,
    content_type: str = BYTES,
    limits: EdgeConfigLimits = DEFAULT_LIMITS,
) -> bytes:
    """Write a value if the key is as expected.

    Args:
        key: The key.
        expected: An integer is the revision of its last change (0: absent), bytes are its value,
            None means absent.
        value: The new value.
        content_type: Its type.
        limits: Bounds of the state machine.

    Raises:
        RequestInvalid: Something in it is not allowed.
    """
    _check(form.check_key, key, limits)
    field = form.REVISION if type(expected) is int else form.VALUE
    _check(form.check_operand, field, expected, limits)
    _check_typed_value(value, content_type, limits)
    return _bytes(form.COMPARE_AND_SET, key, field, expected, value, content_type)


def transaction_command(
    conditions: Sequence[Condition],
    then: Sequence[Operation],
    otherwise: Sequence[Operation] = (),
    limits: EdgeConfigLimits = DEFAULT_LIMITS,
) -> bytes:
    """Run ``then`` if all conditions hold, else ``otherwise``; in order, at one revision.

    Raises:
        RequestInvalid: Something in it is not allowed, or a branch changes a key twice.
    """
    packed = tuple(_condition_fields(condition) for condition in conditions)
    branches = [tuple(map(_operation_fields, branch)) for branch in (then, otherwise)]
    _check(form.check_conditions, packed, limits)
    for branch in branches:
        _check(form.check_operations, branch, limits)
    for operation in (*then, *otherwise):
        if isinstance(operation, Put):
            _check_typed_value(operation.value, operation.content_type, limits)
    return _bytes(form.TRANSACTION, packed, *branches)


def compact_command(revision: int) -> bytes:
    """Forget what only reads and watches from before ``revision`` need."""
    _check(form.check_count, revision, "the revision")
    return _bytes(form.COMPACT, revision)


def retain_command(revisions: int) -> bytes:
    """Keep the last ``revisions`` revisions from now on (and one version per key, always)."""
    _check(form.check_count, revisions, "the number of revisions", 1)
    return _bytes(form.RETAIN, revisions)


def import_commands(
    entries: Iterable[Put], limits: EdgeConfigLimits = DEFAULT_LIMITS
) -> Iterator[tuple[int, bytes]]:
    """Yield (number of entries, command) for entries cut into transactions of bounded size.

    Raises:
        RequestInvalid: An entry is not allowed or its key came before.
    """
    seen: set[str] = set()
    pending: list[Put] = []
    size = 0
    for entry in entries:
        if entry.key in seen:
            raise RequestInvalid(f"the import holds a key twice: {entry.key}")
        seen.add(entry.key)
        full = len(pending) == limits.operations_max
        if pending and (full or size + len(entry.value) > IMPORT_BYTES_MAX):
            yield len(pending), transaction_command((), pending, (), limits)
            pending, size = [], 0
        pending.append(entry)
        size += len(entry.value)
    if pending:
        yield len(pending), transaction_command((), pending, (), limits)


def json_value(document: object) -> bytes:
    """Return a document as JSON in UTF-8: compact, members in order of their names.

    Raises:
        RequestInvalid: It is not JSON (RFC 8259 has no NaN and no infinity).
    """
    try:
        text = json.dumps(
            document, allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=True
        )
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestInvalid(f"the value is not JSON: {error}") from None


# --- queries --------------------------------------------------------------------------------------


def get_query(
    key: str, revision: int | None = None, limits: EdgeConfigLimits = DEFAULT_LIMITS
) -> bytes:
    """Read one key, now or as it was at a kept revision."""
    _check(form.check_key, key, limits)
    _check_revision(revision)
    return _bytes(form.GET, key, revision)


def range_query(
    prefix: str = "",
    *,
    start: str = "",
    stop: str | None = None,
    limit: int | None = None,
    revision: int | None = None,
    keys_only: bool = False,
    limits: EdgeConfigLimits = DEFAULT_LIMITS,
) -> bytes:
    """Read the keys that begin with ``prefix`` and lie in [start, stop), in order.

    Args:
        prefix: Any text; end it with a slash to keep to a subtree.
        start: The first key to look at; a page's ``next_key``.
        stop: The first key not to look at.
        limit: At most so many; pages are bounded by the state machine's own limits too.
        revision: Read as of this revision instead of now.
        keys_only: Leave out the values; the answer is a ``SummaryPage``.
        limits: Bounds of the state machine.

    Raises:
        RequestInvalid: Something in it is not allowed.
    """
    for pattern in (prefix, start, "" if stop is None else stop):
        _check(form.check_pattern, pattern, limits)
    if limit is None:
        limit = limits.answer_items_max
    _check(form.check_count, limit, "the limit", 1)
    _check_revision(revision)
    return _bytes(form.RANGE, prefix, start, stop, limit, revision, keys_only)


def history_query(
    key: str,
    after: int = 0,
    limit: int | None = None,
    limits: EdgeConfigLimits = DEFAULT_LIMITS,
) -> bytes:
    """Read the kept changes of one key after a revision, oldest first."""
    _check(form.check_key, key, limits)
    _check(form.check_count, after, "the revision")
    if limit is None:
        limit = limits.answer_items_max
    _check(form.check_count, limit, "the limit", 1)
    return _bytes(form.HISTORY, key, after, limit)


def stats_query() -> bytes:
    """Ask for the configuration in numbers."""
    return _bytes(form.STATS)


def watch_query(
    pattern: str, after: int, exact: bool = False, limits: EdgeConfigLimits = DEFAULT_LIMITS
) -> bytes:
    """Wait for changes after a revision, of a prefix or (``exact``) of one key."""
    _check(form.check_key if exact else form.check_pattern, pattern, limits)
    _check(form.check_count, after, "the revision")
    return _bytes(form.WATCH, pattern, exact, after)


# --- answers --------------------------------------------------------------------------------------


def decode_put(data: bytes, slot: int = 0) -> PutResult:
    """Read the answer to ``put_command``."""
    (revision,) = _fields(data, 1)
    return PutResult(revision, slot)


def decode_delete(data: bytes, slot: int = 0) -> DeleteResult:
    """Read the answer to ``delete_command``."""
    revision, deleted = _fields(data, 2)
    return DeleteResult(revision, deleted, slot)


def decode_compare_and_set(data: bytes, slot: int = 0) -> CompareAndSetResult:
    """Read the answer to ``compare_and_set_command``."""
    succeeded, revision, item = _fields(data, 3)
    return CompareAndSetResult(succeeded, revision, _key_value(item), slot)


def decode_transaction(data: bytes, slot: int = 0) -> TransactionResult:
    """Read the answer to ``transaction_command``."""
    succeeded, revision, results = _fields(data, 3)
    items = tuple(item if type(item) is bool else _key_value(item) for item in _list(results))
    return TransactionResult(succeeded, revision, items, slot)


def decode_retention(data: bytes, slot: int = 0) -> RetentionResult:
    """Read the answer to ``compact_command`` and to ``retain_command``."""
    (oldest,) = _fields(data, 1)
    return RetentionResult(oldest, slot)


def decode_get(data: bytes, slot: int = 0) -> GetResult:
    """Read the answer to ``get_query``."""
    revision, item = _fields(data, 2)
    return GetResult(_key_value(item), revision, slot)


def decode_page(data: bytes, slot: int = 0) -> Page:
    """Read the answer to ``range_query``."""
    revision, items, next_key = _fields(data, 3)
    return Page(tuple(KeyValue(*_item(item)) for item in _list(items)), revision, next_key, slot)


def decode_summary_page(data: bytes, slot: int = 0) -> SummaryPage:
    """Read the answer to ``range_query`` with ``keys_only``."""
    revision, items, next_key = _fields(data, 3)
    summaries = tuple(KeySummary(*_item(item)) for item in _list(items))
    return SummaryPage(summaries, revision, next_key, slot)


def decode_history(data: bytes, slot: int = 0) -> HistoryPage:
    """Read the answer to ``history_query``."""
    revision, items, next_after = _fields(data, 3)
    return HistoryPage(tuple(map(_event, _list(items))), revision, next_after, slot)


def decode_stats(data: bytes, slot: int = 0) -> Stats:
    """Read the answer to ``stats_query``."""
    revision, oldest, keys, versions, keep = _fields(data, 5)
    return Stats(revision, oldest, keys, versions, keep, slot)


def decode_watch(data: bytes, slot: int = 0) -> WatchBatch:
    """Read the answer to ``watch_query``."""
    revision, items = _fields(data, 2)
    return WatchBatch(tuple(map(_event, _list(items))), revision, slot)


def decode_failure(failure: CommandFailed) -> CommandFailed:
    """Return the typed error that a failure's text stands for, or the failure itself."""
    text = str(failure)
    found = form.parse_compacted(text)
    if found is not None:
        return RevisionCompacted(*found)
    found = form.parse_future_revision(text)
    if found is not None:
        return RevisionInFuture(*found)
    return failure


# --- over a cluster -------------------------------------------------------------------------------


class EdgeConfigClient:
    """Edge configuration over a cluster.

    Args:
        client: The connection.
        machine: The name under which the cluster hosts the state machine.
        limits: Bounds, as the cluster has them.
    """

    def __init__(
        self,
        client: MachineClient,
        machine: str = "config",
        limits: EdgeConfigLimits = DEFAULT_LIMITS,
    ) -> None:
        self._client = client
        self._machine = machine
        self._limits = limits

    async def put(self, key: str, value: bytes, content_type: str = BYTES) -> PutResult:
        """Write a value; see ``put_command``."""
        command = put_command(key, value, content_type, self._limits)
        slot, data = await self._execute(command)
        return decode_put(data, slot)

    async def put_json(self, key: str, document: object) -> PutResult:
        """Write a document as JSON; see ``json_value``."""
        return await self.put(key, json_value(document), JSON)

    async def delete(self, key: str) -> DeleteResult:
        """Delete a key; it is no error if it is absent."""
        slot, data = await self._execute(delete_command(key, self._limits))
        return decode_delete(data, slot)

    async def compare_and_set(
        self, key: str, expected: int | bytes | None, value: bytes, content_type: str = BYTES
    ) -> CompareAndSetResult:
        """Write a value if the key is as expected; see ``compare_and_set_command``."""
        command = compare_and_set_command(key, expected, value, content_type, self._limits)
        slot, data = await self._execute(command)
        return decode_compare_and_set(data, slot)

    async def transaction(
        self,
        conditions: Sequence[Condition],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        """Run one of two branches at one revision; see ``transaction_command``."""
        command = transaction_command(conditions, then, otherwise, self._limits)
        slot, data = await self._execute(command)
        return decode_transaction(data, slot)

    async def compact(self, revision: int) -> RetentionResult:
        """Forget what only reads and watches from before ``revision`` need."""
        slot, data = await self._execute(compact_command(revision))
        return decode_retention(data, slot)

    async def retain(self, revisions: int) -> RetentionResult:
        """Keep the last ``revisions`` revisions from now on."""
        slot, data = await self._execute(retain_command(revisions))
        return decode_retention(data, slot)

    async def import_entries(self, entries: Iterable[Put]) -> ImportResult:
        """Write many entries in bounded transactions, one after the other.

        All entries are checked before the first is sent. An error between two transactions leaves
        the earlier ones written; to import again is safe.

        Raises:
            RequestInvalid: An entry is not allowed, or there is none.
        """
        commands = list(import_commands(entries, self._limits))
        if not commands:
            raise RequestInvalid("there is nothing to import")
        for _count, command in commands:
            slot, data = await self._execute(command)
        revision = decode_transaction(data, slot).revision
        return ImportResult(sum(count for count, _ in commands), len(commands), revision, slot)

    async def get(
        self, key: str, revision: int | None = None, level: Level = "linearizable"
    ) -> GetResult:
        """Read one key, now or as it was at a kept revision."""
        slot, data = await self._query(get_query(key, revision, self._limits), level)
        return decode_get(data, slot)

    async def page(
        self,
        prefix: str = "",
        *,
        start: str = "",
        stop: str | None = None,
        limit: int | None = None,
        revision: int | None = None,
        level: Level = "linearizable",
    ) -> Page:
        """Read one page of keys with their values; see ``range_query``."""
        query = range_query(
            prefix, start=start, stop=stop, limit=limit, revision=revision, limits=self._limits
        )
        slot, data = await self._query(query, level)
        return decode_page(data, slot)

    async def summary_page(
        self,
        prefix: str = "",
        *,
        start: str = "",
        stop: str | None = None,
        limit: int | None = None,
        revision: int | None = None,
        level: Level = "linearizable",
    ) -> SummaryPage:
        """Read one page of keys without their values; see ``range_query``."""
        query = range_query(
            prefix,
            start=start,
            stop=stop,
            limit=limit,
            revision=revision,
            keys_only=True,
            limits=self._limits,
        )
        slot, data = await self._query(query, level)
        return decode_summary_page(data, slot)

    def items(
        self, prefix: str = "", *, revision: int | None = None, level: Level = "linearizable"
    ) -> KeyValues:
        """Iterate over every key below a prefix; see ``KeyValues``."""
        return KeyValues(self, prefix, revision, level)

    async def history(
        self,
        key: str,
        after: int = 0,
        limit: int | None = None,
        level: Level = "linearizable",
    ) -> HistoryPage:
        """Read the kept changes of one key after a revision, oldest first."""
        slot, data = await self._query(history_query(key, after, limit, self._limits), level)
        return decode_history(data, slot)

    async def stats(self, level: Level = "linearizable") -> Stats:
        """Read the configuration in numbers."""
        slot, data = await self._query(stats_query(), level)
        return decode_stats(data, slot)

    def watch_batches(
        self, pattern: str = "", *, after: int | None = None, exact: bool = False
    ) -> WatchBatches:
        """Iterate over what happens after a revision, whole revisions at a time, for ever.

        Args:
            pattern: A prefix, or with ``exact`` a key.
            after: The revision that is already known; None begins with the next change.
            exact: Watch one key instead of a prefix.
        """
        return WatchBatches(self, pattern, after, exact)

    def watch(
        self, pattern: str = "", *, after: int | None = None, exact: bool = False
    ) -> WatchEvents:
        """Iterate over events one by one; arguments as for ``watch_batches``."""
        return WatchEvents(self.watch_batches(pattern, after=after, exact=exact))

    async def watch_once(self, pattern: str, after: int, exact: bool = False) -> WatchBatch:
        """Wait for the next batch of a watch; ``watch_batches`` does it again and again.

        Raises:
            RevisionCompacted: Events after ``after`` are no longer kept.
        """
        query = watch_query(pattern, after, exact, self._limits)
        try:
            slot, data = await self._client.watch_once(self._machine, query)
        except CommandFailed as failure:
            raise decode_failure(failure) from None
        batch = decode_watch(data, slot)
        if batch.revision <= after:
            raise AnswerInvalid(f"a watch from {after} was answered up to {batch.revision}")
        return batch

    async def _execute(self, command: bytes) -> tuple[int, bytes]:
        try:
            return await self._client.execute(self._machine, command)
        except CommandFailed as failure:
            raise decode_failure(failure) from None

    async def _query(self, query: bytes, level: Level) -> tuple[int, bytes]:
        try:
            return await self._client.query(self._machine, query, level)
        except CommandFailed as failure:
            raise decode_failure(failure) from None


# Iterators, not generators: whoever leaves an ``async for`` early need not close them.


class KeyValues:
    """Every key below a prefix in order, all as of one revision, however many pages.

    Iterating raises RevisionCompacted if the revision was forgotten between two pages.
    """

    def __init__(
        self, config: EdgeConfigClient, prefix: str, revision: int | None, level: Level
    ) -> None:
        self._config = config
        self._prefix = prefix
        self._revision = revision  # None until the first page says which one it read
        self._level: Level = level
        self._start: str | None = ""  # where the next page begins; None: there is none
        self._items: deque[KeyValue] = deque()

    def __aiter__(self) -> KeyValues:
        return self

    async def __anext__(self) -> KeyValue:
        while not self._items:
            if self._start is None:
                raise StopAsyncIteration
            page = await self._config.page(
                self._prefix, start=self._start, revision=self._revision, level=self._level
            )
            self._items.extend(page.items)
            self._start, self._revision = page.next_key, page.revision
            if self._level == "linearizable":
                # An old revision is the same on every node that has it: no further barrier, but a
                # node asked next that lags behind must catch up with this one first.
                self._level = "session"
        return self._items.popleft()


class WatchBatches:
    """What happens after a revision, whole revisions at a time, for ever.

    To resume later without gap or repeat, keep the ``revision`` of the last batch dealt with and
    begin a new watch with it as ``after``. Iterating raises RevisionCompacted if events were
    forgotten before they could be told.
    """

    def __init__(
        self, config: EdgeConfigClient, pattern: str, after: int | None, exact: bool
    ) -> None:
        self._config = config
        self._pattern = pattern
        self._after = after
        self._exact = exact

    def __aiter__(self) -> WatchBatches:
        return self

    async def __anext__(self) -> WatchBatch:
        if self._after is None:
            self._after = (await self._config.stats()).revision
        batch = await self._config.watch_once(self._pattern, self._after, self._exact)
        self._after = batch.revision
        return batch


class WatchEvents:
    """The events of ``WatchBatches``, one by one.

    Those of one transaction share a revision: whoever stops between two of them and resumes from
    that revision misses the rest. ``WatchBatches`` never splits them.
    """

    def __init__(self, batches: WatchBatches) -> None:
        self._batches = batches
        self._events: deque[Event] = deque()

    def __aiter__(self) -> WatchEvents:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            self._events.extend((await anext(self._batches)).events)
        return self._events.popleft()


# --- how the above is written and checked ---------------------------------------------------------


def _bytes(kind: int, *fields: object) -> bytes:
    data: bytes = packb((FORMAT, kind, *fields))
    return data


def _check(check: Callable[..., object], *arguments: object) -> None:
    """Run one of the state machine's own checks on what the caller gave."""
    try:
        check(*arguments)
    except CommandFailed as failure:
        raise RequestInvalid(str(failure)) from None


def _check_revision(revision: int | None) -> None:
    if revision is not None:
        _check(form.check_count, revision, "the revision")


def _check_typed_value(value: bytes, content_type: str, limits: EdgeConfigLimits) -> None:
    """Check a value and its type; only here is JSON parsed, once, instead of on every replica."""
    _check(form.check_value, value, limits)
    _check(form.check_content_type, content_type, limits)
    if content_type != JSON:
        return
    try:
        json.loads(value.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestInvalid(f"the value is not JSON: {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")


def _condition_fields(condition: Condition) -> tuple[object, ...]:
    field = _FIELDS.get(condition.field)
    if field is None:
        raise RequestInvalid(f"unknown field {condition.field!r}: one of {', '.join(_FIELDS)}")
    comparison = _COMPARISONS.get(condition.comparison)
    if comparison is None:
        known = " ".join(_COMPARISONS)
        raise RequestInvalid(f"unknown comparison {condition.comparison!r}: one of {known}")
    return condition.key, field, comparison, condition.operand


def _operation_fields(operation: Operation) -> tuple[object, ...]:
    match operation:
        case Put():
            return form.PUT, operation.key, operation.value, operation.content_type
        case Delete():
            return form.DELETE, operation.key
        case Get():
            return form.GET, operation.key


def _fields(data: bytes, count: int) -> tuple[Any, ...]:
    """Return the fields of an answer after its format number."""
    try:
        fields = unpackb(data, use_list=False, max_map_len=0, max_ext_len=0)
    except (UnpackException, ValueError, TypeError, OverflowError, RecursionError):
        fields = None
    if type(fields) is not tuple or len(fields) != count + 1 or fields[0] != FORMAT:
        raise AnswerInvalid(f"not an answer of edge configuration, format {FORMAT}")
    return fields[1:]


def _list(items: object) -> tuple[Any, ...]:
    if type(items) is not tuple:
        raise AnswerInvalid("an answer holds no list where there should be one")
    return items


def _item(item: object) -> tuple[Any, ...]:
    if type(item) is not tuple or len(item) != 7:
        raise AnswerInvalid("an answer holds an item of another form")
    return item


def _key_value(item: object) -> KeyValue | None:
    return None if item is None else KeyValue(*_item(item))


def _event(item: object) -> Event:
    key, value, content_type, created, revision, version, time = _item(item)
    kind: Literal["put", "delete"] = "delete" if value is None else "put"
    return Event(kind, key, value, content_type, revision, created, version, time)
