"""Judges of recorded histories. Pure: a history in, a verdict out."""
