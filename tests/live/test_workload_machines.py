"""The workloads' state machines: sound as replicated state machines, and right as data types."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from jepsen_like.workload import machines
from jepsen_like.workload.keyed import KeyedMachine, pack
from paxos.core.state_machine import CommandFailed, Stamp
from paxos.testing.state_machine_suite import Exercise, check_state_machine

AT = Stamp(1, 0, 0)

ARGUMENTS: dict[str, dict[str, list[Any]]] = {
    "Register": {"write": [1, 2, None], "cas": [[1, 2], [None, 3], [9, 9]]},
    "KeyValue": {"write": [1, 2], "cas": [[1, 2], [None, 3]], "delete": [None]},
    "KeyValueAppend": {"put": ["a", ""], "append": ["b", "ä"]},
    "AppendList": {"append": [1, 2, 3]},
    "GrowingSet": {"add": [3, 1, 2]},
    "Counter": {"add": [1, 5, 0]},
    "Queue": {"enqueue": [1, 2, 3], "dequeue": [None]},
    "Mutex": {"acquire": [None], "release": [0, 1, 2, 3]},
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_workload_machine_under_the_shipped_suite_keeps_the_contract(name: str) -> None:
    rng = Random(1)
    commands = []
    for _ in range(150):
        f = rng.choice(list(ARGUMENTS[name]))
        commands.append(pack([f, rng.choice("xyz"), rng.choice(ARGUMENTS[name][f])]))
    commands += [pack(["fly", "x", None]), pack(["read", 1, None]), pack({"f": "read"})]
    machine: type[KeyedMachine] = getattr(machines, name)
    queries = [pack([f, key, None]) for f in machine.data_type.queries for key in "xy-"]
    check_state_machine(f"jepsen_like.workload.machines:{name}", Exercise(commands, queries))


def test_table_of_arguments_beside_the_machines_names_every_command() -> None:
    named = {name: set(table) for name, table in ARGUMENTS.items()}
    defined = {
        name: set(each.data_type.commands)
        for name, each in vars(machines).items()
        if isinstance(each, type) and issubclass(each, KeyedMachine) and each is not KeyedMachine
    }
    assert named == defined


def told(machine: KeyedMachine, *steps: tuple[str, Any]) -> list[Any]:
    """Run operations on one key; a refusal is told as its text."""
    answers: list[Any] = []
    for f, value in steps:
        words = pack([f, "k", value])
        try:
            reads = f in machine.data_type.queries
            answers.append(json.loads(machine.query(words) if reads else machine.apply(words, AT)))
        except CommandFailed as failure:
            answers.append(str(failure))
    return answers


READ = ("read", None)


def test_register_compared_with_another_value_is_left_as_it_was() -> None:
    no = machines.ANOTHER_VALUE
    steps = (READ, ("cas", [1, 2]), ("cas", [None, 3]), READ, ("write", 4), ("cas", [3, 5]), READ)
    assert told(machines.Register(), *steps) == [None, no, None, 3, None, no, 4]


def test_key_deleted_from_key_value_reads_as_absent() -> None:
    steps = (("write", 1), ("delete", None), READ, ("delete", None), ("cas", [None, 2]), READ)
    assert told(machines.KeyValue(), *steps) == [None, None, None, None, None, 2]


def test_texts_put_and_appended_are_joined_in_order() -> None:
    get = ("get", None)
    steps = (get, ("append", "a"), ("append", "b"), get, ("put", "c"), ("append", "d"), get)
    assert told(machines.KeyValueAppend(), *steps) == ["", None, None, "ab", None, None, "cd"]


def test_list_set_and_counter_written_twice_show_it_as_their_models_do() -> None:
    twice = (("append", 7), ("append", 7), READ)
    assert told(machines.AppendList(), *twice)[-1] == [7, 7]
    assert told(machines.GrowingSet(), ("add", 7), ("add", 7), ("add", 2), READ)[-1] == [2, 7]
    assert told(machines.Counter(), READ, ("add", 7), ("add", 7), READ) == [0, None, None, 14]


def test_queue_dequeued_when_empty_answers_null_and_else_the_oldest() -> None:
    take = ("dequeue", None)
    steps = (take, ("enqueue", 1), ("enqueue", 2), take, take, take)
    assert told(machines.Queue(), *steps) == [None, None, None, 1, 2, None]


def test_mutex_acquired_again_gives_a_higher_token_and_refuses_the_old_one() -> None:
    acquire = ("acquire", None)
    held, not_the_holder = machines.HELD, machines.NOT_THE_HOLDER
    steps = (acquire, acquire, ("release", 2), ("release", 1), acquire, ("release", 1))
    assert told(machines.Mutex(), *steps) == [1, held, not_the_holder, None, 2, not_the_holder]


def test_objects_under_two_keys_do_not_see_each_other() -> None:
    machine = machines.Counter()
    machine.apply(pack(["add", "a", 3]), AT)
    assert json.loads(machine.query(pack(["read", "b", None]))) == 0
    assert list(machine.snapshot()) == [b'["a",3]']


def test_object_that_is_as_at_first_is_not_kept() -> None:
    written, never = machines.KeyValue(), machines.KeyValue()
    written.apply(pack(["write", "a", 3]), AT)
    written.apply(pack(["delete", "a", None]), AT)
    assert list(written.snapshot()) == list(never.snapshot()) == []
