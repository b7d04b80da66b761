"""Edge configuration by example: what each command and query means."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgpack import packb

from paxos.core.state_machine import CommandFailed, Stamp, StateMachine, Watchable
from statemachines import edge_config_client as client
from statemachines import edge_config_format as form
from statemachines.edge_config import EdgeConfig
from statemachines.edge_config_client import Condition, Delete, Event, Get, KeyValue, Put
from statemachines.edge_config_format import EdgeConfigLimits
from statemachines.snapshot_records import CHUNK_BYTES_MAX, SnapshotDamaged

TIME = 1_700_000_000_000_000
AT = Stamp(1, 0, TIME)


def put(machine: EdgeConfig, key: str, value: bytes = b"v") -> int:
    return client.decode_put(machine.apply(client.put_command(key, value), AT)).revision


def delete(machine: EdgeConfig, key: str) -> client.DeleteResult:
    return client.decode_delete(machine.apply(client.delete_command(key), AT))


def value_of(machine: EdgeConfig, key: str, revision: int | None = None) -> bytes | None:
    item = client.decode_get(machine.query(client.get_query(key, revision))).item
    return None if item is None else item.value


def keys_of(machine: EdgeConfig, revision: int | None = None) -> list[str]:
    page = client.decode_page(machine.query(client.range_query(revision=revision)))
    assert page.next_key is None
    return [item.key for item in page.items]


def stats(machine: EdgeConfig) -> client.Stats:
    return client.decode_stats(machine.query(client.stats_query()))


def history(machine: EdgeConfig, key: str) -> list[tuple[int, bytes | None]]:
    page = client.decode_history(machine.query(client.history_query(key)))
    return [(event.revision, event.value) for event in page.events]


def compact(machine: EdgeConfig, revision: int) -> int:
    return client.decode_retention(
        machine.apply(client.compact_command(revision), AT)
    ).oldest_revision


def retain(machine: EdgeConfig, revisions: int) -> int:
    return client.decode_retention(
        machine.apply(client.retain_command(revisions), AT)
    ).oldest_revision


def transact(machine: EdgeConfig, *arguments: object) -> client.TransactionResult:
    command = client.transaction_command(*arguments)  # type: ignore[arg-type]
    return client.decode_transaction(machine.apply(command, AT))


def test_edge_config_is_a_watchable_state_machine_without_inheriting() -> None:
    assert isinstance(EdgeConfig(), StateMachine)
    assert isinstance(EdgeConfig(), Watchable)
    assert EdgeConfig.__mro__ == (EdgeConfig, object)


# --- put, get, delete -----------------------------------------------------------------------------


def test_put_of_new_key_makes_revision_one() -> None:
    machine = EdgeConfig()
    assert put(machine, "site-7/cam-3/fps", b"25") == 1
    item = client.decode_get(machine.query(client.get_query("site-7/cam-3/fps"))).item
    assert item == KeyValue("site-7/cam-3/fps", b"25", form.BYTES, 1, 1, 1, TIME)


def test_put_of_known_key_keeps_its_creation_and_counts_versions() -> None:
    machine = EdgeConfig()
    put(machine, "a")
    put(machine, "b")
    put(machine, "a", b"w")
    item = client.decode_get(machine.query(client.get_query("a"))).item
    assert item is not None
    assert (item.create_revision, item.mod_revision, item.version) == (1, 3, 2)


def test_delete_then_put_begins_a_new_life() -> None:
    machine = EdgeConfig()
    put(machine, "a")
    assert delete(machine, "a") == client.DeleteResult(2, True)
    put(machine, "a", b"w")
    item = client.decode_get(machine.query(client.get_query("a"))).item
    assert item is not None
    assert (item.create_revision, item.mod_revision, item.version) == (3, 3, 1)


def test_delete_of_absent_key_makes_no_revision() -> None:
    machine = EdgeConfig()
    put(machine, "a")
    assert delete(machine, "b") == client.DeleteResult(1, False)
    assert stats(machine).revision == 1


def test_get_at_old_revision_reads_what_was_then() -> None:
    machine = EdgeConfig()
    put(machine, "a", b"1")
    put(machine, "a", b"2")
    delete(machine, "a")
    put(machine, "a", b"4")
    assert [value_of(machine, "a", revision) for revision in range(5)] == [
        None, b"1", b"2", None, b"4",
    ]  # fmt: skip


def test_get_at_revision_to_come_is_refused_with_the_present_one() -> None:
    machine = EdgeConfig()
    put(machine, "a")
    with pytest.raises(CommandFailed, match=r"future revision: 2 .* present revision is 1") as e:
        value_of(machine, "a", 2)
    failure = client.decode_failure(e.value)
    assert isinstance(failure, client.RevisionInFuture)
    assert (failure.revision, failure.present) == (2, 1)


# --- compare-and-set ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "succeeds"),
    [(b"v", True), (b"w", False), (None, False), (1, True), (2, False), (0, False)],
)
def test_compare_and_set_of_present_key_writes_only_if_as_expected(
    expected: int | bytes | None, succeeds: bool
) -> None:
    machine = EdgeConfig()
    put(machine, "a")
    command = client.compare_and_set_command("a", expected, b"new")
    result = client.decode_compare_and_set(machine.apply(command, AT))
    assert (result.succeeded, result.revision) == (succeeds, 2 if succeeds else 1)
    assert value_of(machine, "a") == (b"new" if succeeds else b"v")
    current = None if succeeds else KeyValue("a", b"v", form.BYTES, 1, 1, 1, TIME)
    assert result.current == current


@pytest.mark.parametrize(
    ("expected", "succeeds"), [(None, True), (0, True), (1, False), (b"", False)]
)
def test_compare_and_set_of_absent_key_creates_only_if_expected_absent(
    expected: int | bytes | None, succeeds: bool
) -> None:
    machine = EdgeConfig()
    command = client.compare_and_set_command("a", expected, b"new")
    result = client.decode_compare_and_set(machine.apply(command, AT))
    assert (result.succeeded, result.current) == (succeeds, None)
    assert value_of(machine, "a") == (b"new" if succeeds else None)


# --- transactions ---------------------------------------------------------------------------------


def test_transaction_with_true_conditions_runs_then_at_one_revision() -> None:
    machine = EdgeConfig()
    put(machine, "a", b"1")
    put(machine, "gone", b"x")
    result = transact(
        machine,
        [Condition("a", "value", "==", b"1"), Condition("new", "version", "==", 0)],
        [Put("a", b"2"), Put("new", b"n"), Delete("gone"), Delete("never"), Get("a")],
        [Put("a", b"wrong")],
    )
    read = KeyValue("a", b"2", form.BYTES, 1, 3, 2, TIME)
    assert result == client.TransactionResult(True, 3, (True, True, True, False, read))
    assert keys_of(machine) == ["a", "new"]
    assert stats(machine).revision == 3


def test_transaction_with_a_false_condition_runs_otherwise() -> None:
    machine = EdgeConfig()
    put(machine, "a", b"1")
    conditions = [Condition("a", "value", "==", b"1"), Condition("a", "revision", ">", 1)]
    result = transact(machine, conditions, [Put("a", b"wrong")], [Get("a"), Get("b")])
    assert result.succeeded is False
    assert result.revision == 1
    assert result.results == (KeyValue("a", b"1", form.BYTES, 1, 1, 1, TIME), None)


def test_transaction_get_before_change_reads_what_was_before() -> None:
    machine = EdgeConfig()
    put(machine, "a", b"1")
    before, done, after = transact(machine, [], [Get("a"), Delete("a"), Get("a")]).results
    assert isinstance(before, KeyValue)
    assert (before.value, done, after) == (b"1", True, None)


@pytest.mark.parametrize(
    ("field", "comparison", "operand", "holds"),
    [
        ("value", "==", b"m", True), ("value", "!=", b"m", False), ("value", "<", b"n", True),
        ("value", "<", b"m", False), ("value", ">", b"l", True), ("value", "==", None, False),
        ("value", "!=", None, True), ("revision", "==", 2, True), ("revision", "<", 3, True),
        ("revision", ">", 2, False), ("created", "==", 1, True), ("created", "!=", 1, False),
        ("version", "==", 2, True), ("version", ">", 1, True),
    ],
)  # fmt: skip
def test_condition_on_present_key_compares_its_field(
    field: str, comparison: str, operand: bytes | int | None, holds: bool
) -> None:
    machine = EdgeConfig()
    put(machine, "k", b"first")
    put(machine, "k", b"m")
    assert transact(machine, [Condition("k", field, comparison, operand)], []).succeeded is holds


@pytest.mark.parametrize(
    ("field", "comparison", "operand", "holds"),
    [
        ("value", "==", None, True), ("value", "!=", None, False), ("value", "==", b"", False),
        ("value", "<", b"z", False), ("value", ">", b"", False), ("revision", "==", 0, True),
        ("created", "<", 1, True), ("version", ">", 0, False),
    ],
)  # fmt: skip
def test_condition_on_absent_key_sees_nil_and_zero(
    field: str, comparison: str, operand: bytes | int | None, holds: bool
) -> None:
    machine = EdgeConfig()
    assert transact(machine, [Condition("k", field, comparison, operand)], []).succeeded is holds


def test_transaction_that_reads_too_much_is_refused_and_changes_nothing() -> None:
    machine = EdgeConfig(EdgeConfigLimits(answer_bytes_max=100))
    put(machine, "a", b"x" * 60)
    before = list(machine.snapshot())
    with pytest.raises(CommandFailed, match="reads too much"):
        transact(machine, [], [Put("b", b"y" * 60), Get("a"), Get("b")])
    assert list(machine.snapshot()) == before
    assert transact(machine, [], [Put("b", b"y" * 60), Get("b"), Delete("a"), Get("a")]).succeeded


# --- ranges ---------------------------------------------------------------------------------------


def test_range_by_prefix_and_bounds_returns_keys_in_order() -> None:
    machine = EdgeConfig()
    for key in ("b/2", "a", "b/10", "b", "c", "b/1", "bb"):
        put(machine, key, key.encode())
    for query, expected in (
        (client.range_query("b/"), ["b/1", "b/10", "b/2"]),
        (client.range_query("b"), ["b", "b/1", "b/10", "b/2", "bb"]),
        (client.range_query(start="b/10", stop="bb"), ["b/10", "b/2"]),
        (client.range_query("b", start="b/2"), ["b/2", "bb"]),
        (client.range_query("b", start="c"), []),
        (client.range_query("x"), []),
    ):
        page = client.decode_page(machine.query(query))
        assert [item.key for item in page.items] == expected
        assert [item.value for item in page.items] == [key.encode() for key in expected]
        assert page.next_key is None


def test_range_with_keys_only_returns_sizes_instead_of_values() -> None:
    machine = EdgeConfig()
    put(machine, "a", b"12345")
    page = client.decode_summary_page(machine.query(client.range_query(keys_only=True)))
    assert page.items == (client.KeySummary("a", 5, form.BYTES, 1, 1, 1, TIME),)


def test_range_over_pages_at_one_revision_sees_no_later_change() -> None:
    machine = EdgeConfig()
    for number in range(10):
        put(machine, f"k{number}")
    seen: list[str] = []
    start: str | None = ""
    revision = None
    while start is not None:
        query = client.range_query("k", start=start, limit=3, revision=revision)
        page = client.decode_page(machine.query(query))
        assert len(page.items) <= 3
        seen += [item.key for item in page.items]
        start, revision = page.next_key, page.revision
        put(machine, f"k{len(seen)}-later")
        delete(machine, "k9")
    assert seen == [f"k{number}" for number in range(10)]


def test_range_page_ends_before_it_exceeds_its_bytes_but_holds_one_item() -> None:
    machine = EdgeConfig(EdgeConfigLimits(answer_bytes_max=100))
    for key in ("a", "b", "c"):
        put(machine, key, b"x" * 60)
    put(machine, "d", b"x" * 200)
    page = client.decode_page(machine.query(client.range_query()))
    assert ([item.key for item in page.items], page.next_key) == (["a"], "b")
    page = client.decode_page(machine.query(client.range_query(start="d")))
    assert ([item.key for item in page.items], page.next_key) == (["d"], None)


def test_range_over_many_deleted_keys_answers_in_bounded_steps() -> None:
    machine = EdgeConfig(EdgeConfigLimits(scan_max=10))
    for number in range(25):
        put(machine, f"k{number:02}")
    for number in range(24):
        delete(machine, f"k{number:02}")
    pages = []
    start: str | None = ""
    while start is not None:
        page = client.decode_page(machine.query(client.range_query(start=start)))
        pages.append([item.key for item in page.items])
        start = page.next_key
    assert pages == [[], [], ["k24"]]


# --- history and retention ------------------------------------------------------------------------


def test_history_lists_kept_changes_oldest_first_in_pages() -> None:
    machine = EdgeConfig()
    put(machine, "a", b"1")
    put(machine, "other")
    put(machine, "a", b"3")
    delete(machine, "a")
    put(machine, "a", b"5")
    assert history(machine, "a") == [(1, b"1"), (3, b"3"), (4, None), (5, b"5")]
    first = client.decode_history(machine.query(client.history_query("a", limit=3)))
    assert [event.type for event in first.events] == ["put", "put", "delete"]
    assert first.next_after == 4
    rest = client.decode_history(machine.query(client.history_query("a", after=4)))
    assert ([event.revision for event in rest.events], rest.next_after) == ([5], None)
    assert history(machine, "unknown") == []


def test_compact_forgets_older_states_and_keeps_the_one_at_its_revision() -> None:
    machine = EdgeConfig()
    put(machine, "a", b"1")
    put(machine, "b", b"2")
    put(machine, "a", b"3")
    put(machine, "a", b"4")
    assert compact(machine, 3) == 3
    assert [value_of(machine, "a", revision) for revision in (3, 4)] == [b"3", b"4"]
    assert value_of(machine, "b", 3) == b"2"
    assert history(machine, "a") == [(3, b"3"), (4, b"4")]
    with pytest.raises(CommandFailed, match=r"compacted: .* oldest kept revision is 3") as raised:
        value_of(machine, "a", 2)
    failure = client.decode_failure(raised.value)
    assert isinstance(failure, client.RevisionCompacted)
    assert (failure.revision, failure.oldest) == (2, 3)


def test_compact_of_deleted_key_leaves_nothing() -> None:
    machine = EdgeConfig()
    put(machine, "keep")
    put(machine, "secret/key", b"secret value")
    delete(machine, "secret/key")
    assert b"secret" in b"".join(machine.snapshot())
    compact(machine, 3)
    assert b"secret" not in b"".join(machine.snapshot())
    assert history(machine, "secret/key") == []
    assert stats(machine) == client.Stats(3, 3, 1, 1, 10_000)
    assert keys_of(machine) == ["keep"]


def test_compact_of_deleted_and_recreated_key_keeps_only_its_new_life() -> None:
    machine = EdgeConfig()
    put(machine, "a", b"1")
    delete(machine, "a")
    put(machine, "a", b"3")
    compact(machine, 2)
    assert history(machine, "a") == [(3, b"3")]
    assert (value_of(machine, "a", 2), value_of(machine, "a", 3)) == (None, b"3")
    assert stats(machine).versions == 1


def test_compact_twice_is_no_error_and_never_goes_back() -> None:
    machine = EdgeConfig()
    for _ in range(5):
        put(machine, "a")
    assert [compact(machine, revision) for revision in (4, 2, 4)] == [4, 4, 4]


def test_compact_beyond_the_present_is_refused() -> None:
    machine = EdgeConfig()
    put(machine, "a")
    with pytest.raises(CommandFailed, match="future revision: 2 "):
        compact(machine, 2)


def test_retention_by_default_keeps_the_last_ten_thousand_revisions() -> None:
    machine = EdgeConfig()
    put(machine, "quiet", b"still here")
    for number in range(10_004):
        put(machine, "busy", b"%d" % number)
    assert stats(machine).oldest_revision == 5
    assert value_of(machine, "busy", 6) == b"4"
    with pytest.raises(CommandFailed, match="oldest kept revision is 5"):
        value_of(machine, "busy", 4)
    assert value_of(machine, "quiet") == b"still here"
    assert stats(machine).versions == 10_002


def test_retain_forgets_at_once_and_from_then_on() -> None:
    machine = EdgeConfig()
    for _ in range(10):
        put(machine, "a")
    assert retain(machine, 3) == 7
    put(machine, "a")
    assert (stats(machine).oldest_revision, stats(machine).keep_revisions) == (8, 3)
    assert retain(machine, 100) == 8
    put(machine, "a")
    assert stats(machine).oldest_revision == 8


# --- watches --------------------------------------------------------------------------------------


def watch(
    machine: EdgeConfig, pattern: str, after: int, exact: bool = False
) -> client.WatchBatch | None:
    answer = machine.watch(client.watch_query(pattern, after, exact))
    return None if answer is None else client.decode_watch(answer)


def test_watch_with_nothing_new_returns_none_until_something_matches() -> None:
    machine = EdgeConfig()
    put(machine, "a/1")
    assert watch(machine, "a/", 1) is None
    put(machine, "b/1")
    assert watch(machine, "a/", 1) is None
    put(machine, "a/2", b"new")
    event = Event("put", "a/2", b"new", form.BYTES, 3, 3, 1, TIME)
    assert watch(machine, "a/", 1) == client.WatchBatch((event,), 3)
    assert watch(machine, "a/", 1) == client.WatchBatch((event,), 3)
    assert watch(machine, "a/", 3) is None


def test_watch_of_exact_key_ignores_keys_that_begin_with_it() -> None:
    machine = EdgeConfig()
    put(machine, "a")
    assert watch(machine, "a", 1, exact=True) is None
    put(machine, "a/1")
    put(machine, "ab")
    assert watch(machine, "a", 1, exact=True) is None
    delete(machine, "a")
    batch = watch(machine, "a", 1, exact=True)
    assert batch is not None
    assert [(e.type, e.key, e.value, e.revision) for e in batch.events] == [
        ("delete", "a", None, 4)
    ]


def test_watch_from_zero_tells_everything_kept_in_order() -> None:
    machine = EdgeConfig()
    put(machine, "a")
    transact(machine, [], [Put("b", b"1"), Put("a", b"2"), Delete("c")])
    delete(machine, "a")
    batch = watch(machine, "", 0)
    assert batch is not None
    assert [(e.revision, e.type, e.key) for e in batch.events] == [
        (1, "put", "a"), (2, "put", "b"), (2, "put", "a"), (3, "delete", "a"),
    ]  # fmt: skip


def test_watch_batch_ends_between_revisions_and_goes_on_after_them() -> None:
    machine = EdgeConfig(EdgeConfigLimits(answer_items_max=4))
    for number in range(4):
        transact(machine, [], [Put(f"{number}/{name}", b"") for name in "abc"])
    batches = []
    after = 0
    while (batch := watch(machine, "", after)) is not None:
        batches.append([event.revision for event in batch.events])
        after = batch.revision
    assert batches == [[1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]]


def test_watch_batch_of_one_huge_revision_is_whole() -> None:
    machine = EdgeConfig(EdgeConfigLimits(answer_items_max=2, answer_bytes_max=10))
    transact(machine, [], [Put(name, b"x" * 50) for name in "abcde"])
    batch = watch(machine, "", 0)
    assert batch is not None
    assert len(batch.events) == 5


def test_watch_of_compacted_revision_is_refused_with_the_oldest() -> None:
    machine = EdgeConfig()
    for _ in range(5):
        put(machine, "a")
    compact(machine, 3)
    with pytest.raises(CommandFailed, match=r"compacted: revision 2 .* revision is 3"):
        watch(machine, "a", 2)
    batch = watch(machine, "a", 3)
    assert batch is not None
    assert [event.revision for event in batch.events] == [4, 5]


def test_watch_of_quiet_prefix_is_moved_on_before_compaction_reaches_it() -> None:
    machine = EdgeConfig(EdgeConfigLimits(keep_revisions=10))
    after = 0
    moves = 0
    for _ in range(100):
        put(machine, "busy")
        batch = watch(machine, "quiet/", after)
        if batch is not None:
            assert batch.events == ()
            after = batch.revision
            moves += 1
    assert moves == 20
    put(machine, "quiet/now")
    batch = watch(machine, "quiet/", after)
    assert batch is not None
    assert [event.key for event in batch.events] == ["quiet/now"]


def test_watch_that_waits_survives_compaction_of_what_did_not_concern_it() -> None:
    machine = EdgeConfig()
    put(machine, "a")
    assert watch(machine, "quiet/", 1) is None
    for _ in range(5):
        put(machine, "a")
    compact(machine, 6)
    assert watch(machine, "quiet/", 1) == client.WatchBatch((), 6)


def test_watch_that_waits_is_refused_when_its_own_event_was_compacted() -> None:
    machine = EdgeConfig()
    put(machine, "a")
    assert watch(machine, "quiet/", 1) is None
    put(machine, "quiet/1")
    put(machine, "a")
    compact(machine, 3)
    with pytest.raises(CommandFailed, match="compacted"):
        watch(machine, "quiet/", 1)


def test_watch_ahead_of_a_lagging_replica_waits() -> None:
    machine = EdgeConfig()
    put(machine, "a")
    assert watch(machine, "", 3) is None
    put(machine, "a")
    put(machine, "a")
    assert watch(machine, "", 3) is None
    put(machine, "a", b"4")
    batch = watch(machine, "", 3)
    assert batch is not None
    assert [event.revision for event in batch.events] == [4]


def test_watch_over_a_long_log_without_match_moves_on_in_bounded_steps() -> None:
    machine = EdgeConfig(EdgeConfigLimits(scan_max=10))
    for _ in range(25):
        put(machine, "a")
    assert watch(machine, "b", 0) == client.WatchBatch((), 10)
    assert watch(machine, "b", 10) == client.WatchBatch((), 20)
    assert watch(machine, "b", 20) is None


def test_watch_after_restore_answers_as_before() -> None:
    machine, copy = EdgeConfig(), EdgeConfig()
    for key in ("a/1", "b/1", "a/2"):
        put(machine, key)
    for _ in range(4):
        put(copy, "a/other")
    assert watch(copy, "a/", 4) is None
    copy.restore(machine.snapshot())
    assert watch(copy, "a/", 1) == watch(machine, "a/", 1) is not None
    assert watch(copy, "a/", 4) is None
    put(copy, "b/2")
    put(copy, "a/3")
    batch = watch(copy, "a/", 4)
    assert batch is not None
    assert [event.key for event in batch.events] == ["a/3"]


def test_watch_that_waits_is_told_what_a_restored_state_holds() -> None:
    machine, copy = EdgeConfig(), EdgeConfig()
    put(machine, "b/1")
    put(copy, "a")
    assert watch(copy, "b/", 0) is None
    copy.restore(machine.snapshot())
    batch = watch(copy, "b/", 0)
    assert batch is not None
    assert [event.key for event in batch.events] == ["b/1"]


def test_watch_that_waits_is_refused_when_a_restored_state_begins_later() -> None:
    machine, copy = EdgeConfig(), EdgeConfig()
    for _ in range(9):
        put(machine, "a")
    compact(machine, 5)
    assert watch(copy, "b/", 0) is None
    copy.restore(machine.snapshot())
    with pytest.raises(CommandFailed, match="compacted"):
        watch(copy, "b/", 0)


# --- the gate -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    ["", "/", "/a", "a/", "a//b", "a\x00b", "a/\n", "a\x7f", "a\x85", "x" * 1025, "é" * 513],
)
def test_key_that_is_no_path_is_refused_by_builder_and_by_machine(key: str) -> None:
    with pytest.raises(client.RequestInvalid):
        client.put_command(key, b"")
    with pytest.raises(CommandFailed):
        EdgeConfig().apply(packb((1, form.PUT, key, b"", form.BYTES)), AT)
    with pytest.raises(CommandFailed):
        EdgeConfig().query(packb((1, form.GET, key, None)))


@pytest.mark.parametrize(
    "key", ["a", "a/b", "Ünïcode/ключ/鍵", "with space/and.dots/..", "é" * 512]
)
def test_key_that_is_a_path_is_taken(key: str) -> None:
    machine = EdgeConfig()
    put(machine, key)
    assert value_of(machine, key) == b"v"


def test_key_with_lone_surrogate_is_refused_by_the_builder() -> None:
    with pytest.raises(client.RequestInvalid):
        client.put_command("\ud800" * 300, b"")
    with pytest.raises(client.RequestInvalid):
        client.put_command("a\ud800", b"")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ((1, form.PUT, "k", b"x" * (1024 * 1024 + 1), form.BYTES), "value too long"),
        ((1, form.PUT, "k", b"", ""), "bad content type"),
        ((1, form.PUT, "k", b"", "text/plain\n"), "bad content type"),
        ((1, form.PUT, "k", b"", "x" * 256), "content type too long"),
        ((1, form.TRANSACTION, (), ((form.GET, "k"),) * 129, ()), "too many operations"),
        ((1, form.TRANSACTION, (("k", 0, 0, None),) * 129, (), ()), "too many conditions"),
        ((1, form.TRANSACTION, (), (), ((form.DELETE, "k"),) * 2), "changes a key twice"),
        ((1, form.TRANSACTION, (("k", 0, form.LESS, None),), (), ()), "neither less nor greater"),
        ((2, form.PUT, "k", b"", form.BYTES), "unknown format"),
        ((True, form.PUT, "k", b"", form.BYTES), "unknown format"),
        ((1, 99), "unknown command"),
        ((1, form.GET, "k", None), "unknown command"),
        ((1, form.PUT, "k", "text", form.BYTES), "value is not bytes"),
        ((1, form.PUT, b"k", b"", form.BYTES), "key is not text"),
        ((1, form.PUT, ("k",), b"", form.BYTES), "key is not text"),
        ((1, form.PUT, "k", b"", form.BYTES, 1), "6 fields instead of 5"),
        ((1, form.RETAIN, 0), "not a number from 1"),
        ((1, form.COMPACT, True), "not a number from 0"),
        ((1, form.COMPARE_AND_SET, "k", form.REVISION, -1, b"", form.BYTES), "not a number"),
        ((1, form.COMPARE_AND_SET, "k", 4, 1, b"", form.BYTES), "unknown field"),
        ((1, form.TRANSACTION, (), ((form.PUT, "k", b""),), ()), "unknown operation"),
        ((1, form.TRANSACTION, (), ((form.GET, "k", 1),), ()), "unknown operation"),
        ((1, form.TRANSACTION, (), (form.GET,), ()), "an operation is not a kind and a key"),
        ((1, form.TRANSACTION, (), "then", ()), "operations are not a list"),
        ((1, form.TRANSACTION, 1, (), ()), "conditions are not a list"),
        ((1, form.TRANSACTION, (("k", 0, 0),), (), ()), "condition is not"),
        ((1, form.TRANSACTION, (("k", 0, 4, b""),), (), ()), "unknown comparison"),
        ((1, form.PUT, "k", b"", 1), "content type is not text"),
        ((1, "put", "k", b"", form.BYTES), "kind is not a number"),
    ],
)
def test_command_beyond_limits_or_malformed_is_refused_and_changes_nothing(
    command: tuple[object, ...], text: str
) -> None:
    machine = EdgeConfig()
    put(machine, "k")
    before = list(machine.snapshot())
    with pytest.raises(CommandFailed, match=text):
        machine.apply(packb(command), AT)
    assert list(machine.snapshot()) == before


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ((1, form.PUT, "k", b"", form.BYTES), "unknown query"),
        ((1, form.WATCH, "k", False, 0), "unknown query"),
        ((1, form.GET, "k", 1.0), "revision is not a number"),
        ((1, form.RANGE, b"", "", None, 1, None, False), "prefix is not text"),
        ((1, form.RANGE, "", "x" * 1025, None, 1, None, False), "prefix too long"),
        ((1, form.RANGE, "", "", "\n", 1, None, False), "control character"),
        ((1, form.RANGE, "", "", None, 0, None, False), "limit is not a number from 1"),
        ((1, form.RANGE, "", "", None, 1, None, 0), "keys_only is not true or false"),
        ((1, form.HISTORY, "k", 0, True), "limit is not a number from 1"),
        ((1, form.STATS, 1), "3 fields instead of 2"),
    ],
)
def test_query_that_is_malformed_is_refused(query: tuple[object, ...], text: str) -> None:
    with pytest.raises(CommandFailed, match=text):
        EdgeConfig().query(packb(query))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ((1, form.GET, "k", None), "not a watch"),
        ((1, form.WATCH, "k", 0, 0), "exact is not true or false"),
        ((1, form.WATCH, "k/", True, 0), "bad key"),
        ((1, form.WATCH, "\n", False, 0), "control character"),
        ((1, form.WATCH, "k", False, -1), "revision is not a number"),
        ((1, form.WATCH, "k", False), "4 fields instead of 5"),
    ],
)
def test_watch_that_is_malformed_is_refused(query: tuple[object, ...], text: str) -> None:
    with pytest.raises(CommandFailed, match=text):
        EdgeConfig().watch(packb(query))


def test_value_and_transaction_at_their_limits_are_taken() -> None:
    machine = EdgeConfig()
    put(machine, "k", b"x" * 1024 * 1024)
    assert transact(machine, [], [Get("k")]).succeeded
    transact(machine, [], [Put(f"k{number}", b"") for number in range(128)])
    assert stats(machine).keys == 129


# --- snapshots ------------------------------------------------------------------------------------


def busy_machine() -> EdgeConfig:
    machine = EdgeConfig(EdgeConfigLimits(keep_revisions=50))
    for number in range(200):
        put(machine, f"site-{number % 17}/value", b"%d" % number * (number % 5 * 4000))
        if number % 7 == 0:
            delete(machine, f"site-{number % 13}/value")
        transact(machine, [], [Put(f"t/{number}", b"x"), Delete(f"t/{number - 30}")])
    return machine


def test_snapshot_restored_gives_the_same_chunks_history_and_reads() -> None:
    machine, copy = busy_machine(), EdgeConfig()
    chunks = list(machine.snapshot())
    copy.restore(chunks)
    assert list(copy.snapshot()) == chunks
    assert stats(copy) == stats(machine)
    for revision in range(stats(machine).oldest_revision, stats(machine).revision + 1):
        query = client.range_query(revision=revision, keys_only=True)
        assert copy.query(query) == machine.query(query)
    for key in keys_of(machine):
        assert history(copy, key) == history(machine, key)


def test_snapshot_chunks_are_bounded_even_for_large_values() -> None:
    machine = EdgeConfig()
    for number in range(5):
        put(machine, f"large-{number}", bytes([number]) * 1024 * 1024)
    chunks = list(machine.snapshot())
    assert max(map(len, chunks)) <= CHUNK_BYTES_MAX
    copy = EdgeConfig()
    copy.restore(chunks)
    assert value_of(copy, "large-3") == b"\x03" * 1024 * 1024


def test_snapshot_of_equal_states_is_equal_whatever_way_they_came_about() -> None:
    one, other = EdgeConfig(), EdgeConfig()
    transact(one, [], [Put("b", b"1"), Put("a", b"1")])
    put(one, "a", b"2")
    compact(one, 2)
    copy = EdgeConfig()
    copy.restore(one.snapshot())
    for number in range(3000):
        transact(other, [], [Put("b", b"1"), Put("a", b"%d" % number)])
    other.restore(copy.snapshot())
    assert list(other.snapshot()) == list(one.snapshot())


@pytest.mark.parametrize(
    "damage",
    [
        lambda chunks: chunks[:-1],
        lambda chunks: chunks[1:],
        lambda chunks: [*chunks, chunks[-1]],
        lambda chunks: [*chunks, b""],
        lambda chunks: [chunks[1], chunks[0], *chunks[2:]],
        lambda chunks: [chunks[0], chunks[0], *chunks[1:]],
        lambda chunks: [chunks[0][:-1], *chunks[1:]],
        lambda chunks: [chunks[0], chunks[1][:1000] + b"?" + chunks[1][1001:], *chunks[2:]],
        lambda _: [],
        lambda _: [b"nonsense"],
    ],
)
def test_restore_of_damaged_snapshot_is_refused_and_changes_nothing(
    damage: Callable[[list[bytes]], list[bytes]],
) -> None:
    source = EdgeConfig()
    for number in range(4):
        put(source, f"k{number}", bytes([65 + number]) * 300_000)
    chunks = list(source.snapshot())
    assert len(chunks) > 3
    machine = EdgeConfig()
    put(machine, "mine")
    before = list(machine.snapshot())
    with pytest.raises(SnapshotDamaged):
        machine.restore(damage(chunks))
    assert list(machine.snapshot()) == before


def test_restore_of_snapshot_of_another_machine_is_refused() -> None:
    from statemachines.snapshot_records import cut_records

    for records in (
        [("task_log", 1, 0, 0, 1)],
        [("edge_config", 2, 0, 0, 1)],
        [("edge_config", 1, 5, 0, 10)],
        [("edge_config", 1, 1, 0, 10), (2, "k", b"", "", 0)],
        [("edge_config", 1, 1, 0, 10), (1, "k", None, "", 0)],
        [("edge_config", 1, 1, 0, 10), (1, "k")],
        [],
    ):
        with pytest.raises(SnapshotDamaged):
            EdgeConfig().restore(cut_records(records))


def test_formats_of_commands_queries_and_snapshots_are_golden() -> None:
    assert client.put_command("a/b", b"\x01", form.JSON.replace("json", "x")) == bytes.fromhex(
        "950101a3612f62c401" + "01" + "ad" + b"application/x".hex()
    )
    assert client.delete_command("a") == bytes.fromhex("930102a161")
    assert client.compare_and_set_command("a", 7, b"", "t") == bytes.fromhex(
        "970103a1610107c400a174"
    )
    assert client.compare_and_set_command("a", None, b"", "t") == bytes.fromhex(
        "970103a16100c0c400a174"
    )
    assert client.transaction_command(
        [Condition("a", "version", ">", 1)], [Put("b", b"", "t")], [Delete("b"), Get("a")]
    ) == bytes.fromhex("9501049194a16103030191" + "9401a162c400a174" + "929202a1629207a161")
    assert client.compact_command(300) == bytes.fromhex("930105cd012c")
    assert client.retain_command(5) == bytes.fromhex("93010605")
    assert client.get_query("a") == bytes.fromhex("940107a161c0")
    assert client.range_query("a", limit=2) == bytes.fromhex("980108a161a0c002c0c2")
    assert client.history_query("a", 1, 2) == bytes.fromhex("950109a1610102")
    assert client.stats_query() == bytes.fromhex("92010a")
    assert client.watch_query("a", 3, True) == bytes.fromhex("95010ba161c303")
    machine = EdgeConfig(EdgeConfigLimits(keep_revisions=2))
    machine.apply(client.put_command("a", b"1", "t"), Stamp(1, 0, 5))
    machine.apply(client.delete_command("a"), Stamp(2, 0, 6))
    machine.apply(client.put_command("b", b"2", "t"), Stamp(3, 0, 7))
    assert b"".join(machine.snapshot()).hex() == GOLDEN_SNAPSHOT


GOLDEN_SNAPSHOT = (
    "cb7356f395ab656467655f636f6e6669670103010297a161c40131a174010101"
    "059502a161c0a0069503a162c40132a1740704"
)
