"""``paxos transfer-leader``: hands leadership over, and waits until the other one leads."""

from __future__ import annotations

import click
import trio

from paxos.cli.exits import CommandError, Exit
from paxos.cli.operating import operate
from paxos.cli.options import Target, client_options
from paxos.cli.output import print_json
from paxos.cli.teaching import TaughtCommand
from paxos.core.config import Part
from paxos.operations import plans
from paxos.operations.changes import POLL_S
from paxos.operations.live import LiveCluster
from paxos.operations.plans import PlanRefused

EXAMPLES = [
    ("before the leader's machine is worked on", "paxos transfer-leader"),
    ("to a certain node", "paxos transfer-leader --to 2"),
]


@click.command("transfer-leader", cls=TaughtCommand, examples=EXAMPLES)
@click.option(
    "--to",
    type=click.IntRange(min=1),
    metavar="N",
    help="The node that is to lead. Default: whichever is best placed.",
)
@client_options
def transfer_leader(target: Target, to: int | None) -> None:
    """Hand leadership over to another voter, without waiting for a timeout.

    Returns once the other node leads. Writes wait for a moment and none is lost. To prefer a node
    for good, give it a priority: `paxos member update N --priority 10`.
    """

    async def work(cluster: LiveCluster) -> int:
        found = await cluster.survey()
        before = found.leader
        if to is not None:
            member = plans.the_member(found.governing.configuration, to)
            if member.part is not Part.VOTER:
                raise PlanRefused(
                    f"node {to} is a {member.part.name.lower()}: only voters lead",
                    f"`paxos member promote {to}` makes a learner a voter.",
                )
        if to is None or before != to:
            await cluster.transfer_leader(to or 0)
        with trio.move_on_after(target.timeout_s):
            while True:
                now = (await cluster.survey()).leader
                if now is not None and (now == to if to is not None else now != before):
                    return now
                await trio.sleep(POLL_S)
        raise CommandError(
            Exit.UNKNOWN,
            f"node {before} was asked to hand over, and "
            + (f"node {to} does not lead" if to else "no other node leads")
            + f" after {target.timeout_s:g} s",
            "`paxos status` shows who leads. To ask again does no harm.",
        )

    leader = operate(target, work)
    if target.json:
        print_json({"leader": leader})
    else:
        click.echo(f"node {leader} leads")
