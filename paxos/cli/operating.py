"""What all operators' commands share: the running cluster, and how their tasks end.

Owns what ``paxos.operations`` raises as exit statuses. A task that was cut short says so, and that
to ask again goes on from there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from paxos.cli.connect import run
from paxos.cli.exits import CommandError, Exit
from paxos.cli.options import Target
from paxos.core.errors import ConfigurationInvalid
from paxos.operations.changes import NotInTime
from paxos.operations.live import LiveCluster
from paxos.operations.plans import DirectoryTaken, PlanRefused
from paxos.operations.survey import ReleaseTooOld
from paxos.runtime.admin import AdminRefused
from paxos.runtime.client import OutcomeUnknown
from paxos.runtime.errors import plain_errors
from paxos.storage.base import StorageError

T = TypeVar("T")


def operate(target: Target, task: Callable[[LiveCluster], Awaitable[T]]) -> T:
    """Run a task on the target's cluster.

    Raises:
        CommandError: It was not done.
    """

    async def work() -> T:
        cluster = LiveCluster(target.endpoints, target.cluster or "", target.timeout_s)
        with operator_errors(), plain_errors():
            return await task(cluster)

    return run(work)


@contextmanager
def operator_errors() -> Iterator[None]:
    """Turn what only operators' tasks raise into a message and an exit status.

    Raises:
        CommandError: For each of them.
    """
    try:
        yield
    except AdminRefused as error:
        raise CommandError(Exit.REFUSED, f"refused: {error.reason}") from error
    except DirectoryTaken as error:
        raise CommandError(Exit.USAGE, error.reason, error.hint) from error
    except PlanRefused as error:
        raise CommandError(Exit.REFUSED, f"refused: {error.reason}", error.hint) from error
    except ReleaseTooOld as error:
        raise CommandError(Exit.REFUSED, str(error)) from error
    except NotInTime as error:
        raise CommandError(
            Exit.REFUSED if error.appeared else Exit.UNREACHABLE,
            str(error),
            "What was done so far stands. Ask again to go on from here.",
        ) from error
    except OutcomeUnknown as error:
        raise CommandError(
            Exit.UNKNOWN,
            f"the outcome is unknown: {error.reason}",
            "Ask again: what is done already is not done twice. If no replica leads"
            " (`paxos status`), start those that are down; if too many are lost for good, `paxos"
            " recover --help`.",
        ) from error
    except (StorageError, ConfigurationInvalid) as error:
        raise CommandError(Exit.USAGE, str(error)) from error
    except OSError as error:
        raise CommandError(Exit.USAGE, f"a file cannot be written or read: {error}") from error
