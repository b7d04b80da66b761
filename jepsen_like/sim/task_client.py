"""Simulated clients of the task log: the load of the live runs, on the simulated network.

They share what they learn and write one history, which is judged at the end by the checkers of the
live runs. What is asked is drawn by the workload, each operation from a stream of its own number.
They know nothing of replicas or connections.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from jepsen_like.checkers.linearizability import Budget
from jepsen_like.checkers.tasks import check_each_task, check_queue
from jepsen_like.history import Entry, EntryType
from jepsen_like.sim.caller import Caller
from jepsen_like.sim.client import patience_s
from jepsen_like.sim.invariants import Histories, require
from jepsen_like.sim.schedule import Schedule
from jepsen_like.sim.streams import stream
from jepsen_like.sim.world import World
from jepsen_like.workload.base import AnswerSenseless, Draw, Reply, View
from jepsen_like.workload.registers import TASK_LOG, numbered
from jepsen_like.workload.tasks import TASKS, closing
from paxos.core.client import Done, Failed, Outcome, Refused
from paxos.core.ids import Slot
from paxos.core.messages import Level

WORKLOAD = replace(TASKS, closing=closing(impatient_rounds=12))
"""As in live runs, but a clock that was set wrong by hours can stop replicated time for hours: what
waits for it at the end is cancelled soon."""

CLOSING_MAX = 2_500
"""Operations that the end may take, all together."""

BUDGET = Budget(seconds=5.0, memory_bytes=100_000_000)


class Asked(NamedTuple):
    """An operation under way."""

    number: int
    draw: Draw
    floor: Slot


class TaskBoard:
    """What the clients of one run share: what they learnt, and the history.

    Attributes:
        history: Of all of them.
        settled: Whether the last list showed that every task is at its end.
    """

    def __init__(self, world: World) -> None:
        self.history: list[Entry] = []
        self.settled = False
        self._world = world
        self._known: Any = None
        self._number = 0
        self._processes = 0
        self._idle: list[int] = []
        self._closings = 0

    def begin(self, rng: random.Random, floor: Slot, *, final: bool) -> Asked:
        """Draw an operation, and note that it begins."""
        process = self._idle.pop() if self._idle else self._processes
        self._processes += process == self._processes
        self._number += 1
        draw = WORKLOAD.closing if final and WORKLOAD.closing is not None else WORKLOAD.draw
        drawn = draw(rng, View(None, self._number, (process,), self._known, {}))
        self._note(drawn, "invoke", drawn.value)
        if final:
            self._closings += 1
            text = "not every task came to its end in {} operations"
            require(self._closings <= CLOSING_MAX, 13, text, CLOSING_MAX)
        return Asked(self._number, drawn, floor)

    def end(self, asked: Asked, reply: Reply | None) -> None:
        """Note how it ended; None if nobody knows."""
        drawn = asked.draw
        if reply is None:
            self._note(drawn, "info", drawn.value, "outcome unknown")
            return
        self._idle.append(drawn.process)
        if not reply.happened:
            self._note(drawn, "fail", drawn.value, reply.error)
            return
        entry = self._note(drawn, "ok", reply.value)
        self._known = WORKLOAD.learn(self._known, drawn.f, drawn.value, reply.value)
        self.settled = self.settled or (self._closings > 0 and WORKLOAD.settled(entry))

    def judge(self) -> None:
        """Have the whole history judged.

        Raises:
            Violation: A checker refutes it. What cannot be shown in time is let pass.
        """
        for found in (check_queue(self.history), check_each_task(self.history, BUDGET)):
            require(found.verdict != "no", 11, "tasks: {}", found.reason)

    def _note(self, drawn: Draw, kind: EntryType, value: Any, error: str | None = None) -> Entry:
        time = int(self._world.now * 1e9)
        entry = Entry(drawn.process, kind, drawn.f, None, value, time, error)
        self.history.append(entry)
        return entry


class TaskClient:
    """One client's share of the load. The same to a simulation as ``SimClient``.

    Args:
        world: Time.
        caller: Asks for it.
        schedule: Which operations are begun.
        histories: The checker of what clients are told.
        board: What it shares with the others.

    Attributes:
        completed: Commands that are known to have run.
        answered: Operations of any kind that were answered, and not only given up.
        begun: Operations that were asked for.
    """

    def __init__(
        self,
        world: World,
        caller: Caller,
        schedule: Schedule,
        histories: Histories,
        board: TaskBoard,
    ) -> None:
        self.number = caller.number
        self.completed = 0
        self.answered = 0
        self.begun = 0
        self._world = world
        self._plan = world.plan
        self._caller = caller
        self._schedule = schedule
        self._histories = histories
        self._board = board
        self._waiting = 0
        self._working = 0
        self._busy = True
        self._closing = False
        self._think_s = world.plan.think_s
        self._patience_s = patience_s(world.plan)
        self._finals = stream(world.seed, "task finals", self.number)

    @property
    def waiting(self) -> int:
        """Operations that have not ended."""
        return self._waiting

    @property
    def exhausted(self) -> bool:
        """Whether its schedule leaves it nothing to begin, and nothing is under way."""
        return not self._working and not self._waiting

    @property
    def satisfied(self) -> bool:
        """Whether nothing is under way, and every task was seen at its end."""
        return not self._busy and not self._waiting and (self._board.settled or not self._closing)

    def start(self) -> None:
        """Begin to work."""
        self._working = self._plan.outstanding
        for worker in range(1, self._plan.outstanding + 1):
            self._think(worker)

    def hurry(self) -> None:
        """Think faster: faults are over, and what is left to do should not take long."""
        self._think_s /= 10

    def stop(self) -> None:
        """Begin no more."""
        self._busy = False

    def finish(self) -> None:
        """Begin no more; the first client brings every task to its end."""
        self._busy = False
        if self.number == 1:
            self._closing = True
            self._ask(self._finals, self._patience_s, None)

    # --- what is asked ---

    def _think(self, number: int) -> None:
        last = self._schedule.operations_max
        if last is not None and number > last:
            self._working -= 1
            return
        rng = stream(self._world.seed, "task operation", self.number, number)
        self._world.after(rng.expovariate(1 / self._think_s), self._work, number, rng)

    def _work(self, number: int, rng: random.Random) -> None:
        if not self._busy:
            return
        if not self._schedule.begins(self.number, number):
            self._think(number + self._plan.outstanding)
            return
        impatient = rng.random() < self._plan.impatient
        timeout = self._plan.timing.election_timeout_s
        self._ask(rng, rng.random() * 2 * timeout if impatient else self._patience_s, number)

    def _ask(self, rng: random.Random, patience: float, number: int | None) -> None:
        """Ask for the next operation; ``number`` is its turn's, None at the end."""
        asked = self._board.begin(rng, self._histories.begins(), final=number is None)
        self.begun += 1
        self._waiting += 1
        request = WORKLOAD.request(asked.draw.f, None, asked.draw.value)
        if request.kind == "command":
            # Equal commands are told apart by their numbers, so that one that runs twice shows.
            command = numbered(asked.number, request.data)
            ended = partial(self._command_ended, asked, command, number)
            self._caller.submit(TASK_LOG, [command], patience, [ended])
        elif request.kind == "query":
            ended = partial(self._ended, asked, number)
            self._caller.read(Level.LINEARIZABLE, TASK_LOG, request.data, patience, ended)
        else:
            patience = min(patience, self._plan.timing.election_timeout_s)
            ended = partial(self._ended, asked, number)
            self._caller.watch(TASK_LOG, request.data, patience, ended)
        self._caller.leave()

    # --- outcomes ---

    def _command_ended(
        self, asked: Asked, command: bytes, number: int | None, outcome: Outcome
    ) -> None:
        histories = self._histories
        if isinstance(outcome, Done | Failed):
            self.completed += 1
            failed = isinstance(outcome, Failed)
            data = outcome.reason.encode() if isinstance(outcome, Failed) else outcome.data
            histories.done(command, asked.floor, outcome.slot, data, failed, self.number)
        elif isinstance(outcome, Refused):
            histories.refused(command)
        else:
            histories.unknown()
        self._ended(asked, number, outcome)

    def _ended(self, asked: Asked, number: int | None, outcome: Outcome) -> None:
        self._waiting -= 1
        self.answered += isinstance(outcome, Done | Failed)
        self._board.end(asked, _reply(asked.draw, outcome))
        if number is not None:
            self._think(number + self._plan.outstanding)
        elif not self._board.settled:
            self._world.after(self._think_s, self._ask, self._finals, self._patience_s, None)


_LOOKS = frozenset({"show", "list", "watch"})
"""Operations that change nothing: without an answer they did not happen."""


def _reply(drawn: Draw, outcome: Outcome) -> Reply | None:
    """Say what an outcome means; None if nobody knows."""
    if isinstance(outcome, Done):
        try:
            return WORKLOAD.reply(drawn.f, drawn.value, outcome.data)
        except AnswerSenseless as error:
            require(False, 11, "{} was answered senselessly: {}", drawn.f, error)
    if isinstance(outcome, Failed):
        return WORKLOAD.refusal(drawn.f, outcome.reason)
    if isinstance(outcome, Refused):
        return Reply(False, None, outcome.reason)
    return Reply(False, None, "no answer") if drawn.f in _LOOKS else None
