"""The demo's story: what happens, in which order, and what is checked on the way.

Owns the steps and the proof; knows nothing of how they are shown or how processes are started. A
step that finds something that does not hold says so and the story ends badly, however well the
rest went. The law: an acknowledged write is noted when its answer arrives, before anything else
happens, and nothing is ever taken off that list.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from paxos.cli.narrator import Narrator
    from paxos.cli.processes import ReplicaProcesses

WRITERS = 8
LOAD_PREFIX = "readings/"
PAUSE_BETWEEN_WRITES_S = 0.002
LOAD_BEFORE_S = 2.0
LOAD_AFTER_S = 2.0
RECOVERY_TIMEOUT_S = 15.0
POLL_S = 0.05
SLICE_S = 0.1


@dataclass(slots=True)
class Stage:
    """What the steps of one story share.

    Attributes:
        narrator: Who tells it.
        processes: The replica processes.
        store: A client of the replicated configuration.
        statuses: Asks every replica about itself: status document by node id, None if silent.
        fleet: The configuration that is imported, by key.
        nodes: Ids of all replicas.
        acknowledged: Every write of the load that was answered "done".
        acknowledged_at: When each of those answers came, monotonic seconds.
        uncertain: Writes whose outcome is unknown: each may be there or not.
        seen: What the watch told, in order: (revision, key, value).
        watched_from: The revision after which the watch began.
        failures: What did not hold.
        killed: The node that was killed, and when; 0 before.
        writing: Whether the writers go on.
    """

    narrator: Narrator
    processes: ReplicaProcesses
    store: Any
    statuses: Callable[[], Awaitable[Mapping[int, dict[str, Any] | None]]]
    fleet: Mapping[str, bytes]
    nodes: tuple[int, ...]
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    acknowledged_at: list[float] = field(default_factory=list)
    uncertain: dict[str, bytes] = field(default_factory=dict)
    seen: list[tuple[int, str, bytes | None]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    killed: int = 0
    killed_at: float = 0.0
    writing: bool = False

    def check(self, holds: bool, text: str, otherwise: str) -> None:
        """Tell ``text`` if it holds; else tell ``otherwise`` and remember it."""
        if holds:
            self.narrator.proved(text)
        else:
            self.narrator.failed(otherwise)
            self.failures.append(otherwise)


Step = tuple[str, Callable[[Stage], Awaitable[None]]]
"""A chapter's title, and what happens in it."""


async def elect(stage: Stage) -> None:
    """Start all replicas and wait until one leads."""
    began = time.monotonic()
    await stage.processes.start_all(stage.nodes)
    leader = await _wait_for_leader(stage)
    stage.narrator.fact(
        f"{len(stage.nodes)} processes answer after {time.monotonic() - began:.1f} s;"
        f" node {leader} leads"
    )


async def import_fleet(stage: Stage) -> None:
    """Write the fleet's configuration, and read it back."""
    began = time.monotonic()
    with stage.narrator.progress("importing", len(stage.fleet)) as meter:
        for done, (key, value) in enumerate(stage.fleet.items(), 1):
            await stage.store.put(key, value)
            meter.show(done)
    took = time.monotonic() - began
    sites = len({key.partition("/")[0] for key in stage.fleet})
    stage.narrator.fact(f"{len(stage.fleet)} keys of {sites} sites written in {took:.2f} s")
    found = await _read_all(stage, "")
    wrong = sorted(key for key, value in stage.fleet.items() if found.get(key) != value)
    stage.check(
        not wrong,
        "a linearizable read gives back every key with its value",
        f"{len(wrong)} keys came back wrong or not at all, the first is {wrong[:1]}",
    )


async def kill_leader(stage: Stage) -> None:
    """Watch a prefix, write under it from several clients at once, and kill the leader."""
    stage.narrator.fact(f"a watch on {LOAD_PREFIX} and {WRITERS} writers begin")
    stage.writing = True
    await _start_load(stage)
    await trio.sleep(LOAD_BEFORE_S)
    stage.killed = await _wait_for_leader(stage)
    before = len(stage.acknowledged)
    await stage.processes.kill(stage.killed)
    stage.killed_at = time.monotonic()
    stage.narrator.fact(f"after {before} acknowledged writes node {stage.killed} gets SIGKILL")
    with stage.narrator.waiting("nobody leads; the two others hold an election"):
        recovered = await _wait_until(lambda: _writes_resumed(stage), RECOVERY_TIMEOUT_S)
    stage.check(recovered, "writing goes on without it", "writing did not resume")
    await trio.sleep(LOAD_AFTER_S)
    _tell_pause(stage)


async def bring_back(stage: Stage) -> None:
    """Start the killed replica again, still under load, and let it catch up."""
    began = time.monotonic()
    ready = await stage.processes.start(stage.killed)
    missed = len(stage.acknowledged)
    stage.narrator.fact(
        f"node {stage.killed} read its log up to slot {ready['applied_through']} and answers"
    )
    target = max(_progress(await stage.statuses()).values())

    async def caught_up() -> bool:
        return _progress(await stage.statuses()).get(stage.killed, -1) >= target

    reached = await _wait_until(caught_up, RECOVERY_TIMEOUT_S)
    took = time.monotonic() - began
    stage.check(
        reached,
        f"it has caught up with slot {target} after {took:.1f} s, while {missed} writes became"
        f" {len(stage.acknowledged)}",
        f"it did not reach slot {target} within {RECOVERY_TIMEOUT_S:.0f} s",
    )


async def prove(stage: Stage) -> None:
    """End the load and check everything that was promised."""
    stage.writing = False
    await _wait_until(lambda: _now(stage.writers == 0), RECOVERY_TIMEOUT_S)
    await _prove_equal_states(stage)
    found = await _read_all(stage, LOAD_PREFIX)
    _prove_writes_kept(stage, found)
    kept = await _read_all(stage, "")
    stage.check(
        all(kept.get(key) == value for key, value in stage.fleet.items()),
        "the imported configuration is unchanged",
        "the imported configuration changed",
    )
    await _prove_watch(stage, found)


async def _prove_equal_states(stage: Stage) -> None:
    digests: set[tuple[int, str]] = set()

    async def equal() -> bool:
        documents = [document for document in (await stage.statuses()).values() if document]
        digests.clear()
        digests.update((one["applied_through"], one["digest"]) for one in documents)
        return len(documents) == len(stage.nodes) and len(digests) == 1

    holds = await _wait_until(equal, RECOVERY_TIMEOUT_S)
    shown = ", ".join(f"{digest[:16]} at slot {slot}" for slot, digest in sorted(digests))
    stage.check(
        holds,
        f"all {len(stage.nodes)} replicas hold the same state: digest {shown}",
        f"the replicas do not hold the same state: {shown or 'none answers'}",
    )


def _prove_writes_kept(stage: Stage, found: Mapping[str, bytes]) -> None:
    lost = sorted(key for key, value in stage.acknowledged.items() if found.get(key) != value)
    stage.check(
        not lost,
        f"all {len(stage.acknowledged)} acknowledged writes are there",
        f"{len(lost)} of {len(stage.acknowledged)} acknowledged writes are missing: {lost[:3]}",
    )
    strange = sorted(found.keys() - stage.acknowledged.keys() - stage.uncertain.keys())
    stage.check(
        not strange,
        f"and nothing else ({len(stage.uncertain)} writes ended with an unknown outcome)",
        f"{len(strange)} keys are there that nobody wrote: {strange[:3]}",
    )


async def _prove_watch(stage: Stage, found: Mapping[str, bytes]) -> None:
    await _wait_until(lambda: _now(len(stage.seen) >= len(found)), RECOVERY_TIMEOUT_S)
    revisions = [revision for revision, _, _ in stage.seen]
    in_order = all(one < other for one, other in pairwise(revisions))
    complete = {key: value for _, key, value in stage.seen} == dict(found)
    stage.check(
        in_order and complete and len(revisions) == len(found),
        f"the watch told each of these {len(found)} changes once and in order",
        f"the watch told {len(revisions)} changes of {len(found)}"
        f"{'' if in_order else ', not in order'}",
    )


STEPS: tuple[Step, ...] = (
    ("Three replicas start and elect a leader", elect),
    ("A fleet's configuration goes in, and comes back", import_fleet),
    ("The leader is killed in the middle of writing", kill_leader),
    ("The dead replica comes back", bring_back),
    ("The proof", prove),
)


async def tell(stage: Stage, steps: Sequence[Step] = STEPS) -> bool:
    """Tell the story.

    Args:
        stage: Fresh; no replica runs yet.
        steps: What happens. Tests put something that breaks a promise between two of them.

    Returns:
        Whether everything held.
    """
    async with trio.open_nursery() as nursery:
        stage.nursery = nursery
        for title, step in steps:
            stage.narrator.chapter(title)
            await step(stage)
        nursery.cancel_scope.cancel()
    return not stage.failures


# --- the load and the watch ---------------------------------------------------------------------


async def _start_load(stage: Stage) -> None:
    assert stage.nursery is not None
    await stage.nursery.start(_watch, stage)
    for writer in range(1, WRITERS + 1):
        stage.writers += 1
        stage.nursery.start_soon(_write, stage, writer)


async def _watch(stage: Stage, task_status: trio.TaskStatus[None]) -> None:
    """Note every change under the prefix that happens from now on."""
    revision = (await stage.store.range(LOAD_PREFIX)).revision
    task_status.started()
    async for event in stage.store.watch(LOAD_PREFIX, revision + 1):
        stage.seen.append((event.revision, event.key, event.value))


async def _write(stage: Stage, writer: int) -> None:
    """Write one key after the other until told to stop, and note how each write ended."""
    number = 0
    while stage.writing:
        number += 1
        key = f"{LOAD_PREFIX}gateway-{writer}/{number:06d}"
        value = b'{"celsius":%d.%d}' % (15 + number % 20, writer)
        await _write_one(stage, key, value)
        await trio.sleep(PAUSE_BETWEEN_WRITES_S)
    stage.writers -= 1
