"""What operators do to a cluster over the years, as a library; the command line only words it.

Membership, backups, new clusters from old states, and what is left of a cluster that lost its
quorum. It composes what ``paxos.service`` offers, and decides nothing that the protocol decides.
"""
