"""``paxos member list``: the latest configuration, and how each of its members is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from paxos.cli.operating import operate
from paxos.cli.options import Target, client_options
from paxos.cli.output import print_json, print_table, warn
from paxos.cli.teaching import TaughtCommand
from paxos.core.config import Member
from paxos.operations.live import LiveCluster
from paxos.operations.plans import quorums_text
from paxos.operations.survey import Survey
from paxos.runtime.configuration_fields import configuration_fields

FIELDS = ("role", "decided_through", "applied_through", "version", "feature_known")
"""What is shown of a member that answers."""

EXAMPLES = [
    ("who is there, and how far is each?", "paxos member list"),
    ("for a script", "paxos member list --json"),
]


@click.command("list", cls=TaughtCommand, examples=EXAMPLES)
@client_options
def list_(target: Target) -> None:
    """Show the members of the latest configuration, and how each is.

    All members are asked, also those that joined after the cluster.toml at hand was written.
    "lag" is how many decided slots a member has yet to learn.
    """

    async def work(cluster: LiveCluster) -> Survey:
        return await cluster.survey()

    found = operate(target, work)
    configuration = found.governing.configuration
    rows = [member_fields(found, member) for member in configuration.members]
    if target.json:
        print_json({"configuration": configuration_fields(found.governing), "members": rows})
        return
    columns = ("node", "part", "url", "priority", "role", "decided", "lag", "release")
    print_table(columns, [_row(row) for row in rows])
    quorums = quorums_text(configuration.quorums)
    click.echo(
        f"configuration {configuration.version}, feature {configuration.feature}; {quorums};"
        f" the next new node is node {configuration.next_node}"
    )
    for member in configuration.members:
        if found.of(member) is None:
            warn(f"node {member.node} did not answer: {_reason(found, member)}")


def _reason(found: Survey, member: Member) -> str:
    if member.url in found.documents:
        return f"node {found.documents[member.url]['node']} answers at {member.url}"
    return found.reasons.get(member.url, "nobody knows its URL")


def member_fields(found: Survey, member: Member) -> dict[str, Any]:
    """Return a member with the fields that scripts rely on; null where it did not answer."""
    document: Mapping[str, Any] | None = found.of(member)
    known = {name: None if document is None else document.get(name) for name in FIELDS}
    lag = None if document is None else found.decided_through - document["decided_through"]
    return {
        "node": member.node,
        "part": member.part.name.lower(),
        "url": member.url,
        "priority": member.priority,
        "reachable": document is not None,
        "lag": lag,
    } | known


def _row(fields: Mapping[str, Any]) -> list[str]:
    names = ("node", "part", "url", "priority", "role", "decided_through", "lag", "version")
    row = ["-" if fields[name] is None else str(fields[name]) for name in names]
    if not fields["reachable"]:
        row[names.index("role")] = "unreachable"
    return row
