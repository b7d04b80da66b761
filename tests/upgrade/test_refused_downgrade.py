"""The release before, started on what this one wrote: it refuses in words, and harms nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import trio

from paxos.testing.processes import ReplicaProcessFailed
from tests.golden import release
from tests.upgrade.rolling import (
    FEW_ENTRIES,
    NEVER,
    NODES,
    WAIT_S,
    Rolling,
    compacted,
    found_by_release_before,
    raise_feature,
    running,
)

pytestmark = pytest.mark.processes


START_WHAT_WROTE_IT = "start the version that wrote it"
"""The words of the release before."""


KEPT_OUT = (
    "and the cluster has feature 2: run the release there",
    "this side speaks protocol version 1, the other side 2: run the same release on both",
)
"""What one of this release says to one before it, and the reverse."""


def fingerprint(directory: Path) -> dict[str, str]:
    """Return the digest of every file of a data directory that says anything."""
    return {
        path.name: hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in sorted(directory.iterdir())
        if path.name != "lock" and path.suffix != ".tmp"
    }


async def start_release_before(rolling: Rolling, node: int) -> str:
    """Stop a node, start the release before in its place, and return how it refuses."""
    assert await rolling.processes.stop(node) == 0
    directory = rolling.config.parent / f"node-{node}"
    before = fingerprint(directory)
    rolling.new.remove(node)
    with pytest.raises(ReplicaProcessFailed) as caught:
        await rolling.processes.start(node)
    assert fingerprint(directory) == before
    rolling.new.add(node)
    await rolling.processes.start(node)
    return str(caught.value)


async def outlast(rolling: Rolling, node: int) -> None:
    """Run the release before on a log from before the raise, and see it kept out of the cluster."""
    rolling.new.remove(node)
    await rolling.processes.start(node)
    # The side that is dialled says so; the other passes it on.
    with trio.fail_after(WAIT_S):
        while not any(words in rolling.log(each) for each in NODES for words in KEPT_OUT):
            await rolling.step(10)
    seen = (await rolling.statuses())[node]
    assert seen["leader"] == 0
    assert seen["peers"] == []
    assert await rolling.processes.stop(node) == 0
    rolling.new.add(node)
    await rolling.processes.start(node)


@pytest.mark.parametrize("storage", release.STORAGES)
@pytest.mark.parametrize("has_compacted", [False, True], ids=["a change", "a compacted log"])
def test_release_before_started_on_what_it_does_not_know_refuses_and_loses_nothing(
    tmp_path: Path, release_before: Path, storage: str, has_compacted: bool
) -> None:
    entries = FEW_ENTRIES if has_compacted else NEVER
    rolling = found_by_release_before(tmp_path, release_before, storage, entries=entries)
    rolling.new.update(NODES)

    async def downgrade() -> None:
        async with running(rolling, NODES):
            await rolling.leader()
            await raise_feature(rolling)
            await rolling.step(60)
            await rolling.wait_raised()
            if has_compacted:
                await rolling.wait_statuses(compacted, "all nodes have compacted")
            assert START_WHAT_WROTE_IT in await start_release_before(rolling, 2)
            await rolling.step()
            await rolling.end_load()

    trio.run(downgrade)


def test_release_before_started_on_a_log_that_it_knows_is_kept_out_by_the_others(
    tmp_path: Path, release_before: Path
) -> None:
    rolling = found_by_release_before(tmp_path, release_before, "segments")
    rolling.new.update(NODES)

    async def downgrade() -> None:
        async with running(rolling, NODES):
            leader = await rolling.leader()
            away = next(node for node in NODES if node != leader)
            await rolling.step()
            assert await rolling.processes.stop(away) == 0
            await raise_feature(rolling)
            await outlast(rolling, away)
            await rolling.wait_raised()
            await rolling.end_load()

    trio.run(downgrade)
