"""Who searches next, for how long, and until when.

A search is looked at after each quantum of work, so that time and memory are kept to.
"""

from __future__ import annotations

from time import perf_counter

from jepsen_like.checkers.depth_first import QUANTUM, Ending, Search, depth_first
from jepsen_like.checkers.frames import Frames
from jepsen_like.checkers.just_in_time import just_in_time
from jepsen_like.checkers.meter import Account, Meter
from jepsen_like.checkers.operations import Operations, beginning, is_exact
from jepsen_like.checkers.table import Table

TURN_GROWTH = 2
"""How much longer a key's turn is than its last: the last costs about half of all."""


LOCATE_FACTOR = 4
LOCATE_QUANTA_MIN = 20
"""How much more than the refutation may be spent on where it is, and how much in any case."""


class Patience:
    """When a check gives up."""

    def __init__(self, deadline: float, meter: Meter) -> None:
        self._deadline = deadline
        self._meter = meter

    @property
    def time_is_out(self) -> bool:
        """Whether the deadline, of ``perf_counter``, has come."""
        return perf_counter() >= self._deadline

    @property
    def memory_is_out(self) -> bool:
        """Whether all memory of the budget is taken."""
        return self._meter.full

    @property
    def is_out(self) -> bool:
        """Whether either is."""
        return self.memory_is_out or self.time_is_out


class Contest:
    """The two searches of one key."""

    def __init__(self, key: str | None, operations: Operations, table: Table, meter: Meter) -> None:
        self.key = key
        self.operations = operations
        self._table = table
        self._meter = meter
        self._ground_account = Account(meter)
        self._accounts: list[Account] = []
        self._searches: list[Search] = []
        self._spent = 0  # quanta
        # Depth first finds an order after about one situation an answer where that is easy at all.
        self._quanta = 1 + len(operations.answered) // QUANTUM

    def take_turn(self, patience: Patience) -> Ending | None:
        """Search for a while, longer each time. Return how it ended, None if it did not."""
        if not self._accounts:
            ground = Frames(self.operations, self._table, self._ground_account)
            self._accounts = [Account(self._meter), Account(self._meter)]
            self._searches = [
                depth_first(ground, self._accounts[0]),
                just_in_time(ground, self._accounts[1]),
            ]
            ending = self._search(self._searches[:1], self._quanta, patience)
            self._quanta = 1
        else:
            ending = self._search(self._searches, self._quanta, patience)
            self._quanta *= TURN_GROWTH
        if ending is not None:
            for account in (*self._accounts, self._ground_account):
                account.close()
            self._searches = []
        return ending

    def _search(self, searches: list[Search], quanta: int, patience: Patience) -> Ending | None:
        for search in searches:
            for _ in range(quanta):
                self._spent += 1
                try:
                    next(search)
                except StopIteration as stop:
                    ending: Ending = stop.value
                    return ending
                if patience.is_out:
                    return None
        return None

    def locate(self, answer: int, patience: Patience) -> int:
        """Return the first answer that no order explains, given the last one that was looked at.

        A search that sees from a later read, or from the result of something still open, that a
        state leads nowhere, stops short of that. So from there on, each beginning is judged by
        itself, where the open operations are of unknown outcome: a beginning that is refuted ends
        in the answer looked for. That may cost a few times what the refutation has; beyond, or when
        patience ends, the last answer known to be explained stands in.
        """
        if is_exact(self.operations, self._table):
            return answer
        left = LOCATE_FACTOR * self._spent + LOCATE_QUANTA_MIN
        for candidate in range(answer, len(self.operations.answered) - 1):
            part = beginning(self.operations, candidate + 1, self._table)
            contest = Contest(self.key, part, self._table, self._meter)
            ending = contest.settle(left, patience)
            left -= contest.spent
            if ending is None or not ending.possible or left <= 0:
                return candidate
        return len(self.operations.answered) - 1

    def settle(self, quanta: int, patience: Patience) -> Ending | None:
        """Search until it is decided, or about so much was spent, or patience ends."""
        ending = self.take_turn(patience)
        while ending is None and self._spent < quanta and not patience.is_out:
            ending = self.take_turn(patience)
        return ending

    @property
    def spent(self) -> int:
        """Quanta of work that went into it."""
        return self._spent

    def retrench(self) -> bool:
        """Give up the search that needs more memory, if there is still another to go on with."""
        if len(self._searches) < 2:
            return False
        self._searches.pop().close()
        self._accounts[1].close()
        return True
