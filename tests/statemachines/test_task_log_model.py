"""The task log against its naive twin: a list of tasks that is looked through again and again.

The twin knows no index, no timer and no follow-up: after every command it goes over all tasks until
nothing changes any more. Every task names the one node that can run it, so that placement, which
has twins of its own, decides nothing here. Whatever commands come, the log must end in the twin's
states, hand out what the twin would, and refuse what it refuses.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from paxos.core.state_machine import CommandFailed
from statemachines.task_log_answers import RegistrationInvalid, TaskUnknown, TokenInvalid
from statemachines.task_log_format import BACKOFF_MAX, MICRO, TaskSpec
from statemachines.task_log_requests import task_spec
from tests.statemachines.task_log_driver import STATE_NAMES, Driver

NODES = ("n1", "n2")
IDS = tuple("abcdefgh")
CAPACITY = 3 * MICRO
UNFINISHED = ("blocked", "waiting", "ready", "claimed")

ids = st.sampled_from(IDS)
nodes = st.sampled_from(NODES)
rarely = st.sampled_from([False, False, False, True])


@dataclass
class TwinTask:
    """A task as one would write it down on paper."""

    spec: TaskSpec
    number: int
    state: str = "blocked"
    attempt: int = 0
    token: int = 0
    registration: int = 0
    until: int = 0
    result: bytes | None = None

    @property
    def home(self) -> str:
        return dict(self.spec.labels)["home"]


@dataclass
class TwinNode:
    """A node as one would write it down on paper."""

    registration: int
    lease: int
    until: int
    live: bool = True
    drained: bool = False


class Twin:
    """The rules, without anything that makes them fast."""

    def __init__(self) -> None:
        self.tasks: dict[str, TwinTask] = {}
        self.nodes: dict[str, TwinNode] = {}
        self.now = 0

    def is_open(self, name: str) -> bool:
        node = self.nodes.get(name)
        return node is not None and self.holds(name, node.registration) and not node.drained

    def holds(self, name: str, registration: int) -> bool:
        """Whether a registration is the present one of its node."""
        node = self.nodes.get(name)
        return (
            node is not None
            and node.live
            and node.until > self.now
            and node.registration == registration
        )

    def is_late(self, task: TwinTask) -> bool:
        return task.state in UNFINISHED and 0 < task.spec.deadline <= self.now

    def is_held(self, task: TwinTask, token: int) -> bool:
        return (
            task.state == "claimed"
            and task.token == token
            and task.until > self.now
            and self.holds(task.home, task.registration)
            and not self.is_late(task)
        )

    def queue(self, name: str) -> list[TwinTask]:
        waiting = [
            task
            for task in self.tasks.values()
            if task.state == "ready" and task.home == name and not self.is_late(task)
        ]
        return sorted(waiting, key=lambda task: (-task.spec.priority, task.number))

    def used(self, name: str, registration: int) -> int:
        return sum(
            task.spec.demand
            for task in self.tasks.values()
            if task.state == "claimed" and (task.home, task.registration) == (name, registration)
        )

    def try_again(self, task: TwinTask, backoff: int) -> None:
        task.until = max(self.now + backoff, task.spec.not_before)
        task.state = "dead" if task.attempt >= task.spec.attempts else "waiting"

    def let_time_pass(self) -> None:
        """Do whatever is due, until nothing is."""
        for node in self.nodes.values():
            node.live = node.live and node.until > self.now
        before: object = None
        while before != (before := [(t.state, t.until) for t in self.tasks.values()]):
            for task in self.tasks.values():
                self.look_at(task)

    def look_at(self, task: TwinTask) -> None:
        if self.is_late(task):
            task.state = "dead"
        elif task.state == "claimed":
            if not self.is_held(task, task.token):
                self.try_again(task, 0)
        elif task.state == "blocked":
            states = [self.tasks[name].state for name in task.spec.depends_on]
            if "dead" in states or "cancelled" in states:
                task.state = "dead"
            elif all(state == "done" for state in states):
                task.state, task.until = "waiting", task.spec.not_before
        if task.state == "waiting" and task.until <= self.now:
            task.state = "ready"


class TaskLogAgainstTwin(RuleBasedStateMachine):
    """Random commands at random times."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Driver()
        self.twin = Twin()
        self.twin.now = self.log.time
        self.tokens = 0

    def rises(self, token: int) -> None:
        assert token > self.tokens
        self.tokens = token

    @rule(microseconds=st.integers(1, 12))
    def let_time_pass(self, microseconds: int) -> None:
        self.log.time += microseconds
        self.twin.now = self.log.time

    @rule()
    def tick(self) -> None:
        self.log.wait(0)
        self.twin.let_time_pass()

    @rule()
    def restore(self) -> None:
        self.log = self.log.restored()

    @rule(
        task_id=ids,
        home=nodes,
        priority=st.integers(-1, 1),
        not_before=st.sampled_from([0, 0, 0, 5, 20]),
        deadline=st.sampled_from([0, 0, 0, 15, 40]),
        attempts=st.integers(1, 3),
        backoff=st.sampled_from([0, 4]),
        depends_on=st.lists(ids, max_size=2, unique=True),
        demand=st.sampled_from([MICRO, 2 * MICRO]),
    )
    def submit(
        self,
        *,
        task_id: str,
        home: str,
        priority: int,
        not_before: int,
        deadline: int,
        attempts: int,
        backoff: int,
        depends_on: list[str],
        demand: int,
    ) -> None:
        now, known = self.twin.now, self.twin.tasks
        if not_before >= deadline:
            not_before = 0
        spec = task_spec(
            task_id,
            "k",
            priority=priority,
            not_before=now + not_before if not_before else 0,
            deadline=now + deadline if deadline else 0,
            attempts=attempts,
            backoff=backoff,
            depends_on=[name for name in depends_on if name != task_id],
            labels={"home": home},
            demand=demand,
        )
        states = [known[name].state if name in known else "none" for name in spec.depends_on]
        possible = not self.twin.nodes or home in self.twin.nodes
        present = known.get(task_id)
        if present is not None and present.spec == spec:
            assert self.log.submit(spec).created == ((task_id, present.number),)
        elif present is not None or not possible or {"none", "dead", "cancelled"} & {*states}:
            self.refused(lambda: self.log.submit(spec), CommandFailed)
            return
        else:
            ((_, number),) = self.log.submit(spec).created
            known[task_id] = TwinTask(spec, number)
        self.twin.let_time_pass()

    @rule(name=nodes, lease=st.sampled_from([8, 100]))
    def register(self, name: str, lease: int) -> None:
        registration = self.log.node(name, lease=lease, capacity=CAPACITY, labels={"home": name})
        self.rises(registration)
        before = self.twin.nodes.get(name)
        self.twin.nodes[name] = TwinNode(
            registration,
            lease,
            self.twin.now + lease,
            drained=before is not None and before.drained,
        )
        self.twin.let_time_pass()

    def registration(self, name: str, wrong: bool) -> int:
        node = self.twin.nodes.get(name)
        return 1 if node is None else max(1, node.registration - wrong)

    @rule(name=nodes, wrong=rarely)
    def report(self, name: str, wrong: bool) -> None:
        registration = self.registration(name, wrong)
        if not self.twin.holds(name, registration):
            self.refused(lambda: self.log.report(name, registration), RegistrationInvalid)
            return
        self.log.report(name, registration)
        node = self.twin.nodes[name]
        node.until = self.twin.now + node.lease
        self.twin.let_time_pass()

    @rule(name=nodes, drained=rarely)
    def drain(self, name: str, drained: bool) -> None:
        if name not in self.twin.nodes:
            self.refused(lambda: self.log.drain(name, drained), CommandFailed)
            return
        self.log.drain(name, drained)
        self.twin.nodes[name].drained = drained
        self.twin.let_time_pass()

    @rule(name=nodes)
    def leave(self, name: str) -> None:
        registration = self.registration(name, False)
        if not self.twin.holds(name, registration):
            self.refused(lambda: self.log.leave(name, registration), RegistrationInvalid)
            return
        self.log.leave(name, registration)
        self.twin.nodes[name].live = False
        self.twin.let_time_pass()

    @rule(name=nodes, count=st.integers(1, 3), lease=st.sampled_from([6, 50]), wrong=rarely)
    def claim(self, name: str, count: int, lease: int, wrong: bool) -> None:
        twin, registration = self.twin, self.registration(name, wrong)
        if not twin.holds(name, registration):
            self.refused(lambda: self.log.claim(name, registration), RegistrationInvalid)
            return
        claims = self.log.claim(name, registration, count, lease)
        if not twin.queue(name):
            twin.let_time_pass()
        expected = []
        for task in twin.queue(name)[:count] if twin.is_open(name) else []:
            if twin.used(name, registration) + task.spec.demand > CAPACITY:
                break
            task.state, task.registration, task.until = "claimed", registration, twin.now + lease
            task.attempt += 1
            expected.append(task)
        assert [claim.task for claim in claims] == [task.spec for task in expected]
        for claim, task in zip(claims, expected, strict=True):
            self.rises(claim.token)
            task.token = claim.token
            assert (claim.attempt, claim.until) == (task.attempt, task.until)
        twin.let_time_pass()

    def claimed(self, task_id: str, wrong: bool) -> tuple[str, int]:
        """Return a task, for the most part one that is claimed, and a token, mostly the right."""
        claimed = [name for name, task in self.twin.tasks.items() if task.state == "claimed"]
        if claimed and not wrong:
            task_id = claimed[IDS.index(task_id) % len(claimed)]
        task = self.twin.tasks.get(task_id)
        return task_id, 1 if task is None else max(1, task.token - wrong)

    @rule(task_id=ids, wrong=rarely, lease=st.sampled_from([6, 50]))
    def extend(self, task_id: str, wrong: bool, lease: int) -> None:
        task_id, token = self.claimed(task_id, wrong)
        task = self.twin.tasks.get(task_id)
        name = NODES[0] if task is None else task.home
        registration = self.registration(name, False)
        if not self.twin.holds(name, registration):
            return
        held = task is not None and self.twin.is_held(task, token)
        assert self.log.extend(name, registration, (task_id, token), lease=lease) == (held,)
        if task is not None and held:
            task.until = self.twin.now + lease
        self.twin.let_time_pass()

    @rule(task_id=ids, wrong=rarely, result=st.sampled_from([b"0", b"1"]))
    def complete(self, task_id: str, wrong: bool, result: bytes) -> None:
        task_id, token = self.claimed(task_id, wrong)
        task = self.twin.tasks.get(task_id)
        again = task is not None and (task.state, task.token, task.result) == (
            "done",
            token,
            result,
        )
        if self.is_refused(task, token, again, lambda: self.log.complete(task_id, token, result)):
            return
        assert task is not None
        self.log.complete(task_id, token, result)
        task.state, task.result = "done", result
        self.twin.let_time_pass()

    @rule(task_id=ids, wrong=rarely, retry=st.booleans())
    def fail(self, task_id: str, wrong: bool, retry: bool) -> None:
        task_id, token = self.claimed(task_id, wrong)
        task = self.twin.tasks.get(task_id)
        if self.is_refused(task, token, False, lambda: self.log.fail(task_id, token)):
            return
        assert task is not None
        self.log.fail(task_id, token, retry=retry)
        task.state = "dead"
        if retry:
            self.twin.try_again(task, min(task.spec.backoff * 2 ** (task.attempt - 1), BACKOFF_MAX))
        self.twin.let_time_pass()

    def is_refused(self, task: TwinTask | None, token: int, again: bool, act: object) -> bool:
        if task is None:
            self.refused(act, TaskUnknown)
        elif not again and not self.twin.is_held(task, token):
            self.refused(act, TokenInvalid)
        else:
            return False
        return True

    @rule(task_id=ids)
    def cancel(self, task_id: str) -> None:
        task = self.twin.tasks.get(task_id)
        if task is None or task.state in ("done", "dead") or self.twin.is_late(task):
            self.refused(lambda: self.log.cancel(task_id), CommandFailed)
            return
        self.log.cancel(task_id)
        task.state = "cancelled"
        self.twin.let_time_pass()

    @rule(task_id=ids)
    def retry(self, task_id: str) -> None:
        task = self.twin.tasks.get(task_id)
        if (
            task is None
            or task.state not in ("dead", "cancelled")
            or 0 < task.spec.deadline <= self.twin.now
            or any(self.twin.tasks[d].state in ("dead", "cancelled") for d in task.spec.depends_on)
        ):
            self.refused(lambda: self.log.retry(task_id), CommandFailed)
            return
        self.log.retry(task_id)
        task.state, task.attempt = "blocked", 0
        self.twin.let_time_pass()

    def refused(self, act: object, error: type[CommandFailed]) -> None:
        before = list(self.log.log.snapshot())
        assert callable(act)
        with pytest.raises(error):
            act()
        assert list(self.log.log.snapshot()) == before

    @invariant()
    def states_are_right(self) -> None:
        for name in IDS:
            found, task = self.log.find(name), self.twin.tasks.get(name)
            if task is None:
                assert found is None
                continue
            assert found is not None
            assert (STATE_NAMES[found.state], found.attempt, found.token, found.result) == (
                task.state,
                task.attempt,
                task.token,
                task.result,
            )
            if task.state in ("waiting", "claimed"):
                assert found.until == task.until

    @invariant()
    def placements_are_right(self) -> None:
        rows = self.log.nodes()
        for name in NODES:
            node = self.twin.nodes.get(name)
            row = rows.get(name)
            assert (row is None) == (node is None)
            if row is not None and node is not None and self.twin.holds(name, node.registration):
                assert row.committed == self.twin.used(name, node.registration)


TestTaskLogAgainstTwin = TaskLogAgainstTwin.TestCase
TestTaskLogAgainstTwin.settings = settings(stateful_step_count=60)
