"""A model made from any state machine: what is replicated is also what judges the history.

One machine runs every step. A state is a snapshot of it, and going back is restoring one, which is
left out while the machine already stands where it is wanted. So a step costs a snapshot; a machine
with a large state is checked slower than by a model made for it.

The machine must keep its promises: the same command in the same state gives the same answer, and
equal states give equal snapshots. A machine whose answers depend on the stamp (its time, its slot)
cannot be judged this way, because a history does not tell it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jepsen_like.checkers.models import IMPOSSIBLE, Action, BadOperation, Kind
from jepsen_like.checkers.values import key_of
from paxos.core.state_machine import Stamp, StateMachine

ORIGIN = Stamp(slot=1, position=0, time=0)
"""The stamp of every command, unless another is asked for."""


@dataclass(frozen=True, slots=True)
class Verb:
    """How an operation of the history is said to the machine.

    Attributes:
        encode: From the recorded argument to the command or query.
        decode: From the machine's answer to the result as it is recorded; None if no result is
            recorded, or it says nothing.
        is_query: Whether it is a query: it changes nothing.
    """

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any] | None = None
    is_query: bool = False


class StateMachineModel:
    """The model of one state machine. Made for one check, like every model."""

    def __init__(
        self,
        factory: Callable[[], StateMachine],
        verbs: Mapping[str, Verb],
        *,
        name: str = "state machine",
        split_by_key: bool = False,
        stamp: Stamp = ORIGIN,
    ) -> None:
        """Make the model.

        Args:
            factory: Makes a machine in its first state.
            verbs: By operation, how it is said to the machine.
            name: What results call the model.
            split_by_key: Whether each key of the history is a machine of its own. Only right if no
                command touches more than its key.
            stamp: What every command is applied with.
        """
        self.name = name
        self.split_by_key = split_by_key
        self.functions = frozenset(verbs)
        self.told = frozenset(f for f, verb in verbs.items() if verb.decode is not None)
        self._verbs = verbs
        self._stamp = stamp
        self._machine = factory()
        self.initial: tuple[bytes, ...] = tuple(self._machine.snapshot())
        self._at: tuple[bytes, ...] | None = self.initial  # the machine's state, None if unsure

    def action(self, f: str, argument: Any, result: Any, known: bool) -> Action | None:
        """Return what the operation does."""
        verb = self._verbs[f]
        try:
            said = verb.encode(argument)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BadOperation(f"{f} cannot be said of {argument!r}: {error!r}") from error
        if verb.is_query and not known:
            return None
        expected = key_of(result)

        def step(state: tuple[bytes, ...]) -> Any:
            answer = self._run(said, verb.is_query, state)
            if answer is None:
                return IMPOSSIBLE  # it was refused, and nothing happened
            if known and verb.decode is not None and key_of(verb.decode(answer)) != expected:
                return IMPOSSIBLE
            return state if verb.is_query else self._stand()

        return Action(step, Kind.READ if verb.is_query else Kind.CONDITIONAL)

    def _run(self, said: bytes, is_query: bool, state: tuple[bytes, ...]) -> bytes | None:
        """Run it in a state; None if the machine refused it, as it may with any exception."""
        if self._at is not state:
            self._machine.restore(state)
        self._at = None
        try:
            if is_query:
                answer = self._machine.query(said)
                self._at = state
                return answer
            return self._machine.apply(said, self._stamp)
        except Exception:  # noqa: BLE001 - a careless machine refuses by raising; the port says so
            return None

    def _stand(self) -> tuple[bytes, ...]:
        """Return the state in which the machine stands."""
        self._at = tuple(self._machine.snapshot())
        return self._at
