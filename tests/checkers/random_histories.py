"""Small histories of every model: clients that really overlap, with answers that may be spoiled.

An object is run at a random moment between invoke and answer, so an unspoiled history is
linearizable by construction.
"""

from __future__ import annotations

from random import Random
from typing import Any

from jepsen_like.history import Entry
from tests.checkers.brute_force import NO, TWINS

OPERATIONS: dict[str, tuple[str, ...]] = {
    "cas-register": ("read", "read", "write", "cas"),
    "kv": ("read", "read", "write", "cas", "delete"),
    "kv-append": ("get", "get", "put", "append", "append"),
    "append": ("append", "read"),
    "set": ("add", "read"),
    "counter": ("add", "read"),
    "queue": ("enqueue", "dequeue"),
    "mutex": ("acquire", "acquire", "release"),
}


class Recording:
    """Makes one history."""

    def __init__(
        self, model: str, rng: Random, *, clients: int, unique: bool, spoil: float, lose: float
    ) -> None:
        self.history: list[Entry] = []
        self._model, self._rng = model, rng
        self._unique, self._spoil, self._lose = unique, spoil, lose
        self._state, self._apply = TWINS[model]
        self._processes = list(range(clients))
        self._next_process = clients
        self._next_value = 0
        self._values: list[Any] = [None]
        self._waiting: list[list[Any]] = []  # process, f, argument, whether it ran, its answer
        self._token = 0

    def run(self, operations: int) -> list[Entry]:
        """Ask so many operations, and return what was recorded."""
        while (operations and self._processes) or self._waiting:
            doing = self._rng.randrange(3)
            ready = [each for each in self._waiting if each[3]]
            if doing == 0 and operations and self._processes:
                self._invoke()
                operations -= 1
            elif doing == 1 and len(ready) < len(self._waiting):
                self._happen(self._rng.choice([each for each in self._waiting if not each[3]]))
            elif doing == 2 and ready:
                self._answer(self._rng.choice(ready))
        return self.history

    def _record(self, process: int, type_: Any, f: str, value: Any) -> None:
        time = len(self.history) * 1000
        error = "timed out" if type_ == "info" else None
        self.history.append(Entry(process, type_, f, None, value, time, error))

    def _invoke(self) -> None:
        process = self._processes.pop(self._rng.randrange(len(self._processes)))
        f = self._rng.choice(OPERATIONS[self._model])
        argument = self._argument(f)
        self._waiting.append([process, f, argument, False, None])
        self._record(process, "invoke", f, argument)

    def _argument(self, f: str) -> Any:
        if f in ("read", "get", "dequeue", "acquire", "delete"):
            return None
        if f == "release":
            return max(1, self._token + self._rng.choice((0, 0, 0, 1)))
        if self._model == "counter":
            return 2 if self._unique else self._rng.choice((1, 2, 3, -1))
        if f == "cas":
            return [self._rng.randrange(3), self._rng.randrange(3)]
        if self._unique:
            self._next_value += 1
            value: Any = self._next_value
        else:
            value = self._rng.choice((0, 1, 1, 2, True))
        return str(value) if self._model == "kv-append" else value

    def _happen(self, waiting: list[Any]) -> None:
        _, f, argument, _, _ = waiting
        waiting[3] = True
        lost = self._rng.random() < self._lose
        if lost and self._rng.random() < 0.5:
            waiting[4] = ("info", None)
            return
        before = self._state
        self._state, answer = self._apply(before, f, argument)
        if answer is not NO and self._model == "mutex" and f == "acquire":
            self._token += 1
            answer = self._token
            self._state = [answer, answer]
        if lost:
            waiting[4] = ("info", None)
        elif answer is NO:
            waiting[4] = ("fail", argument)
        elif isinstance(answer, tuple):
            waiting[4] = ("ok", self._rng.sample(answer[1], len(answer[1])))
        else:
            waiting[4] = ("ok", argument if answer == "any" else answer)
        if answer not in (NO, "any") and answer is not None:
            self._values.append(waiting[4][1])

    def _answer(self, waiting: list[Any]) -> None:
        process, f, argument, _, (type_, value) = waiting
        self._waiting.remove(waiting)
        if self._rng.random() < self._spoil:
            type_ = "ok" if self._rng.random() < 0.8 else "fail"
            value = self._rng.choice(self._values) if f != "release" else argument
        if type_ == "ok" and self._model == "set" and f == "read" and not isinstance(value, list):
            value = []
        if f == "acquire" and type_ == "ok" and value is None:
            type_ = "fail"
        self._record(process, type_, f, value)
        if type_ != "info":
            self._processes.append(process)
        elif self._rng.random() < 0.8:
            self._processes.append(self._next_process)
            self._next_process += 1


def random_history(model: str, rng: Random) -> list[Entry]:
    """Return a history of up to nine operations; about half of them are linearizable."""
    recording = Recording(
        model,
        rng,
        clients=rng.randint(1, 4),
        unique=rng.random() < 0.5,
        spoil=rng.choice((0, 0.1, 0.3)),
        lose=rng.choice((0, 0.2, 0.5)),
    )
    return recording.run(rng.randint(1, 9))
