"""``paxos member``: who takes part in the cluster, one command per thing one can do about it.

Only the group stands here. What a change does, in which order, is in ``paxos.operations``; what is
safe is decided by the leader.
"""

from __future__ import annotations

from paxos.cli import member_changes, member_list
from paxos.cli.teaching import TaughtGroup

EXAMPLES = [
    ("who is there?", "paxos member list"),
    (
        "another voter, on this machine or another",
        "paxos member add --url tcp://127.0.0.1:7004 ./node-4",
    ),
    (
        "a machine is gone: put another in its place",
        "paxos member replace 3 --url tcp://127.0.0.1:7005 ./node-5",
    ),
    ("one too many", "paxos member remove 4"),
]

EPILOG = """\b
A change returns when it is settled: what it removed may be wiped then. One
that was cut short is asked for again, and goes on where it was.
"""


member = TaughtGroup(
    "member",
    examples=EXAMPLES,
    epilog=EPILOG,
    help="""Show and change who takes part in the cluster.

    Voters vote and keep the state, witnesses only vote, learners only keep the state. Changes go
    through the log, one at a time; the cluster goes on working meanwhile. A node's id is never used
    again.
    """,
)
for _command in (
    member_list.list_,
    member_changes.add,
    member_changes.promote,
    member_changes.remove,
    member_changes.replace,
    member_changes.update,
    member_changes.quorums,
):
    member.add_command(_command)
