"""Tasks that a Dask cluster runs: when one machine is too small, plug in any standard executor."""

import trio
from distributed import Client, LocalCluster

import paxos
from statemachines.task_handlers import Job, in_executor
from statemachines.task_log import TaskLog
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_requests import micro, node_spec
from statemachines.task_pipelines import execute
from statemachines.task_worker import TaskWorker


def count_primes(job: Job) -> bytes:  # runs in a process of the Dask cluster
    limit = int(job.payload)
    sieve = bytearray(b"\1") * limit
    sieve[:2] = b"\0\0"
    for number in range(2, limit):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(sieve[number * number :: number]))
    return b"%d" % sum(sieve)


async def main(dask: Client) -> None:
    async with paxos.open_local({"tasks": TaskLog}, replicas=3) as client:
        log = TaskLogClient(client)
        node = node_spec("dask-1", "cloud", capacity=micro("4"), lease=micro("10"))
        with dask.get_executor() as executor:
            worker = TaskWorker(log, node, {"primes": in_executor(executor, count_primes)})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker.run)
                for limit in (1_000, 10_000, 100_000):
                    primes = await execute(log, "primes", b"%d" % limit, task_id=f"primes-{limit}")
                    print(f"{int(primes):>6} primes below {limit}")
                worker.stop()


if __name__ == "__main__":  # Dask starts processes, which import this file
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as dask,
    ):
        trio.run(main, dask)
