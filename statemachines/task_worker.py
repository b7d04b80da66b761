"""The worker: claims what is placed on its node, runs it, and reports each result exactly once.

It owns one registration of one node, and the claims made under it. It knows the cluster by its
client alone: every call may end done, refused or unknown. It must never decide by its own clock
that a lease has ended: leases end in replicated time, so only an answer says so. It guards two
things: no claim is given up while its work, or the report of it, is under way; and work whose claim
is lost is cancelled. Whether a result counts is not for it to say: the task log refuses late ones.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final

import trio

from paxos.core.errors import PaxosError
from paxos.core.state_machine import CommandFailed
from paxos.runtime.errors import plain_errors
from statemachines import task_log_format as form
from statemachines.task_handlers import Handler, Job, TaskFailed, Work
from statemachines.task_log_answers import Claim, RegistrationInvalid, TaskUnknown, TokenInvalid
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import NodeSpec
from statemachines.task_outbox import Done, Failed, MemoryOutbox, Outbox, Report
from statemachines.task_reports import Reports
from statemachines.task_worker_events import RETRY_S, Bell, Contact, Observer, WorkerEvent

SLOTS: Final = 64
"""Tasks at a time, unless the caller says otherwise; the node's capacity bounds them before."""

UNREPORTED_MAX: Final = 256
"""Reports the cluster has not answered; above it nothing more is claimed."""

REPORTS_APART_S: Final = 0.1
"""Seconds, at least, between two reports, however much is due: what is due goes with the first."""

REPLAN_S_MAX: Final = 60.0
"""Seconds, at most, between two questions of an idle worker for work that waits elsewhere."""

BEATS_PER_LEASE: Final = 3
"""How often leases are extended while they last. What fails is tried again after RETRY_S."""

ANY_KIND: Final = "*"
"""The key of a handler for every kind that has none of its own."""


class WorkerReplaced(PaxosError):
    """Another worker registered the same node later. Two of them would take it from each other."""


class WorkerBroken(PaxosError):
    """An executor is broken and runs nothing more. What it ran is reported; start a new worker."""


def _no_load() -> int:
    return 0


def _ignore(_event: WorkerEvent) -> None:
    pass


@dataclass(slots=True)
class _Run:
    """A claim whose task is running."""

    claim: Claim
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class TaskWorker:
    """Runs what is placed on one node, until it is stopped. Runs once.

    Args:
        log: The task log.
        node: The node as it registers. Its lease is also that of every claim.
        handlers: What runs tasks, by kind; ANY_KIND is every other kind. A task of a kind without
            a handler fails here, and is tried again as often as its attempts allow.
        outbox: Keeps results until the task log has them. If None they are kept in memory: they
            outlive a cut connection, but not this process.
        slots: Tasks that run at a time.
        load: The node's load by anything but tasks, in micro-units of capacity.
        observe: Is told what happens.
    """

    def __init__(
        self,
        log: TaskLogClient,
        node: NodeSpec,
        handlers: Mapping[str, Handler],
        *,
        outbox: Outbox | None = None,
        slots: int = SLOTS,
        load: Callable[[], int] = _no_load,
        observe: Observer = _ignore,
    ) -> None:
        if slots < 1:
            raise ValueError(f"a worker needs a slot to run a task in, not {slots}")
        self._log = log
        self._node = node
        self._handlers = dict(handlers)
        self._slots = slots
        self._load = load
        self._observe = observe
        self._limits = log.limits
        self._beat_s = node.lease / form.MICRO / BEATS_PER_LEASE
        self._registration = 0  # 0: none
        # Whether a registration of ours may have been applied that we never heard of.
        self._registration_in_doubt = False
        # By token. A claim is here until its handler has ended, and then among the reports until
        # the task log has answered: leases of both are extended.
        self._running: dict[int, _Run] = {}
        self._contact = Contact(observe)
        self._reports = Reports(
            log,
            outbox if outbox is not None else MemoryOutbox(),
            self._contact,
            self._note_report,
            self._note_change,
        )
        self._due_at = math.inf  # on trio's clock: when time alone lets something happen next
        self._stopped = False
        self._idle = trio.CancelScope()  # what a stop cuts short: waits, never a command
        self._work_wait = trio.CancelScope()  # what the loss of the registration cuts short
        self._room_bell = Bell()
        self._quiet_bell = Bell()
        self._due_bell = Bell()
        self._broken: BrokenExecutor | None = None
        self._nursery: trio.Nursery | None = None

    def stop(self) -> None:
        """Claim nothing more. ``run`` returns once what runs has ended and is reported."""
        self._stopped = True
        self._idle.cancel()
        self._room_bell.ring()

    async def run(self) -> None:
        """Work until ``stop``.

        To cancel it is to pull the plug: running work is cancelled, its tasks go to others when
        their leases lapse, and what is in the outbox is reported by the next worker that has it.

        Raises:
            WorkerReplaced: Another worker registered the same node.
            WorkerBroken: An executor broke; everything else was finished and reported.
            OutboxFailed: The outbox's disk failed.
        """
        if self._nursery is not None:
            raise RuntimeError("a worker runs once; make another")
        with plain_errors():
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._reports.run)
                # First what an earlier life has left: to register again ends the claims it is of.
                await self._wait_quiet()
                await self._register()
                nursery.start_soon(self._keep_leases)
                nursery.start_soon(self._keep_time)
                nursery.start_soon(self._relieve_others)
                await self._claim_until_stopped()
                await self._wait_quiet()
                await self._leave()
                nursery.cancel_scope.cancel()
        if self._broken is not None:
            raise WorkerBroken(f"an executor is broken: {self._broken}") from self._broken

    def _note_change(self) -> None:
        """Something ended: there may be room for more, or nothing left."""
        self._room_bell.ring()
        self._quiet_bell.ring()

    def _note_report(self, event: WorkerEvent) -> None:
        if event.what == "failed":
            self._note_due(0)  # it may wait for its next attempt: nobody knows until when yet
        self._observe(event)

    def _note_due(self, after_us: int | None) -> None:
        """Note in how long something is due by time alone, None if nothing is."""
        after_s = math.inf if after_us is None else after_us / form.MICRO
        self._due_at = trio.current_time() + after_s
        self._due_bell.ring()

    async def _wait_quiet(self) -> None:
        while self._running or self._reports.pending:
            await self._quiet_bell.wait()

    # --- the registration ------------------------------------------------------------------------

    async def _register(self) -> None:
        """Register, unless a stop comes first."""
        while not self._stopped:
            try:
                registered = await self._log.register(self._node)
            except CommandFailed:
                raise
            except PaxosError as error:
                self._registration_in_doubt = True
                self._contact.note_cut(error)
                await self._until_stop(trio.sleep, RETRY_S)
            else:
                self._contact.note_back()
                self._registration = registered.registration
                self._note_due(0)
                self._observe(WorkerEvent("registered", token=registered.registration))
                return

    async def _register_again(self) -> None:
        """Take the place of a registration that has ended.

        Its claims have ended with it; the next extension hears so, and cancels their work.
        """
        if not self._registration_in_doubt:
            await self._until_stop(self._check_not_replaced)
        self._registration_in_doubt = False
        await self._register()

    async def _check_not_replaced(self) -> None:
        """Refuse to take the node from a worker that came after this one.

        Raises:
            WorkerReplaced: Another registration of it is alive.
        """
        for node in (await self._contact.reach(self._log.nodes)).nodes:
            if node.spec.name != self._node.name or node.state != form.LIVE:
                continue
            if node.registration > self._registration:
                raise WorkerReplaced(
                    f"node {self._node.name} was registered again, as {node.registration}, by"
                    " another worker; give each worker a node of its own"
                )

    async def _leave(self) -> None:
        if self._registration:
            try:
                await self._log.leave(self._node.name, self._registration)
            except PaxosError:
                pass  # the registration has ended, or will lapse
        await self._reports.forget_settled()

    async def _keep_leases(self) -> None:
        """Extend the registration and every claim, a few times while they last."""
        wait_s = self._beat_s
        while True:
            await trio.sleep(wait_s)
            registration = self._registration
            if not registration:
                continue
            try:
                await self._extend(registration)
            except RegistrationInvalid:
                # Whoever claims hears the same, and registers again; this makes room for it. Nor is
                # work waited for: what is refused changes nothing, so that the log may take this
                # node for one that lives and has none, until some other command is taken.
                if registration == self._registration:
                    for token in self._running:
                        self._lose(token)
                    self._work_wait.cancel()
            except CommandFailed:
                raise
            except PaxosError as error:
                self._contact.note_cut(error)
                wait_s = min(RETRY_S, self._beat_s)
            else:
                self._contact.note_back()
                wait_s = self._beat_s

    async def _extend(self, registration: int) -> None:
        await self._report(registration)
        for claims in _pieces(self._held(), self._limits.claim_tasks_max):
            extended = await self._log.extend(
                self._node.name, registration, claims, self._node.lease
            )
            for (_, token), held in zip(claims, extended.held, strict=True):
                if not held:
                    self._lose(token)

    async def _report(self, registration: int) -> None:
        reported = await self._log.report(self._node.name, registration, self._load())
        now, due = reported.until - self._node.lease, reported.next_due
        self._note_due(None if due is None else due - now)

    async def _keep_time(self) -> None:
        """Report when something is due by time alone.

        Time passes in the task log only by commands: without one, what was to be tried again in a
        second would wait for the next extension.
        """
        while True:
            with trio.move_on_at(self._due_at):
                await self._due_bell.wait()
                continue  # there is news of when that is
            await trio.sleep(REPORTS_APART_S)
            self._due_at = math.inf
            try:
                await self._report(self._registration)
            except RegistrationInvalid:
                pass  # the next extension hears the same, and acts on it
            except CommandFailed:
                raise
            except PaxosError as error:
                self._contact.note_cut(error)

    def _held(self) -> list[tuple[str, int]]:
        running = [(run.claim.task.id, token) for token, run in self._running.items()]
        return running + [(each.task, token) for token, each in self._reports.pending.items()]

    async def _relieve_others(self) -> None:
        """While there is nothing to do here and work waits elsewhere, have it placed anew.

        What is placed stays where it is until somebody asks; a node that is new, or done early,
        would idle beside a queue. What does not want to come here is asked about less and less.
        """
        wait_s, after = self._beat_s, 0
        while True:
            await trio.sleep(wait_s)
            try:
                if self._running or self._stopped or not await self._others_wait():
                    wait_s, after = self._beat_s, 0
                    continue
                replanned = await self._log.replan(after)
            except CommandFailed:
                raise
            except PaxosError as error:
                self._contact.note_cut(error)
            else:
                after = replanned.next_after or 0
                if replanned.moved:
                    wait_s = self._beat_s
                elif not after:
                    wait_s = min(2 * wait_s, REPLAN_S_MAX)

    async def _others_wait(self) -> bool:
        nodes = (await self._log.nodes("session")).nodes
        ours = [node for node in nodes if node.spec.name == self._node.name]
        others = [node for node in nodes if node.spec.name != self._node.name]
        open_and_empty = all(not node.drained and not node.queued for node in ours)
        return open_and_empty and any(node.queued for node in others)

    # --- claims ----------------------------------------------------------------------------------

    def _room(self) -> int:
        free = min(self._slots - len(self._running), UNREPORTED_MAX - len(self._reports.pending))
        return min(free, self._limits.claim_tasks_max)

    async def _claim_until_stopped(self) -> None:
        more = False  # whether the last claim got all it asked for: then there may be more
        while not self._stopped:
            room = self._room()
            if room < 1:
                await self._room_bell.wait()
                continue
            registration = self._registration
            try:
                if not more and not await self._until_stop(self._wait_work, registration):
                    return
                claimed = await self._log.claim(
                    self._node.name, registration, room, self._node.lease
                )
            except RegistrationInvalid:
                await self._register_again()
            except CommandFailed:
                raise
            except PaxosError as error:
                # Claims that were made and never heard of lapse: nobody extends them.
                self._contact.note_cut(error)
                await self._until_stop(trio.sleep, RETRY_S)
            else:
                self._contact.note_back()
                more = len(claimed.claims) == room
                for claim in claimed.claims:
                    self._begin(claim)

    async def _wait_work(self, registration: int) -> None:
        """Wait until a claim would return a task, or be refused."""
        with trio.CancelScope() as self._work_wait:
            await self._log.wait_work(self._node.name, registration)

    async def _until_stop(self, wait: Callable[..., Awaitable[None]], *arguments: object) -> bool:
        """Wait for something, or for a stop; return whether it came before a stop."""
        if self._stopped:
            return False
        with trio.CancelScope() as self._idle:
            await wait(*arguments)
        return not self._idle.cancelled_caught

    def _begin(self, claim: Claim) -> None:
        self._observe(WorkerEvent("claimed", claim.task.id, claim.token))
        run = self._running[claim.token] = _Run(claim)
        assert self._nursery is not None
        self._nursery.start_soon(self._run, run)

    # --- running ---------------------------------------------------------------------------------

    async def _run(self, run: _Run) -> None:
        token = run.claim.token
        report: Report | None = None
        try:
            with run.scope:
                report = await self._outcome(run)
        finally:
            del self._running[token]
        if report is None:
            self._observe(WorkerEvent("lost", run.claim.task.id, token, "cancelled"))
        else:
            self._reports.add(report)
        self._note_change()

    async def _outcome(self, run: _Run) -> Report:
        """Run a task to its end, and return what to report of it, whatever that end is."""
        spec, token = run.claim.task, run.claim.token
        handler = self._handlers.get(spec.kind) or self._handlers.get(ANY_KIND)
        try:
            if handler is None:
                raise TaskFailed(f"node {self._node.name} has no handler for kind {spec.kind}")
            job = Job(
                id=spec.id,
                kind=spec.kind,
                payload=spec.payload,
                attempt=run.claim.attempt,
                token=token,
                node=self._node.name,
                inputs=await self._inputs(run),
            )
            with plain_errors():  # a handler with a nursery of its own raises groups
                result: object = await handler(Work(job, partial(self._tell, run)))
            if type(result) is not bytes:
                what = type(result).__name__
                raise TaskFailed(f"the result is not bytes but {what}", retry=False)
            most = self._limits.payload_bytes_max
            if len(result) > most:
                raise TaskFailed(
                    f"the result is too long: {len(result)} bytes, the limit is {most}", retry=False
                )
        except TaskFailed as error:
            return Failed(spec.id, token, self._reason(error.reason), error.retry)
        except BrokenExecutor as error:
            # It would fail every further task at once, and use up their attempts.
            self._broken = error
            self.stop()
            return Failed(spec.id, token, self._reason(f"the executor broke: {error}"), True)
        except Exception as error:  # noqa: BLE001 - a handler's: whatever it raises is the reason
            text = self._reason(f"{type(error).__name__}: {error}")
            return Failed(spec.id, token, text, True)
        except BaseExceptionGroup as group:
            # It was cancelled, and failed in its own nursery on the way out: nobody asks for that.
            raise group.subgroup(_is_no_failure) or group from None
        return Done(spec.id, token, result)

    def _reason(self, text: str) -> str:
        """Return ``text`` as the task log takes it: UTF-8, and not too long."""
        most = self._limits.reason_chars_max
        clean = text.encode("utf-8", "replace").decode()
        return clean if len(clean) <= most else clean[: most - 1] + "…"

    async def _inputs(self, run: _Run) -> dict[str, bytes]:
        """Return the results of what the task depends on."""
        inputs: dict[str, bytes] = {}
        for name in run.claim.task.depends_on:
            task = (await self._contact.reach(self._log.get, name, "session")).task
            if task is None or task.result is None:
                raise TaskFailed(f"the result of {name} is no longer kept", retry=False)
            inputs[name] = task.result
        return inputs

    async def _tell(self, run: _Run, data: bytes) -> bool:
        most = self._limits.progress_bytes_max
        if len(data) > most:
            raise TaskFailed(
                f"the progress is too long: {len(data)} bytes, the limit is {most}", retry=False
            )
        await trio.lowlevel.checkpoint()
        if not self._contact.connected or run.scope.cancel_called:
            return False
        try:
            await self._log.progress(run.claim.task.id, run.claim.token, data)
        except (TokenInvalid, TaskUnknown):
            self._lose(run.claim.token)
            await trio.lowlevel.checkpoint()  # where the handler itself waits here, it ends here
            return False
        except CommandFailed:
            raise
        except PaxosError as error:
            self._contact.note_cut(error)
            return False
        return True

    def _lose(self, token: int) -> None:
        """Cancel the work of a claim that has ended, if it runs.

        A report of it goes out as ever: what the task log answers to that is the last word.
        """
        run = self._running.get(token)
        if run is not None:
            run.scope.cancel()


def _is_no_failure(error: BaseException) -> bool:
    return not isinstance(error, Exception | BaseExceptionGroup)


def _pieces(claims: Sequence[tuple[str, int]], most: int) -> Iterator[tuple[tuple[str, int], ...]]:
    rest = iter(claims)
    while piece := tuple(islice(rest, most)):
        yield piece
