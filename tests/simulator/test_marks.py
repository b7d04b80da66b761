"""Marks count rare states: a closed list, each reached by what passes the checkers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from benchmarks.simulator import main
from jepsen_like.sim.marks import AWAITED, MARKS, Marks, never_hit, total
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Configuration, Configurations
from paxos.core.effects import Reply
from paxos.core.events import (
    DeadlinePassed,
    DiskFull,
    PeerConnected,
    ReadsRequested,
    Received,
    Submitted,
)
from paxos.core.ids import Instant, Voter
from paxos.core.limits import Limits
from paxos.core.messages import (
    Accepted,
    Decided,
    HeartbeatAnswer,
    Level,
    Nack,
    Overloaded,
    Prepare,
    Promise,
    Read,
    ReadAnswer,
    Redirect,
    Report,
    Result,
    Results,
    Status,
)
from paxos.core.quorum import Quorums
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    Held,
    PromisedRecord,
    Recovered,
    WatermarkRecord,
)
from paxos.core.replica import Replica
from paxos.core.value import NOOP, Value
from tests.simulator.stage import VOTERS, Stage

CONFIGURATIONS = Configurations(Configuration(1, Quorums.majority(VOTERS)), alpha=2)
STRANGER = Voter(3, 99)
ONE, TWO = Value(5, b"one"), Value(4, b"two")
LOW, MIDDLE, HIGH = Ballot(1, 1), Ballot(2, 2), Ballot(3, 1)
READ = Read(7, Level.LINEARIZABLE, "m", b"", 0)


class Scene(Stage):
    """The three nodes in their first life, with a small window and one read at a time."""

    def __init__(self) -> None:
        super().__init__(Limits(reads_max=1), alpha=2)
        for facts in self.facts.values():
            facts.life, facts.up = 1, True

    @property
    def hit(self) -> list[str]:
        """What was reached so far."""
        return [name for name, count in self.checks.marks.counts.items() if count]

    def answers(self, event: object, message: object) -> None:
        reply = Reply(1, message)  # type: ignore[arg-type]
        self.checks.answers(self.facts[1], event, reply)  # type: ignore[arg-type]


def make_replica(recovered: Recovered) -> Replica:
    """Return a replica that has recovered this."""
    now = Instant(0.0, 0)
    return Replica(VOTERS[0], CONFIGURATIONS, recovered, {}, random.Random(1), lambda _: (), now)


@pytest.fixture
def scene() -> Scene:
    """Return three nodes to which nothing has happened."""
    return Scene()


def test_marks_of_another_name_are_refused() -> None:
    marks = Marks()
    with pytest.raises(KeyError):
        marks.hit("no such mark")
    waiting = next(mark.name for mark in MARKS if mark.waits_for)
    with pytest.raises(KeyError):
        marks.hit(waiting)


def test_marks_are_told_apart_and_each_says_why() -> None:
    names = [mark.name for mark in MARKS]
    assert len(set(names)) == len(names)
    assert all(mark.why for mark in MARKS)
    assert len(AWAITED) < len(MARKS)


def test_marks_of_many_runs_add_up_and_those_at_zero_are_named() -> None:
    first, second = Marks(), Marks()
    first.hit(AWAITED[0])
    second.hit(AWAITED[0])
    second.hit(AWAITED[2])
    counts = total([first.counts, second.counts])
    assert (counts[AWAITED[0]], counts[AWAITED[1]], counts[AWAITED[2]]) == (2, 0, 1)
    assert never_hit(counts) == [AWAITED[1], *AWAITED[3:]]


def test_promises_of_two_ballots_and_values_are_marked(scene: Scene) -> None:
    scene.wins(LOW)
    scene.arrives(1, VOTERS[0], Promise(LOW, 0, 3, 0, 0, 0, (Report(1, LOW, ONE),)))
    scene.arrives(1, VOTERS[1], Promise(LOW, 0, None, 0, 0, 0, (Report(1, None, TWO),)))
    scene.arrives(1, STRANGER, Promise(LOW, 0, None, 0, 0, 0, ()))
    scene.facts[1].life += 1
    scene.arrives(1, VOTERS[1], Promise(LOW, 0, None, 0, 0, 0, ()))
    assert scene.hit == [
        "two ballots for one slot",
        "two values for one slot",
        "promise marked a decided value",
        "promise came in parts",
        "late promise arrived",
        "stranger's vote was ignored",
    ]


def test_leaders_that_follow_one_another_are_marked(scene: Scene) -> None:
    scene.wins(LOW)
    scene.chooses(LOW, 1, ONE)
    scene.proposes(LOW, 2, ONE)
    scene.wins(MIDDLE)
    scene.writes(1, PromisedRecord(MIDDLE))
    scene.wins(HIGH)
    scene.proposes(HIGH, 1, ONE)
    scene.chooses(HIGH, 2, NOOP)
    assert scene.hit == [
        "took over with a hole",
        "chosen value proposed again",
        "no-op was chosen",
        "window was full",
        "leader replaced with accepts in flight",
        "refused leader took its lead back",
    ]


def test_value_of_another_leader_proposed_again_is_marked(scene: Scene) -> None:
    scene.wins(LOW)
    scene.proposes(LOW, 1, ONE)
    scene.wins(MIDDLE, Report(1, LOW, ONE))
    scene.proposes(MIDDLE, 1, ONE)
    assert "another's value proposed again" in scene.hit
    assert "chosen value proposed again" not in scene.hit


def test_acceptor_that_replaces_a_value_is_marked(scene: Scene) -> None:
    scene.wins(LOW)
    scene.proposes(LOW, 1, ONE)
    scene.writes(3, AcceptedRecord(LOW, 1, ONE))
    assert "accepted value overruled" not in scene.hit
    scene.wins(HIGH)
    scene.proposes(HIGH, 1, TWO)
    scene.writes(3, AcceptedRecord(HIGH, 1, TWO))
    assert "accepted value overruled" in scene.hit


def test_campaigns_that_refuse_one_another_before_either_led_are_marked(scene: Scene) -> None:
    scene.leaves(3, Nack(LOW, MIDDLE, BALLOT_ZERO, 0))
    assert scene.hit == ["campaigns duelled"]
    scene.wins(MIDDLE)
    scene.proposes(MIDDLE, 1, ONE)
    scene.leaves(3, Nack(LOW, MIDDLE, BALLOT_ZERO, 0))
    assert scene.checks.marks.counts["campaigns duelled"] == 1


def test_slots_on_disks_are_marked(scene: Scene) -> None:
    scene.wins(LOW)
    scene.chooses(LOW, 1, ONE)
    scene.chooses(LOW, 2, TWO)
    assert "stamp went back" in scene.hit
    scene.writes(3, AcceptedRecord(LOW, 1, ONE), WatermarkRecord(MIDDLE, 1))
    assert "watermark passed over a slot" in scene.hit
    scene.writes(3, DecidedRecord(2, TWO))
    assert "decided above a hole" in scene.hit


def test_lives_that_end_are_marked(scene: Scene) -> None:
    record = PromisedRecord(LOW)
    scene.checks.staged(scene.facts[1], (record,), scene.replica)
    scene.checks.died(scene.facts[1], (record,))
    assert scene.hit == ["died between write and reply"]
    scene.checks.died(scene.facts[2], ())
    scene.checks.died(scene.facts[3], ())
    assert "everyone was down" in scene.hit


def test_full_disk_that_gets_a_request_for_a_vote_is_marked(scene: Scene) -> None:
    facts = scene.facts[1]
    scene.checks.before(facts, DiskFull(True), scene.replica)
    scene.checks.handled(facts, Received(VOTERS[1], Prepare(MIDDLE, 0)), scene.replica)
    assert scene.hit == ["full disk refused a vote"]


def test_leader_that_stops_at_a_deadline_is_marked(scene: Scene) -> None:
    facts = scene.facts[1]
    facts.led = True
    scene.checks.handled(facts, DeadlinePassed(), scene.replica)
    assert scene.hit == ["leader gave way by itself"]


def test_decided_values_that_a_node_lacks_are_marked(scene: Scene) -> None:
    scene.arrives(1, VOTERS[1], Decided(2, (ONE,), 2))
    assert scene.hit == []
    scene.arrives(1, VOTERS[1], Decided(1, (ONE,), 1))
    assert scene.hit == ["caught up by decided values"]


def test_answers_to_clients_are_marked(scene: Scene) -> None:
    event = Submitted([])
    scene.facts[1].applied_through = 5
    results = (
        Result(1, Status.DONE, 6, b""),
        Result(2, Status.DONE, 5, b""),
        Result(3, Status.EXPIRED, 6, b""),
        Result(4, Status.REFUSED, 6, b""),
    )
    scene.answers(event, Results(1, results))
    scene.answers(event, Overloaded(1, 1, 0, ""))
    assert scene.hit == [
        "retry answered from the session table",
        "session was evicted",
        "too many requests open",
        "submission was overloaded",
    ]


def test_reads_lost_with_a_ballot_are_marked(scene: Scene) -> None:
    asked = ReadsRequested([(1, READ)])
    scene.checks.before(scene.facts[1], asked, scene.replica)
    scene.answers(asked, Redirect(2))
    assert scene.hit == []
    scene.checks.before(scene.facts[1], asked, scene.replica)
    scene.answers(PeerConnected(VOTERS[1]), Redirect(2))
    assert scene.hit == ["barrier round was lost"]


def is_confirmed(scene: Scene, number: int) -> None:
    scene.confirms(HeartbeatAnswer(number, BALLOT_ZERO, BALLOT_ZERO, True, 0, 0))


def test_reads_answered_long_after_they_came_are_marked(scene: Scene) -> None:
    asked = ReadsRequested([(1, READ)])
    scene.checks.before(scene.facts[1], asked, scene.replica)
    is_confirmed(scene, 1)
    scene.answers(asked, ReadAnswer(READ.number, Status.DONE, 1, b""))
    assert scene.hit == []
    scene.checks.before(scene.facts[1], asked, scene.replica)
    is_confirmed(scene, 2)
    scene.answers(PeerConnected(VOTERS[1]), ReadAnswer(READ.number, Status.DONE, 1, b""))
    assert scene.hit == ["read waited for its slot"]


def test_vote_that_comes_again_is_marked(scene: Scene) -> None:
    scene.replica.proposer._ballot = LOW
    scene.replica.learner.count_at(LOW)
    scene.replica.learner.open(1, ONE)
    vote = Accepted(LOW, 1, 0)
    scene.arrives(1, VOTERS[1], vote)
    assert scene.hit == []
    scene.replica.learner.handle_accepted(VOTERS[1], vote)
    scene.arrives(1, VOTERS[1], vote)
    assert scene.hit == ["vote counted twice"]


def test_answer_that_names_a_leader_to_a_node_that_would_campaign_is_marked(scene: Scene) -> None:
    answer = HeartbeatAnswer(1, MIDDLE, MIDDLE, True, 0, 0)
    scene.arrives(1, VOTERS[2], answer)
    assert scene.hit == []
    scene.replica.elector._waiting = True
    scene.arrives(1, VOTERS[2], answer)
    assert scene.hit == ["pre-vote refused"]


def test_node_that_recovers_above_a_hole_is_marked(scene: Scene) -> None:
    held = {2: Held(LOW, ONE, False)}
    scene.checks.started(scene.facts[1], make_replica(Recovered(LOW, LOW, held)))
    assert scene.hit == ["recovered above a hole"]


def test_log_with_a_torn_tail_is_marked(scene: Scene) -> None:
    scene.checks.found(scene.facts[1], (), True, Recovered())
    assert scene.hit == ["torn tail was cut"]


def test_outcomes_of_clients_are_marked(scene: Scene) -> None:
    scene.checks.histories.unknown()
    scene.checks.histories.resumed()
    assert scene.hit == ["outcome was unknown", "watch resumed over a reconnect"]


def test_benchmark_of_the_simulator_prints_and_writes_its_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "speed.json"
    assert main(["--seeds", "1", "--json", str(file)]) == 0
    assert "deliveries per second" in capsys.readouterr().out
    figures = json.loads(file.read_text())
    assert figures["deliveries_per_s"] > 0
    assert figures["seeds"] == 1
