"""Edge configuration: a replicated map from paths to values, with history and watches.

Keys are paths (``site-7/cam-3/fps``), values bytes with a content type. Every change has a global
revision from 1; a transaction's changes share one. It owns what commands and queries mean; history
is kept by ``VersionedStore``, waiting watches by ``WatchIndex``, and the bytes are laid down in
``edge_config_format``. It never knows who asks, or anything of the log beyond the ``Stamp``.

It guards: equal commands give equal states and results on every replica; a command that fails
leaves the state as it was (everything is checked before the first change); a watch sees every
change after its revision once, in order, or is told that it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgpack import Packer

from paxos.core.state_machine import CommandFailed, Stamp
from statemachines import edge_config_format as form
from statemachines.command_fields import Fields, expect_fields, fail_malformed, unpack_fields
from statemachines.edge_config_format import DEFAULT_LIMITS, FORMAT, EdgeConfigLimits
from statemachines.snapshot_records import SnapshotDamaged, cut_records, read_records
from statemachines.versioned_store import Capture, Version, VersionedStore
from statemachines.watch_index import WatchIndex

_COMMON_CONTENT_TYPES = form.COMMON_CONTENT_TYPES
_SNAPSHOT_NAME = "edge_config"
_SNAPSHOT_FORMAT = 1
_CHANGE_FIELDS = 5  # (revision, key, value, content_type, time); a version of the base has 7


class EdgeConfig:
    """The state machine. Its client is ``statemachines.edge_config_client``.

    Args:
        limits: Bounds; must be equal on every node of a cluster.
    """

    def __init__(self, limits: EdgeConfigLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._store = VersionedStore(limits.keep_revisions)
        self._watches = WatchIndex()
        self._pack: Callable[[object], bytes] = Packer().pack
        self._commands: dict[int, Callable[[Fields, int], Fields]] = {
            form.PUT: self._put,
            form.DELETE: self._delete,
            form.COMPARE_AND_SET: self._compare_and_set,
            form.TRANSACTION: self._transaction,
            form.COMPACT: self._compact,
            form.RETAIN: self._retain,
        }
        self._queries: dict[int, Callable[[Fields], Fields]] = {
            form.GET: self._get,
            form.RANGE: self._range,
            form.HISTORY: self._history,
            form.STATS: self._stats,
        }

    # --- the port --------------------------------------------------------------------------------

    def apply(self, command: bytes, at: Stamp) -> bytes:
        """Run a command of ``edge_config_format``; see ``StateMachine.apply``."""
        fields = unpack_fields(command, FORMAT)
        handler = self._commands.get(fields[1])
        if handler is None:
            fail_malformed("unknown command")
        return self._pack(handler(fields, at.time))

    def query(self, query: bytes) -> bytes:
        """Answer a query of ``edge_config_format``; see ``StateMachine.query``."""
        fields = unpack_fields(query, FORMAT)
        handler = self._queries.get(fields[1])
        if handler is None:
            fail_malformed("unknown query")
        return self._pack(handler(fields))

    def watch(self, query: bytes) -> bytes | None:
        """Return the events after the query's revision, or None while there are none.

        Also answers, without events, when the query's revision would soon be compacted: whoever
        watches a quiet prefix goes on from a newer revision and is never told "compacted" for it.
        Revisions are never split. Quiet watches cost one lookup; events are found by looking at
        each change once for all watches.
        """
        store = self._store
        self._watches.advance(store.changes, store.revision)
        waiting = self._watches.find(query)
        if waiting is not None:
            if waiting.interest.touched_at:
                interest = waiting.interest
                return self._events(query, interest.pattern, interest.exact, interest.touched_at)
            return self._progress(waiting.after)
        pattern, exact, after = self._decode_watch(query)
        if after > store.revision:
            return None  # this replica lags behind the one that answered before
        return self._events(query, pattern, exact, after + 1)

    def snapshot(self) -> Iterator[bytes]:
        """Return the state as chunks: the base at the oldest revision in key order, then the log.

        What is in it is settled when this is called, at hardly any cost; chunks are encoded as they
        are taken, and later commands do not show in them. Several may be read at a time.
        """
        return cut_records(_snapshot_records(self._store.capture()))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state.

        Raises:
            SnapshotDamaged: The chunks are not a snapshot; the state is as it was.
        """
        self._store = _store_from(read_records(chunks))
        self._watches = WatchIndex()

    # --- commands: check everything, then change --------------------------------------------------

    def _put(self, fields: Fields, time: int) -> Fields:
        if len(fields) != 5:
            expect_fields(fields, 5)
        _, _, key, value, content_type = fields
        content_type = self._check_put(key, value, content_type)
        return FORMAT, self._trim(self._store.put(key, value, content_type, time))

    def _delete(self, fields: Fields, time: int) -> Fields:
        expect_fields(fields, 3)
        key = fields[2]
        form.check_key(key, self._limits)
        deleted = self._store.live(key) is not None
        if deleted:
            self._store.stage(key, None, "", time)
        return FORMAT, self._commit(), deleted

    def _compare_and_set(self, fields: Fields, time: int) -> Fields:
        expect_fields(fields, 7)
        _, _, key, field, expected, value, content_type = fields
        content_type = self._check_put(key, value, content_type)
        form.check_operand(field, expected, self._limits)
        present = self._store.live(key)
        if not _holds(present, field, form.EQUAL, expected):
            return FORMAT, False, self._store.revision, _item(present)
        self._store.stage(key, value, content_type, time)
        return FORMAT, True, self._commit(), None

    def _transaction(self, fields: Fields, time: int) -> Fields:
        expect_fields(fields, 5)
        _, _, conditions, then, otherwise = fields
        form.check_conditions(conditions, self._limits)
        form.check_operations(then, self._limits)
        form.check_operations(otherwise, self._limits)
        live = self._store.live
        succeeded = all(
            _holds(live(key), field, comparison, operand)
            for key, field, comparison, operand in conditions
        )
        operations = then if succeeded else otherwise
        self._check_answer_bytes(operations)
        results = [self._operate(operation, time) for operation in operations]
        return FORMAT, succeeded, self._commit(), results

    def _compact(self, fields: Fields, _time: int) -> Fields:
        expect_fields(fields, 3)
        revision = fields[2]
        form.check_count(revision, "the revision")
        if revision > self._store.revision:
            raise form.future_revision(revision, self._store.revision)
        self._forget_before(revision)
        return FORMAT, self._store.oldest

    def _retain(self, fields: Fields, _time: int) -> Fields:
        expect_fields(fields, 3)
        form.check_count(fields[2], "the number of revisions", least=1)
        self._store.keep = fields[2]
        self._commit()
        return FORMAT, self._store.oldest

    def _check_put(self, key: Any, value: Any, content_type: Any) -> str:
        # The usual case is decided here, for a call costs more than the check: a key that is held
        # was checked when it came, most values are short, and most content types well known.
        if type(key) is not str or key not in self._store.latest:
            form.check_key(key, self._limits)
        if type(value) is not bytes or len(value) > self._limits.value_bytes_max:
            form.check_value(value, self._limits)
        if type(content_type) is str:
            common = _COMMON_CONTENT_TYPES.get(content_type)
            if common is not None:
                return common
        return form.check_content_type(content_type, self._limits)

    def _check_answer_bytes(self, operations: Fields) -> None:
        """Refuse operations whose gets return too much, before the first of them is run."""
        sizes: dict[str, int] = {}
        total = 0
        for operation in operations:
            kind, key = operation[:2]
            if kind == form.PUT:
                sizes[key] = len(operation[2])
            elif kind == form.DELETE:
                sizes[key] = 0
            else:
                present = self._store.live(key)
                size = 0 if present is None else len(present.value or b"")
                total += sizes.get(key, size)
        if total > self._limits.answer_bytes_max:
            raise CommandFailed(
                f"the transaction reads too much: the limit is {self._limits.answer_bytes_max}"
                " bytes of values"
            )

    def _operate(self, operation: Fields, time: int) -> object:
        kind, key = operation[:2]
        if kind == form.PUT:
            content_type = form.check_content_type(operation[3], self._limits)
            self._store.stage(key, operation[2], content_type, time)
            return True
        present = self._store.live(key)
        if kind == form.GET:
            return _item(present)
        if present is None:
            return False
        self._store.stage(key, None, "", time)
        return True

    def _commit(self) -> int:
        return self._trim(self._store.commit())

    def _trim(self, revision: int) -> int:
        """Forget what is not kept any more at the present revision; return that."""
        store = self._store
        oldest = revision - store.keep
        if oldest > store.oldest:
            if oldest > self._watches.through:
                self._forget_before(oldest)
            else:
                store.compact_to(oldest)
        return revision

    def _forget_before(self, oldest: int) -> None:
        store = self._store
        if oldest > self._watches.through:
            # Waiting watches must see a change before it is forgotten, or they could not tell
            # "nothing came" from "something is lost".
            self._watches.advance(store.changes, store.revision)
        store.compact_to(oldest)

    # --- queries ----------------------------------------------------------------------------------

    def _get(self, fields: Fields) -> Fields:
        expect_fields(fields, 4)
        _, _, key, revision = fields
        form.check_key(key, self._limits)
        revision = self._check_revision(revision)
        return FORMAT, revision, _item(self._store.at(key, revision))

    def _range(self, fields: Fields) -> Fields:
        expect_fields(fields, 8)
        _, _, prefix, start, stop, limit, revision, keys_only = fields
        form.check_pattern(prefix, self._limits)
        form.check_pattern(start, self._limits)
        if stop is not None:
            form.check_pattern(stop, self._limits)
        form.check_count(limit, "the limit", least=1)
        form.check_flag(keys_only, "keys_only")
        revision = self._check_revision(revision)
        room = _Room(self._limits, limit)
        items: list[Fields | None] = []
        for key in self._store.scan(max(start, prefix)):
            if not key.startswith(prefix) or (stop is not None and key >= stop):
                break
            version = self._store.at(key, revision)
            if not room.take(None if version is None else 0 if keys_only else _size(version)):
                return FORMAT, revision, items, key
            if version is not None:
                items.append(_summary(version) if keys_only else _item(version))
        return FORMAT, revision, items, None

    def _history(self, fields: Fields) -> Fields:
        expect_fields(fields, 5)
        _, _, key, after, limit = fields
        form.check_key(key, self._limits)
        form.check_count(after, "the revision")
        form.check_count(limit, "the limit", least=1)
        room = _Room(self._limits, limit)
        items: list[Fields | None] = []
        for version in self._store.history(key, after):
            if not room.take(_size(version)):
                return FORMAT, self._store.revision, items, after
            items.append(_item(version))
            after = version.revision
        return FORMAT, self._store.revision, items, None

    def _stats(self, fields: Fields) -> Fields:
        expect_fields(fields, 2)
        store = self._store
        counts = (store.keys_count, store.versions_count, store.keep)
        return (FORMAT, store.revision, store.oldest, *counts)

    def _check_revision(self, revision: object) -> int:
        """Return the revision to read at; nil means the present one."""
        store = self._store
        if revision is None:
            return store.revision
        form.check_count(revision, "the revision")
        assert isinstance(revision, int)
        if revision < store.oldest:
            raise form.compacted(revision, store.oldest)
        if revision > store.revision:
            raise form.future_revision(revision, store.revision)
        return revision

    # --- watches ----------------------------------------------------------------------------------

    def _decode_watch(self, query: bytes) -> tuple[str, bool, int]:
        fields = unpack_fields(query, FORMAT)
        if fields[1] != form.WATCH:
            fail_malformed("not a watch")
        expect_fields(fields, 5)
        _, _, pattern, exact, after = fields
        form.check_flag(exact, "exact")
        if exact:
            form.check_key(pattern, self._limits)
        else:
            form.check_pattern(pattern, self._limits)
        form.check_count(after, "the revision")
        return pattern, exact, after

    def _events(self, query: bytes, pattern: str, exact: bool, first: int) -> bytes | None:
        """Answer a watch that has seen everything before revision ``first``."""
        store = self._store
        if first <= store.oldest:
            raise form.compacted(first - 1, store.oldest)
        room = _Room(self._limits, self._limits.answer_items_max)
        events: list[Fields | None] = []
        through = first - 1
        for revision in range(first, store.revision + 1):
            found = [
                change
                for change in store.changes[revision]
                if (change.key == pattern if exact else change.key.startswith(pattern))
            ]
            if not room.take(sum(map(_size, found)) if found else None, len(found)):
                break
            events.extend(map(_item, found))
            through = revision
        if events or through < store.revision:
            return self._pack((FORMAT, through, events))
        self._watches.wait(query, pattern, exact, first - 1)
        return self._progress(first - 1)

    def _progress(self, after: int) -> bytes | None:
        """Move a quiet watch on when half of what is kept has passed since its revision."""
        store = self._store
        passed = store.revision - after
        if after < store.oldest or passed >= max(1, store.keep // 2):
            return self._pack((FORMAT, store.revision, ()))
        return None


class _Room:
    """What still fits into one answer. The first thing always does."""

    __slots__ = ("_bytes", "_items", "_scan", "_taken")

    def __init__(self, limits: EdgeConfigLimits, items: int) -> None:
        self._items = min(items, limits.answer_items_max)
        self._bytes = limits.answer_bytes_max
        self._scan = limits.scan_max
        self._taken = False

    def take(self, size: int | None, items: int = 1) -> bool:
        """Take room for ``items`` of ``size`` bytes in all (None: only looked at), if there is."""
        if self._scan == 0:
            return False
        self._scan -= 1
        if size is None:
            return True
        if self._taken and (items > self._items or size > self._bytes):
            return False
        self._taken = True
        self._items -= items
        self._bytes -= size
        return True


def _size(version: Version) -> int:
    return len(version.key) + len(version.value or b"")


def _item(version: Version | None) -> Fields | None:
    if version is None:
        return None
    return (
        version.key,
        version.value,
        version.content_type,
        version.created,
        version.revision,
        version.version,
        version.time,
    )


def _summary(version: Version) -> Fields:
    return (
        version.key,
        len(version.value or b""),
        version.content_type,
        version.created,
        version.revision,
        version.version,
        version.time,
    )


def _holds(version: Version | None, field: int, comparison: int, operand: Any) -> bool:
    """Whether a condition holds. An absent key has value None and 0 for everything else."""
    present: Any
    if version is None:
        present = None if field == form.VALUE else 0
    elif field == form.VALUE:
        present = version.value
    elif field == form.REVISION:
        present = version.revision
    elif field == form.CREATED:
        present = version.created
    else:
        present = version.version
    if comparison == form.EQUAL:
        return bool(present == operand)
    if comparison == form.NOT_EQUAL:
        return bool(present != operand)
    if present is None:
        return False
    return bool(present < operand if comparison == form.LESS else present > operand)


# --- snapshots -----------------------------------------------------------------------------------


def _snapshot_records(capture: Capture) -> Iterator[Fields]:
    retention = (capture.revision, capture.oldest, capture.keep_revisions)
    yield (_SNAPSHOT_NAME, _SNAPSHOT_FORMAT, *retention)
    for version in capture.base():
        item = _item(version)
        assert item is not None
        yield item
    for change in capture.log():
        # What a change left beside these follows from the changes before it.
        yield change.revision, change.key, change.value, change.content_type, change.time


def _store_from(records: Iterator[Fields]) -> VersionedStore:
    try:
        name, number, revision, oldest, keep = next(records, ())
        if (name, number) != (_SNAPSHOT_NAME, _SNAPSHOT_FORMAT):
            raise SnapshotDamaged(f"not a snapshot of {_SNAPSHOT_NAME}, format {_SNAPSHOT_FORMAT}")
        base: list[Version] = []
        change: Fields | None = None
        for record in records:
            if len(record) == _CHANGE_FIELDS:
                change = record
                break
            key, value, content_type, created, written, version, time = record
            base.append(Version(key, value, content_type, created, written, version, time, None))
        store = VersionedStore(keep, oldest, base)
        while change is not None:
            _replay(store, change)
            change = next(records, None)
        store.commit()
    except SnapshotDamaged:
        raise
    except (ValueError, TypeError) as error:
        raise SnapshotDamaged("the snapshot holds records of another form") from error
    if store.revision != revision:
        raise SnapshotDamaged(f"the snapshot ends at {store.revision} instead of {revision}")
    return store


def _replay(store: VersionedStore, change: Fields) -> None:
    revision, key, value, content_type, time = change
    if revision == store.revision + 2:
        store.commit()
    if revision != store.revision + 1 or (value is None and store.live(key) is None):
        raise SnapshotDamaged(f"the snapshot holds a change out of place, at revision {revision}")
    store.stage(key, value, content_type, time)
