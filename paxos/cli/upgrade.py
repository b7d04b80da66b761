"""``paxos upgrade``: what release each member runs, and raising what all of them understand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from paxos.cli.exits import CommandError, Exit
from paxos.cli.operating import operate
from paxos.cli.options import Target, operator_options
from paxos.cli.output import print_json, print_table
from paxos.cli.teaching import TaughtCommand
from paxos.core.config import FEATURE_FIRST, Configuration
from paxos.operations import plans
from paxos.operations.live import LiveCluster
from paxos.operations.survey import Survey

EXAMPLES = [
    ("what does each member run, and what could be raised?", "paxos upgrade --show"),
    ("use what all of them understand", "paxos upgrade"),
]


@click.command(cls=TaughtCommand, examples=EXAMPLES)
@click.option("--show", is_flag=True, help="Only show; change nothing.")
@click.option(
    "--to",
    type=click.IntRange(min=1),
    metavar="FEATURE",
    help="Raise to this feature version. Default: the highest that every member understands.",
)
@operator_options
def upgrade(target: Target, *, show: bool, to: int | None) -> None:
    """Show each member's release, and raise the feature version of the cluster.

    To upgrade, install the new release on one machine after the other, restarting each node and
    waiting until `paxos status` shows it well; old and new run side by side, and a node can go back
    to the old release. Then give this command once: from then on the cluster uses what is new, and
    the old release can no longer take part.
    """

    async def work(cluster: LiveCluster) -> tuple[Survey, Configuration]:
        found = await cluster.survey()
        latest = found.governing.configuration
        wanted = latest.feature if show else to or _understood_by_all(found)
        if wanted != latest.feature:
            await cluster.reconfigure(plans.with_feature(latest, wanted))
            found = await cluster.survey()
        return found, latest

    found, before = operate(target, work)
    now = max(found.governing.configuration.feature, before.feature)
    rows = [_row(found, node.node) for node in found.governing.configuration.members]
    if target.json:
        print_json({"feature": now, "feature_before": before.feature, "members": rows})
        return
    print_table(("node", "release", "understands"), [_text(row) for row in rows])
    if now == before.feature:
        click.echo(f"the cluster uses feature version {now}; nothing was changed")
    else:
        click.echo(f"raised from feature version {before.feature} to {now}")
    known = {row["node"]: row["feature_known"] for row in rows if row["feature_known"] is not None}
    behind = [str(node) for node, feature in known.items() if feature < max(known.values())]
    if behind:
        click.echo(f"it can be raised once node {', '.join(behind)} runs the later release too")


def _understood_by_all(found: Survey) -> int:
    configuration = found.governing.configuration
    rows = [_row(found, member.node) for member in configuration.members]
    silent = [str(row["node"]) for row in rows if row["feature_known"] is None]
    if silent:
        raise CommandError(
            Exit.REFUSED,
            f"node {', '.join(silent)} did not answer, so nobody knows what it understands",
            "Start it, or remove it with `paxos member remove`, and ask again.",
        )
    return max(configuration.feature, min(int(row["feature_known"]) for row in rows))


def _row(found: Survey, node: int) -> dict[str, Any]:
    document: Mapping[str, Any] | None = found.of(
        plans.the_member(found.governing.configuration, node)
    )
    if document is None:
        return {"node": node, "version": None, "feature_known": None}
    # Releases that do not say know the first one only.
    known = document.get("feature_known", FEATURE_FIRST)
    return {"node": node, "version": document.get("version"), "feature_known": known}


def _text(row: Mapping[str, Any]) -> list[str]:
    if row["feature_known"] is None:
        return [str(row["node"]), "unreachable", "-"]
    return [str(row["node"]), str(row["version"]), f"up to {row['feature_known']}"]
