"""The demo's story: what happens, in which order, and what is checked on the way.

Owns the steps and the proof; knows nothing of how they are shown or how processes are started. A
step that finds something that does not hold says so and the story ends badly, however well the
rest went. The law: an acknowledged write is noted when its answer arrives, before anything else
happens, and nothing is ever taken off that list.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import trio

from paxos.cli.connect import NodeAnswer
from paxos.core.errors import PaxosError
from paxos.runtime.client import OutcomeUnknown, RequestRefused
from statemachines.edge_config_format import JSON

if TYPE_CHECKING:
    from paxos.cli.narrator import Narrator
    from paxos.testing.processes import ReplicaProcesses
    from statemachines.edge_config_client import EdgeConfigClient, Put

WRITERS = 8
LOAD_PREFIX = "readings/"
PAUSE_BETWEEN_WRITES_S = 0.002
LOAD_BEFORE_S = 2.0
LOAD_AFTER_S = 2.0
RECOVERY_TIMEOUT_S = 15.0
POLL_S = 0.05
SLICE_S = 0.1
SLICES_BEFORE = 10
SLICES = 30


class StoryFailed(PaxosError):
    """The story cannot go on; the text says why."""


@dataclass(slots=True)
class Stage:
    """What the steps of one story share.

    Attributes:
        narrator: Who tells it.
        processes: The replica processes.
        store: A client of the replicated configuration.
        statuses: Asks every replica about itself.
        fleet: The configuration that is imported.
        nodes: Ids of all replicas.
        acknowledged: Every write of the load that was answered "done".
        acknowledged_at: When each of those answers came, monotonic seconds.
        uncertain: Writes whose outcome is unknown: each may be there or not.
        seen: What the watch told, in order: (revision, key, value).
        failures: What did not hold.
        killed: The node that was killed; 0 before.
        killed_at: When, monotonic seconds.
        writing: Whether the writers go on.
        writers: How many of them have not ended.
        background: Runs the writers and the watch; set when the story begins.
    """

    narrator: Narrator
    processes: ReplicaProcesses
    store: EdgeConfigClient
    statuses: Callable[[], Awaitable[Sequence[NodeAnswer]]]
    fleet: Sequence[Put]
    nodes: tuple[int, ...]
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    acknowledged_at: list[float] = field(default_factory=list)
    uncertain: dict[str, bytes] = field(default_factory=dict)
    seen: list[tuple[int, str, bytes | None]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    killed: int = 0
    killed_at: float = 0.0
    writing: bool = False
    writers: int = 0
    background: trio.Nursery | None = None

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
    leader = await wait_for_leader(stage)
    stage.narrator.fact(
        f"{len(stage.nodes)} processes answer after {time.monotonic() - began:.1f} s;"
        f" node {leader} leads"
    )


async def import_fleet(stage: Stage) -> None:
    """Write the fleet's configuration, and read it back."""
    began = time.monotonic()
    written = await stage.store.import_entries(stage.fleet)
    took = time.monotonic() - began
    sites = {entry.key.partition("/")[0] for entry in stage.fleet if entry.key.startswith("site-")}
    stage.narrator.fact(
        f"{written.entries} keys of {len(sites)} sites written in {took:.2f} s,"
        f" in {written.transactions} transactions"
    )
    _check_fleet(
        stage, await _read_all(stage, ""), "a linearizable read gives back every key with its value"
    )


async def kill_leader(stage: Stage) -> None:
    """Watch a prefix, write under it from several clients at once, and kill the leader."""
    stage.narrator.fact(f"a watch on {LOAD_PREFIX} and {WRITERS} writers begin")
    stage.writing = True
    await _start_load(stage)
    await trio.sleep(LOAD_BEFORE_S)
    stage.killed = await wait_for_leader(stage)
    before = len(stage.acknowledged)
    await stage.processes.kill(stage.killed)
    stage.killed_at = time.monotonic()
    stage.narrator.fact(f"after {before} acknowledged writes node {stage.killed} gets SIGKILL")
    recovered = await _wait_until(_now(lambda: _resumed(stage)), RECOVERY_TIMEOUT_S)
    await trio.sleep(LOAD_AFTER_S)
    tell_pause(stage, recovered)


async def bring_back(stage: Stage) -> None:
    """Start the killed replica again, still under load, and let it catch up."""
    began = time.monotonic()
    ready = await stage.processes.start(stage.killed)
    missed = len(stage.acknowledged)
    stage.narrator.fact(
        f"node {stage.killed} read its log up to slot {ready['applied_through']} and answers"
    )
    target = max(decided for decided, _ in (await _progress(stage)).values())

    async def caught_up() -> bool:
        _, applied = (await _progress(stage)).get(stage.killed, (0, -1))
        return applied >= target

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
    await _wait_until(_now(lambda: stage.writers == 0), RECOVERY_TIMEOUT_S)
    await _prove_equal_states(stage)
    everything = await _read_all(stage, "")
    found = {key: value for key, value in everything.items() if key.startswith(LOAD_PREFIX)}
    _prove_writes_kept(stage, found)
    _check_fleet(stage, everything, "the imported configuration is unchanged")
    await _prove_watch(stage, found)


def _check_fleet(stage: Stage, found: Mapping[str, bytes], text: str) -> None:
    wrong = [entry.key for entry in stage.fleet if found.get(entry.key) != entry.value]
    otherwise = f"{len(wrong)} imported keys are wrong or missing: {wrong[:3]}"
    stage.check(not wrong, text, otherwise)


async def _prove_equal_states(stage: Stage) -> None:
    digests: set[tuple[int, str]] = set()

    async def equal() -> bool:
        documents = [one.document for one in await stage.statuses() if one.document is not None]
        digests.clear()
        digests.update((one["applied_through"], one["digest"]) for one in documents)
        # A large state's digest comes only once its node has been at rest for a while.
        taken = all(digest for _, digest in digests)
        return taken and len(documents) == len(stage.nodes) and len(digests) == 1

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
    await _wait_until(_now(lambda: len(stage.seen) >= len(found)), RECOVERY_TIMEOUT_S)
    revisions = [revision for revision, _, _ in stage.seen]
    in_order = all(one < other for one, other in pairwise(revisions))
    complete = {key: value for _, key, value in stage.seen} == dict(found)
    disorder = "" if in_order else ", not in order"
    others = "" if complete else ", with other keys or values"
    stage.check(
        in_order and complete and len(revisions) == len(found),
        f"the watch told each of these {len(found)} changes once and in order",
        f"the watch told {len(revisions)} changes of {len(found)}{disorder}{others}",
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
        stage.background = nursery
        for title, step in steps:
            with stage.narrator.chapter(title):
                await step(stage)
        nursery.cancel_scope.cancel()
    return not stage.failures


# --- the load and the watch ---------------------------------------------------------------------


async def _start_load(stage: Stage) -> None:
    assert stage.background is not None
    revision = (await stage.store.stats()).revision
    stage.background.start_soon(_watch, stage, revision)
    for writer in range(1, WRITERS + 1):
        stage.writers += 1
        stage.background.start_soon(write_until_told, stage, writer)


async def _watch(stage: Stage, after: int) -> None:
    """Note every change under the prefix after a revision."""
    async for batch in stage.store.watch_batches(LOAD_PREFIX, after=after):
        stage.seen += [(event.revision, event.key, event.value) for event in batch.events]


async def write_until_told(stage: Stage, writer: int) -> None:
    """Write one key after the other until told to stop, and note how each write ended."""
    number = 0
    while stage.writing:
        number += 1
        key = f"{LOAD_PREFIX}gateway-{writer}/{number:06d}"
        value = b'{"celsius":%d.%d}' % (15 + number % 20, writer)
        try:
            await stage.store.put(key, value, JSON)
        except OutcomeUnknown:
            stage.uncertain[key] = value
        except RequestRefused:
            pass  # it is certain that nothing was written, so there is nothing to look for
        else:
            stage.acknowledged[key] = value
            stage.acknowledged_at.append(time.monotonic())
        await trio.sleep(PAUSE_BETWEEN_WRITES_S)
    stage.writers -= 1


async def _read_all(stage: Stage, prefix: str) -> dict[str, bytes]:
    return {item.key: item.value async for item in stage.store.items(prefix)}


# --- waiting and looking ------------------------------------------------------------------------


async def _wait_until(holds: Callable[[], Awaitable[bool]], timeout_s: float) -> bool:
    """Wait until something holds; False if it does not in time."""
    with trio.move_on_after(timeout_s):
        # What is waited for happens in other processes, which cannot set an event here.
        while not await holds():  # noqa: ASYNC110
            await trio.sleep(POLL_S)
        return True
    return False


def _now(holds: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return holds()

    return asked


async def wait_for_leader(stage: Stage) -> int:
    """Return the node that leads, as most nodes see it."""
    leader = 0

    async def known() -> bool:
        nonlocal leader
        leading = [
            one.document
            for one in await stage.statuses()
            if one.document is not None and one.document["role"] == "leader"
        ]
        leader = max(leading, key=_ballot)["node"] if leading else 0
        return leader > 0

    if not await _wait_until(known, RECOVERY_TIMEOUT_S):
        raise StoryFailed(f"no replica leads after {RECOVERY_TIMEOUT_S:.0f} s")
    return leader


def _ballot(document: dict[str, Any]) -> tuple[int, int]:
    ballot_round, _, node = document["ballot"].partition(".")
    return int(ballot_round), int(node)


async def _progress(stage: Stage) -> dict[int, tuple[int, int]]:
    """Return (decided through, applied through) by node, of the nodes that answer."""
    return {
        one.document["node"]: (one.document["decided_through"], one.document["applied_through"])
        for one in await stage.statuses()
        if one.document is not None
    }


def _resumed(stage: Stage) -> bool:
    """Whether a write was acknowledged that cannot be an answer already under way at the kill."""
    return bool(stage.acknowledged_at) and stage.acknowledged_at[-1] > stage.killed_at + SLICE_S


def tell_pause(stage: Stage, recovered: bool) -> None:
    """Tell how long no write was acknowledged, and draw it."""
    times = [stage.killed_at, *(at for at in stage.acknowledged_at if at > stage.killed_at)]
    pause = max((other - one for one, other in pairwise(times)), default=RECOVERY_TIMEOUT_S)
    stage.check(
        recovered,
        f"the others go on without it: writing paused for {pause * 1000:.0f} ms",
        f"nothing was written for {RECOVERY_TIMEOUT_S:.0f} s",
    )
    first = stage.killed_at - SLICES_BEFORE * SLICE_S
    slices = Counter(int((at - first) / SLICE_S) for at in stage.acknowledged_at if at >= first)
    drawn = stage.narrator.draw([slices[number] for number in range(SLICES)])
    label = "writes in each tenth of a second: |"
    stage.narrator.fact(f"{label}{drawn}|")
    stage.narrator.fact(f"{'':{len(label) + SLICES_BEFORE}}^ SIGKILL")
