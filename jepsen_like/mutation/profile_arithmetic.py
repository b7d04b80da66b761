"""Profile "arithmetic": quorums against their definition, for every small number of voters.

Two sets that must meet are looked for one by one, as no product would: what is judged is the sum
that the product does instead.
"""

from __future__ import annotations

import random
from itertools import combinations

from jepsen_like.mutation.profiles import Finding
from paxos.core.errors import ConfigurationInvalid
from paxos.core.ids import Voter
from paxos.core.quorum import Quorums

VOTERS_MAX = 6


def judge(seed: int) -> Finding | None:
    """Draw one system of quorums, and some answers to count."""
    rng = random.Random(f"arithmetic/{seed}")
    count = rng.randint(1, VOTERS_MAX)
    voters = [Voter(node, rng.getrandbits(30)) for node in range(1, count + 1)]
    sizes = [(one, two) for one in range(1, count + 1) for two in range(1, count + 1)]
    for phase1, phase2 in sizes:
        text = _wrong(rng, voters, phase1, phase2)
        if text:
            return Finding("quorums", f"{count} voters, sizes {phase1} and {phase2}: {text}")
    majority = Quorums.majority(voters)
    if 2 * min(majority.phase1, majority.phase2) <= count:
        return Finding("quorums", f"{majority.phase1} of {count} voters pass for a majority")
    return None


def _wrong(rng: random.Random, voters: list[Voter], phase1: int, phase2: int) -> str:
    meet = all(
        set(one) & set(two)
        for one in combinations(voters, phase1)
        for two in combinations(voters, phase2)
    )
    try:
        quorums = Quorums(frozenset(voters), phase1, phase2)
    except ConfigurationInvalid:
        return "refused, though any two meet" if meet else ""
    if not meet:
        return "taken, though two need not meet"
    strangers = [Voter(voter.node, voter.incarnation + 1) for voter in voters]
    strangers += [Voter(90, 1), Voter(91, 1)]
    answered = set(rng.sample(voters + strangers, rng.randint(0, len(voters) + len(strangers))))
    counted = len([voter for voter in voters if voter in answered])
    if quorums.is_phase1(answered) != (counted >= phase1):
        return f"{counted} of its voters answered, and phase 1 counts them wrong"
    if quorums.is_phase2(answered) != (counted >= phase2):
        return f"{counted} of its voters answered, and phase 2 counts them wrong"
    return ""
