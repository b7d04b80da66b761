"""The ``paxos`` command: the table of commands, and nothing that any one of them needs.

The law here is lazy loading: a command's module is imported when that command is asked for and
never before, so that ``paxos --help`` and shell completion stay quick. The one-line texts below
are shown by ``paxos --help`` instead of being read from the modules; a test compares them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from paxos.cli.exits import INTERRUPTED
from paxos.cli.teaching import TaughtGroup


class LazyGroup(TaughtGroup):
    """A group whose commands are named as ``module:attribute`` and imported on use.

    Args:
        lazy: Name of the command -> (where it is, the line ``--help`` shows for it).
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table, which is the order people need them in."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, or None if there is none of that name."""
        if cmd_name not in self.lazy:
            return None
        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which names there are."""
        if args and args[0] not in self.lazy and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}: there are {', '.join(self.lazy)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; if it is interrupted before it can say so itself, it ends as any would."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.lazy.items()])


COMMANDS = {
    "demo": ("paxos.cli.demo:demo", "Watch three replicas survive the death of their leader."),
    "init": ("paxos.cli.init:init", "Found a cluster: configuration file and data directories."),
    "serve": ("paxos.cli.serve:serve", "Run one replica until it is told to stop."),
    "status": ("paxos.cli.status:status", "Show every replica: role, progress, digest, disk."),
    "member": (
        "paxos.cli.member:member",
        "Show and change who takes part in the cluster.",
    ),
    "transfer-leader": (
        "paxos.cli.leadership:transfer_leader",
        "Hand leadership over to another voter, without waiting for a timeout.",
    ),
    "config": ("paxos.cli.config:config", "Read, change and watch the replicated configuration."),
    "task": (
        "paxos.cli.task:task",
        "Submit tasks to the replicated task log, and see what becomes of them.",
    ),
    "node": (
        "paxos.cli.node:node",
        "Show the nodes that run tasks, and keep new work from one.",
    ),
    "worker": (
        "paxos.cli.worker:worker",
        "Run tasks that are placed on a node, a program for each, until it is told to stop.",
    ),
    "bench": ("paxos.cli.bench:bench", "Measure running replicas in a closed loop."),
    "snapshot": (
        "paxos.cli.snapshot:snapshot",
        "Have nodes take a snapshot now, and free the log below it.",
    ),
    "backup": ("paxos.cli.backup:backup", "Write the whole replicated state to one file."),
    "restore": (
        "paxos.cli.backup:restore",
        "Found a new cluster in DIR that begins with the state of a backup.",
    ),
    "inspect": (
        "paxos.cli.inspection:inspect",
        "Read a node's log and say whether it is sound.",
    ),
    "scrub": ("paxos.cli.scrub:scrub", "Read everything a node has on disk and check every byte."),
    "recover": (
        "paxos.cli.recover:recover",
        "Found a new cluster in DIR from the data directories that are left.",
    ),
    "upgrade": (
        "paxos.cli.upgrade:upgrade",
        "Show each member's release, and raise the feature version of the cluster.",
    ),
}

CONFIG = "./cluster/cluster.toml"
SERVE = f"paxos serve --config {CONFIG}"
EXAMPLES = [
    ("see it work: needs nothing, cleans up after itself", "paxos demo"),
    ("found a cluster of three replicas on this machine", "paxos init ./cluster --replicas 3"),
    ("run each replica, in a terminal of its own", f"{SERVE} --node 1"),
    ("which cluster the commands below are about", f"export PAXOS_CONFIG={CONFIG}"),
    ("is it well?", "paxos status"),
    ("change something, everywhere", "paxos config put site-7/cam-3/fps 25"),
    ("and read it back", "paxos config get site-7/cam-3/fps"),
]

EXIT_STATUSES = """\b
Exit status, for every command:
  0  done
  1  refused, a condition was false, or the key is absent
  2  wrong usage or bad input
  3  the outcome is unknown: look before you repeat it
  4  no replica could be reached
  5  data is damaged
"""


def _print_version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked:
        from paxos.runtime.status import version

        click.echo(f"paxos {version()}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    examples=EXAMPLES,
    epilog=EXIT_STATUSES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """A small quorum of replicas that agrees on one log, and what lives on it."""
