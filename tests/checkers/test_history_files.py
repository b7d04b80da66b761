"""Reading and writing histories: the three formats, and what is said of a file that is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepsen_like.checkers.linearizability import check
from jepsen_like.edn import parse_edn
from jepsen_like.formats import read_file
from jepsen_like.history import (
    Entry,
    HistoryError,
    entry_line,
    parse_line,
    read_history,
    write_history,
)

INVOKE = '{"process": 1, "type": "invoke", "f": "read", "key": null, "value": null, "time": 5}'
OK = '{"process": 1, "type": "ok", "f": "read", "key": null, "value": [1], "time": 6}'
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ENTRIES = st.builds(
    Entry,
    st.integers(),
    st.sampled_from(["invoke", "ok", "fail", "info"]),
    st.text(),
    st.none() | st.text(),
    JSON,
    st.integers(0),
    st.none() | st.text(),
)


def written(tmp_path: Path, text: str, name: str = "history.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


@given(ENTRIES)
def test_entry_written_and_read_is_the_same(entry: Entry) -> None:
    line = entry_line(entry)
    assert line.count("\n") == 1
    assert parse_line(line) == entry


def test_history_written_and_read_is_the_same(tmp_path: Path) -> None:
    entries = [
        Entry("nemesis", "info", "kill", None, {"node": 1}, 1),
        Entry(3, "invoke", "write", "Zürich\u2028/ключ", "π", 2),
        Entry(3, "fail", "write", "Zürich\u2028/ключ", "π", 3, "not leader"),
    ]
    path = tmp_path / "history.jsonl"
    write_history(path, entries)
    assert read_history(path) == entries
    assert '"error"' not in path.read_text(encoding="utf-8").splitlines()[0]


def test_history_without_last_newline_and_with_blank_lines_is_read(tmp_path: Path) -> None:
    file = read_file(written(tmp_path, f"\n{INVOKE}\r\n\n{OK}"))
    assert [entry.value for entry in file.entries] == [None, [1]]
    assert file.lines == [2, 4]


def test_process_used_again_after_fail_or_ok_is_read(tmp_path: Path) -> None:
    failed = OK.replace('"ok"', '"fail"')
    path = written(tmp_path, f"{INVOKE}\n{OK}\n{INVOKE}\n{failed}\n{INVOKE}")
    assert len(read_history(path)) == 5


@pytest.mark.parametrize(
    "fields",
    [
        "",
        ', "type": "start"',
        ', "type": [1], "f": {"a": 1}, "value": [[]]',
        ', "type": "info", "f": "kill", "key": ["n1"], "time": "noon", "error": 3',
    ],
)
def test_line_of_the_nemesis_of_any_shape_is_read_and_skipped(tmp_path: Path, fields: str) -> None:
    path = written(tmp_path, f'{{"process": "nemesis"{fields}}}\n{INVOKE}\n{OK}')
    nemesis, *entries = read_history(path)
    assert nemesis._replace(f="", value=None) == Entry("nemesis", "info", "", None, None, 0)
    assert [entry.type for entry in entries] == ["invoke", "ok"]
    assert check([nemesis, *entries], "append").operations == 1


def test_time_that_goes_back_leaves_the_order_to_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, INVOKE + "\n" + OK.replace('"time": 6', '"time": 1'))
    assert [entry.time for entry in read_history(path)] == [5, 1]


@pytest.mark.parametrize(
    ("lines", "number", "text"),
    [
        ([INVOKE, "{"], 2, "not JSON"),
        ([INVOKE, "[1]"], 2, "not an object"),
        (["[" * 100_000], 1, "nested too deep"),
        ([INVOKE.replace('null, "time"', 'NaN, "time"')], 1, "NaN"),
        ([INVOKE.replace(', "time": 5', "")], 1, "'time' is missing"),
        ([INVOKE.replace('"process": 1, ', "")], 1, "'process' is missing"),
        ([INVOKE.replace('"process": 1', '"process": true')], 1, "process is True"),
        ([INVOKE.replace('"process": 1', '"process": "n1"')], 1, "process is 'n1'"),
        ([INVOKE.replace('"invoke"', '"begin"')], 1, "type is 'begin'"),
        ([INVOKE.replace('"invoke"', "[1]")], 1, "type is [1]"),
        ([INVOKE.replace('"key": null', '"key": 7')], 1, "key is 7"),
        ([INVOKE.replace('"time": 5', '"time": 0.5')], 1, "time is 0.5"),
        ([OK], 1, "has not invoked"),
        ([INVOKE, INVOKE], 2, "last is not answered"),
        ([INVOKE, OK, OK], 3, "has not invoked"),
        ([INVOKE, OK.replace('"ok"', '"info"'), INVOKE], 3, "after info"),
        ([INVOKE, OK.replace('"read"', '"write"')], 2, "is for"),
    ],
)
def test_history_that_no_run_can_have_recorded_is_refused_with_its_line(
    tmp_path: Path, lines: list[str], number: int, text: str
) -> None:
    path = written(tmp_path, "\n".join(lines))
    with pytest.raises(HistoryError) as caught:
        read_history(path)
    assert str(caught.value).startswith(f"{path}:{number}: ")
    assert text in str(caught.value)


def test_history_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(INVOKE.encode() + b"\n\xff\xfe\n")
    with pytest.raises(HistoryError, match=r":2: not UTF-8"):
        read_history(path)


LOG = """INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.core - Worker 1 starting
INFO  jepsen.util - 1\t:invoke\t:cas\t[1 -2]
INFO  jepsen.util - :nemesis\t:info\t:start\tnil
INFO  jepsen.util - 0\t:fail\t:read\t:timed-out
INFO  jepsen.util - 1\t:info\t:cas\t:timed-out
INFO  jepsen.util - 1\t:invoke\t:write\t3"""


def test_jepsen_log_is_read_with_its_errors_and_processes_that_go_on(tmp_path: Path) -> None:
    entries = read_file(written(tmp_path, LOG, "x.log")).entries
    assert entries == [
        Entry(0, "invoke", "read", None, None, 0),
        Entry(1, "invoke", "cas", None, [1, -2], 0),
        Entry("nemesis", "info", "start", None, None, 0),
        Entry(0, "fail", "read", None, ":timed-out", 0, ":timed-out"),
        Entry(1, "info", "cas", None, ":timed-out", 0, ":timed-out"),
        Entry(1, "invoke", "write", None, 3, 0),
    ]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("hello", "no line of a log"),
        ("INFO jepsen.util - 0\t:invoke\t:read", "3 columns"),
        ("INFO jepsen.util - x\t:invoke\t:read\tnil", "not understood"),
        ("INFO jepsen.util - 0\t:begin\t:read\tnil", "type is ':begin'"),
        ("INFO jepsen.util - 0\t:invoke\t:cas\t[1 2", "not closed"),
    ],
)
def test_jepsen_log_with_a_wrong_line_is_refused(tmp_path: Path, line: str, text: str) -> None:
    with pytest.raises(HistoryError, match=":1: ") as caught:
        read_file(written(tmp_path, line, "x.log"))
    assert text in str(caught.value)


def test_kv_log_is_read_with_keys_and_escaped_texts(tmp_path: Path) -> None:
    text = (
        '{:process 5, :type :invoke, :f :append, :key "1", :value "x \\"5\\" y"}\n'
        '{:process 5, :type :ok, :f :append, :key "1", :value "x \\"5\\" y"}'
    )
    entries = read_file(written(tmp_path, text, "x.txt")).entries
    assert entries[0] == Entry(5, "invoke", "append", "1", 'x "5" y', 0)
    assert read_file(written(tmp_path, text, "x.edn"), "kv-log").entries == entries


def test_kv_log_without_a_key_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "{:process 5, :type :invoke, :f :get, :value nil}", "x.txt")
    with pytest.raises(HistoryError, match="field :key is missing"):
        read_file(path)


def test_file_of_unknown_extension_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"jsonl.*jepsen-log.*kv-log"):
        read_file(written(tmp_path, "", "x.csv"))


def test_edn_of_every_kind_becomes_values_of_json() -> None:
    text = '[nil true false -3 2.5 "a\\n" :k #{1} (2) {:a [1, 2]}]'
    assert parse_edn(text) == [
        None,
        True,
        False,
        -3,
        2.5,
        "a\n",
        ":k",
        [1],
        [2],
        {":a": [1, 2]},
    ]


@pytest.mark.parametrize("text", ["", "[", "]", "[1}", "1 2", "{:a}", "foo", '"a', "[" * 500])
def test_edn_that_is_none_is_refused_with_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"value|closed|deep|pairs|understood"):
        parse_edn(text)
