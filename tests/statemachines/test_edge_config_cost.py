"""What a command costs does not grow with the state. Counted in calls, not in time."""

from __future__ import annotations

from benchmarks.call_counter import CallCounter
from paxos.core.state_machine import Stamp
from statemachines import edge_config_client as client
from statemachines.edge_config import EdgeConfig
from statemachines.edge_config_format import EdgeConfigLimits

AT = Stamp(1, 0, 0)

KEEP = 100
# Waiting watches are brought up to date once in KEEP + 1 writes: count whole rounds of it.
WRITES = 5 * (KEEP + 1)


def filled(keys: int) -> EdgeConfig:
    machine = EdgeConfig(EdgeConfigLimits(keep_revisions=KEEP))
    for number in range(keys):
        machine.apply(client.put_command(f"site-{number:06}/fps", b"25"), AT)
    return machine


def calls_of_puts(machine: EdgeConfig) -> int:
    commands = [client.put_command(f"site-{n:06}/fps", b"30") for n in range(WRITES)]
    with CallCounter() as counter:
        for command in commands:
            machine.apply(command, AT)
    return counter.calls


def test_put_with_retention_costs_the_same_at_any_number_of_keys() -> None:
    few, many = calls_of_puts(filled(1000)), calls_of_puts(filled(30_000))
    assert few == many
    assert few < WRITES * 30


def test_delete_and_its_forgetting_cost_the_same_at_any_number_of_keys() -> None:
    def calls(machine: EdgeConfig) -> int:
        commands = [client.delete_command(f"site-{n:06}/fps") for n in range(WRITES)]
        with CallCounter() as counter:
            for command in commands:
                machine.apply(command, AT)
        return counter.calls

    assert calls(filled(1000)) == calls(filled(30_000))


def test_snapshot_is_asked_for_at_the_same_cost_at_any_number_of_keys() -> None:
    def calls(machine: EdgeConfig) -> int:
        with CallCounter() as counter:
            machine.snapshot()
        return counter.calls

    few, many = calls(filled(1000)), calls(filled(30_000))
    assert few == many
    assert few < 30


def test_put_while_snapshots_are_read_costs_a_few_calls_more() -> None:
    machine = filled(30_000)
    calm = calls_of_puts(machine)
    reading = [machine.snapshot() for _ in range(2)]
    assert all(map(next, reading))
    assert calls_of_puts(machine) < calm + WRITES * 20
    reading.clear()
    assert calls_of_puts(machine) == calm


def test_quiet_watches_cost_a_few_calls_each_however_long_the_log() -> None:
    machine = EdgeConfig()
    queries = [client.watch_query(f"quiet-{number}/", 0) for number in range(1000)]
    for query in queries:
        assert machine.watch(query) is None
    for number in range(4000):
        machine.apply(client.put_command("busy", b"%d" % number), AT)
    assert machine.watch(queries[0]) is None
    with CallCounter() as counter:
        for query in queries:
            assert machine.watch(query) is None
    assert counter.calls < 1000 * 15


def test_watch_that_was_touched_late_does_not_read_the_log_before() -> None:
    machine = EdgeConfig()
    query = client.watch_query("quiet/", 0)
    assert machine.watch(query) is None
    for number in range(4000):
        machine.apply(client.put_command("busy", b"%d" % number), AT)
    machine.apply(client.put_command("quiet/1", b""), AT)
    assert machine.watch(client.watch_query("other", 4001)) is None  # looks at the new changes
    with CallCounter() as counter:
        assert machine.watch(query) is not None
    assert counter.calls < 60
