"""What a run must have, and what it may go without."""

from __future__ import annotations

import os


def required(name: str) -> bool:
    """Whether the absence of something, "postgres" or "chromium", is a failure and not a skip.

    HELDOUT_TEST_REQUIRE names what must be there, with commas between; CI names both.
    """
    wanted = os.environ.get("HELDOUT_TEST_REQUIRE", "").replace(",", " ").split()
    unknown = set(wanted) - {"postgres", "chromium"}
    assert not unknown, f"HELDOUT_TEST_REQUIRE names {sorted(unknown)}"
    return name in wanted
