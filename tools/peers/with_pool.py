"""Python's own multiprocessing.Pool: one machine, nothing kept."""

from __future__ import annotations

import multiprocessing
import sys

import psutil
from harness import CALL_SECONDS, Fate, Peer, main
from measure import PAYLOAD
from work import noop, slow


class WithPool(Peer):
    """A pool that is handed task by task."""

    name = "multiprocessing.Pool"
    package = None
    documented = "nothing: whoever waits for the result waits for ever"
    chunk = 1

    def start(self) -> None:
        """Fork the workers, as is the default on Linux."""
        self.context = multiprocessing.get_context("fork")
        self.pool = self.context.Pool(self.workers)

    def run(self, tasks: int) -> int:
        """Submit all, and collect in whatever order they end."""
        return sum(self.pool.imap_unordered(noop, [PAYLOAD] * tasks, chunksize=self.chunk))

    def call(self) -> int:
        """Submit one and wait."""
        return self.pool.apply_async(noop, (PAYLOAD,)).get(timeout=CALL_SECONDS)

    def worker_pids(self) -> list[int]:
        """Find the children of this process."""
        return [child.pid for child in psutil.Process().children()]

    def cold_start(self) -> None:
        """Start a pool of one."""
        with self.context.Pool(1) as pool:
            pool.apply(noop, (PAYLOAD,))

    def slow(self, journal: str) -> Fate:
        """Look whether there is a result."""
        result = self.pool.apply_async(slow, (journal,))
        return lambda: None if not result.ready() else "ended" if result.successful() else "failed"

    def load(self) -> None:
        """Ask without waiting: a pool that lost a worker may hang."""
        self.pool.apply_async(noop, (PAYLOAD,))

    def stop(self) -> None:
        """End the workers."""
        self.pool.terminate()
        super().stop()


class WithPoolChunks(WithPool):
    """A pool that is handed 64 tasks at once."""

    name = "multiprocessing.Pool, chunks of 64"
    chunk = 64
    tries_kill = False


if __name__ == "__main__":
    sys.exit(main(WithPool, WithPoolChunks))
