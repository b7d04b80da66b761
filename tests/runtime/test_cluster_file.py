"""The cluster file: what is written can be read, and what cannot be run is refused in words."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from paxos import cluster
from paxos.cluster import ClusterFile, ClusterFileInvalid, NodeEntry
from paxos.core.config import FEATURE, Part
from paxos.core.ids import Voter
from paxos.core.limits import Limits, Timing
from paxos.core.quorum import Quorums
from paxos.runtime.options import NodeOptions

PATH = Path("somewhere/cluster.toml")
CLUSTER = "0123456789abcdef0123456789abcdef"
MACHINES = {"config": "statemachines.edge_config:EdgeConfig"}


def three_nodes() -> ClusterFile:
    nodes = tuple(
        NodeEntry(n, f"tcp://127.0.0.1:{7000 + n}", f"node-{n}", 100 + n) for n in (1, 2, 3)
    )
    return ClusterFile(PATH, CLUSTER, nodes, MACHINES)


def later_node(node: int = 5) -> NodeEntry:
    return NodeEntry(node, f"tcp://127.0.0.1:{7000 + node}", f"node-{node}", 100 + node)


def edited(old: str, new: str, count: int = 1) -> str:
    text = cluster.dump(three_nodes())
    assert old in text
    return text.replace(old, new, count)


def refusal(text: str) -> str:
    with pytest.raises(ClusterFileInvalid) as caught:
        cluster.parse(text, PATH)
    assert str(PATH) in str(caught.value)
    return str(caught.value)


def test_cluster_file_dumped_and_parsed_is_equal() -> None:
    original = replace(
        three_nodes(),
        alpha=7,
        limits=Limits(batch_bytes_max=123_456),
        timing=Timing(election_timeout_s=2.5),
        serving=NodeOptions(sync="thread"),
        storage="sqlite",
        machines={"config": "a.b:C", 'odd "name"\t': "x:Y"},
        feature=1,
        joined=(later_node(5), later_node(7)),
    )
    assert cluster.parse(cluster.dump(original), PATH) == original


def test_cluster_file_without_optional_tables_has_the_defaults() -> None:
    text = cluster.dump(three_nodes())
    short = text[: text.index("[limits]")]
    assert cluster.parse(short, PATH) == three_nodes()


def test_cluster_file_comments_name_every_key() -> None:
    shapes = {
        "nodes": NodeEntry,
        "joined": NodeEntry,
        "limits": Limits,
        "timing": Timing,
        "serving": NodeOptions,
    }
    for table, shape in shapes.items():
        assert set(cluster.KEYS[table]) == {item.name for item in fields(shape)}
    text = cluster.dump(replace(three_nodes(), joined=(later_node(),)))
    for keys in cluster.KEYS.values():
        for comment in keys.values():
            assert f"# {comment}\n" in text


def test_cluster_file_read_from_disk_finds_its_data_directories(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(cluster.dump(three_nodes()))
    loaded = cluster.load(path)
    assert loaded.data_directory(2) == tmp_path / "node-2"
    assert loaded.voter(3) == Voter(3, 103)
    assert loaded.urls[1] == "tcp://127.0.0.1:7001"
    founding = loaded.configurations().at(1)
    assert founding.quorums.is_phase2({Voter(1, 101), Voter(3, 103)})
    assert founding.feature == FEATURE
    assert [member.url for member in founding.members] == [*loaded.urls.values()]


def test_cluster_file_of_a_release_before_features_has_the_first() -> None:
    loaded = cluster.parse(edited(f"feature = {FEATURE}\n", ""), PATH)
    assert loaded.feature == 1
    assert loaded.configurations().at(1).feature == 1
    assert loaded == replace(three_nodes(), feature=1)


def test_cluster_file_with_joined_nodes_has_them_beside_the_founding_ones() -> None:
    # It listens where a founding node did, which has left; and order is not asked of anybody.
    entry = replace(later_node(5), url="tcp://127.0.0.1:7001")
    text = cluster.dump(replace(three_nodes(), joined=(later_node(7), entry)))
    loaded = cluster.parse(text, PATH)
    assert loaded.joined == (entry, later_node(7))
    assert loaded.node(5) == entry
    assert loaded.voter(5) == Voter(5, 105)
    assert loaded.identity(5).incarnation == 105
    assert loaded.data_directory(5) == PATH.parent / "node-5"
    assert list(loaded.urls) == [1, 2, 3, 5, 7]
    # Who founded the cluster stays what it was.
    assert loaded.configurations().at(1) == three_nodes().configurations().at(1)
    with pytest.raises(
        ClusterFileInvalid, match="no node 4; the file has nodes 1 to 3 and 5 and 7"
    ):
        loaded.node(4)


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        (
            "id = 5",
            "id = 3",
            ["[[joined]] number 1", "id 3 of a founding node", "never used again"],
        ),
        ("id = 5", "id = 7", ["[[joined]] number 1 and number 2", "'id', 7"]),
        ('"node-5"', '"./node-7"', ["[[joined]] number 1 and number 2", "'data'"]),
        ('"node-5"', '"node-1/"', ["[[joined]] number 1", "'data' of a founding node"]),
        ("tcp://127.0.0.1:7005", "7005", ["[[joined]] number 1", "'url'"]),
        ("incarnation = 105", "", ["[[joined]] number 1", "'incarnation' is missing"]),
        ("incarnation = 105", "incarnation = 105\nport = 1", ["[[joined]] number 1", "'port'"]),
    ],
)
def test_cluster_file_bad_joined_node_is_refused_by_name(
    old: str, new: str, parts: list[str]
) -> None:
    text = cluster.dump(replace(three_nodes(), joined=(later_node(5), later_node(7))))
    assert old in text
    said = refusal(text.replace(old, new))
    for part in parts:
        assert part in said


def test_cluster_file_with_a_witness_founds_with_it() -> None:
    one, two, three = three_nodes().nodes
    nodes = (one, two, replace(three, part="witness"), replace(later_node(4), part="learner"))
    loaded = cluster.parse(cluster.dump(replace(three_nodes(), nodes=nodes)), PATH)
    assert loaded.nodes == nodes
    founding = loaded.configurations().at(1)
    assert [member.part for member in founding.members] == [
        Part.VOTER,
        Part.VOTER,
        Part.WITNESS,
        Part.LEARNER,
    ]
    assert founding.quorums == Quorums.majority([loaded.voter(node) for node in (1, 2, 3)])


def test_cluster_file_whose_nodes_can_found_nothing_is_refused() -> None:
    text = cluster.dump(three_nodes())
    said = refusal(text.replace('part = "voter"', 'part = "witness"'))
    assert "cannot found a cluster: the full voters" in said
    said = refusal(text.replace('part = "voter"', 'part = "leader"', 1))
    assert "[[nodes]] number 1: key 'part' is 'leader'; it must be one of: 'voter', " in said
    old = text.replace(f"feature = {FEATURE}", "feature = 1")
    said = refusal(old.replace('part = "voter"', 'part = "witness"', 1))
    assert "node 1 is a witness, which a cluster of feature 1 does not know" in said


def test_cluster_file_with_a_table_where_tables_belong_is_refused() -> None:
    text = cluster.dump(three_nodes())
    assert "write [[joined]]" in refusal(text + "\n[joined]\n")
    assert "write [[joined]]" in refusal("joined = [1]\n" + text)


def test_cluster_file_with_more_nodes_than_can_be_named_is_refused() -> None:
    many = tuple(later_node(node) for node in range(4, 101))
    assert "more than 99" in refusal(cluster.dump(replace(three_nodes(), joined=many)))
    fewer = replace(three_nodes(), joined=many[:-1])
    assert cluster.parse(cluster.dump(fewer), PATH) == fewer


def test_cluster_file_absent_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ClusterFileInvalid, match="paxos init"):
        cluster.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("id = 2", "id = 1", ["number 1", "number 2", "'id'", "its own"]),
        ("id = 3", "id = 4", ["node 3 is missing", "1 to 3"]),
        ("id = 3", "id = true", ["number 3", "'id'", "whole number"]),
        ("id = 3", "", ["number 3", "'id' is missing"]),
        (":7002", ":7001", ["number 1", "number 2", "'url'"]),
        ('"node-2"', '"./node-1"', ["number 1", "number 2", "'data'"]),
        ("tcp://127.0.0.1:7002", "127.0.0.1:7002", ["number 2", "'url'", "tcp://127.0.0.1:7001"]),
        ("tcp://127.0.0.1:7002", "tcp://127.0.0.1", ["'url'", "port"]),
        ("tcp://127.0.0.1:7002", "tcp://127.0.0.1:99999", ["'url'", "65535"]),
        ("tcp://127.0.0.1:7002", "tcp://127.0.0.1:0", ["'url'", "port"]),
        ("[timing]", "[[timing]]", ["'timing'", "table"]),
        ('data = "node-3"', "data = 3", ["number 3", "'data'", "text"]),
        ("batch_bytes_max = 1048576", "command_bytes_max = 4194304", ["TOML"]),
        ("command_bytes_max = 2097152", "command_bytes_max = 4194304", ["submission_bytes_max"]),
        ("tcp://127.0.0.1:7002", "http://127.0.0.1:7002", ["'url'", "tcp, ws"]),
        ("tcp://127.0.0.1:7002", "tcp://127.0.0.1:7002/x", ["'url'", "nothing may follow"]),
        (CLUSTER, "xyz", ["'cluster'", "32"]),
        ("alpha = 64", "alpha = 0", ["'alpha' is 0", "whole number"]),
        (f"feature = {FEATURE}", "feature = 0", ["'feature' is 0", "whole number"]),
        (f"feature = {FEATURE}", "feature = 99", ["'feature' is 99", f"up to {FEATURE}", "later"]),
        ("snapshot_chunk_bytes = 1048576", "snapshot_chunk_bytes = 4194305", ["[limits]", "piece"]),
        ("alpha = 64", "alpha = 64\nalfa = 3", ["'alfa'", "did you mean 'alpha'"]),
        ("sessions_max =", "session_max =", ["[limits]", "did you mean 'sessions_max'"]),
        ("[serving]", "[serving]\nzzz = 1", ["[serving]", "'zzz'", "known are"]),
        ("sessions_max = 10000", "sessions_max = 1.5", ["[limits]", "'sessions_max'", "whole"]),
        ("batch_bytes_max = 1048576", "batch_bytes_max = 8000000", ["[limits]", "frame"]),
        ("pending_bytes_max = 67108864", "pending_bytes_max = 9", ["[limits]", "pending_bytes"]),
        ("election_timeout_s = 0.5", "election_timeout_s = 0.1", ["[timing]", "heartbeat"]),
        ("election_timeout_s = 0.5", "election_timeout_s = -1", ["[timing]", "above 0"]),
        ("election_timeout_s = 0.5", "election_timeout_s = nan", ["[timing]", "above 0"]),
        ('sync = "inline"', 'sync = "never"', ["[serving]", "'sync'", "'thread'"]),
        ('storage = "segments"', 'storage = "memory"', ["'storage'", "'sqlite'"]),
        ("config = ", "#", ["[machines]", "no state machine"]),
        (MACHINES["config"], "EdgeConfig", ["[machines]", "'config'", "module:Class"]),
        ("alpha = 64", "alpha =", ["TOML", "line"]),
        ("[timing]", "[limits]", ["TOML"]),
    ],
)
def test_cluster_file_bad_key_is_refused_by_name(old: str, new: str, parts: list[str]) -> None:
    text = refusal(edited(old, new))
    for part in parts:
        assert part in text


def test_cluster_file_without_nodes_is_refused() -> None:
    text = cluster.dump(three_nodes())
    start, end = text.index("[[nodes]]"), text.index("# The replicated state machines")
    assert "names no nodes" in refusal(text[:start] + text[end:])


def test_found_makes_the_file_and_every_data_directory(tmp_path: Path) -> None:
    made = cluster.found(tmp_path / "new", replicas=3, machines=MACHINES, base_port=9100)
    assert cluster.load(made.path) == made
    assert [entry.url for entry in made.nodes] == [
        f"tcp://127.0.0.1:{p}" for p in (9100, 9101, 9102)
    ]
    assert all(made.data_directory(entry.id).is_dir() for entry in made.nodes)
    assert len({entry.incarnation for entry in made.nodes}) == 3
    assert made.feature == FEATURE


def test_found_in_a_directory_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ClusterFileInvalid, match="not an empty directory"):
        cluster.found(tmp_path, replicas=3, machines=MACHINES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_found_with_a_bad_argument_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ClusterFileInvalid, match="port"):
        cluster.found(tmp_path / "new", replicas=3, machines=MACHINES, base_port=65_534)
    assert list(tmp_path.iterdir()) == []


def test_found_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def create(file: ClusterFile, node: int) -> None:
        if node == 3:
            raise OSError("no space left on device")
        file.data_directory(node).mkdir()
        made.append(node)

    monkeypatch.setattr(cluster, "create_data_directory", create)
    with pytest.raises(OSError, match="no space"):
        cluster.found(tmp_path / "new", replicas=3, machines=MACHINES)
    assert made == [1, 2]
    assert list((tmp_path / "new").iterdir()) == []


def test_found_with_too_many_replicas_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterFileInvalid, match="between 1 and 9"):
        cluster.found(tmp_path / "new", replicas=10, machines=MACHINES)


def test_cluster_file_asked_for_a_node_it_has_not_says_which_it_has() -> None:
    with pytest.raises(ClusterFileInvalid, match="no node 4; the file has nodes 1 to 3"):
        three_nodes().voter(4)
