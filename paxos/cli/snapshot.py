"""``paxos snapshot``: has nodes take a snapshot now, and compact their logs by it."""

from __future__ import annotations

import click

from paxos.cli.exits import CommandError, Exit
from paxos.cli.operating import operate
from paxos.cli.options import Target, operator_options
from paxos.cli.output import bytes_text, print_json, warn
from paxos.cli.teaching import TaughtCommand
from paxos.core.config import Member, Part
from paxos.core.messages import SnapshotName
from paxos.operations import plans
from paxos.operations.live import LiveCluster
from paxos.runtime.admin import AdminRefused
from paxos.runtime.client import NoReplicaReachable

EXAMPLES = [
    ("every node, one after the other", "paxos snapshot"),
    ("one node, whose disk is nearly full", "paxos snapshot --node 2"),
]


@click.command(cls=TaughtCommand, examples=EXAMPLES)
@click.option("--node", type=click.IntRange(min=1), metavar="N", help="Only this node.")
@operator_options
def snapshot(target: Target, node: int | None) -> None:
    """Have nodes take a snapshot now, and free the log below it.

    Nodes do so by themselves as their logs grow (limits.snapshot_log_bytes and snapshot_entries);
    this is for when you cannot wait. The node goes on working. Returns when the snapshot is
    durable; what is left in the log is for peers that are a little behind.
    """

    async def work(cluster: LiveCluster) -> list[tuple[Member, SnapshotName | str]]:
        found = await cluster.survey()
        configuration = found.governing.configuration
        asked = [each for each in configuration.members if each.part is not Part.WITNESS]
        if node is not None:
            asked = [plans.the_member(configuration, node)]
        taken: list[tuple[Member, SnapshotName | str]] = []
        # One after the other, so that the rest have their disks to themselves.
        for member in asked:
            try:
                taken.append((member, await cluster.take_snapshot(member.url)))
            except AdminRefused as error:
                taken.append((member, error.reason))
            except NoReplicaReachable as error:
                if node is not None:
                    raise
                taken.append((member, error.reason))
        return taken

    taken = operate(target, work)
    for member, name in taken:
        _tell(target, member, name)
    if not any(isinstance(name, SnapshotName) for _, name in taken):
        raise CommandError(Exit.REFUSED, "no node took a snapshot", "`paxos status` shows each.")


def _tell(target: Target, member: Member, name: SnapshotName | str) -> None:
    if isinstance(name, str):
        if target.json:
            print_json({"node": member.node, "snapshot": None, "reason": name})
        warn(f"node {member.node} took no snapshot: {name}")
    elif target.json:
        fields = {"through": name.through, "size": name.size, "digest": name.digest.hex()}
        print_json({"node": member.node, "snapshot": fields})
    else:
        size = bytes_text(name.size)
        click.echo(f"node {member.node}: a snapshot through slot {name.through}, {size}")
