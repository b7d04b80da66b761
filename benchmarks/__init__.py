"""Measurements of this project and of what it is measured against. Not in the wheel."""
