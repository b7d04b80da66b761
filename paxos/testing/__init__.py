"""Shipped for tests: a conformance suite per port, and a cluster that is stepped by hand."""
