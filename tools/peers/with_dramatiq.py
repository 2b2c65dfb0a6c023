"""Dramatiq, broker and result store Redis: as it is by default."""

from __future__ import annotations

import os
import sys

import dramatiq
import psutil
from broker import RedisPeer
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from dramatiq.results.errors import ResultError, ResultMissing
from harness import CALL_SECONDS, Fate, main
from measure import PAYLOAD
from work import noop, slow

QUEUES = ["default", *(f"cold{index}" for index in range(100))]


def declare(url: str) -> tuple[dict[str, dramatiq.Actor], dramatiq.Actor]:
    """Declare the tasks on this Redis."""
    broker = RedisBroker(url=url)
    broker.add_middleware(Results(backend=RedisBackend(url=url)))
    dramatiq.set_broker(broker)
    noops = {
        queue: dramatiq.actor(
            noop, actor_name=f"noop-{queue}", queue_name=queue, store_results=True
        )
        for queue in QUEUES
    }
    return noops, dramatiq.actor(slow, actor_name="slow", store_results=True)


class WithDramatiq(RedisPeer):
    """Dramatiq, one thread in each process."""

    name = "Dramatiq, 1 thread"
    package = "dramatiq"
    documented = "redelivered once its heartbeat is 60 s old"
    threads = 1

    def connect(self) -> None:
        """Declare the tasks here."""
        self.noops, self.slow_actor = declare(self.url)

    def start_workers(self) -> None:
        """Start a worker with processes."""
        self.worker = self.start_worker("default", self.workers)

    def start_worker(self, queue: str, processes: int) -> int:
        """Start a worker for this queue."""
        options = ["--processes", str(processes), "--threads", str(self.threads), "--queues", queue]
        command = [sys.executable, "-m", "dramatiq", "with_dramatiq", *options]
        return self.spawn(*command, PEERS_REDIS=self.url).pid

    def run(self, tasks: int) -> int:
        """Submit all, then wait for all."""
        send = self.noops["default"].send
        messages = [send(PAYLOAD) for _ in range(tasks)]
        return sum(m.get_result(block=True, timeout=int(CALL_SECONDS * 1e3)) for m in messages)

    def call(self) -> int:
        """Submit one and wait."""
        return self.run(1)

    def worker_pids(self) -> list[int]:
        """Find the worker's children, without the one that Python keeps for itself."""
        children = psutil.Process(self.worker).children()
        return [c.pid for c in children if "resource_tracker" not in " ".join(c.cmdline())]

    def cold_start(self) -> None:
        """Start a worker of one process for a queue that holds one task."""
        queue = f"cold{len(self.children)}"
        self.start_worker(queue, 1)
        self.noops[queue].send(PAYLOAD).get_result(block=True, timeout=int(CALL_SECONDS * 1e3))

    def slow(self, journal: str) -> Fate:
        """Look whether there is a result, or an error in its place."""
        message = self.slow_actor.send(journal)

        def fate() -> str | None:
            try:
                return str(message.get_result())
            except ResultMissing:
                return None
            except ResultError as error:
                return repr(error)

        return fate

    def replace(self) -> None:
        """Start another worker."""
        self.worker = self.start_worker("default", self.workers)


class WithDramatiqThreads(WithDramatiq):
    """Dramatiq, as many threads in each process as it has by default."""

    name = "Dramatiq, 8 threads"
    threads = 8
    tries_kill = False


if __name__ == "__main__":
    sys.exit(main(WithDramatiq, WithDramatiqThreads))
elif "PEERS_REDIS" in os.environ:
    declare(os.environ["PEERS_REDIS"])
