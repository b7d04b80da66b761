"""The ``paxos member`` commands that change something. Each returns when the change is settled.

They translate options to ``paxos.operations.changes`` and its end to lines; how far a change is, is
told by ``progress``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from paxos.cli.member_options import (
    NODES,
    PARTS,
    PRIORITY,
    node_ids,
    pairs,
    part_option,
    quorum_options,
    the_file,
    wait_option,
)
from paxos.cli.operating import operate
from paxos.cli.options import Target, one_endpoint, operator_options
from paxos.cli.output import print_json
from paxos.cli.progress import Teller
from paxos.cli.teaching import TaughtCommand
from paxos.core.config import Configuration, Governing, Member, Part
from paxos.operations import plans
from paxos.operations.changes import Changes, Joining
from paxos.operations.live import LiveCluster
from paxos.operations.plans import QuorumChoice, quorums_text
from paxos.runtime.configuration_fields import configuration_fields

TWO_URLS = "--url tcp://127.0.0.1:7004 --url tcp://127.0.0.1:7005"
NO_LIMIT_S = float("inf")

URLS = click.option(
    "--url",
    "urls",
    multiple=True,
    required=True,
    metavar="URL",
    help="Where the new node will listen, like tcp://10.0.0.4:7001. Repeat it for several.",
)
DIRECTORIES = click.argument(
    "directories", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path)
)


def change(
    target: Target, wait_s: float, done: str, task: Callable[[Changes], Awaitable[Configuration]]
) -> None:
    """Carry out a change, telling how far it is, and say what is so then."""
    teller = Teller(target.json)

    async def work(cluster: LiveCluster) -> Configuration:
        return await task(Changes(cluster, teller, wait_s))

    with teller.showing():
        configuration = operate(target, work)
    if target.json:
        fields = configuration_fields(Governing(0, configuration))
        del fields["first"]
        print_json({"event": "done", "configuration": fields})
        return
    click.echo(done)
    click.echo(configuration_text(configuration))


def configuration_text(configuration: Configuration) -> str:
    """Return in one line who is there and what suffices."""
    names = {part: [str(m.node) for m in configuration.members if m.part is part] for part in Part}
    told = [f"voters {', '.join(names[Part.VOTER])}"]
    told += [f"witnesses {', '.join(names[Part.WITNESS])}"] if names[Part.WITNESS] else []
    told += [f"learners {', '.join(names[Part.LEARNER])}"] if names[Part.LEARNER] else []
    quorums = quorums_text(configuration.quorums)
    return f"configuration {configuration.version}: {'; '.join(told)}; {quorums}"


def _names(nodes: tuple[int, ...]) -> str:
    return f"node {nodes[0]}" if len(nodes) == 1 else f"nodes {', '.join(map(str, nodes))}"


@click.command(
    cls=TaughtCommand,
    examples=[
        ("join, catch up, vote", "paxos member add --url tcp://127.0.0.1:7004 ./node-4"),
        (
            "from 3 to 5 in one command",
            f"paxos member add ./node-4 ./node-5 {TWO_URLS}",
        ),
        (
            "only join; `paxos member promote` does the rest later",
            "paxos member add --as learner --url tcp://127.0.0.1:7004 ./node-4",
        ),
    ],
)
@DIRECTORIES
@URLS
@part_option(*PARTS, default="voter")
@PRIORITY
@quorum_options
@wait_option
@operator_options
def add(
    target: Target,
    *,
    directories: tuple[Path, ...],
    urls: tuple[str, ...],
    part: str,
    priority: int | None,
    quorums: QuorumChoice,
    wait_s: float,
) -> None:
    """Add nodes: each joins as a learner, catches up, and votes then.

    Makes DIR with the new node's own cluster.toml and data directory, and prints the line that
    runs it. Run that line on the new machine: move DIR there first, or give the whole command
    there, with a copy of any member's cluster.toml. The command waits for the node to answer and to
    catch up, and returns when it votes and the change is settled. With --as learner it returns when
    the node has joined. A witness keeps no state, and stays one.

    Cut short, give the same command again: it goes on with the DIR it made.
    """
    file = the_file(target)
    joinings = [
        Joining(url, directory, Part[part.upper()], priority or 0)
        for url, directory in pairs(urls, directories)
    ]
    what = "is a learner" if part == "learner" else f"is a {part} now"
    change(
        target,
        wait_s,
        f"done: the new node {what}" if len(joinings) == 1 else f"done: each new node {what}",
        lambda changes: changes.add(file, joinings, quorums),
    )


@click.command(
    cls=TaughtCommand,
    examples=[
        ("a learner that has joined is to vote", "paxos member promote 4"),
        ("two at once", "paxos member promote 4 5"),
    ],
)
@NODES
@PRIORITY
@quorum_options
@wait_option
@operator_options
def promote(
    target: Target,
    *,
    nodes: tuple[int, ...],
    priority: int | None,
    quorums: QuorumChoice,
    wait_s: float,
) -> None:
    """Let learners vote, once they have caught up.

    The second half of `paxos member add`. Waits for the nodes to answer and to have what the others
    have; until then nothing is changed.
    """
    parts = dict.fromkeys(nodes, (Part.VOTER, priority))
    change(
        target,
        wait_s,
        f"done: {_names(nodes)} now a voter"
        if len(nodes) == 1
        else f"done: {_names(nodes)} now voters",
        lambda changes: changes.promote(parts, quorums),
    )


@click.command(
    cls=TaughtCommand,
    examples=[
        ("shrink by one", "paxos member remove 4"),
        ("from 5 to 3 at once", "paxos member remove 4 5"),
    ],
)
@NODES
@quorum_options
@operator_options
def remove(target: Target, *, nodes: tuple[int, ...], quorums: QuorumChoice) -> None:
    """Remove members; when it returns, their machines may be wiped.

    They first lose their votes, then their membership. A leader among them hands over. It makes no
    difference whether they run, as long as the rest of the cluster does.
    """
    change(
        target,
        NO_LIMIT_S,
        f"done: {_names(nodes)} removed; what is left of it may be wiped",
        lambda changes: changes.remove(nodes, quorums),
    )


@click.command(
    cls=TaughtCommand,
    examples=[
        (
            "node 3 is dead, wiped, or to be moved to new hardware",
            "paxos member replace 3 --url tcp://127.0.0.1:7004 ./node-4",
        ),
        (
            "two at once",
            f"paxos member replace 2,3 ./node-4 ./node-5 {TWO_URLS}",
        ),
    ],
)
@click.argument("olds", metavar="OLD[,OLD...]", callback=lambda _c, _p, text: node_ids(text))
@DIRECTORIES
@URLS
@wait_option
@operator_options
def replace(
    target: Target,
    *,
    olds: tuple[int, ...],
    directories: tuple[Path, ...],
    urls: tuple[str, ...],
    wait_s: float,
) -> None:
    """Put new nodes in the place of members, dead or alive.

    As `paxos member add`, but the new node takes part, priority and place in the quorums of the old
    one, which is removed in the same command: no vote is missing in between. The old machine
    may be wiped when it returns. A node whose data was lost is replaced like this, at the same URL
    if you like; it can never come back under its old id.
    """
    file = the_file(target)
    new = pairs(urls, directories)
    if len(olds) != len(new):
        raise click.UsageError(f"{len(olds)} nodes are to be replaced by {len(new)}")
    joinings = {old: Joining(*each) for old, each in zip(olds, new, strict=True)}
    change(
        target,
        wait_s,
        f"done: {_names(olds)} replaced; what is left of it may be wiped",
        lambda changes: changes.replace(file, joinings),
    )


@click.command(
    cls=TaughtCommand,
    examples=[
        (
            "node 1 shall lead while it can",
            "paxos member update 1 --priority 10",
        ),
        (
            "it moved: its directory went to another machine",
            "paxos member update 3 --url tcp://127.0.0.1:7003",
        ),
        ("it shall keep the state, and vote no more", "paxos member update 4 --as learner"),
    ],
)
@NODES
@click.option("--url", metavar="URL", callback=one_endpoint, help="Where it listens from now on.")
@PRIORITY
@part_option("learner", default=None)
@quorum_options
@operator_options
def update(
    target: Target,
    *,
    nodes: tuple[int, ...],
    url: str | None,
    priority: int | None,
    part: str | None,
    quorums: QuorumChoice,
) -> None:
    """Change a member's address or priority, or take its vote away.

    To move a node, stop it, move its directory, give this command, and start it again with
    `paxos serve --url URL`.
    """
    if url is None and priority is None and part is None:
        raise click.UsageError("say what is to change: --url, --priority or --as learner")
    if url is not None and len(nodes) > 1:
        raise click.UsageError("--url is of one node")

    def updated(member: Member) -> Member:
        return member._replace(
            url=member.url if url is None else url,
            priority=member.priority if priority is None else priority,
            part=member.part if part is None else Part.LEARNER,
        )

    def plan(latest: Configuration) -> Configuration:
        members = [updated(plans.the_member(latest, node)) for node in nodes]
        return plans.with_changed(latest, members, quorums)

    change(target, NO_LIMIT_S, f"done: {_names(nodes)}", lambda changes: changes.apply(plan))


@click.command(
    cls=TaughtCommand,
    examples=[
        ("any majority, as at first", "paxos member quorums --majority"),
        (
            "fast writes: all of three elect, any one decides",
            "paxos member quorums --phase1 3 --phase2 1",
        ),
        (
            "by name: whoever elects meets whoever decides",
            "paxos member quorums --phase1-set 1,2 --phase1-set 1,3 --phase2-set 1",
        ),
    ],
)
@quorum_options
@operator_options
def quorums(target: Target, *, quorums: QuorumChoice) -> None:
    """Say which sets of voters elect a leader (phase 1) and decide (phase 2).

    Every set that elects must have a voter in common with every set that decides; anything else is
    refused. A small phase-2 quorum decides faster, and a larger phase-1 quorum must then be up for
    a new leader.
    """
    if quorums == plans.AS_BEFORE:
        raise click.UsageError("say what a quorum is: --majority, sizes or sets")
    change(
        target,
        NO_LIMIT_S,
        "done",
        lambda changes: changes.apply(lambda now: plans.with_changed(now, (), quorums)),
    )
