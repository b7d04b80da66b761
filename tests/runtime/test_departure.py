"""What becomes of a node that was removed: it hears of it, says so, and ends in order."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import paxos
from paxos.core.config import Configuration, Governing, Member, Part
from paxos.core.ids import Voter
from paxos.core.limits import Timing
from paxos.core.quorum import Quorums
from paxos.runtime.configuration_fields import configuration_fields
from paxos.runtime.departure import LOOK_TIMEOUTS, Departure, Removal, removal_in
from paxos.runtime.links import LEAVING_TIMEOUTS
from paxos.runtime.node import Node
from tests.runtime.test_members import Opened

pytestmark = pytest.mark.usefixtures("autojump_clock")

WAIT_S = 100.0
"""Of virtual time: the doubts of a node that hears no leader begin after five seconds or so."""

FORGOTTEN_S = 2 * LEAVING_TIMEOUTS * Timing().election_timeout_s
"""By then the others do not talk to a removed node any more."""


async def let_go(node: Node) -> Removal:
    with trio.fail_after(WAIT_S):
        return await node.released()


@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
async def test_removed_node_that_goes_on_says_so_and_is_let_go(
    memory_cluster: Any, ledger_name: str, leads: bool
) -> None:
    async with Opened(memory_cluster) as years:
        await years.client.submit(ledger_name, b"before")
        await years.join(Part.VOTER)
        await years.client.transfer_leader(3 if leads else 1)
        removed = years.cluster.nodes[3]
        assert (removed.status()["removed"], removed.status()["removed_by"]) == (False, None)
        await years.remove(3)
        removal = await let_go(removed)
        version = (await years.configuration()).version
        assert str(removal) == (
            f"removed from the cluster by configuration {version}: this directory may be deleted"
        )
        status = removed.status()
        assert status["role"] == "follower"
        assert (status["removed_by"], status["may_be_deleted"]) == (version, True)


@pytest.mark.parametrize("node", [1, 3], ids=["dialled by nobody", "refused by all"])
async def test_node_removed_while_it_was_away_hears_of_it_when_it_comes_back(
    memory_cluster: Any, ledger_name: str, node: int
) -> None:
    async with Opened(memory_cluster) as years:
        await years.client.submit(ledger_name, b"before")
        await years.join(Part.VOTER)
        await years.cluster.kill(node)
        await years.remove(node)
        await years.client.submit(ledger_name, b"after")
        with trio.move_on_after(FORGOTTEN_S):
            await trio.sleep_forever()
        await years.cluster.start(node)
        removed = years.cluster.nodes.pop(node)
        await let_go(removed)
        # What it knows by itself is older: it took nobody's word for anything else.
        assert removed.status()["configuration"]["version"] < removed.status()["removed_by"]


async def test_removed_node_refuses_what_it_would_answer_from_the_past(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with Opened(memory_cluster) as years:
        await years.client.submit(ledger_name, b"before")
        await years.join(Part.VOTER)
        removed = years.cluster.nodes[3]
        await years.remove(3)
        await let_go(removed)
        async with paxos.open_client([removed.url], timeout=5) as client:
            for level in ("local", "session"):
                with pytest.raises(paxos.RequestRefused, match="n3 was removed from the cluster"):
                    await client.read(ledger_name, b"all", level=level)
            with pytest.raises(paxos.RequestRefused, match="n3 was removed from the cluster"):
                await client.watch_once(ledger_name, b"0")
            # It shows the way to those who can answer.
            assert (await client.read(ledger_name, b"all")).data == b"before"


async def test_node_without_a_quorum_stays_however_long_that_lasts(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with Opened(memory_cluster) as years:
        await years.client.submit(ledger_name, b"before")
        await years.cluster.caught_up()
        await years.cluster.kill(1, 2)
        with trio.move_on_after(WAIT_S):
            await years.cluster.nodes[3].released()
        assert years.cluster.nodes[3].status()["removed"] is False
        answer = await years.client.read(ledger_name, b"all", level="local")
        assert answer.data == b"before"


# --- what another node's status says ----------------------------------------------------------

ME = Voter(3, 1003)


def told(**changes: Any) -> dict[str, Any]:
    """Return the status of a leader that has settled a configuration without node 3."""
    members = tuple(Member(n, 1000 + n, Part.VOTER, f"memory://m{n}") for n in (1, 2))
    quorums = Quorums.majority([member.voter for member in members])
    configuration = Configuration(4, quorums, members, next_node=4)
    fields = configuration_fields(Governing(50, configuration))
    document = {"role": "leader", "settled": True, "decided_through": 80, "configuration": fields}
    return document | changes


def governing(node: int, next_node: int = 4, first: int = 50) -> Governing:
    """Return a configuration of nodes 1, 2 and ``node``."""
    members = tuple(Member(n, 1000 + n) for n in sorted({1, 2, node}))
    quorums = Quorums.majority([member.voter for member in members])
    return Governing(first, Configuration(4, quorums, members, next_node=next_node))


@pytest.mark.parametrize(
    ("known", "status", "removal"),
    [
        (governing(2), told(), Removal(4, True)),
        (governing(2), told(settled=None), Removal(4, False)),
        (governing(2), told(settled=False), Removal(4, False)),
        (governing(2), told(role="follower"), Removal(4, False)),
        (governing(2, first=81), told(), Removal(4, True)),
        (governing(2, first=82), told(), None),
        (governing(3), told(), None),
        (governing(2, next_node=3), told(), None),
    ],
    ids=[
        "settled",
        "of a follower",
        "not settled",
        "of one that leads no more",
        "governs from the next slot on",
        "governs later",
        "a member",
        "one that joins",
    ],
)
def test_status_of_another_node_says_a_removal_only_where_it_governs(
    known: Governing, status: dict[str, Any], removal: Removal | None
) -> None:
    assert removal_in(ME, known, status) == removal


class Standing:
    """What the replica says of itself, as far as it matters here."""

    leader = 0
    removed = False
    role = "follower"
    governing = ()


async def test_node_asks_whom_others_name_and_skips_what_it_cannot_read() -> None:
    moved = told(settled=None)
    answers = {
        "memory://gone": None,
        "memory://older": {"role": "leader", "settled": True},
        "memory://later": told(configuration={"version": "of a release to come"}),
        "memory://wrong": told(decided_through="many"),
        "memory://first": moved,
        "memory://m1": None,
        "memory://m2": told(),
    }
    asked = []

    async def ask(url: str) -> Any:
        asked.append(url)
        return answers[url]

    urls = list(answers)[:5]
    departure = Departure(ME, 0.5, Standing, lambda: urls, ask)  # type: ignore[arg-type]
    with trio.fail_after(WAIT_S):
        await departure.run()
    assert asked == list(answers)
    assert departure.removal == Removal(4, True)


async def test_leader_and_node_that_hears_one_ask_nobody() -> None:
    async def ask(url: str) -> Any:
        raise AssertionError(f"asked {url}")

    class Heard(Standing):
        leader = 2

    class Leading(Heard):
        removed = True
        role = "leader"

    for standing in (Heard, Leading):
        departure = Departure(ME, 0.5, standing, lambda: ["memory://m1"], ask)  # type: ignore[arg-type]
        with trio.move_on_after(100 * LOOK_TIMEOUTS * 0.5):
            await departure.run()
        assert departure.removal is None
