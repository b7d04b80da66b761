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
    "part",
    "version",
    "snapshot",
    "compacted_through",
    "fetching",
    "unknown",
    "damage",
)
"""What is shown of a node beside its id, its URL and whether it answered. Null where it does not
say: a replica of an earlier release does not say all of it."""

COLUMNS = (
    *("node", "url", "role", "ballot", "decided", "applied", "lag"),
    *("digest", "snapshot", "clients", "disk"),
)

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
    replica has yet to apply, as far as the replicas that answered know. "snapshot" is the slot of
    its latest one. Replicas that joined after the configuration file was written are shown too.
    What is damaged, full or under way is said on standard error.
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
    told = [document["configuration"] for document in documents if "configuration" in document]
    return {
        "cluster_id": cluster,
        "configuration": max(told, key=lambda each: int(each["version"]), default=None),
        "nodes": [_node_fields(answer, decided) for answer in answers],
    }


def _node_fields(answer: NodeAnswer, decided_through: int) -> dict[str, Any]:
    document = answer.document
    if document is None:
        absent: dict[str, Any] = dict.fromkeys(FIELDS)
        return {"node": answer.node, "url": answer.url, "reachable": False} | absent
    # A witness runs no state machine: it has nothing to apply.
    behind = "decided_through" if document.get("part") == "witness" else "applied_through"
    known = document | {"lag": decided_through - document[behind]}
    shown = {name: known.get(name) for name in FIELDS}
    return {"node": document["node"], "url": answer.url, "reachable": True} | shown


def _print_for_people(document: dict[str, Any], answers: Sequence[NodeAnswer]) -> None:
    rows = [_row(node) for node in document["nodes"]]
    print_table(COLUMNS, rows, f"cluster {document['cluster_id']}")
    for answer in answers:
        if answer.document is None:
            warn(f"{answer.url} did not answer: {answer.reason}")
        else:
            for text in troubles(answer.document):
                warn(f"node {answer.document['node']}: {text}")
    roles = [node["role"] for node in document["nodes"]]
    if "leader" not in roles:
        warn("no replica leads at the moment, so writes wait")


def troubles(document: dict[str, Any]) -> list[str]:
    """Return what a person should know of a node, beside what the table shows."""
    told = []
    if document["disk_full"]:
        told.append("its disk is full, so it takes no writes")
    if document.get("damage"):
        ranges = ", ".join(f"{first} to {last}" for first, last in document["unknown"])
        doubt = f"; slots in doubt: {ranges}" if ranges else ""
        places = len(document["damage"])
        told.append(f"damaged in {places} place{'s' * (places > 1)}, and being mended{doubt}")
    if document.get("snapshot_trouble"):
        told.append(f"it took no snapshot: {document['snapshot_trouble']}")
    fetching = document.get("fetching")
    if fetching:
        done = 100 * fetching["offset"] // max(1, fetching["size"])
        told.append(f"it fetches a snapshot from node {fetching['from']}: {done} %")
    if document.get("change"):
        told.append(f"a change of members is under way: {document['change']}")
    if document.get("removed"):
        done = document.get("may_be_deleted")
        then = "its directory may be deleted" if done else "it ends once nobody needs it any more"
        told.append(f"it was removed from the cluster: {then}")
    return told


def _row(node: dict[str, Any]) -> list[str]:
    if not node["reachable"]:
        name = "?" if node["node"] is None else str(node["node"])
        return [name, node["url"], "unreachable", *["-"] * (len(COLUMNS) - 3)]
    role = node["role"] if node["part"] in (None, "voter") else node["part"]
    snapshot = node["snapshot"]
    return [
        str(node["node"]),
        node["url"],
        role,
        node["ballot"],
        str(node["decided_through"]),
        "-" if role == "witness" else str(node["applied_through"]),
        str(node["lag"]),
        "-" if role == "witness" else node["digest"][:12] or "-",
        "-" if snapshot is None else str(snapshot["through"]),
        str(node["connections"]),
        bytes_text(node["disk_bytes"]) + (" FULL" if node["disk_full"] else ""),
    ]
