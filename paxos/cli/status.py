"""``paxos status``: asks every replica about itself and puts the answers side by side.

Owns the shape of the cluster's status document; each node's own fields come from
``paxos.runtime.status``. A replica that does not answer is a row like the others, never an error:
the command fails only if none answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from paxos.cli.connect import NodeAnswer, ask_statuses, run
from paxos.cli.exits import CommandError, Exit
from paxos.cli.options import Target, client_options
from paxos.cli.output import bytes_text, print_json, print_table, warn
from paxos.cli.teaching import TaughtCommand

FIELDS = (
    "role",
    "ballot",
    "decided_through",
    "applied_through",
    "lag",
    "digest",
    "connections",
    "disk_bytes",
    "disk_full",
)
"""What is shown of a node beside its id, its URL and whether it answered."""

EXAMPLES = [
    ("every replica at a glance", "paxos status --config ./cluster/cluster.toml"),
    (
        "ask replicas by URL, for a script",
        "paxos status --endpoints tcp://127.0.0.1:7001,tcp://127.0.0.1:7002 --json",
    ),
]


@click.command(cls=TaughtCommand, examples=EXAMPLES)
@client_options
def status(target: Target) -> None:
    """Show every replica: role, progress, digest, disk.

    Replicas with equal "applied" must show equal digests. "lag" is how many decided slots a
    replica has yet to apply, as far as the replicas that answered know.
    """
    answers = run(ask_statuses, target)
    document = cluster_document(target.cluster, answers)
    if not any(node["reachable"] for node in document["nodes"]):
        if target.json:
            print_json(document)
        reasons = "; ".join(f"{answer.url}: {answer.reason}" for answer in answers)
        raise CommandError(
            Exit.UNREACHABLE,
            f"no replica answered ({reasons})",
            "Are they running? Start each with `paxos serve`.",
        )
    if target.json:
        print_json(document)
    else:
        _print_for_people(document, answers)


def cluster_document(cluster: str | None, answers: Sequence[NodeAnswer]) -> dict[str, Any]:
    """Put the nodes' answers side by side.

    Args:
        cluster: The cluster's id if a configuration file named it, else the nodes' word is taken.
        answers: One for each replica asked, in the order to show them.
    """
    documents = [answer.document for answer in answers if answer.document is not None]
    decided = max((document["decided_through"] for document in documents), default=0)
    if cluster is None and documents:
        cluster = documents[0]["cluster_id"]
    return {"cluster_id": cluster, "nodes": [_node_fields(answer, decided) for answer in answers]}


def _node_fields(answer: NodeAnswer, decided_through: int) -> dict[str, Any]:
    document = answer.document
    if document is None:
        absent: dict[str, Any] = dict.fromkeys(FIELDS)
        return {"node": answer.node, "url": answer.url, "reachable": False} | absent
    known = document | {"lag": decided_through - document["applied_through"]}
    shown = {name: known[name] for name in FIELDS}
    return {"node": document["node"], "url": answer.url, "reachable": True} | shown


def _print_for_people(document: dict[str, Any], answers: Sequence[NodeAnswer]) -> None:
    columns = ("node", "url", "role", "ballot", "decided", "applied", "lag", "digest", "clients")
    rows = [_row(node) for node in document["nodes"]]
    print_table((*columns, "disk"), rows, f"cluster {document['cluster_id']}")
    for answer in answers:
        if answer.document is None:
            warn(f"{answer.url} did not answer: {answer.reason}")
        elif answer.document["disk_full"]:
            warn(f"node {answer.document['node']}: its disk is full, so it takes no writes")
    roles = [node["role"] for node in document["nodes"]]
    if "leader" not in roles:
        warn("no replica leads at the moment, so writes wait")


def _row(node: dict[str, Any]) -> list[str]:
    if not node["reachable"]:
        name = "?" if node["node"] is None else str(node["node"])
        return [name, node["url"], "unreachable", *["-"] * 7]
    return [
        str(node["node"]),
        node["url"],
        node["role"],
        node["ballot"],
        str(node["decided_through"]),
        str(node["applied_through"]),
        str(node["lag"]),
        node["digest"][:12],
        str(node["connections"]),
        bytes_text(node["disk_bytes"]) + (" FULL" if node["disk_full"] else ""),
    ]
