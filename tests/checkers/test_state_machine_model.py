"""The model that is made from a state machine, beside the one that is written for it."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest

from jepsen_like.checkers.linearizability import check
from jepsen_like.checkers.state_machines import StateMachineModel, Verb
from jepsen_like.history import HistoryError
from jepsen_like.workload.registers import Registers, operation
from paxos.core.state_machine import CommandFailed, Stamp
from tests.checkers.brute_force import is_linearizable
from tests.checkers.hand import Hand
from tests.checkers.random_histories import random_history


class ListMachine:
    """A list, as a state machine."""

    def __init__(self) -> None:
        self.elements: list[bytes] = []

    def apply(self, command: bytes, at: Stamp) -> bytes:
        if command == b"bad":
            raise CommandFailed("refused")
        if command == b"careless":
            raise ZeroDivisionError
        self.elements.append(command)
        return b"%d" % len(self.elements)

    def query(self, query: bytes) -> bytes:
        return b",".join(self.elements)

    def snapshot(self) -> Iterable[bytes]:
        yield from self.elements

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.elements = list(chunks)


def list_model() -> StateMachineModel:
    return StateMachineModel(
        ListMachine,
        {
            "append": Verb(lambda element: str(element).encode()),
            "read": Verb(
                lambda _: b"",
                lambda answer: [
                    True if each == b"True" else int(each) for each in answer.split(b",") if each
                ],
                is_query=True,
            ),
        },
        name="list machine",
    )


@pytest.mark.parametrize("seed", range(150))
def test_model_of_a_machine_agrees_with_trying_every_order(seed: int) -> None:
    history = random_history("append", Random(seed))
    result = check(history, list_model())
    if result.verdict != "unknown":
        assert (result.verdict == "yes") == is_linearizable(history, "append")
        assert result.model == "list machine"


def registers_model() -> StateMachineModel:
    def increment(key: str) -> bytes:
        return operation(b"i", key.encode())

    verbs = {"increment": Verb(increment, int), "count": Verb(increment, int, is_query=True)}
    return StateMachineModel(Registers, verbs)


def test_model_looks_at_the_answers_of_commands() -> None:
    hand = Hand().done(1, "increment", "a", 1).done(1, "increment", "b", 1)
    assert check(hand.done(1, "increment", "a", 2).history, registers_model()).verdict == "yes"
    assert check(hand.done(1, "increment", "a", 2).history, registers_model()).verdict == "no"


def test_model_of_a_machine_that_loses_an_increment_refutes_it() -> None:
    hand = Hand().invoke(1, "increment", "a").info(1).done(2, "increment", "a", 1)
    assert check(hand.done(2, "count", "a", 2).history, registers_model()).verdict == "yes"
    assert check(hand.done(2, "count", "a", 1).history, registers_model()).verdict == "no"


@pytest.mark.parametrize("command", ["bad", "careless"])
def test_command_that_the_machine_refuses_cannot_have_been_answered(command: str) -> None:
    hand = Hand().done(1, "append", 1).done(1, "append", command)
    assert check(hand.history, list_model()).verdict == "no"


def test_argument_that_cannot_be_said_is_a_wrong_history() -> None:
    with pytest.raises(HistoryError, match="cannot be said"):
        check(Hand().done(1, "increment", 7, 1).history, registers_model())
