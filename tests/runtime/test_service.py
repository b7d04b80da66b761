"""The composition root: state machines by name, storage by kind, and the whole thing in a file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

import paxos
from paxos import cluster as cluster_file
from paxos import service
from paxos.storage.base import DirectoryInUse

EXAMPLES = Path(__file__).parents[2] / "examples"


class Lame:
    def apply(self, command: bytes, at: paxos.Stamp) -> bytes:
        return command

    def snapshot(self) -> Iterable[bytes]:
        return []


class Exploding:
    def __init__(self) -> None:
        raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("where", "parts"),
    [
        ("nowhere.to_be:Found", ["nowhere.to_be:Found", "no module 'nowhere'", "PYTHONPATH"]),
        ("paxos.cluster:Nothing", ["paxos.cluster:Nothing", "Nothing", "spelling"]),
        ("lame_module:Lame", ["'m'", "Lame", "query and no restore"]),
        ("lame_module:Exploding", ["'m'", "RuntimeError: boom"]),
    ],
)
def test_state_machine_that_cannot_be_loaded_is_refused_with_what_is_wrong(
    where: str, parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lame_module", sys.modules[__name__])
    with pytest.raises(paxos.MachineInvalid) as caught:
        service.load_machines({"m": where})
    for part in parts:
        assert part in str(caught.value)


async def test_node_whose_machine_cannot_be_loaded_leaves_its_directory_free(
    short_lived_path: Path,
) -> None:
    file = cluster_file.found(short_lived_path / "c", replicas=1, machines={"m": "no_such:Thing"})
    with pytest.raises(paxos.MachineInvalid):
        async with paxos.open_node(file, 1):
            raise AssertionError("it was not refused")
    service.open_storage(file, 1).close()


@pytest.mark.parametrize("storage", ["segments", "sqlite"])
async def test_cluster_file_alone_is_enough_to_run_a_node(
    short_lived_path: Path, storage: Any, free_ports: list[int]
) -> None:
    file = cluster_file.found(
        short_lived_path / "c",
        replicas=1,
        machines={"config": "statemachines.edge_config:EdgeConfig"},
        storage=storage,
        base_port=free_ports[0],
    )
    for round_ in (1, 2):
        async with paxos.open_node(file.path, 1) as node:
            with pytest.raises(DirectoryInUse):
                service.open_storage(file, 1)
            async with paxos.open_client(file.path) as client:
                # Nonsense for that state machine: decided, applied, and answered all the same.
                with pytest.raises(paxos.CommandFailed):
                    await client.submit("config", b"nonsense")
            assert node.applied_through >= round_
            assert node.status()["disk_bytes"] > 0


class StampReader:
    """Answers every command with the replicated time at which it was applied."""

    def apply(self, command: bytes, at: paxos.Stamp) -> bytes:
        return b"%d" % at.time

    def query(self, query: bytes) -> bytes:
        return b""

    def snapshot(self) -> Iterable[bytes]:
        return []

    def restore(self, chunks: Iterable[bytes]) -> None:
        assert list(chunks) == []


@pytest.mark.usefixtures("autojump_clock")
async def test_node_with_a_wall_clock_of_its_own_stamps_commands_by_it() -> None:
    file = paxos.memory_cluster(1)
    long_ago_us = 1_000_000_000
    async with (
        paxos.open_node(file, 1, machines={"m": StampReader()}, wall_clock_us=lambda: long_ago_us),
        paxos.open_client(file) as client,
    ):
        stamped_us = int((await client.submit("m", b"")).data)
        assert abs(stamped_us - long_ago_us) < 60_000_000


@pytest.mark.usefixtures("autojump_clock")
async def test_serve_says_when_it_is_ready_and_runs_until_cancelled(ledger_name: str) -> None:
    file = replace(
        paxos.memory_cluster(1), machines={"config": "statemachines.edge_config:EdgeConfig"}
    )
    ready: list[paxos.Node] = []
    async with trio.open_nursery() as nursery:

        def note(node: paxos.Node) -> None:
            ready.append(node)
            nursery.cancel_scope.cancel()

        await paxos.serve(file, 1, note)
    assert [node.id for node in ready] == [1]


def test_public_names_are_all_loaded_and_no_others_exist() -> None:
    for name in paxos.__all__:
        assert getattr(paxos, name) is not None
    assert set(paxos.__all__) <= set(dir(paxos))
    with pytest.raises(AttributeError, match="no attribute 'open_mode'"):
        _ = paxos.open_mode


def test_library_example_is_short_and_prints_the_total() -> None:
    example = EXAMPLES / "library.py"
    assert len(example.read_text().splitlines()) <= 30
    done = subprocess.run(
        [sys.executable, str(example)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PYTHONPATH": str(EXAMPLES.parent)},
    )
    assert (done.stdout, done.stderr) == ("b'42'\n", "")
