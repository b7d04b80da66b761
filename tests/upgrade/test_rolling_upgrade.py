"""The release before and this one side by side: rolled node by node, and raised at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from paxos.runtime.admin import AdminRefused
from tests.golden import release
from tests.upgrade.rolling import compacted, found_by_release_before, raise_feature, running

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("storage", release.STORAGES)
def test_cluster_rolled_from_the_release_before_serves_throughout_and_is_raised_at_the_end(
    tmp_path: Path, release_before: Path, storage: str
) -> None:
    rolling = found_by_release_before(tmp_path, release_before, storage)

    async def roll() -> None:
        async with running(rolling, [1, 2]):
            # Two of the release before decide; the third, of this one, joins them.
            rolling.new.add(3)
            await rolling.processes.start(3)
            await rolling.leader()
            await rolling.step()
            # Whichever leads: one of the release before does not understand the question.
            with pytest.raises(AdminRefused, match=r"release before this one|feature version 2"):
                await raise_feature(rolling)
            # This one leads them.
            await rolling.make_leader_new()
            await rolling.step()
            # There and back again: nothing was written that the release before does not know.
            await rolling.upgrade(1)
            await rolling.leader()
            await rolling.step()
            await rolling.go_back(1)
            await rolling.leader()
            await rolling.step()
            # One is left of the release before.
            await rolling.make_leader_new()
            await rolling.upgrade(1)
            await rolling.leader()
            await rolling.step()
            with pytest.raises(AdminRefused, match=r"feature version 2: .*2"):
                await raise_feature(rolling)
            await rolling.step()
            seen = await rolling.statuses()
            assert {each["configuration"]["feature"] for n, each in seen.items() if n != 2} == {1}
            assert all(each["snapshot"] is None for n, each in seen.items() if n != 2)
            # None is left.
            await rolling.upgrade(2)
            await rolling.leader()
            await rolling.step()
            await raise_feature(rolling)
            await rolling.step()
            await rolling.wait_statuses(compacted, "all nodes have a snapshot and compacted")
            await rolling.end_load()

    trio.run(roll)
