"""Edge configuration against its naive twin: every state there ever was, kept whole.

The twin knows nothing of versions, indexes or waiting watches. Whatever commands come, the machine
must give its answers, refuse what it refuses, and tell every watcher what the twin's log holds:
each event once, in order, over restores and compactions, or say that it cannot.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from paxos.core.state_machine import CommandFailed, Stamp
from statemachines import edge_config_client as client
from statemachines.edge_config import EdgeConfig
from statemachines.edge_config_client import Condition, Delete, Event, Get, KeyValue, Put
from statemachines.edge_config_format import BYTES, EdgeConfigLimits

KEYS = ("a", "a/1", "a/2", "ab", "b/1", "b/2/x")
PATTERNS = ("", "a", "a/", "ab", "b/", "b/2/", "c")
LIMITS = EdgeConfigLimits(keep_revisions=8, answer_items_max=4, answer_bytes_max=24, scan_max=12)

keys = st.sampled_from(KEYS)
values = st.binary(max_size=6)
operations = st.lists(
    st.one_of(st.builds(Put, keys, values), st.builds(Delete, keys), st.builds(Get, keys)),
    max_size=5,
    unique_by=lambda operation: operation.key,
)
conditions = st.lists(
    st.one_of(
        st.builds(Condition, keys, st.just("value"), st.sampled_from("<>"), values),
        st.builds(
            Condition, keys, st.just("value"), st.sampled_from(["==", "!="]), values | st.none()
        ),
        st.builds(
            Condition,
            keys,
            st.sampled_from(["revision", "created", "version"]),
            st.sampled_from(["==", "!=", "<", ">"]),
            st.integers(0, 12),
        ),
    ),
    max_size=3,
)


@dataclass
class Twin:
    """Edge configuration as one would write it down on paper."""

    keep: int = LIMITS.keep_revisions
    oldest: int = 0
    states: list[dict[str, KeyValue]] = field(default_factory=lambda: [{}])
    events: list[list[Event]] = field(default_factory=lambda: [[]])

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    @property
    def present(self) -> dict[str, KeyValue]:
        return self.states[-1]

    def change(self, operations: list[Put | Delete | Get], time: int) -> list[object]:
        state = dict(self.present)
        revision = self.revision + 1
        events: list[Event] = []
        results: list[object] = []
        for operation in operations:
            key = operation.key
            old = state.get(key)
            if isinstance(operation, Get):
                results.append(old)
            elif isinstance(operation, Put):
                created = old.create_revision if old else revision
                version = old.version + 1 if old else 1
                state[key] = KeyValue(key, operation.value, BYTES, created, revision, version, time)
                events.append(
                    Event("put", key, operation.value, BYTES, revision, created, version, time)
                )
                results.append(True)
            else:
                results.append(old is not None)
                if old:
                    del state[key]
                    events.append(Event("delete", key, None, "", revision, 0, 0, time))
        if events:
            self.states.append(state)
            self.events.append(events)
            self.oldest = max(self.oldest, self.revision - self.keep)
        return results

    def holds(self, condition: Condition) -> bool:
        item = self.present.get(condition.key)
        present: object
        if condition.field == "value":
            present = item.value if item else None
        elif item is None:
            present = 0
        else:
            names = {"revision": "mod_revision", "created": "create_revision"}
            present = getattr(item, names.get(condition.field, condition.field))
        if condition.comparison in ("==", "!="):
            return (present == condition.operand) == (condition.comparison == "==")
        if present is None:
            return False
        less = present < condition.operand  # type: ignore[operator]
        more = present > condition.operand  # type: ignore[operator]
        return bool(less if condition.comparison == "<" else more)

    def history(self, key: str) -> list[Event]:
        base = self.states[self.oldest].get(key)
        kept = [e for events in self.events[self.oldest + 1 :] for e in events if e.key == key]
        if base is not None:
            kept.insert(
                0,
                Event("put", key, base.value, base.content_type, base.mod_revision,
                      base.create_revision, base.version, base.time),
            )  # fmt: skip
        return kept


@dataclass
class Watcher:
    """One that follows a key or a prefix, and knows everything up to ``after``."""

    pattern: str
    exact: bool
    after: int


class EdgeConfigAgainstTwin(RuleBasedStateMachine):
    """Random commands, restores and watchers."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = EdgeConfig(LIMITS)
        self.twin = Twin()
        self.watchers: list[Watcher] = []
        self.slot = 0

    def apply(self, command: bytes) -> bytes:
        return self.machine.apply(command, Stamp(self.slot, 0, self.tick()))

    def tick(self) -> int:
        self.slot += 1
        return self.slot * 10

    @rule(key=keys, value=values)
    def put(self, key: str, value: bytes) -> None:
        result = client.decode_put(self.apply(client.put_command(key, value)))
        self.twin.change([Put(key, value)], self.slot * 10)
        assert result.revision == self.twin.revision

    @rule(key=keys)
    def delete(self, key: str) -> None:
        result = client.decode_delete(self.apply(client.delete_command(key)))
        assert [result.deleted] == self.twin.change([Delete(key)], self.slot * 10)
        assert result.revision == self.twin.revision

    @rule(key=keys, expected=st.none() | values | st.integers(0, 12), value=values)
    def compare_and_set(self, key: str, expected: int | bytes | None, value: bytes) -> None:
        command = client.compare_and_set_command(key, expected, value)
        result = client.decode_compare_and_set(self.apply(command))
        name = "revision" if isinstance(expected, int) else "value"
        succeeds = self.twin.holds(Condition(key, name, "==", expected))
        current = None if succeeds else self.twin.present.get(key)
        if succeeds:
            self.twin.change([Put(key, value)], self.slot * 10)
        assert result == client.CompareAndSetResult(succeeds, self.twin.revision, current)

    @rule(conditions=conditions, then=operations, otherwise=operations)
    def transaction(
        self,
        conditions: list[Condition],
        then: list[Put | Delete | Get],
        otherwise: list[Put | Delete | Get],
    ) -> None:
        command = client.transaction_command(conditions, then, otherwise)
        succeeds = all(map(self.twin.holds, conditions))
        branch = then if succeeds else otherwise
        reads = [self.twin.present.get(o.key) for o in branch if isinstance(o, Get)]
        if sum(len(item.value) for item in reads if item) > LIMITS.answer_bytes_max:
            before = list(self.machine.snapshot())
            with pytest.raises(CommandFailed, match="reads too much"):
                self.apply(command)
            assert list(self.machine.snapshot()) == before
            return
        result = client.decode_transaction(self.apply(command))
        results = self.twin.change(branch, self.slot * 10)
        assert result == client.TransactionResult(
            succeeds,
            self.twin.revision,
            tuple(results),  # type: ignore[arg-type]
        )

    @rule(back=st.integers(-1, 10))
    def compact(self, back: int) -> None:
        revision = max(0, self.twin.revision - back)
        command = client.compact_command(revision)
        if revision > self.twin.revision:
            with pytest.raises(CommandFailed, match="future revision"):
                self.apply(command)
            return
        self.twin.oldest = max(self.twin.oldest, revision)
        assert client.decode_retention(self.apply(command)).oldest_revision == self.twin.oldest

    @rule(keep=st.integers(1, 12))
    def retain(self, keep: int) -> None:
        self.twin.keep = keep
        self.twin.oldest = max(self.twin.oldest, self.twin.revision - keep)
        command = client.retain_command(keep)
        assert client.decode_retention(self.apply(command)).oldest_revision == self.twin.oldest

    @rule()
    def restore(self) -> None:
        chunks = list(self.machine.snapshot())
        self.machine = EdgeConfig(LIMITS)
        self.machine.restore(chunks)
        assert list(self.machine.snapshot()) == chunks

    @rule(prefix=st.sampled_from(PATTERNS), back=st.integers(0, 8), limit=st.integers(1, 5))
    def read_range(self, prefix: str, back: int, limit: int) -> None:
        revision = max(0, self.twin.revision - back)
        if revision < self.twin.oldest:
            with pytest.raises(CommandFailed, match=rf"kept revision is {self.twin.oldest}$"):
                self.machine.query(client.range_query(prefix, revision=revision))
            return
        found: list[KeyValue] = []
        start: str | None = ""
        while start is not None:
            query = client.range_query(prefix, start=start, limit=limit, revision=revision)
            page = client.decode_page(self.machine.query(query))
            assert page.revision == revision
            found += page.items
            start = page.next_key
        state = self.twin.states[revision]
        assert found == [state[key] for key in sorted(state) if key.startswith(prefix)]

    @rule(key=keys)
    def read_history(self, key: str) -> None:
        found: list[Event] = []
        after: int | None = 0
        while after is not None:
            page = client.decode_history(self.machine.query(client.history_query(key, after)))
            found += page.events
            after = page.next_after
        assert found == self.twin.history(key)

    @rule(pattern=st.sampled_from(PATTERNS), exact=st.booleans(), back=st.integers(0, 8))
    def begin_watch(self, pattern: str, exact: bool, back: int) -> None:
        if len(self.watchers) < 6:
            after = max(0, self.twin.revision - back)
            exact = exact and pattern in KEYS
            self.watchers.append(Watcher(pattern, exact, after))

    @rule(number=st.integers(0, 5))
    def follow_watch(self, number: int) -> None:
        if number >= len(self.watchers):
            return
        watcher = self.watchers[number]
        matching = [
            event
            for events in self.twin.events[watcher.after + 1 :]
            for event in events
            if (
                event.key == watcher.pattern
                if watcher.exact
                else event.key.startswith(watcher.pattern)
            )
        ]
        query = client.watch_query(watcher.pattern, watcher.after, watcher.exact)
        answer = None
        failure: CommandFailed | None = None
        try:
            answer = self.machine.watch(query)
        except CommandFailed as refused:
            failure = client.decode_failure(refused)
        if failure is not None:
            # Right only if the revision is gone; then the watcher is told so, and ends.
            assert isinstance(failure, client.RevisionCompacted)
            assert watcher.after < self.twin.oldest == failure.oldest
            self.watchers.remove(watcher)
            return
        if answer is None:
            assert matching == []
            return
        batch = client.decode_watch(answer)
        assert batch.revision > watcher.after
        expected = [event for event in matching if event.revision <= batch.revision]
        assert list(batch.events) == expected
        watcher.after = batch.revision

    @invariant()
    def counts_are_right(self) -> None:
        stats = client.decode_stats(self.machine.query(client.stats_query()))
        twin = self.twin
        kept = sum(map(len, twin.events[twin.oldest + 1 :])) + len(twin.states[twin.oldest])
        expected = (twin.revision, twin.oldest, len(twin.present), kept, twin.keep)
        assert stats == client.Stats(*expected)

    @invariant()
    def present_is_right(self) -> None:
        for key in KEYS:
            found = client.decode_get(self.machine.query(client.get_query(key)))
            assert found.item == self.twin.present.get(key)


TestEdgeConfigAgainstTwin = EdgeConfigAgainstTwin.TestCase
TestEdgeConfigAgainstTwin.settings = settings(stateful_step_count=60)


@given(
    writes=st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 12)), min_size=1, max_size=80),
    pattern=st.sampled_from(PATTERNS),
    batch=st.integers(1, 7),
)
def test_watch_by_a_loop_of_long_polls_sees_every_event_once_or_is_told(
    writes: list[tuple[str, int]], pattern: str, batch: int
) -> None:
    machine = EdgeConfig(LIMITS)
    expected: list[tuple[int, str]] = []
    seen: list[tuple[int, str]] = []
    after = 0
    for number, (key, compaction) in enumerate(writes, 1):
        machine.apply(client.put_command(key, b""), Stamp(number, 0, 0))
        if key.startswith(pattern):
            expected.append((number, key))
        if number % batch:
            continue
        # As a replica does: after a batch, ask again until there is nothing new.
        while (answer := machine.watch(client.watch_query(pattern, after))) is not None:
            found = client.decode_watch(answer)
            seen += [(event.revision, event.key) for event in found.events]
            after = found.revision
        assert seen == expected
        if compaction == 0:
            machine.apply(client.compact_command(number), Stamp(number, 1, 0))
