"""The simulator: production replicas on virtual time, disk and network, from one seed.

Read ``simulation`` first, then ``node`` and ``invariants``. Nothing here touches a real clock, a
socket, a file or trio.
"""
