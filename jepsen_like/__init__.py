"""The test harness: state machines under faults, on virtual time (``sim``) and real processes."""
