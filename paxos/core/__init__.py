"""The consensus core: pure objects, no I/O, no clock, no randomness of their own, no logging."""
