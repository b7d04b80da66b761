"""``paxos task explain``: why a task went where it went, and where it would go now.

Translates what the task log tells to a table. What a node costs, and which one is taken, is decided
by ``placement`` on the replicas.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import click

from paxos.cli.config_store import level_option
from paxos.cli.connect import run
from paxos.cli.options import Target
from paxos.cli.output import print_json, print_table
from paxos.cli.quantities import amount_text, duration_text, moment_text
from paxos.cli.task_fields import amount_number
from paxos.cli.task_options import log_options
from paxos.cli.task_store import open_log
from paxos.cli.teaching import TaughtCommand
from statemachines.machine_client import Level
from statemachines.task_log_answers import Candidate, TaskExplanation
from statemachines.task_log_format import DONE, POLICIES, STATES, Task

COST_COLUMNS = (
    *("node", "cost", "wait", "transfer", "compute"),
    *("price", "energy", "finish", "note"),
)


@click.command(
    cls=TaughtCommand,
    examples=[
        ("why is it where it is, and what would it cost elsewhere?", "paxos task explain t-1"),
        ("for a script", "paxos task explain t-1 --json"),
    ],
)
@level_option
@click.argument("task_id", metavar="ID")
@log_options
def explain(target: Target, *, machine: str, level: Level, task_id: str) -> None:
    """Say why a task went where it went, and where it would go now.

    "wait" is until there is room, "transfer" is for its input, "compute" for the task itself.
    "cost" is what the task's policy wants little of; equal costs go to the first name. Nodes that
    cannot take it are told with the reason. If there is no such task the exit status is 1.
    """

    async def act() -> TaskExplanation:
        async with open_log(target, machine) as log:
            return await log.explain(task_id, level)

    told = run(act)
    if target.json:
        print_json(_explanation_fields(told))
        return
    click.echo(_placement_text(told))
    placed = _placed(told.task)
    if placed is not None:
        click.echo(placed.text())
    if told.candidates:
        print_table(COST_COLUMNS, [_cost_row(each, told.chosen) for each in told.candidates])
    for node, reason in told.refused:
        click.echo(f"not on {node}: {reason}")


def _placement_text(told: TaskExplanation) -> str:
    task = told.task
    where = f"on {task.node}" if task.node else "on no node"
    text = f"{task.spec.id} is {STATES[task.state]} {where}, by policy {POLICIES[task.spec.policy]}"
    if task.state >= DONE:
        return text
    if told.chosen is None:
        return f"{text}; no node takes it now"
    again = "again" if told.chosen == task.node else "now"
    return f"{text}; it would go to {told.chosen} {again}"


class _Placed(NamedTuple):
    """What is kept of the decision that put a task on its node: ``Task.why``."""

    time: int
    wait: int
    delay: int
    compute: int
    price: int
    energy: int
    cost: int

    def text(self) -> str:
        """Return it as a line."""
        terms = (
            f"wait {duration_text(self.wait)}, transfer {duration_text(self.delay)},"
            f" compute {duration_text(self.compute)}, price {amount_text(self.price)},"
            f" energy {amount_text(self.energy)}"
        )
        when, cost = moment_text(self.time), amount_text(self.cost)
        return f"placed there at {when} for a cost of {cost}: {terms}"

    def fields(self) -> dict[str, Any]:
        """Return it as ``--json`` tells it."""
        return {"time": moment_text(self.time), "cost": amount_number(self.cost)} | _term_fields(
            self
        )


def _placed(task: Task) -> _Placed | None:
    return _Placed(*task.why) if task.why else None


def _cost_row(each: Candidate, chosen: str | None) -> tuple[str, ...]:
    notes = (
        ("chosen", each.node == chosen),
        ("late", each.late),
        ("preferred", each.preferred),
    )
    return (
        each.node,
        amount_text(each.cost),
        duration_text(each.wait),
        duration_text(each.delay),
        duration_text(each.compute),
        amount_text(each.price),
        amount_text(each.energy),
        moment_text(each.finish),
        ", ".join(note for note, holds in notes if holds),
    )


def _explanation_fields(told: TaskExplanation) -> dict[str, Any]:
    task = told.task
    placed = _placed(task)
    return {
        "id": task.spec.id,
        "state": STATES[task.state],
        "node": task.node or None,
        "policy": POLICIES[task.spec.policy],
        "placed": None if placed is None else placed.fields(),
        "chosen": told.chosen,
        "candidates": [_candidate_fields(each) for each in told.candidates],
        "refused": [{"node": node, "reason": reason} for node, reason in told.refused],
        "slot": told.slot,
    }


def _candidate_fields(each: Candidate) -> dict[str, Any]:
    return {
        "node": each.node,
        "cost": amount_number(each.cost),
        **_term_fields(each),
        "finish": moment_text(each.finish),
        "late": each.late,
        "preferred": each.preferred,
    }


def _term_fields(terms: Candidate | _Placed) -> dict[str, Any]:
    return {
        "wait_s": amount_number(terms.wait),
        "transfer_s": amount_number(terms.delay),
        "compute_s": amount_number(terms.compute),
        "price": amount_number(terms.price),
        "energy": amount_number(terms.energy),
    }
