"""What every test has in common: how many random examples Hypothesis tries, and where.

``HYPOTHESIS_PROFILE`` names a profile; without it, a machine that sets ``CI`` gets ``ci`` (the same
examples every time, so that a red run is red again) and everyone else ``dev``.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A deadline per example measures the machine, not the code: it is off everywhere.
settings.register_profile("dev", max_examples=60, deadline=None)
settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "nightly",
    max_examples=5000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if "CI" in os.environ else "dev")
)
