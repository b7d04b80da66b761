"""Real replica processes, real sockets, real disks, real clients, real faults."""
