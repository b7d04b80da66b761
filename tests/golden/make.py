"""How the golden clusters were made, by the release before features. Run once, never again.

It runs in that release, with the unpacked wheel in front of the module path::

    PYTHONSAFEPATH=1 PYTHONPATH=WHEEL python tests/golden/make.py segments sqlite

Three nodes; the third comes late, so that it catches up and its log has DecidedRecords; at the end
all are killed, so that their logs end as they do in a crash. What is acknowledged to the writer
goes to contents.json. The wheel itself: ``git archive 5b14604``, then ``pip wheel --no-deps`` with
SOURCE_DATE_EPOCH set to that commit's date, by hatchling.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import trio

from paxos import cluster, service
from paxos.testing.processes import free_base_port, replica_processes, serve_command
from statemachines.edge_config_client import EdgeConfigClient

GOLDEN = Path(__file__).parent
MACHINES = {"config": "statemachines.edge_config:EdgeConfig"}


async def write_cluster(directory: Path, storage: cluster.StorageKind) -> dict[str, str]:
    """Make a cluster below ``directory`` and write to it; return what was acknowledged."""
    made = cluster.found(
        directory, replicas=3, machines=MACHINES, base_port=free_base_port(3), storage=storage
    )
    written: dict[str, str] = {}

    async def write(store: EdgeConfigClient, numbers: range) -> None:
        for number in numbers:
            key, value = f"golden/{number % 40}", f"value {number}"
            await store.put(key, value.encode())
            written[key] = value

    with tempfile.TemporaryDirectory() as logs:
        async with (
            replica_processes(serve_command(made.path), Path(logs)) as processes,
            service.open_client(made) as client,
        ):
            store = EdgeConfigClient(client)
            await processes.start_all([1, 2])
            await write(store, range(30))
            await processes.start(3)
            await write(store, range(30, 60))
            await processes.kill(1, 2, 3)
    return written


def pack(directory: Path, name: str) -> None:
    """Pack the directory ``name`` in ``directory``."""
    plain = directory / f"{name}.tar"
    with tarfile.open(plain, "w") as packed:
        packed.add(directory / name, arcname=name)
    with plain.open("rb") as source, gzip.GzipFile(GOLDEN / f"{name}.tar.gz", "wb", mtime=0) as out:
        shutil.copyfileobj(source, out)


def main(storages: Iterable[cluster.StorageKind]) -> None:
    contents = {}
    with tempfile.TemporaryDirectory() as directory:
        for storage in storages:
            name = f"cluster-{storage}"
            contents[storage] = trio.run(write_cluster, Path(directory) / name, storage)
            pack(Path(directory), name)
    (GOLDEN / "contents.json").write_text(json.dumps(contents, indent=1) + "\n")


if __name__ == "__main__":
    main([kind for kind in get_args(cluster.StorageKind) if kind in sys.argv[1:]])
