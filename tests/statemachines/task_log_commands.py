"""Random commands for a task log: few names and much coming and going, so that much collides."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from statemachines import task_log_requests as requests
from statemachines.task_log_format import (
    CANCELLED,
    CLAIMED,
    DEAD,
    DONE,
    LIVE,
    MICRO,
    NodeSpec,
    Task,
)
from tests.statemachines.task_log_driver import Driver, node_spec

IDS = tuple(f"t{number:02}" for number in range(24))
NODES = ("n1", "n2", "n3", "n4")
ZONES = ("a", "b")


class RandomCommands:
    """Makes commands that a log in its present state takes more often than not.

    Args:
        rng: Where chance comes from.
        driver: The log, which is only looked at.
    """

    def __init__(self, rng: Random, driver: Driver) -> None:
        self._rng = rng
        self._driver = driver
        self._makers: tuple[tuple[int, Callable[[], bytes]], ...] = (
            (20, self._submit),
            (8, self._register),
            (5, self._update),
            (12, self._report),
            (1, self._leave),
            (3, self._drain),
            (20, self._claim),
            (5, self._extend),
            (4, self._progress),
            (12, self._complete),
            (6, self._fail),
            (4, self._cancel),
            (5, self._retry),
            (4, self._replan),
            (5, requests.tick_command),
            (2, self._retain),
        )

    def next(self) -> bytes:
        """Return a command; let some time pass before it."""
        self._driver.time += self._rng.choice((0, 0, 1, 5, 20))
        weights = [weight for weight, _ in self._makers]
        ((_, make),) = self._rng.choices(self._makers, weights)
        return make()

    def _submit(self) -> bytes:
        rng, specs = self._rng, []
        new = [name for name in IDS if self._driver.find(name) is None]
        names = new if len(new) >= 5 and rng.random() < 0.9 else IDS
        chosen = rng.sample(names, rng.choice((1, 1, 2, 5)))
        pool = [name for name in IDS if name not in chosen and self._driver.find(name) is not None]
        for task_id in chosen:
            depends_on = rng.sample(pool, min(len(pool), rng.choice((0, 0, 1, 2))))
            specs.append(
                requests.task_spec(
                    task_id,
                    rng.choice(("x", "y")),
                    bytes(rng.randrange(3)),
                    priority=rng.randrange(-1, 2),
                    not_before=rng.choice((0, 0, 0, self._driver.time + rng.randrange(30))),
                    deadline=rng.choice((0, 0, self._driver.time + 30 + rng.randrange(100))),
                    attempts=rng.randrange(1, 4),
                    backoff=rng.choice((0, 7)),
                    depends_on=depends_on,
                    labels=rng.choice(({}, {"zone": rng.choice(ZONES)})),
                    demand=rng.choice((MICRO, 2 * MICRO)),
                    data_node=rng.choice(("", *NODES)),
                    data_bytes=rng.choice((0, 10_000_000)),
                    policy=rng.choice(("balanced", "cost", "latency", "energy")),
                )
            )
            pool.append(task_id)
        return requests.submit_command(specs)

    def _register(self) -> bytes:
        name = self._rng.choice(NODES)
        return requests.register_command(self._node(name))

    def _update(self) -> bytes:
        name, registration = self._registration()
        return requests.register_command(self._node(name), registration)

    def _node(self, name: str) -> NodeSpec:
        return node_spec(
            name,
            lease=self._rng.choice((60, 600)),
            capacity=4 * MICRO,
            labels={"zone": ZONES[NODES.index(name) % 2]},
            price=self._rng.randrange(3) * MICRO,
        )

    def _registration(self) -> tuple[str, int]:
        rows = self._driver.nodes()
        live = [name for name in NODES if name in rows and rows[name].state == LIVE]
        name = self._rng.choice(live if live and self._rng.random() < 0.9 else NODES)
        row = rows.get(name)
        return name, 1 if row is None else max(1, row.registration - (self._rng.random() < 0.05))

    def _report(self) -> bytes:
        return requests.report_command(*self._registration(), self._rng.randrange(4) * MICRO)

    def _leave(self) -> bytes:
        return requests.leave_command(*self._registration())

    def _drain(self) -> bytes:
        return requests.drain_command(self._rng.choice(NODES), self._rng.random() < 0.4)

    def _claim(self) -> bytes:
        count, lease = self._rng.randrange(1, 5), self._rng.choice((10, 60))
        return requests.claim_command(*self._registration(), count, lease)

    def _task(self, states: tuple[int, ...]) -> Task | None:
        """Return a task in one of some states for the most part; else any."""
        found = [task for name in IDS if (task := self._driver.find(name)) is not None]
        wanted = [task for task in found if task.state in states]
        pool = wanted if wanted and self._rng.random() < 0.9 else found
        return self._rng.choice(pool) if pool else None

    def _claimed(self) -> tuple[str, int]:
        task = self._task((CLAIMED,))
        if task is None:
            return "t00", 1
        return task.spec.id, max(1, task.token - (self._rng.random() < 0.1))

    def _extend(self) -> bytes:
        name, registration = self._registration()
        claims = [self._claimed() for _ in range(3)]
        return requests.extend_command(name, registration, claims, 60)

    def _progress(self) -> bytes:
        return requests.progress_command(*self._claimed(), b"%d" % self._rng.randrange(100))

    def _complete(self) -> bytes:
        return requests.complete_command(*self._claimed(), b"%d" % self._rng.randrange(2))

    def _fail(self) -> bytes:
        return requests.fail_command(*self._claimed(), "broken", self._rng.random() < 0.8)

    def _cancel(self) -> bytes:
        return requests.cancel_command(self._name(tuple(range(1, DONE))))

    def _retry(self) -> bytes:
        return requests.retry_command(self._name((DEAD, CANCELLED)))

    def _name(self, states: tuple[int, ...]) -> str:
        task = self._task(states)
        return "t00" if task is None else task.spec.id

    def _replan(self) -> bytes:
        return requests.replan_command(0, self._rng.randrange(1, 9))

    def _retain(self) -> bytes:
        return requests.retain_command(self._rng.randrange(12), self._rng.choice((0, 0, 50)))
