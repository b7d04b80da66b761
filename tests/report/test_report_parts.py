"""The parts of a report one by one: operations, values, windows, messages, traces, quantiles."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from jepsen_like.history import Entry
from jepsen_like.report import embedded, keys, operations, plots, shown, trace, views
from jepsen_like.report.diagram import lay_out
from jepsen_like.report.facts import Arrow, Band, Step
from jepsen_like.report.operations import NANOSECONDS, Operation, counts, pair
from jepsen_like.report.quantiles import quantile
from jepsen_like.report.window import look
from tests.report.example_runs import failing_run, good_run

# --- operations ----------------------------------------------------------------------------------


def test_operation_without_an_answer_counts_as_info() -> None:
    history = [Entry(0, "invoke", "read", "a", None, 1), Entry(1, "invoke", "read", "a", None, 2)]
    history.append(Entry(1, "ok", "read", "a", 7, 3))
    assert counts(history) == {"operations": 2, "ok": 1, "fail": 0, "info": 1}
    unanswered, answered = pair(history).operations
    assert (unanswered.outcome, unanswered.stop, unanswered.done_at) == ("info", None, None)
    assert (answered.answer, answered.latency, answered.done_at) == (7, 1, 2)


def test_entries_that_fit_nowhere_are_counted_and_left_out() -> None:
    history = [
        Entry(0, "ok", "read", None, 1, 1),
        Entry(1, "invoke", "read", None, None, 2),
        Entry(1, "invoke", "read", None, None, 3),
        Entry(1, "ok", "read", None, None, 4),
    ]
    paired = pair(history)
    assert paired.stray == 2
    assert [each.outcome for each in paired.operations] == ["info", "ok"]


def test_faults_and_phases_of_a_history_are_those_that_the_nemesis_wrote() -> None:
    facts = good_run(200)
    found = operations.bands(facts.history)
    assert [(each.kind, each.target, each.effects) for each in found] == [
        (each.kind, each.target, each.effects) for each in facts.bands
    ]
    assert all(
        abs(a.start_s - b.start_s) < 1e-6 and abs(a.stop_s - b.stop_s) < 1e-6
        for a, b in zip(found, facts.bands, strict=True)
    )
    assert [each.name for each in operations.phases(facts.history)] == [
        each.name for each in facts.phases
    ]


def test_fault_that_never_ends_lasts_as_long_as_the_history() -> None:
    history = [
        Entry("nemesis", "info", "kill", None, {"target": "n1"}, NANOSECONDS),
        Entry(0, "invoke", "read", None, None, 5 * NANOSECONDS),
    ]
    assert operations.bands(history) == [Band("kill", "n1", 1.0, 5.0, 0)]


# --- values --------------------------------------------------------------------------------------


def _operation(f: str, value: object, answer: object = None, outcome: str = "ok") -> Operation:
    history = [Entry(0, "invoke", f, None, value, 1)]
    history.append(Entry(0, outcome, f, None, answer, 2, None))  # type: ignore[arg-type]
    return pair(history).operations[0]


def test_labels_say_what_went_in_and_what_came_out() -> None:
    assert shown.label(_operation("read", None, None)) == "read → null"
    assert shown.label(_operation("read", None, 4)) == "read → 4"
    assert shown.label(_operation("write", 3, 3)) == "write 3"
    assert shown.label(_operation("write", 3, None)) == "write 3"
    assert shown.label(_operation("cas", [1, 2], [1, 2], "fail")) == "cas [1,2]"
    assert shown.label(_operation("append", 5, [1, 5])) == "append 5 → [1,5]"


def test_long_lists_keep_their_beginning_and_their_end() -> None:
    text = shown.value_text(list(range(100_000)), 40)
    assert len(text) == 40
    assert text.startswith("[0,1,2,")
    assert text.endswith(",99998,99999]")


def test_characters_that_hide_or_reorder_are_written_as_escapes() -> None:
    assert shown.visible("a\u202eb\x00c\ud800") == "a\\u202eb\\x00c\\ud800"
    assert shown.visible("é 漢 ✓") == "é 漢 ✓"


def test_quantile_is_the_smallest_that_enough_are_not_above() -> None:
    assert quantile([1, 2, 3, 4], 0.5) == 2
    assert quantile([1, 2, 3, 4], 0.51) == 3
    assert quantile([1], 0.01) == 1
    assert quantile([1, 2], 1.0) == 2


# --- keys ----------------------------------------------------------------------------------------


def test_index_of_keys_begins_with_the_impossible_then_the_most_unknown() -> None:
    facts = failing_run(2_000)
    index = keys.index(pair(facts.history).operations, facts.impossible)
    assert {index[0].name} == set(facts.impossible)
    assert index[0].impossible is not None
    unknown = [key.counts["info"] for key in index[1:]]
    assert unknown == sorted(unknown, reverse=True)
    assert sum(key.counts["operations"] for key in index) == 2_000


def test_packed_operations_read_back_are_the_operations() -> None:
    facts = good_run(300)
    index = keys.index(pair(facts.history).operations, {})
    data = json.loads(embedded.pack(index))
    for key, row in zip(index, data["keys"], strict=True):
        starts, columns = 0, row[8]
        for number, operation in enumerate(key.operations):
            starts += columns[0][number]
            assert starts == round(operation.start / 1000)
            assert data["texts"][columns[3][number]] == operation.f
            assert embedded.OUTCOMES[columns[4][number]] == operation.outcome
            begun = columns[7][number]
            if operation.done_at is None:
                assert begun == -1
                continue
            within = [each.invoked_at < operation.done_at for each in key.operations[number + 1 :]]
            assert sum(within) == begun


def test_errors_that_differ_in_numbers_only_are_one_where_there_are_too_many() -> None:
    history: list[Entry] = []
    for number in range(30):
        history.append(Entry(number, "invoke", "read", None, None, number))
        error = f"port {number} is closed" if number < 25 else "overloaded"
        history.append(Entry(number, "fail", "read", None, None, number, error))
    asked = pair(history).operations
    assert keys.errors(asked, 20) == [("port # is closed", "fail", 25), ("overloaded", "fail", 5)]
    assert len(keys.errors(asked, 26)) == 26


# --- the window ----------------------------------------------------------------------------------


def test_bars_of_a_window_overlap_exactly_where_operations_do() -> None:
    facts = failing_run(3_000, keys=1, seconds=3)
    index = keys.index(pair(facts.history).operations, facts.impossible)
    window = look(index[0], (), facts.bands)
    assert window is not None
    compared = 0
    for one in window.bars:
        for other in window.bars:
            first, second = one.operation, other.operation
            apart = first.done_at is not None and first.done_at < second.invoked_at
            assert apart == (one.x + one.width < other.x + 0.001)
            compared += not apart and one is not other
    assert compared > 50


def test_window_tells_how_each_operation_lies_to_the_impossible_one() -> None:
    history = [
        Entry(0, "invoke", "write", None, 1, 0),
        Entry(0, "ok", "write", None, 1, 1),
        Entry(1, "invoke", "write", None, 2, 2),
        Entry(1, "info", "write", None, 2, 3, "timeout"),
        Entry(2, "invoke", "write", None, 3, 4),
        Entry(3, "invoke", "read", None, None, 5),
        Entry(2, "ok", "write", None, 3, 6),
        Entry(3, "ok", "read", None, 9, 7),
        Entry(4, "invoke", "read", None, None, 8),
    ]
    index = keys.index(pair(history).operations, {None: 7})
    window = look(index[0], (), ())
    assert window is not None
    assert [each.relation for each in window.told] == [
        "before",
        "open",
        "overlaps",
        "this",
        "after",
    ]
    assert window.origin == "Nobody wrote 9."
    assert [bar.open for bar in window.bars] == [False, True, False, False, True]


def test_window_without_room_says_what_it_leaves_out() -> None:
    facts = failing_run(2_000, keys=1)
    index = keys.index(pair(facts.history).operations, facts.impossible)
    window = look(index[0], (), ())
    assert window is not None
    assert len(window.told) + sum(window.left_out.values()) == 2_000
    assert window.left_out["before"] > 500


# --- messages ------------------------------------------------------------------------------------


def test_diagram_keeps_the_messages_before_the_violation() -> None:
    arrows = [Arrow(time, time + 0.5, "n1", "n2", f"Accept({time})") for time in range(1_000)]
    diagram = lay_out(arrows, [Step(500.7, "n2", "decides wrongly", wrong=True)])
    assert diagram is not None
    texts = [flight.text for flight in diagram.flights]
    assert "Accept(500)" in texts
    assert "Accept(501)" in texts
    assert "Accept(100)" not in texts
    assert diagram.left_out == 1_000 - len(texts)
    assert [note.wrong for note in diagram.notes] == [True]


def test_diagram_draws_events_in_the_order_of_their_times() -> None:
    arrows = [
        Arrow(1.0, 1.5, "n1", "n2", "Prepare"),
        Arrow(1.2, 1.3, "c1", "n1", "Submit"),
        Arrow(1.5, None, "n2", "n1", "Promise"),
    ]
    diagram = lay_out(arrows, [])
    assert diagram is not None
    prepare, submit, promise = diagram.flights
    assert prepare.y < submit.y < submit.to_y < prepare.to_y < promise.y
    assert [name for name, _ in diagram.lanes] == ["n1", "n2", "c1"]
    assert promise.fate == "lost"


def test_diagram_of_messages_that_all_go_left_is_drawn() -> None:
    diagram = lay_out([Arrow(1.0, 2.0, "n2", "n1", "Promise")], [])
    assert diagram is not None
    assert not diagram.flights[0].rightward


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
entries = st.builds(
    Entry,
    process=st.integers(0, 3) | st.just("nemesis"),
    type=st.sampled_from(["invoke", "ok", "fail", "info"]),
    f=st.sampled_from(["read", "write", "cas", "phase", "kill", "heal-kill"]) | st.text(max_size=8),
    key=st.none() | st.text(max_size=4),
    value=values,
    time=st.integers(),
    error=st.none() | st.text(max_size=8),
)


@given(st.lists(entries, max_size=30), st.data())
def test_history_of_any_entries_can_be_told(history: list[Entry], data: st.DataObject) -> None:
    operations.bands(history)
    operations.phases(history)
    paired = pair(history)
    positions = st.integers(0, max(0, len(history) - 1))
    impossible = {entry.key: data.draw(positions) for entry in history[:3]}
    index = keys.index(paired.operations, impossible)
    keys.kinds(paired.operations)
    packed = json.loads(embedded.pack(index))
    assert sum(row[1] for row in packed["keys"]) == len(paired.operations)
    for key in index:
        window = look(key, data.draw(st.lists(positions, max_size=3)), operations.bands(history))
        if window is not None:
            views.window(window, paired.timed)
            assert all(bar.width > 0 for bar in window.bars)


TRACE = """\
   0.000000 seed 5: Plan(nodes=2)
   0.000000 n1 starts life 1 with 0 records
   0.010000 c1 . connect n2
   0.011000 c1 | connected n2
   0.012000 c1 . -> Submit(s1 1 registers)
   0.012100 c1 . connect n1
   0.012200 c1 | connected n1
   0.012300 c1 . -> Submit(s1 1 registers)
   0.012400 c1 . -> Read(#1 local registers)
   0.013000 n2 | Submitted(1)
   0.013000 n1 | Submitted(1)
   0.013100 n1 | c9 -> Read(#1 local registers)
   0.014000 n1 . persist [issued 1.1] then [-> n2 Prepare(1.1 after=0)]
   0.014000 n1 . -> n1 Prepare(1.1 after=0)
   0.014000 n1 . -> n2 Prepare(1.1 after=0)
   0.015000 n2 | n1 -> Prepare(1.1 after=0)
   0.016000 n1 . -> n2 Heartbeat(#1 leads=1.1 decided=0)
   0.020000 n1 . -> n2 Accept(1.1 1=noop)
   0.080000 n2 crashes, 1 records in doubt
   0.090000 n1 . -> n2 Accept(1.1 1=noop)
   0.091000 n2 | n1 -> Accept(1.1 1=noop)
   0.092000 n1 . -> c9 Results(s1 1:done)
   0.093000 c1 | <- Results(s1 1:done)
   0.093000 n1 . -> c9 ReadAnswer(#1 done slot=1)
   0.093000 VIOLATION I1 two values were chosen
"""


def test_trace_gives_messages_with_their_fate() -> None:
    arrows = trace.read(TRACE.splitlines()).arrows
    told = [
        (each.sender, each.to, each.text.partition("(")[0], each.received_s, each.in_flight)
        for each in arrows
    ]
    assert told == [
        ("c1", "n2", "Submit", None, False),
        ("c1", "n1", "Submit", 0.013, False),
        ("c1", "n1", "Read", 0.0131, False),
        ("n1", "n2", "Prepare", 0.015, False),
        ("n1", "n2", "Accept", None, False),
        ("n1", "n2", "Accept", 0.091, False),
        ("n1", "c1", "Results", 0.093, False),
        ("n1", trace.SOMEBODY, "ReadAnswer", None, True),
    ]


def test_trace_with_heartbeats_gives_them_too() -> None:
    arrows = trace.read(TRACE.splitlines(), heartbeats=True).arrows
    assert sum("Heartbeat" in each.text for each in arrows) == 1


def test_trace_gives_the_turning_points_as_a_story() -> None:
    story = trace.read(TRACE.splitlines()).story
    assert [(step.who, step.text, step.wrong) for step in story] == [
        ("n1", "starts life 1 with 0 records", False),
        ("n1", "campaigns with ballot 1.1", False),
        ("n1", "leads with ballot 1.1", False),
        ("n2", "crashes, 1 records in doubt", False),
        ("", "I1 two values were chosen", True),
    ]
    assert trace.read(TRACE.splitlines(), last=2).story == story[-2:]


# --- plots ---------------------------------------------------------------------------------------


def test_plot_of_many_operations_is_a_density_of_bounded_size() -> None:
    many = [
        Operation(1, "read", None, None, 1, None, "ok", n * 1_000, n * 1_000 + 999, n, n + 1)
        for n in range(20_000)
    ]
    plot = plots.draw(many, [], [])
    assert plot is not None
    assert plot.dense
    assert len(plot.svg) < 150_000


def test_plot_leaves_colours_and_names_to_the_page() -> None:
    facts = good_run(300)
    plot = plots.draw(pair(facts.history).operations, facts.bands, facts.phases)
    assert plot is not None
    assert not plot.dense
    assert "var(--ok)" in plot.svg
    assert all(colour not in plot.svg for colour in plots.VARIABLES)
    assert "partition" not in plot.svg
    assert sorted(plot.lanes) == sorted({band.kind for band in facts.bands})
    assert "http" not in plot.svg
