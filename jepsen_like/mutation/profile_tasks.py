"""Profile "tasks": the task log alone, under the load of the live runs, on virtual time.

No cluster is needed to find a bug of a state machine. Several clients ask at once; each operation
takes effect at some moment before it is answered, some answers are lost (and with some of those the
operation), and replicated time leaps now and then. A second replica is made from a snapshot half
way and must go on like the first. At the end all is drained, and what clients saw is judged by the
checkers of the live runs.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any, NamedTuple

from jepsen_like.checkers.linearizability import Budget
from jepsen_like.checkers.tasks import check_each_task, check_queue
from jepsen_like.history import Entry
from jepsen_like.live.generator import (
    Context,
    Done,
    Draws,
    Ended,
    Finally,
    Generator,
    Limit,
    Op,
    Phases,
)
from jepsen_like.mutation.profiles import Finding
from jepsen_like.workload.base import AnswerSenseless, Reply, Workload
from jepsen_like.workload.tasks import TASKS
from paxos.core.state_machine import CommandFailed, Stamp
from statemachines.task_log import TaskLog

OPERATIONS = 350
CLOSING_MAX = 1_500
"""Operations after which whatever is left at the end counts as lost."""

CLIENTS = 5
START_US = 1_700_000_000_000_000
PAUSE_US = 8_000
"""Mean time between two operations of a client; an operation takes as long on average."""

LEAP_SHARE = 0.004
LEAP_US = 5_000_000
LOST_SHARE = 0.04
BUDGET = Budget(seconds=20.0)


def judge(seed: int) -> Finding | None:
    """Run the seed; what it finds is what a checker refutes, or that replicas differ."""
    run = TaskRun(seed)
    finding = run.execute()
    if finding is not None:
        return finding
    for check, told in (
        ("queue", check_queue(run.history)),
        ("task", check_each_task(run.history, BUDGET)),
    ):
        if told.verdict == "no":
            return Finding(check, told.reason, run.seconds)
    return None


class _Pending(NamedTuple):
    """Something that is to happen at a time; ``number`` keeps equal times in order."""

    time: int
    number: int
    act: Callable[[], None]


class _Differs(Exception):
    """The replicas do not agree."""


class TaskRun:
    """One seed's clients and replicas.

    Attributes:
        history: What the clients saw.
        effects: How often something went wrong on purpose, by name.
    """

    def __init__(self, seed: int, workload: Workload = TASKS) -> None:
        self.history: list[Entry] = []
        self.effects = {"lost answer": 0, "lost request": 0, "time leap": 0}
        self._rng = Random(f"task run {seed}")
        self._workload = workload
        self._now = START_US
        self._slot = 0
        self._machine = TaskLog()
        self._other: TaskLog | None = None
        self._resumes_at = self._rng.randrange(1, OPERATIONS)
        self._pending: list[_Pending] = []
        self._pended = 0
        self._number = 1
        self._processes = list(range(CLIENTS))
        self._free = set(range(CLIENTS))  # clients
        self._known: Any = None
        self._ended: dict[int, Ended] = {}
        calm: Generator = Finally(workload, None)
        self._generator: Generator = Phases((Limit(OPERATIONS, Draws(workload, None)), calm))
        self._over = False

    @property
    def seconds(self) -> float:
        """Virtual time so far."""
        return (self._now - START_US) / 1e6

    def execute(self) -> Finding | None:
        """Run to the end."""
        try:
            for client in range(CLIENTS):
                self._later(self._draw_pause(), self._turn_of(client))
            while self._pending and not self._over:
                self._now, _, act = heappop(self._pending)
                act()
                if self._number > OPERATIONS + CLOSING_MAX:
                    text = f"not all came to an end in {CLOSING_MAX} operations"
                    return Finding("stuck", text, self.seconds)
            self._compare_states()
        except _Differs as difference:
            return Finding("replica", str(difference), self.seconds)
        except AnswerSenseless as error:
            return Finding("answer", str(error), self.seconds)
        except Exception as error:  # noqa: BLE001 - a mutant may raise anything
            return Finding("raises", repr(error), self.seconds)
        return None

    # --- clients ---

    def _turn_of(self, client: int) -> Callable[[], None]:
        return lambda: self._turn(client)

    def _turn(self, client: int) -> None:
        """Let a client ask, if the generator has something for it."""
        rng = self._rng
        if rng.random() < LEAP_SHARE:
            self.effects["time leap"] += 1
            self._now += rng.randrange(LEAP_US)
        process = self._processes[client]
        busy = CLIENTS - len(self._free)
        context = Context(
            now_s=self.seconds,
            number=self._number,
            free=(process,),
            busy=busy,
            known={None: self._known},
            ended={None: self._ended},
        )
        step, self._generator = self._generator.next(rng, context)
        if isinstance(step, Op):
            self._begin(client, step)
        elif isinstance(step, Done):
            self._over = True
        else:
            self._later(self._draw_pause(), self._turn_of(client))

    def _begin(self, client: int, op: Op) -> None:
        self._free.discard(client)
        self._number += 1
        self._note(op, "invoke", op.value)
        chance = self._rng.random()
        closing = self._number > OPERATIONS
        if closing or chance > LOST_SHARE:
            self._later(self._draw_pause(), lambda: self._carry_out(client, op, lost=False))
            return
        if chance > LOST_SHARE / 2:
            self._later(self._draw_pause() * 20, lambda: self._carry_out(client, op, lost=True))
        else:
            self.effects["lost request"] += 1
        self._later(self._draw_pause(), lambda: self._end(client, op, None))

    def _carry_out(self, client: int, op: Op, *, lost: bool) -> None:
        reply = self._ask(op)
        if lost:
            self.effects["lost answer"] += 1
        else:
            self._later(self._draw_pause(), lambda: self._end(client, op, reply))

    def _end(self, client: int, op: Op, reply: Reply | None) -> None:
        if reply is None:
            entry = self._note(op, "info", op.value, "outcome unknown")
            self._processes[client] += CLIENTS
        elif reply.happened:
            entry = self._note(op, "ok", reply.value)
            self._known = self._workload.learn(self._known, op.f, op.value, reply.value)
        else:
            entry = self._note(op, "fail", op.value, reply.error)
        self._ended[op.process] = Ended(op.number, entry)
        self._free.add(client)
        self._later(self._draw_pause(), self._turn_of(client))

    def _note(self, op: Op, type_: Any, value: Any, error: str | None = None) -> Entry:
        entry = Entry(op.process, type_, op.f, op.key, value, self._now * 1000, error)
        self.history.append(entry)
        return entry

    # --- replicas ---

    def _ask(self, op: Op) -> Reply:
        request = self._workload.request(op.f, op.key, op.value)
        try:
            answer = self._run(request.kind, request.data)
        except CommandFailed as refused:
            return self._workload.refusal(op.f, str(refused))
        if answer is None:
            return Reply(False, None, "timed out")  # a watch: there is no news
        return self._workload.reply(op.f, op.value, answer)

    def _run(self, kind: str, data: bytes) -> bytes | None:
        if kind == "query":
            return self._machine.query(data)
        if kind == "watch":
            return self._machine.watch(data)
        self._slot += 1
        at = Stamp(self._slot, 0, self._now)
        told = _outcome(self._machine, data, at)
        if self._other is not None:
            same = _outcome(self._other, data, at)
            if same != told:
                raise _Differs(f"a replica from a snapshot answers {same!r}, the other {told!r}")
        elif self._slot >= self._resumes_at:
            self._other = TaskLog()
            self._other.restore(self._machine.snapshot())
        if isinstance(told, str):
            raise CommandFailed(told)
        return told

    def _compare_states(self) -> None:
        chunks = [*self._machine.snapshot()]
        if self._other is not None and [*self._other.snapshot()] != chunks:
            raise _Differs(
                "the snapshots differ of a replica and of one that began from a snapshot"
            )

    # --- time ---

    def _later(self, pause: int, act: Callable[[], None]) -> None:
        self._pended += 1
        heappush(self._pending, _Pending(self._now + pause, self._pended, act))

    def _draw_pause(self) -> int:
        return 1 + int(self._rng.expovariate(1 / PAUSE_US))


def _outcome(machine: TaskLog, data: bytes, at: Stamp) -> bytes | str:
    try:
        return machine.apply(data, at)
    except CommandFailed as refused:
        return str(refused)
