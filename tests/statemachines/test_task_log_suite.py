"""The task log keeps the contract of state machines: the shipped checks over a varied life."""

from __future__ import annotations

from random import Random

from paxos.core.state_machine import CommandFailed
from paxos.testing.state_machine_suite import Exercise, check_state_machine
from statemachines import task_log_requests as requests
from statemachines.task_log_format import MICRO
from tests.statemachines.task_log_commands import RandomCommands
from tests.statemachines.task_log_driver import Driver, node_spec


def task_log_exercise() -> Exercise:
    """Commands of a random life, whose times stand still: the suite has its own."""
    driver = Driver()
    makers = RandomCommands(Random(7), driver)
    commands = [requests.register_command(node_spec(f"n{each}", lease=MICRO)) for each in range(3)]
    for command in commands:
        driver.apply(command)
    while len(commands) < 400:
        commands.append(makers.next())
        try:
            driver.apply(commands[-1])
        except CommandFailed:
            pass  # some of an exercise's commands should be refused
    queries = [
        requests.get_query("t01"),
        requests.get_query("unknown"),
        requests.list_query(),
        requests.list_query(state="done", kind="x", node="n1", limit=2),
        requests.nodes_query(),
        requests.stats_query(),
        requests.explain_query("t02"),
        requests.explain_query("unknown"),
        requests.watch_query("everything", "", 3),
        requests.watch_query("task", "t01", 0),
        requests.watch_query("node", "n1", 10),
        requests.watch_query("task", "t01", 2**40),
        requests.work_query("n1", 1),
    ]
    return Exercise(commands, queries)


def test_task_log_keeps_the_state_machine_contract() -> None:
    check_state_machine("statemachines.task_log:TaskLog", task_log_exercise())
