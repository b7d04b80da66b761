"""Driver, clients' side and recorder together, on one machine in memory and virtual time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import trio

from jepsen_like.checkers.linearizability import check
from jepsen_like.checkers.tasks import check_tasks, unfinished
from jepsen_like.checkers.transactions import check_transactions
from jepsen_like.history import Entry, read_history
from jepsen_like.live.asking import ClientAsker, Ending
from jepsen_like.live.generator import Op
from jepsen_like.live.plan import Plan
from jepsen_like.live.proof import count, pairs, settled_keys
from jepsen_like.workload.base import Reply, Workload
from jepsen_like.workload.catalog import WORKLOADS
from paxos.runtime.client import Client, OutcomeUnknown
from tests.live.one_machine import record

KEYED = sorted(name for name, workload in WORKLOADS.items() if workload.keyed)


def plan_of(workload: Workload, machine: str = "", seconds: float = 2.5, seed: int = 1) -> Plan:
    return Plan(workload, machine or workload.machine, (), seconds, seed, rate=400.0)


@pytest.mark.parametrize("name", KEYED)
def test_history_of_a_sound_machine_and_failing_clients_is_linearizable(
    name: str, tmp_path: Path
) -> None:
    plan = plan_of(WORKLOADS[name])
    entries, driver = record(plan, tmp_path / "h.jsonl", trouble=0.05)
    found = check(entries, plan.workload.model)
    assert (found.verdict, driver.senseless) == ("yes", []), found.reason
    counts = count(entries, plan.workload)
    assert counts.answered > 500
    assert counts.info > 5
    assert counts.observed > 80
    assert settled_keys(entries, plan.workload, plan.seconds) == {e.key for e in entries}


def test_history_of_transactions_and_watches_on_a_sound_machine_is_explained(
    tmp_path: Path,
) -> None:
    beside = plan_of(WORKLOADS["config"]).beside
    assert beside is not None
    entries, driver = record(beside, tmp_path / "h.jsonl", trouble=0.05)
    told = check_transactions(entries)
    assert (told.verdict, driver.senseless) == ("yes", []), told.reason
    done = Counter(entry.f for entry in entries if entry.type == "ok")
    assert min(done["transact"], done["read"], done["watch"]) > 10
    refused = [e for e in entries if e.type == "ok" and e.f == "transact" and "done" in e.value]
    assert refused


def test_history_of_a_sound_task_log_and_failing_clients_is_explained(tmp_path: Path) -> None:
    plan = plan_of(WORKLOADS["tasks"])
    entries, driver = record(plan, tmp_path / "h.jsonl", trouble=0.05)
    told = check_tasks(entries)
    assert (told.verdict, driver.senseless) == ("yes", []), told.reason
    counts = count(entries, plan.workload)
    assert counts.answered > 500
    assert counts.info > 5
    assert counts.observed > 80
    assert settled_keys(entries, plan.workload, plan.seconds) == {None}
    assert unfinished(entries) == []


def test_history_in_its_file_is_the_one_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    entries, _ = record(plan_of(WORKLOADS["register"]), path, trouble=0.05)
    assert read_history(path) == entries


def test_process_after_an_unknown_outcome_is_not_used_again(tmp_path: Path) -> None:
    plan = plan_of(WORKLOADS["register"])
    entries, _ = record(plan, tmp_path / "h.jsonl", trouble=0.1)
    gone: set[int | str] = set()
    under_way: set[int | str] = set()
    for entry in entries:
        assert entry.process not in gone
        if entry.type == "invoke":
            assert entry.process not in under_way
            under_way.add(entry.process)
        else:
            under_way.remove(entry.process)
            gone |= {entry.process} if entry.type == "info" else set()
    assert len(gone) > 10
    assert {int(process) % plan.threads for process in gone} <= set(range(plan.threads))
    assert max(int(process) for process in gone) > plan.threads


def test_load_that_is_over_leaves_nothing_under_way_for_what_follows(tmp_path: Path) -> None:
    plan = plan_of(WORKLOADS["register"])
    entries, _ = record(plan, tmp_path / "h.jsonl", trouble=0.2)
    begins = [at for at, e in enumerate(entries) if e.type == "invoke"]
    first_after = next(at for at in begins if entries[at].time >= plan.seconds * 1e9)
    before = entries[:first_after]
    assert len(before) == 2 * sum(entry.type == "invoke" for entry in before)


@pytest.mark.parametrize("name", ["register", "kv", "config"])
def test_compare_and_set_answered_no_fails_without_error_and_others_with(
    name: str, tmp_path: Path
) -> None:
    entries, _ = record(plan_of(WORKLOADS[name]), tmp_path / "h.jsonl", trouble=0.05)
    failed = [entry for entry in entries if entry.type == "fail"]
    assert sum(entry.error is None for entry in failed) > 20
    assert {entry.f for entry in failed if entry.error is None} == {"cas"}
    assert {entry.error for entry in failed if entry.f == "read"} == {"no answer came in time"}


def test_entries_in_the_order_of_the_file_never_go_back_in_time(tmp_path: Path) -> None:
    entries, _ = record(plan_of(WORKLOADS["counter"]), tmp_path / "h.jsonl", trouble=0.1)
    times = [entry.time for entry in entries]
    assert times == sorted(times)


def test_operations_of_one_key_stay_below_their_bound(tmp_path: Path) -> None:
    plan = replace(plan_of(WORKLOADS["register"]), key_operations=50)
    entries, _ = record(plan, tmp_path / "h.jsonl", trouble=0.1)
    by_key = Counter(entry.key for entry in entries if entry.type == "invoke")
    assert len(by_key) > 10
    # Those of the load, and the final reads, of which some are asked again.
    assert 50 < max(by_key.values()) < 60


# --- what must be found ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "machine"),
    [
        ("counter", "ForgetfulCounter"),
        ("register", "ForgetfulRegister"),
        ("append", "ForgetfulList"),
        ("queue", "ForgetfulQueue"),
        ("mutex", "GenerousMutex"),
    ],
)
def test_history_of_a_broken_machine_is_refuted(name: str, machine: str, tmp_path: Path) -> None:
    plan = plan_of(WORKLOADS[name], f"tests.live.broken_machines:{machine}")
    entries, _ = record(plan, tmp_path / "h.jsonl")
    assert check(entries, plan.workload.model).verdict == "no"


class CallsUnknownFailed(ClientAsker):
    """The client's worst bug: what nobody knows is reported as not done."""

    async def ask(self, op: Op) -> Ending:
        ending = await super().ask(op)
        return ending._replace(type="fail") if ending.type == "info" else ending


@pytest.mark.parametrize("name", ["register", "counter", "append", "set", "queue"])
def test_history_of_a_client_that_calls_unknown_failed_is_refuted(
    name: str, tmp_path: Path
) -> None:
    plan = plan_of(WORKLOADS[name])

    def ask(client: Client) -> CallsUnknownFailed:
        return CallsUnknownFailed(client, plan.workload)

    entries, _ = record(plan, tmp_path / "h.jsonl", trouble=0.1, ask=ask)
    assert check(entries, plan.workload.model).verdict == "no"


# --- one operation --------------------------------------------------------------------------------


def ending_of(workload: Workload, f: str, value: object, answer: bytes | Exception) -> Ending:
    """Return how an operation ends whose request was answered so."""

    class Answering:
        async def submit(self, _machine: str, _command: bytes, **_: object) -> object:
            return self._answered()

        async def read(self, _machine: str, _query: bytes, **_: object) -> object:
            return self._answered()

        def _answered(self) -> object:
            if isinstance(answer, Exception):
                raise answer
            return type("Answer", (), {"data": answer})

    asker = ClientAsker(Answering(), workload)  # type: ignore[arg-type]
    return trio.run(asker.ask, Op(1, 0, f, "k", value))


def test_answer_that_makes_no_sense_ends_as_info_and_is_told() -> None:
    register, config = WORKLOADS["register"], WORKLOADS["config"]
    for workload, f, value, answer in (
        (register, "read", None, b'"a"'),
        (register, "write", 3, b"7"),
        (register, "read", None, b"{"),
        (config, "read", None, b"\x93\x01\x05\xc0\xc0"),
        (config, "write", 3, b"no"),
    ):
        ending = ending_of(workload, f, value, answer)
        assert (ending.type, ending.senseless) == ("info", True), answer


def test_reply_of_each_workload_to_its_own_final_read_is_what_the_model_begins_with() -> None:
    for workload in WORKLOADS.values():
        f, value = workload.final
        (reply,) = _replies(workload, f, value)
        assert reply.happened
        assert not workload.observed(f, reply.value), workload.name


def _replies(workload: Workload, f: str, value: object) -> list[Reply]:
    from paxos.core.state_machine import Stamp
    from paxos.service import load_machines

    (machine,) = load_machines({"m": workload.machine}).values()
    request = workload.request(f, "k", value)
    if request.kind == "query":
        return [workload.reply(f, value, machine.query(request.data))]
    return [workload.reply(f, value, machine.apply(request.data, Stamp(1, 0, 0)))]


def test_write_with_unknown_outcome_keeps_its_value_and_says_why() -> None:
    ending = ending_of(WORKLOADS["register"], "write", 3, OutcomeUnknown("connection lost"))
    assert ending == Ending("info", 3, "connection lost")


def test_pairs_of_a_history_cut_short_leave_the_open_operation_without_an_end() -> None:
    begin = Entry(0, "invoke", "read", "k", None, 5)
    note = Entry("nemesis", "info", "kill", None, 1, 6)
    assert pairs([begin, note]) == [(begin, None)]


def test_seeds_of_two_purposes_give_streams_of_their_own() -> None:
    plan = plan_of(WORKLOADS["register"])
    assert plan.rng("a").random() == plan.rng("a").random() != plan.rng("b").random()
    assert plan.rng("a").random() != Random(plan.seed).random()
