"""Test your own state machine: strategies, checks and a pytest plugin."""
