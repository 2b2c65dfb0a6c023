"""The tasks, the same for every system."""

from __future__ import annotations

import os
import time
from pathlib import Path

SLOW_SECONDS = 1.0


def noop(payload: str) -> int:
    """Do nothing; the answer shows that the payload came."""
    return len(payload)


def noop_many(payloads: list[str]) -> int:
    """Do nothing with many."""
    return sum(noop(payload) for payload in payloads)


def whoami(_: object = None) -> int:
    """Tell which process computes; long enough that each worker gets one of a few."""
    time.sleep(0.2)
    return os.getpid()


def slow(journal: str) -> str:
    """Take a second, and keep a journal: begun, by which process; ended."""
    note(journal, f"begun {os.getpid()}")
    time.sleep(SLOW_SECONDS)
    note(journal, "ended")
    return "ended"


def note(journal: str, line: str) -> None:
    """Add a line in one write: two workers may hold the journal."""
    with Path(journal).open("a") as file:
        file.write(line + "\n")
