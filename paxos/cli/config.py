"""``paxos config``: the replicated configuration, one command per thing one can do with it.

Only the group stands here. The commands translate arguments to requests of
``statemachines.edge_config_client`` and answers to lines; how a request that failed is told is
decided in ``connect``.
"""

from __future__ import annotations

import click

from paxos.cli import config_changes, config_reads
from paxos.cli.teaching import TaughtGroup

EXAMPLES = [
    ("change a key", "paxos config put site-7/cam-3/fps 25"),
    ("read it back", "paxos config get site-7/cam-3/fps"),
    ("everything below a prefix", "paxos config list site-7/"),
]


@click.group(cls=TaughtGroup, examples=EXAMPLES)
def config() -> None:
    """Read, change and watch the replicated configuration.

    Keys are paths like site-7/cam-3/fps, values are text, JSON or any bytes. Every change has a
    revision, one higher than the one before, over all keys. Reads are linearizable unless
    --level says otherwise.
    """


for _command in (
    config_changes.put,
    config_reads.get,
    config_changes.delete,
    config_reads.list_,
    config_reads.watch,
    config_reads.history,
    config_changes.txn,
    config_changes.import_,
    config_reads.export,
    config_changes.compact,
):
    config.add_command(_command)
