"""What a replica owes its clients, and the bounds on it."""

from __future__ import annotations

from paxos.core.clients import Clients, Routes
from paxos.core.limits import Limits
from paxos.core.messages import Level, Read, Watch

LIMITS = Limits(reads_max=2, watches_max=2, routes_max=2)


def read(number: int) -> Read:
    return Read(number, Level.SESSION, "m", b"", 0)


def watch(number: int) -> Watch:
    return Watch(number, "m", b"", 0)


def test_route_results_go_where_the_session_last_asked() -> None:
    routes = Routes(bound=2)
    routes.add(1, 50)
    routes.add(2, 50)
    routes.add(2, 50)
    assert routes.owner(50) == 2
    routes.gone(1)
    assert routes.owner(50) == 2
    routes.gone(2)
    assert routes.owner(50) is None


def test_route_oldest_of_a_connection_is_forgotten_at_the_bound() -> None:
    routes = Routes(bound=2)
    for session in (50, 51, 52):
        routes.add(1, session)
    assert [routes.owner(session) for session in (50, 51, 52)] == [None, 1, 1]
    assert routes.clients() == [1]


def test_route_of_a_nonce_is_not_that_of_a_session_with_its_number() -> None:
    clients = Clients(LIMITS)
    clients.sessions.add(1, 50)
    clients.openings.add(2, 50)
    assert (clients.sessions.owner(50), clients.openings.owner(50)) == (1, 2)
    assert clients.routed() == [2, 1]
    clients.gone(2)
    assert clients.routed() == [1]


def test_reads_are_taken_in_order_of_slot_and_arrival() -> None:
    clients = Clients(Limits())
    for number, slot in enumerate((5, 3, 5, 9), 1):
        assert clients.admit_read(1)
        clients.await_slot(slot, 1, read(number))
    assert [r.number for _, r in clients.reads_at(5)] == [2, 1, 3]
    assert clients.reads_at(8) == []


def test_reads_over_the_bound_are_not_admitted_until_one_ends() -> None:
    clients = Clients(LIMITS)
    assert [clients.admit_read(1) for _ in range(3)] == [True, True, False]
    assert clients.admit_read(2)
    clients.release_read(1)
    assert clients.admit_read(1)


def test_read_of_a_client_that_left_meanwhile_is_dropped() -> None:
    clients = Clients(LIMITS)
    clients.admit_read(1)
    clients.gone(1)
    clients.await_slot(0, 1, read(1))
    assert clients.reads_at(9) == []


def test_gone_client_leaves_the_others_reads_and_watches() -> None:
    clients = Clients(LIMITS)
    for client in (1, 2):
        clients.admit_read(client)
        clients.await_slot(1, client, read(client))
        clients.add_watch(client, watch(client))
    clients.gone(1)
    assert [c for c, _ in clients.reads_at(1)] == [2]
    assert [c for c, _ in clients.watches()] == [2]


def test_watches_over_the_bound_are_refused_but_one_may_be_asked_again() -> None:
    clients = Clients(LIMITS)
    assert [clients.add_watch(1, watch(n)) for n in (1, 2, 3, 2)] == [True, True, False, True]
    clients.drop_watch(1, 1)
    clients.drop_watch(1, 2)
    clients.drop_watch(9, 1)
    assert clients.watches() == []
