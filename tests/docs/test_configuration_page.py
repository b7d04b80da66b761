"""docs/configuration.md against the code: every key with its default, and no key that is gone."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from paxos import cluster
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(?P<key>\w+)` \| (?P<default>[^|]*) \|", re.MULTILINE)


def rows(section: str) -> dict[str, str]:
    """Return key and default of each row below the heading ``section``."""
    body = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return {match["key"]: match["default"].strip("`") for match in ROW.finditer(body)}


def test_configuration_page_has_every_key_with_its_default(tmp_path: Path) -> None:
    cluster.found(tmp_path / "cluster", replicas=3, machines={"m": "a:B"})
    written = tomllib.loads((tmp_path / "cluster" / "cluster.toml").read_text(encoding="utf-8"))
    for section in ("limits", "timing", "serving"):
        defaults = {
            key: f'"{value}"' if isinstance(value, str) else str(value)
            for key, value in written[section].items()
        }
        assert rows(f"`[{section}]`") == defaults
    top = {key for key, value in written.items() if not isinstance(value, dict | list)}
    assert set(rows("Top level")) == top
    assert set(rows("`[[nodes]]`")) == set(written["nodes"][0])
    assert set(rows("`[[joined]]`")) == set(cluster.KEYS["joined"])
    for key in ("alpha", "feature"):
        assert rows("Top level")[key] == str(written[key])
