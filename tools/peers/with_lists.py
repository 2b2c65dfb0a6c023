"""The farm of arXiv 2602.06555, rebuilt from its description: Python and Redis lists.

Workers and collector look at their list every 0.1 s while it is empty. Before each task a worker
looks whether it is to leave. OpenFaaS, which starts the workers there, is left out.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from typing import Any

import redis
from broker import RedisPeer
from harness import CALL_SECONDS, Fate, PeerError, main
from measure import PAYLOAD
from work import noop, slow, whoami

POLL_SECONDS = 0.1
TASKS = {"noop": noop, "slow": slow, "whoami": whoami}


def work(client: redis.Redis, queue: str) -> None:
    """Compute what is in the queue, one task after the other, until told to leave."""
    while client.lpop("control") is None:
        taken = client.lpop(queue)
        if taken is None:
            time.sleep(POLL_SECONDS)
            continue
        task = json.loads(taken)
        began = time.time()
        output = TASKS[task["function"]](task["input"])
        result = {"id": task["id"], "output": output, "service_seconds": time.time() - began}
        client.rpush("results", json.dumps(result))


def collect(client: redis.Redis) -> None:
    """Move results to the output."""
    while True:
        taken = client.lpop("results")
        if taken is None:
            time.sleep(POLL_SECONDS)
        else:
            client.rpush("output", taken)


class Lists(RedisPeer):
    """The paper's farm."""

    name = "The paper's farm, rebuilt"
    package = None
    documented = "nothing: the task has left the list"

    def connect(self) -> None:
        """There is nothing to connect but Redis."""

    def start_workers(self) -> None:
        """Start the collector and the workers, each a process."""
        self.spawn(sys.executable, __file__, "collect", self.url)
        for _ in range(self.workers):
            self.start_worker("tasks")

    def start_worker(self, queue: str) -> None:
        """Start one worker."""
        self.spawn(sys.executable, __file__, "work", self.url, queue)

    def submit(self, function: str, value: str, queue: str = "tasks") -> None:
        """Queue one task."""
        task = {"id": uuid.uuid4().hex, "function": function, "input": value, "time": time.time()}
        self.client.rpush(queue, json.dumps(task))

    def outputs(self, count: int) -> list[Any]:
        """Wait for so many results."""
        found = []
        for index in range(count):
            taken = self.client.blpop(["output"], timeout=CALL_SECONDS)
            if taken is None:
                raise PeerError(f"only {index} results of {count}")
            found.append(json.loads(taken[1])["output"])
        return found

    def run(self, tasks: int) -> int:
        """Submit all, then collect."""
        for _ in range(tasks):
            self.submit("noop", PAYLOAD)
        return sum(self.outputs(tasks))

    def call(self) -> int:
        """Submit one and wait."""
        return self.run(1)

    def worker_pids(self) -> list[int]:
        """Redis and the collector come first among the children."""
        return [child.pid for child in self.children[2 : 2 + self.workers]]

    def cold_start(self) -> None:
        """Start a worker for a queue that holds one task."""
        queue = f"cold{len(self.children)}"
        self.submit("noop", PAYLOAD, queue)
        self.start_worker(queue)
        self.outputs(1)

    def slow(self, journal: str) -> Fate:
        """Nobody is told how a task ended but by its result."""
        self.submit("slow", journal)
        return lambda: None

    def replace(self) -> None:
        """Start another worker."""
        self.start_worker("tasks")


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(redis.Redis.from_url(sys.argv[2]), sys.argv[3])
    elif sys.argv[1] == "collect":
        collect(redis.Redis.from_url(sys.argv[2]))
    else:
        sys.exit(main(Lists))
