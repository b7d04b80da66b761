"""The trio shell: runs a replica, and clients, on real time, disks and networks.

Owns every task, clock reading and blocking call. Imports the core, the codec and the ports; which
transport, storage or state machine is used is decided outside (``paxos.service``).
"""
