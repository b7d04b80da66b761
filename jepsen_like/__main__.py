"""``python -m jepsen_like``."""

from __future__ import annotations

from jepsen_like.cli.program import main

if __name__ == "__main__":
    main()
