"""Celery, broker and result store Redis, prefork pool: as it is by default."""

from __future__ import annotations

import os
import sys

import psutil
from broker import RedisPeer
from celery import Celery
from celery.result import ResultSet
from harness import CALL_SECONDS, Fate, main
from measure import PAYLOAD
from work import noop, slow

URL = os.environ.get("PEERS_REDIS", "")
app = Celery("peers", broker=URL, backend=URL)
noop_task = app.task(name="noop")(noop)
slow_task = app.task(name="slow")(slow)


class WithCelery(RedisPeer):
    """Celery."""

    name = "Celery"
    package = "celery"
    documented = "acknowledged before it runs: not redelivered"

    def connect(self) -> None:
        """Tell the client where Redis is."""
        app.conf.update(broker_url=self.url, result_backend=self.url)

    def start_workers(self) -> None:
        """Start one worker with a pool of processes."""
        self.worker = self.start_worker("celery", self.workers)

    def start_worker(self, queue: str, processes: int) -> int:
        """Start a worker for this queue."""
        options = [
            "--concurrency",
            str(processes),
            "-Q",
            queue,
            "-n",
            f"{queue}{len(self.children)}",
        ]
        command = [sys.executable, "-m", "celery", "-A", "with_celery", "worker", *options]
        return self.spawn(*command, PEERS_REDIS=self.url).pid

    def run(self, tasks: int) -> int:
        """Submit all, then wait for all."""
        results = ResultSet([noop_task.delay(PAYLOAD) for _ in range(tasks)], app=app)
        return sum(results.join_native(timeout=CALL_SECONDS))

    def call(self) -> int:
        """Submit one and wait."""
        return int(noop_task.delay(PAYLOAD).get(timeout=CALL_SECONDS))

    def worker_pids(self) -> list[int]:
        """Find the pool: the worker's children."""
        return [child.pid for child in psutil.Process(self.worker).children()]

    def cold_start(self) -> None:
        """Start a worker of one process for a queue that holds one task."""
        queue = f"cold{len(self.children)}"
        self.start_worker(queue, 1)
        noop_task.apply_async((PAYLOAD,), queue=queue).get(timeout=CALL_SECONDS)

    def slow(self, journal: str) -> Fate:
        """Look at the state of the result."""
        result = slow_task.delay(journal)
        return lambda: f"{result.state}, {result.result!r}" if result.ready() else None

    def replace(self) -> None:
        """Start another worker."""
        self.worker = self.start_worker("celery", self.workers)


if __name__ == "__main__":
    sys.exit(main(WithCelery))
