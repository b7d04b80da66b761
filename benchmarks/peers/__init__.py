"""Three replicas of ours beside three nodes of each peer, on this machine, in one run.

``python -m benchmarks.peers`` starts a cluster of each system in turn on loopback, drives it with a
closed loop from clients of its own kind, and stops it; the next round starts with another system.
Everything is started here with its default durability, belongs to this run, and ends with it.
Nothing is installed: a system whose programs are missing is named and left out.
"""
