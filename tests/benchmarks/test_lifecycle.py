"""What the measurements of kills and restarts say is what happened."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks import minimal_store
from benchmarks.peers import etcd, page, pysyncobj_cluster, zookeeper
from benchmarks.peers.__main__ import DEFAULT_SYSTEMS, SYSTEMS
from benchmarks.peers.children import Children, ClusterFailed
from benchmarks.peers.commands import KEYS, puts
from benchmarks.peers.completions import END, Completions, told_by
from benchmarks.peers.debian import build, is_built
from benchmarks.peers.failover import is_calm, longest_gap
from benchmarks.peers.lifecycle import VALUE_BYTES, program_that_loads
from benchmarks.peers.machine import TICKS_PER_S, busy_s
from benchmarks.peers.open_loop import rotated
from benchmarks.peers.report import READ_AGAIN
from paxos.core.state_machine import Stamp


def test_longest_gap_is_one_that_ends_after_the_kill() -> None:
    # A longer pause before the kill is no answer, and neither is a shorter one after it.
    times = [1.0, 6.0, 6.1, 6.9, 7.0, 7.3]
    assert longest_gap(times, killed_at=6.2) == pytest.approx(0.8)


def test_longest_gap_holds_the_kill_where_completions_go_on_for_a_while_after_it() -> None:
    # Answers that were on their way complete after the kill; what comes then is the gap.
    assert longest_gap([5.0, 5.1, 5.102, 5.5, 5.6], killed_at=5.101) == pytest.approx(0.398)


def test_longest_gap_does_not_mind_the_order_of_completions() -> None:
    assert longest_gap([3.0, 1.0, 2.5], killed_at=1.5) == pytest.approx(1.5)


@pytest.mark.parametrize("times", [[], [1.0], [1.0, 1.5], [2.5, 2.6]])
def test_longest_gap_without_completions_on_both_sides_is_unknown(times: list[float]) -> None:
    assert longest_gap(times, killed_at=2.0) is None


def test_is_calm_only_if_writes_completed_all_through_the_last_second() -> None:
    every_tenth = [number / 10 for number in range(100, 121)]
    assert is_calm(every_tenth, now=12.0)
    assert not is_calm(every_tenth, now=12.6)
    assert not is_calm([10.9, 11.0, 11.7, 11.9], now=12.0)
    assert not is_calm([], now=12.0)


def test_completions_are_taken_in_until_the_end_is_told() -> None:
    completions = Completions(["1.5\n", "2.25\n", f"{END}\n", "4\n"])
    completions.join()
    assert completions.times() == [1.5, 2.25]
    assert completions.has_ended


def test_completions_of_a_program_are_kept_after_it_was_ended(tmp_path: Path) -> None:
    owned = Children(tmp_path)
    program = "import signal; print(1.5, flush=True); print(2.5, flush=True); signal.pause()"
    with told_by(owned, [sys.executable, "-c", program]) as completions:
        owned.wait_for(lambda: True if len(completions.times()) == 2 else None, "times", 0.001)
    assert completions.times() == [1.5, 2.5]


def test_open_loop_begins_with_another_replica_for_each_client() -> None:
    urls = ("a", "b", "c")
    assert [rotated(urls, first)[0] for first in range(4)] == ["a", "b", "c", "a"]
    assert rotated(urls, 2) == ("c", "a", "b")


def test_puts_of_the_minimal_machine_are_its_commands() -> None:
    store, commands = minimal_store.MinimalStore(), puts(minimal_store.MACHINE)
    for _ in range(KEYS):
        store.apply(next(commands), Stamp(1, 0, 0))
    assert (
        len(store.query(b"bench/0000000000"))
        == len(store.query(b"bench/0000000999"))
        == VALUE_BYTES
    )


def test_time_that_the_host_takes_of_a_virtual_machine_counts_as_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = "cpu  100 20 30 99999 88888 4 5 600 50 7\ncpu0 1 2 3"
    monkeypatch.setattr(Path, "read_text", lambda _: ticks)
    assert busy_s() == (100 + 20 + 30 + 4 + 5 + 600) / TICKS_PER_S


def test_program_that_loads_modules_ends_without_taking_the_interpreter_apart() -> None:
    text = f"{program_that_loads(['json', 'atexit'])}; print('not reached')"
    text = f"import atexit; atexit.register(print, 'taken apart'); {text}"
    ended = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout == ""


def test_program_is_built_again_once_a_source_is_newer(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    source, product = tmp_path / "sources" / "main.go", tmp_path / "program"
    source.touch()
    assert not is_built(product, source.parent)
    product.touch()
    os.utime(source, (100, 100))
    os.utime(product, (200, 200))
    assert is_built(product, source.parent)
    os.utime(source, (300, 300))
    assert not is_built(product, source.parent)


def test_every_system_that_is_started_again_says_what_of_its_log_is_read_again() -> None:
    systems = [SYSTEMS[name] for name in DEFAULT_SYSTEMS]
    started = {each.name for each in systems if "restart" not in each.leaves_out}
    assert started == set(READ_AGAIN)


@pytest.mark.processes
@pytest.mark.skipif(
    not shutil.which("javac") or not zookeeper._jar(),
    reason="a Java compiler (javac) and ZooKeeper's jar are not both installed",
)
def test_load_generators_of_zookeeper_compile(tmp_path: Path) -> None:
    sources = sorted(zookeeper.SOURCE.glob("*.java"))
    build(["javac", "-Xlint:all", "-cp", zookeeper._jar(), "-d", tmp_path, *sources])
    assert (tmp_path / "ZooKeeperLoad.class").exists()


@pytest.mark.skipif(not shutil.which("gofmt"), reason="gofmt is not installed")
def test_load_generator_of_etcd_is_formatted() -> None:
    command = ["gofmt", "-l", str(etcd.SOURCE)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == ""


def test_compiler_that_fails_is_a_cluster_that_failed() -> None:
    program = "import sys; sys.exit('first\\nlast')"
    with pytest.raises(ClusterFailed, match="last"):
        build([sys.executable, "-c", program])


def test_node_of_pysyncobj_that_ended_is_a_cluster_that_failed() -> None:
    command = [sys.executable, "-c", ""]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        with pytest.raises(ClusterFailed, match="a PySyncObj node ended"):
            pysyncobj_cluster._told(process)
        process.wait()
        with pytest.raises(ClusterFailed, match="a PySyncObj node ended: status"):
            pysyncobj_cluster._tell(process, {"command": "status"})
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()


@pytest.mark.processes
@pytest.mark.parametrize("module", ["minimal_load", "open_loop"])
def test_program_of_the_comparison_loads_in_a_process_of_its_own(module: str) -> None:
    words = [sys.executable, "-m", f"benchmarks.peers.{module}", "--help"]
    told = subprocess.run(words, cwd=page.ROOT, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")
