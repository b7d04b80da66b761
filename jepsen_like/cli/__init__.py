"""The command line of the harness. A module for each command."""
