"""The judges of a run: each says no to what it is there for, which no sound product will show."""

from __future__ import annotations

from collections import Counter

import pytest

from jepsen_like.harness import promises
from jepsen_like.harness.faults import links_of
from jepsen_like.harness.hosted import Answer, Hosted, Reference, host, numbered, unnumbered
from jepsen_like.harness.promises import Broken, shown
from jepsen_like.harness.run import Tally
from jepsen_like.harness.runner import run_scenario
from jepsen_like.harness.scenario import (
    Ask,
    ClockJump,
    Cut,
    Kill,
    Mend,
    Pause,
    PowerCut,
    Read,
    Restart,
    Resume,
    Scenario,
    Shape,
    Snapshot,
    Wait,
    Watch,
)
from jepsen_like.harness.second_opinion import ignores_stamps, judge
from jepsen_like.harness.story import shortfalls, steps
from jepsen_like.harness.witness import Witness
from jepsen_like.history import Entry
from jepsen_like.sim.caller import Caller
from paxos.core.executor import Executor
from paxos.core.messages import Status
from paxos.core.state_machine import CommandFailed, Stamp
from tests.harness import planted

ONE, TWO = Answer(b"1", False), Answer(b"2", False)


def two_adds() -> Reference:
    reference = Reference(planted.Watched)
    reference.run(1, b"add", Stamp(2, 0, 0))
    reference.run(2, b"add", Stamp(4, 0, 0))
    return reference


def test_reference_after_fewer_commands_answers_as_it_did_then() -> None:
    reference = two_adds()
    through = [reference.applied(slot) for slot in (1, 2, 3, 4, 9)]
    assert through == [0, 1, 1, 2, 2]
    assert [reference.query(b"", count) for count in through[1:4]] == [ONE, ONE, TWO]
    assert [reference.watch(b"2", count) for count in through] == [None, None, None, TWO, TWO]


def test_witness_of_true_answers_says_nothing() -> None:
    witness = Witness(two_adds())
    witness.done("c1", 1, b"add", witness.begins(), 2, ONE)
    witness.read("c1", b"", witness.begins(), 3, ONE, latest=True)
    witness.done("c1", 2, b"add", witness.begins(), 4, TWO)
    witness.told("c1", b"2", 4, TWO)
    witness.still_watches("c1", b"3")
    witness.refused(3, b"add")
    witness.finished()


@pytest.mark.parametrize(
    ("number", "floor", "slot", "answer", "promise"),
    [
        (3, 0, 5, ONE, promises.DONE_STAYS_DONE),
        (1, 0, 3, ONE, promises.DONE_STAYS_DONE),
        (1, 0, 2, TWO, promises.DONE_STAYS_DONE),
        (1, 2, 2, ONE, promises.LINEARIZABLE),
    ],
    ids=["never ran", "another slot", "another answer", "before what had ended"],
)
def test_witness_of_a_false_answer_to_a_command_says_no(
    number: int, floor: int, slot: int, answer: Answer, promise: str
) -> None:
    with pytest.raises(Broken) as broken:
        Witness(two_adds()).done("c1", number, b"add", floor, slot, answer)
    assert broken.value.promise == promise


def test_witness_of_a_stale_read_says_no() -> None:
    witness = Witness(two_adds())
    witness.done("c1", 2, b"add", 0, 4, TWO)
    with pytest.raises(Broken, match="reflects slot 3, but it must see slot 4"):
        witness.read("c2", b"", witness.begins(), 3, ONE, latest=True)


def test_witness_of_a_wrong_read_says_no() -> None:
    with pytest.raises(Broken, match="is told b'1'; a machine that ran the same log alone says"):
        Witness(two_adds()).read("c2", b"", 0, 4, ONE, latest=False)


def test_witness_of_a_refused_command_that_ran_says_no() -> None:
    witness = Witness(two_adds())
    witness.refused(2, b"add")
    with pytest.raises(Broken, match="refused for good, and ran"):
        witness.finished()


def test_witness_of_a_watch_that_was_told_too_early_says_no() -> None:
    with pytest.raises(Broken, match="says nothing yet"):
        Witness(two_adds()).told("c1", b"2", 3, ONE)


def test_witness_of_a_watch_that_was_not_told_says_no() -> None:
    with pytest.raises(Broken, match="is told nothing, though there is b'2' to tell"):
        Witness(two_adds()).still_watches("c1", b"2")


def entry(process: int, type_: str, f: str, value: str, time: int) -> Entry:
    return Entry(process, type_, f, None, value, time)  # type: ignore[arg-type]


@pytest.mark.parametrize(("read", "verdict"), [("1", "yes"), ("0", "no")])
def test_second_opinion_of_a_read_after_an_add_is_right(read: str, verdict: str) -> None:
    history = [
        entry(0, "invoke", "apply", "add", 1),
        entry(0, "ok", "apply", "1", 2),
        entry(1, "invoke", "local query", "total", 3),
        entry(1, "ok", "local query", "0", 4),
        entry(1, "invoke", "query", "total", 5),
        entry(1, "ok", "query", read, 6),
    ]
    assert judge(history, planted.Counter).verdict == verdict


class TellsTheSlot(planted.Counter):
    def apply(self, command: bytes, at: Stamp) -> bytes:
        return b"%d" % at.slot


def test_second_opinion_is_not_asked_where_answers_depend_on_stamps() -> None:
    for machine, ignores in ((planted.Counter, True), (TellsTheSlot, False)):
        reference = Reference(machine)
        reference.run(1, b"add", Stamp(2, 0, 0))
        assert ignores_stamps(reference.log, machine) is ignores
    asked = Scenario(3, 1, (Ask(1, b"add"), Ask(1, b"add"), Read(1, b"total")))
    assert run_scenario(asked, TellsTheSlot).promise == ""


# --- hosted machines ------------------------------------------------------------------------------


def test_command_with_a_number_in_front_reads_back() -> None:
    assert unnumbered(numbered(70_000, b"add")) == (70_000, b"add")


def test_hosted_machine_can_be_watched_only_if_the_users_can() -> None:
    for machine, watchable in ((planted.Counter, False), (planted.Watched, True)):
        hosted: Hosted = host("n1", machine, Reference(machine))
        assert hasattr(hosted, "watch") is watchable


def test_hosted_machine_refuses_what_the_users_refuses() -> None:
    hosted = host("n1", planted.Counter, Reference(planted.Counter))
    with pytest.raises(CommandFailed, match="only add"):
        hosted.apply(numbered(1, b"sub"), Stamp(1, 0, 0))


class DeepRecursion(planted.Counter):
    def apply(self, command: bytes, at: Stamp) -> bytes:
        self._descend(int(command))
        return b"done"

    def _descend(self, depth: int) -> None:
        if depth:
            self._descend(depth - 1)


@pytest.mark.parametrize("depth", range(885, 905, 2))
def test_command_near_the_recursion_bound_gives_the_same_everywhere(depth: int) -> None:
    """Every caller stands at another depth of the stack; each leaves a command the same room."""
    run = run_scenario(Scenario(3, 1, (Ask(1, b"%d" % depth), Restart(1))), DeepRecursion)
    assert run.promise == ""


def test_long_bytes_in_a_story_are_cut() -> None:
    assert shown(b"x" * 100) == f"b'{'x' * 40}'... (100 bytes)"


# --- runs -----------------------------------------------------------------------------------------

EVERYTHING = Scenario(
    3,
    2,
    (
        *(Watch(2, b"3"), Ask(1, b"add"), Ask(2, b"add", "goes on"), Kill(0), Ask(1, b"add")),
        *(Read(2, b"total", "session"), Snapshot(1), Restart(2), Pause(3), Wait(50), Resume(3)),
        *(Cut(1, "isolate", "hold"), Ask(1, b"fail", "gives up"), Mend(), ClockJump(2, -5)),
        *(PowerCut(), Kill(1), Kill(1), Resume(2), Snapshot(1), Pause(2), Pause(2), Pause(1)),
    ),
    ("loss", "duplication", "delay", "reordering"),
    3,
)


def test_run_of_every_kind_of_step_twice_is_equal() -> None:
    first, second = (run_scenario(EVERYTHING, planted.Watched) for _ in range(2))
    assert first.promise == ""
    assert first == second


def test_run_of_every_kind_of_step_tells_what_had_no_effect() -> None:
    told = steps(run_scenario(EVERYTHING, planted.Watched))
    assert "n1 is killed, but it was down" in told
    assert "n2 goes on, but it was not paused" in told
    assert "n1 is to start from a snapshot, but it is down" in told
    assert "n2 is paused, but it was paused" in told
    assert "n1 is paused, but it was down" in told


def test_run_counts_faults_that_struck_and_those_under_load() -> None:
    tally = run_scenario(EVERYTHING, planted.Watched).tally
    assert tally.told == 1
    assert tally.effects["kill"] == 2
    assert tally.effects["partition"] == 1
    assert tally.in_flight["kill"] == 1  # when the second struck, everything was answered
    assert "clock jump" in tally.effects


def test_run_on_one_node_has_no_links_to_cut() -> None:
    run = run_scenario(Scenario(1, 1, (Cut(1), Mend(), Ask(1, b"add"))), planted.Counter)
    assert run.promise == ""
    assert run.tally.effects == {}


def test_run_of_a_machine_that_ends_its_process_lets_it_through() -> None:
    with pytest.raises(SystemExit):
        run_scenario(Scenario(1, 1, (Ask(1, b"add"),)), planted.Exits)


def test_run_on_replicas_that_answer_reads_from_the_past_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Executor, "query", lambda self, machine, query: (Status.DONE, b"0"))
    run = run_scenario(Scenario(3, 1, (Ask(1, b"add"), Read(1, b"total"))), planted.Counter)
    assert run.promise == promises.SAME_RUN_SAME_ANSWERS
    assert run.text == (
        "c1 reads b'total' at slot 2 and is told b'0'; a machine that ran the same log alone says"
        " b'1'"
    )


def test_run_on_replicas_that_tell_no_watch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Executor, "watch", lambda self, machine, query: None)
    run = run_scenario(Scenario(1, 1, (Watch(1, b"1"), Ask(1, b"add"))), planted.Watched)
    assert run.promise == promises.WATCHES_TELL


def test_run_on_replicas_that_raise_names_the_invariant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Executor, "watch", lambda self, machine, query: 1 // 0)
    run = run_scenario(Scenario(1, 1, (Watch(1, b"1"),)), planted.Watched)
    assert run.promise == "invariant 0: a replica never raises"
    assert "ZeroDivisionError" in run.text


def test_run_in_which_a_request_is_never_answered_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Caller, "leave", lambda self: None)
    run = run_scenario(Scenario(1, 1, (Ask(1, b"add"),)), planted.Counter)
    assert run.promise == promises.HEALED_CLUSTER_WORKS
    assert run.text == "nothing was done for 10 s: c1 waits for b'add'"
    assert run.lines[-1].wrong


@pytest.mark.parametrize(
    ("shape", "node", "nodes", "links"),
    [
        ("isolate", 2, 3, {(1, 2), (2, 1), (2, 3), (3, 2)}),
        ("mute", 1, 3, {(1, 2), (1, 3)}),
        ("deaf", 1, 3, {(2, 1), (3, 1)}),
        ("halves", 1, 3, {(1, 2), (1, 3), (2, 1), (3, 1)}),
        ("halves", 3, 3, set()),
        ("bridge", 2, 3, {(1, 3), (3, 1)}),
        ("ring", 1, 4, {(1, 3), (3, 1), (2, 4), (4, 2)}),
        ("isolate", 1, 1, set()),
    ],
)
def test_links_of_a_partition_are_those_between_its_sides(
    shape: Shape, node: int, nodes: int, links: set[tuple[int, int]]
) -> None:
    assert set(links_of(shape, node, nodes)) == links


# --- whether anything was proved ------------------------------------------------------------------


def test_tally_of_nothing_falls_short_in_everything() -> None:
    assert shortfalls(Tally(), asks=True, faults=True) == [
        "no command was done",
        "no question was answered after a command",
        "no fault had an effect",
    ]
    assert shortfalls(Tally(), asks=False, faults=False) == ["no command was done"]


def test_tally_of_refusals_alone_falls_short() -> None:
    tally = Tally(commands=3, refusals=3, effects=Counter(kill=1))
    assert shortfalls(tally, asks=False, faults=True) == [
        "the state machine refused every one of 3 commands",
        "no fault struck while a request was under way",
    ]
