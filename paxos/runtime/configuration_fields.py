"""A configuration as fields of JSON and back: how a node shows its members and tools read them.

Owns the names of the fields, which scripts rely on: they are only ever added. What comes back is
checked by ``Configuration`` itself, so that a tool never holds one that could not govern.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paxos.core.config import Configuration, Governing, Member, Part
from paxos.core.errors import ConfigurationInvalid
from paxos.core.ids import Voter
from paxos.core.quorum import Quorums, QuorumSets, QuorumSystem


def configuration_fields(governing: Governing) -> dict[str, Any]:
    """Return a configuration, with the first slot it governs, as fields."""
    configuration = governing.configuration
    return {
        "version": configuration.version,
        "first": governing.first,
        "feature": configuration.feature,
        "next_node": configuration.next_node,
        "quorums": _quorum_fields(configuration.quorums),
        "members": [
            {
                "node": member.node,
                "incarnation": member.incarnation,
                "part": member.part.name.lower(),
                "url": member.url,
                "priority": member.priority,
            }
            for member in configuration.members
        ],
    }


def _quorum_fields(quorums: QuorumSystem) -> dict[str, Any]:
    if isinstance(quorums, Quorums):
        return {"phase1": quorums.phase1, "phase2": quorums.phase2}
    return {"phase1_sets": _sets(quorums.phase1_sets), "phase2_sets": _sets(quorums.phase2_sets)}


def _sets(sets: frozenset[frozenset[Voter]]) -> list[list[int]]:
    return sorted(sorted(voter.node for voter in quorum) for quorum in sets)


def governing_from(fields: Mapping[str, Any]) -> Governing:
    """Return the configuration that ``fields`` say, and the first slot it governs.

    Raises:
        ConfigurationInvalid: They say none.
    """
    try:
        members = tuple(
            Member(
                int(each["node"]),
                int(each["incarnation"]),
                Part[each["part"].upper()],
                str(each["url"]),
                int(each["priority"]),
            )
            for each in fields["members"]
        )
        configuration = Configuration(
            int(fields["version"]),
            _quorums_from(fields["quorums"], {m.node: m.voter for m in members if m.part}),
            members,
            int(fields["feature"]),
            int(fields["next_node"]),
        )
        return Governing(int(fields["first"]), configuration)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationInvalid(f"a node described no configuration: {error!r}") from error


def _quorums_from(fields: Mapping[str, Any], voters: Mapping[int, Voter]) -> QuorumSystem:
    everyone = frozenset(voters.values())
    if "phase1" in fields:
        return Quorums(everyone, int(fields["phase1"]), int(fields["phase2"]))
    return QuorumSets(
        everyone, _named(fields["phase1_sets"], voters), _named(fields["phase2_sets"], voters)
    )


def _named(sets: Any, voters: Mapping[int, Voter]) -> frozenset[frozenset[Voter]]:
    return frozenset(frozenset(voters[node] for node in quorum) for quorum in sets)
