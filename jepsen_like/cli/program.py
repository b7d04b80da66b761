"""The group of all commands, and how it ends.

A status never takes a failure of the harness for a verdict.
"""

from __future__ import annotations

import sys
import traceback

import click

from jepsen_like.cli.check import check_command
from jepsen_like.cli.exits import Exit
from jepsen_like.cli.mutants import mutants_command
from jepsen_like.cli.report import report_command
from jepsen_like.cli.run import run_command
from jepsen_like.cli.simulate import simulate_command
from paxos.core.errors import PaxosError


@click.group()
def cli() -> None:
    """Test a replicated state machine under faults."""


cli.add_command(run_command)
cli.add_command(check_command)
cli.add_command(report_command)
cli.add_command(simulate_command)
cli.add_command(mutants_command)


def main() -> None:
    """Run, and exit with the command's status."""
    try:
        status = int(cli.main(standalone_mode=False) or Exit.YES)
    except click.exceptions.Abort:
        status = Exit.BAD_INPUT
    except click.ClickException as error:
        error.show()
        status = Exit.BAD_INPUT
    except (PaxosError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        status = Exit.BAD_INPUT
    except Exception:  # noqa: BLE001 - whatever it is, it is not a verdict
        traceback.print_exc()
        status = Exit.BAD_INPUT
    sys.exit(status)
