"""The measured part of the performance page is made from the record of a run alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner

from benchmarks.peers import page, plan, plots
from benchmarks.peers.__main__ import main
from benchmarks.peers.measurement import RunRecord
from tests.benchmarks.example_runs import load_record, load_records, run_record

PROSE = f"# Performance\n\nby hand\n\n{page.BEGIN}\n\nof last year\n\n{page.END}\n\nby hand too\n"


def example() -> RunRecord:
    """Return a run with something of everything."""
    record = run_record(
        load_record("ours", 9_000, number=1),
        load_record("ours", 11_000, number=2),
        load_record("etcd", 5_000, disturbed=True),
        load_record("pysyncobj journal", 2_000, client_cpu_s=None),
        load_record("pysyncobj journal batched", 1_500, client_cpu_s=None),
        load_record("ours", 700, operation="read", outstanding=1),
        load_record("ours", 800, value_size=65536),
    )
    record["missing"] = {"zookeeper": ["java"]}
    record["left_out"] = {"ours": {"mixed": "it is tired"}}
    record["failover"] = [{"system": "ours", "round": 1, "gap_s": 0.25}] * 10
    record["memory"] = [
        {
            "system": "etcd",
            "round": 1,
            "writes": 100_000,
            "rss_mib": [70.0, 81.0],
            "pss_mib": [65.5, 64.0],
        }
    ]
    record["restart"] = [
        {
            "system": "ours",
            "round": 1,
            "entries": 100_000,
            "import_s": 0.25,
            "ready_s": 0.75,
            "slots": 4_321,
        }
    ]
    record["failures"] = [{"system": "etcd", "round": 2, "part": "memory", "text": "full"}]
    return record


def tree_in(directory: Path) -> Path:
    """Make a tree that has nothing but the page."""
    (directory / "docs").mkdir()
    (directory / page.PAGE_NAME).write_text(PROSE, encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with the page and the plots of the example."""
    tree = tree_in(tmp_path_factory.mktemp("tree"))
    page.write(example(), tree)
    return tree


def test_page_written_from_a_run_keeps_the_prose_and_shows_the_figures(written: Path) -> None:
    text = (written / page.PAGE_NAME).read_text(encoding="utf-8")
    before, _, rest = text.partition(page.BEGIN)
    measured, _, after = rest.partition(page.END)
    assert before == "# Performance\n\nby hand\n\n"
    assert after == "\n\nby hand too\n"
    assert "of last year" not in text
    for shown in (
        "2026-01-02",
        "a sync of a small write 0.4 ms, a round trip on loopback 0.1 ms",
        "| 64 | 64 | ours | 10,000 (9,000 to 11,000) | 2 | 1 | 2 | 3 | 4 | 0 | 2 |",
        "| 64 | 64 | etcd | 5,000* | 1 |",
        "| 64 | 65,536 | ours | 800 |",
        "| write | 64 | 64 | pysyncobj journal | 100 | 50 | 200 | - |",
        "| pysyncobj journal | in the leader's share | - |",
        "| ours | 0.5 | write at 64, 65,536 bytes |",
        "not measured: zookeeper; not installed: java",
        "ours leaves out mixed: it is tired",
        "**failed**: etcd, memory, round 2: full",
        "| largest replica after 100,000 writes, RSS, MiB | etcd | 81 | 1 |",
        "a part, MiB | etcd | 65.5 | 1 |",
        "| slots of the log that the 100,000 entries took | ours | 4,321 | 1 |",
        "after SIGKILL of the leader | ours | at most 0.35 s | 0.25 | 10 of 10 | met |",
        "the better of both PySyncObj journals | ours | at least 2 times | 5 | 1 of 3 | too few |",
    ):
        assert shown in measured


def test_page_shows_each_plot_that_was_drawn_and_no_other(written: Path) -> None:
    text = (written / page.PAGE_NAME).read_text(encoding="utf-8")
    drawn = sorted(path.name for path in (written / page.PLOTS_NAME).iterdir())
    assert drawn == ["cpu.svg", "read-latency.svg", "throughput.svg", "write-latency.svg"]
    assert all(f"](plots/{name})" in text for name in drawn)


def test_page_written_twice_from_the_same_record_is_the_same(written: Path) -> None:
    first = {path: path.read_bytes() for path in written.rglob("*") if path.is_file()}
    page.write(cast("RunRecord", json.loads(json.dumps(example()))), written)
    assert {path: path.read_bytes() for path in written.rglob("*") if path.is_file()} == first


def test_page_of_a_run_that_measured_nothing_has_its_targets_and_no_plots(tmp_path: Path) -> None:
    tree = tree_in(tmp_path)
    page.write(run_record(), tree)
    text = (tree / page.PAGE_NAME).read_text(encoding="utf-8")
    assert "not measured" in text
    assert "![" not in text


@pytest.mark.parametrize(
    "text",
    [
        "no marks",
        page.BEGIN,
        page.END + page.BEGIN,
        page.BEGIN + page.END + page.BEGIN + page.END,
        page.BEGIN + page.END + page.END,
    ],
)
def test_page_without_one_place_for_the_figures_is_refused(text: str) -> None:
    with pytest.raises(page.PageInvalid):
        page.replaced(text, "figures")


def test_page_of_this_project_has_one_place_for_the_figures() -> None:
    text = (page.ROOT / page.PAGE_NAME).read_text(encoding="utf-8")
    assert "\n\nfigures\n\n" in page.replaced(text, "figures")


def test_plots_know_no_date_and_draw_a_line_for_each_system(written: Path) -> None:
    drawn = (written / page.PLOTS_NAME / "throughput.svg").read_text(encoding="utf-8")
    assert "<dc:date>" not in drawn
    assert all(colour in drawn for colour in (plots.COLOURS["ours"], plots.COLOURS["etcd"]))


def whole_example() -> RunRecord:
    """Return a run that the page may be of."""
    shapes = [shape for shapes in plan.PARTS.values() for shape in shapes]
    rows = [
        load_records("ours", 100, 5, operation=each[0], outstanding=each[1], value_size=each[2])
        for each in shapes
    ]
    record = run_record(*(row for each in rows for row in each))
    record["failover"] = [{"system": "ours", "round": 1, "gap_s": 0.25}]
    record["memory"] = [
        {"system": "ours", "round": 1, "writes": 1, "rss_mib": [1.0], "pss_mib": [1.0]}
    ]
    record["restart"] = [
        {
            "system": "ours",
            "round": 1,
            "entries": 1,
            "import_s": 0.1,
            "ready_s": 0.2,
            "slots": 1,
        }
    ]
    return record


def test_page_is_of_a_run_that_measured_every_part_and_five_rounds() -> None:
    page.require_measured(whole_example())
    for lost, words in (("memory", "lacks memory"), ("measurements", "this run has 0")):
        record = cast("RunRecord", {**whole_example(), lost: []})
        with pytest.raises(page.RunNotWhole, match=words):
            page.require_measured(record)
    without_one_load = whole_example()
    without_one_load["measurements"] = [
        row for row in without_one_load["measurements"] if row["value_size"] != 1024
    ]
    with pytest.raises(page.RunNotWhole, match="lacks sizes"):
        page.require_measured(without_one_load)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rounds", "4"], "of 5 rounds, and this run has 4"),
        (["--part", "writes", "--part", "memory"], "lacks reads, mixed, sizes, failover, restart"),
        (["--outstanding", "64"], "lacks writes, reads"),
    ],
)
def test_run_that_is_not_whole_is_refused_for_the_page_before_it_begins(
    options: list[str], words: str
) -> None:
    ended = CliRunner().invoke(main, ["--page", *options])
    assert ended.exit_code == 1
    assert words in ended.output
