"""Reports of a worker: what came of its tasks, on the way to the task log.

It owns the outbox, and what is in it. It knows no lease and runs no task. It guards that a report
is durable before the task log hears of it, stays in the outbox until the task log has answered, and
is made again until then: to repeat one changes nothing, so exactly one result is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import trio

from paxos.core.state_machine import CommandFailed
from statemachines.task_log_answers import TaskUnknown, TokenInvalid
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_requests import RequestInvalid
from statemachines.task_outbox import Done, Failed, Outbox, Report
from statemachines.task_worker_events import Bell, Contact, Observer, WorkerEvent


class Reports:
    """Reports under way.

    Args:
        log: The task log.
        outbox: Keeps them. What an earlier life left in it is reported first.
        contact: Notes whether the cluster answers.
        observe: Is told what the task log said to each.
        settled: Called when a report is under way no more.
    """

    def __init__(
        self,
        log: TaskLogClient,
        outbox: Outbox,
        contact: Contact,
        observe: Observer,
        settled: Callable[[], None],
    ) -> None:
        self._log = log
        self._outbox = outbox
        self._contact = contact
        self._observe = observe
        self._note_settled = settled
        self._pending = {report.token: report for report in outbox.pending}
        self._to_write: list[Report] = []  # of the pending: not yet in the outbox
        self._settled: list[int] = []  # answered, and still in the outbox
        self._bell = Bell()

    @property
    def pending(self) -> Mapping[int, Report]:
        """Reports that the task log has not answered, by token."""
        return MappingProxyType(self._pending)

    def add(self, report: Report) -> None:
        """Report what came of a task."""
        self._pending[report.token] = report
        self._to_write.append(report)
        self._bell.ring()

    async def run(self) -> None:
        """Write reports into the outbox, as many as there are at a time, and make them; for ever.

        Raises:
            OutboxFailed: The outbox's disk failed.
        """
        async with trio.open_nursery() as nursery:
            for report in self._outbox.pending:
                nursery.start_soon(self._deliver, report)
            while True:
                await self._bell.wait()
                reports, self._to_write = self._to_write, []
                await self._write(reports)
                for report in reports:
                    nursery.start_soon(self._deliver, report)

    async def forget_settled(self) -> None:
        """Take out of the outbox what was answered; without it, that is said once more."""
        await self._write([])

    async def _write(self, reports: Sequence[Report]) -> None:
        settled, self._settled = self._settled, []
        await trio.to_thread.run_sync(self._outbox.write, reports, settled)

    async def _deliver(self, report: Report) -> None:
        try:
            event = await self._contact.reach(self._send, report)
        except (TokenInvalid, TaskUnknown) as error:
            event = WorkerEvent("lost", report.task, report.token, str(error))
        except (CommandFailed, RequestInvalid) as error:
            event = WorkerEvent("refused", report.task, report.token, str(error))
            await self._fail_refused(report, str(error))
        self._observe(event)
        del self._pending[report.token]
        self._settled.append(report.token)
        self._note_settled()

    async def _fail_refused(self, report: Report, why: str) -> None:
        """End a task whose result the task log does not take: another attempt would bring the same.

        Results are checked before, so this is one of a worker whose limits are not the cluster's.
        """
        reason = f"its result was refused: {why}"[: self._log.limits.reason_chars_max]
        try:
            await self._contact.reach(self._log.fail, report.task, report.token, reason, False)
        except CommandFailed:
            pass  # then its lease lapses, and uses up an attempt

    async def _send(self, report: Report) -> WorkerEvent:
        match report:
            case Done(task, token, result):
                await self._log.complete(task, token, result)
                return WorkerEvent("done", task, token)
            case Failed(task, token, reason, retry):
                await self._log.fail(task, token, reason, retry=retry)
                return WorkerEvent("failed", task, token, reason)
