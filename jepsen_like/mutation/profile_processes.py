"""Profile "processes": the same run in two processes whose text hashes differ.

A walk over a set of texts is alike on every node of one process, and not in another: nodes of a
real cluster are other processes. What is compared is the trace of a simulated run, and every
answer, event and digest of the state machines after the same commands.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b

from jepsen_like.mutation.profiles import Finding
from jepsen_like.sim.plan import draw_plan
from jepsen_like.sim.simulation import simulate
from jepsen_like.workload.registers import EDGE_CONFIG, REGISTERS, Registers, operation
from paxos import codec
from paxos.core.executor import Executor
from paxos.core.messages import OpenSession, Submit
from paxos.core.value import Value
from statemachines.edge_config import EdgeConfig
from statemachines.edge_config_client import (
    Condition,
    Delete,
    Put,
    compare_and_set_command,
    put_command,
    transaction_command,
    watch_query,
)

HASH_SEEDS = ("1", "2")
DELIVERIES = 400
"""A short run will do: every walk over a set is another order at once."""

COMMANDS = 40
KEYS = 4


def judge(seed: int) -> Finding | None:
    """Run a seed once for each way of hashing texts, and compare."""
    prints = [_in_a_process(seed, hash_seed).splitlines() for hash_seed in HASH_SEEDS]
    for one, other in zip(*prints, strict=False):
        if one != other:
            text = f"under PYTHONHASHSEED {HASH_SEEDS[0]}: {one}; under {HASH_SEEDS[1]}: {other}"
            return Finding("I15", text)
    return None


def _in_a_process(seed: int, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__, str(seed)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return done.stderr.splitlines()[-1]
    return done.stdout


def fingerprint(seed: int) -> Iterator[str]:
    """Yield what must be equal in every process, a line for each thing."""
    yield from _state_machines(seed)
    trace = blake2b(digest_size=16)
    plan = replace(draw_plan(seed), edge_config=True, deliveries=DELIVERIES, commands=20)
    outcome = simulate(seed, sink=lambda line: trace.update(line.encode()), plan=plan)
    yield f"the simulation's trace {trace.hexdigest()}, {outcome.deliveries} deliveries"


def _state_machines(seed: int) -> Iterator[str]:
    rng = random.Random(f"processes/{seed}")
    machines = {name: EdgeConfig() for name in (EDGE_CONFIG, "other", "third")}
    executor = Executor({**machines, REGISTERS: Registers()}, codec.unpack_batch, 100, 10_000)
    opened = codec.wrap_submission(codec.encode_submission(OpenSession(7)))
    session = executor.apply(1, Value(1, opened)).opened[0][1]
    for number in range(1, COMMANDS + 1):
        machine = rng.choice((EDGE_CONFIG, EDGE_CONFIG, REGISTERS, "third", "nobody"))
        submit = Submit(session, number, number - 1, machine, (_command(rng, machine, number),))
        wrapped = codec.wrap_submission(codec.encode_submission(submit))
        applied = executor.apply(number + 1, Value(number, wrapped))
        yield f"result of command {number}: {applied.results[session]}"
    for name, machine_ in machines.items():
        yield f"events of {name}: {machine_.watch(watch_query('', 0))!r}"
        yield f"snapshot of {name}: {b''.join(machine_.snapshot())!r}"
    yield f"digest {executor.digest().hex()}"


def _command(rng: random.Random, machine: str, number: int) -> bytes:
    key, other, third = (f"site/{name}-{rng.randrange(KEYS)}" for name in ("a", "b", "c"))
    value = b"%d" % number
    if machine == REGISTERS:
        return operation(rng.choice((b"p", b"a", b"i", b"x")), key.encode(), value)
    kind = rng.randrange(4)
    if kind == 0:
        return put_command(key, value)
    if kind == 1:
        return compare_and_set_command(key, rng.choice((None, value)), value)
    puts = [Put(key, value), Put(other, value), Put(third, value)]
    present = Condition(key, "version", "!=", 0)
    return transaction_command([present], [*puts[1:], Delete(key)], puts)


if __name__ == "__main__":
    for line in fingerprint(int(sys.argv[1])):
        sys.stdout.write(line + "\n")
