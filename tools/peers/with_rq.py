"""RQ on Redis: its default worker, which forks for each task, and the one that does not."""

from __future__ import annotations

import sys

import redis
from broker import RedisPeer
from harness import CALL_SECONDS, Fate, PeerError, main
from measure import PAYLOAD
from rq import Queue
from rq.job import Job
from work import noop, slow


def result_of(job: Job) -> int:
    """Wait for the result of a job."""
    result = job.latest_result(timeout=int(CALL_SECONDS))
    if result is None:
        raise PeerError(f"no result within {CALL_SECONDS:.0f} s")
    return int(result.return_value)


class WithRq(RedisPeer):
    """RQ, a fork for each task."""

    name = "RQ, Worker"
    package = "rq"
    documented = "put into the registry of failed jobs, by maintenance every 10 min"
    worker_class = "rq.Worker"

    def connect(self) -> None:
        """Open the queue."""
        # Jobs are bytes to RQ.
        self.queue = Queue("default", connection=redis.Redis.from_url(self.url))

    def start_workers(self) -> None:
        """Start each as a process."""
        self.workers_pids = [self.start_worker("default") for _ in range(self.workers)]

    def start_worker(self, queue: str) -> int:
        """Start a worker for this queue."""
        options = ["--url", self.url, "--worker-class", self.worker_class, "--quiet", queue]
        return self.spawn(sys.executable, "-m", "rq.cli", "worker", *options).pid

    def run(self, tasks: int) -> int:
        """Submit all, then wait for all."""
        jobs = self.queue.enqueue_many([Queue.prepare_data(noop, (PAYLOAD,)) for _ in range(tasks)])
        return sum(result_of(job) for job in jobs)

    def call(self) -> int:
        """Submit one and wait."""
        return result_of(self.queue.enqueue(noop, PAYLOAD))

    def worker_pids(self) -> list[int]:
        """Name those that wait; the fork that computes comes on top."""
        return self.workers_pids

    def cold_start(self) -> None:
        """Start a worker for a queue that holds one task."""
        queue = Queue(f"cold{len(self.children)}", connection=self.queue.connection)
        job = queue.enqueue(noop, PAYLOAD)
        self.start_worker(queue.name)
        result_of(job)

    def slow(self, journal: str) -> Fate:
        """Look at the state of the job."""
        job = self.queue.enqueue(slow, journal)

        def fate() -> str | None:
            state = job.get_status(refresh=True).value
            return str(state) if state in {"failed", "finished", "stopped", "canceled"} else None

        return fate

    def replace(self) -> None:
        """Start another worker."""
        self.start_worker("default")


class WithRqSimple(WithRq):
    """RQ, tasks computed in the worker itself."""

    name = "RQ, SimpleWorker"
    worker_class = "rq.SimpleWorker"
    tries_kill = False


if __name__ == "__main__":
    sys.exit(main(WithRq, WithRqSimple))
