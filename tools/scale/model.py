"""The model: what a setup sustains, and what a rate needs, if a task costs so much.

Nothing here reads or writes anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scale.costs import TASK_BYTES, Cost, Costs

# Assumptions, each printed with the tables.
USABLE = 0.8  # share of a core, link or disk that is planned for
SERIAL = 0.45  # share of the server's time on a task that one stream does one after the other
LEADER = 1.5  # time of a stream's leader with three copies, over that of a server with one copy
COPIES = 3.4  # the same for the three servers together
LINK_BYTES = 1.25e9  # per second: 10 Gbit/s each way
DISK_BYTES = 400e6  # per second: an ordinary SSD

# Automatic granularity, as in farm-sdk/src/granularity.rs and farm-core/src/chunk.rs; a test
# compares.
CHUNK_SECONDS = 5e-3  # work in one message
ALONE_SECONDS = 2e-3  # tasks from this long on travel alone
MOST_BYTES = 256 << 10  # in one message
MOST_TASKS = 4096  # in one message
LENGTH_BYTES = 4  # before each task in a message

WORKERS = (1, 10, 100, 1000)
RATES = (1_000, 10_000, 100_000, 1_000_000)
SERVICE_SECONDS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
USED = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


@dataclass
class Setup:
    """NATS servers, and over how many pairs of streams (tasks, results) a farm is spread."""

    name: str
    servers: int
    cores: int
    streams: int
    copies: int = 1

    def server_share(self) -> float:
        """Give the time of the busiest server on a task, over that of one that does it all."""
        leaders = math.ceil(self.streams / self.servers) / self.streams
        if self.copies == 1:
            return leaders
        # The other copies lie evenly on the other servers.
        followers = (1 - leaders) * (COPIES - LEADER) / (self.servers - 1)
        return leaders * LEADER + followers

    def stream_share(self) -> float:
        """Give the same for what one stream does one after the other."""
        return SERIAL * (LEADER if self.copies > 1 else 1.0) / self.streams

    def limits(self, cost: Cost) -> dict[str, float]:
        """Give the rate, in tasks per second, at which each part is used up."""
        seconds = cost.cpu_seconds["server"]
        limits = {
            "server": USABLE * self.cores / (seconds * self.server_share()),
            "stream": USABLE / (seconds * self.stream_share()),
        }
        if cost.wire_bytes:
            # Half of the bytes come in; with copies, those go out again to the others.
            copied = cost.wire_bytes / 2 * (1 + (self.copies - 1) / 2)
            limits["network"] = USABLE * LINK_BYTES / (copied * self.copy_share())
        if cost.disk_bytes:
            limits["disk"] = USABLE * DISK_BYTES / (cost.disk_bytes * self.copy_share())
        return limits

    def copy_share(self) -> float:
        """Give the share of all tasks of which the busiest server keeps a copy."""
        spread = min(self.streams * self.copies, self.servers)
        return self.copies / spread

    def sustains(self, cost: Cost) -> tuple[float, str]:
        """Give the rate that holds, in tasks per second, and what limits it."""
        limits = self.limits(cost)
        limit = min(limits, key=lambda name: limits[name])
        return limits[limit], limit


SETUPS = [
    Setup("1 server of 2 cores", 1, 2, 1),
    Setup("1 server of 8 cores", 1, 8, 1),
    Setup("1 server of 8 cores", 1, 8, 4),
    Setup("3 servers of 8 cores, 3 copies", 3, 8, 1, 3),
    Setup("3 servers of 8 cores, 3 copies", 3, 8, 3, 3),
    Setup("3 servers of 8 cores, 3 copies", 3, 8, 12, 3),
    Setup("3 servers of 8 cores, 1 copy", 3, 8, 3),
    Setup("9 servers of 8 cores, 3 copies", 9, 8, 36, 3),
]
PLAIN = SETUPS[1]
SHARDED = SETUPS[2]


def chunk(mean_seconds: float, deviation_seconds: float = 0.0, task_bytes: int = TASK_BYTES) -> int:
    """Give the tasks that automatic granularity puts into a message of a large job.

    Their service time has this mean and this standard deviation.
    """
    if mean_seconds >= ALONE_SECONDS:
        return 1
    # The time of n tasks, n m + √n s, is to fit.
    root = math.sqrt(deviation_seconds**2 + 4 * mean_seconds * CHUNK_SECONDS) - deviation_seconds
    fitting = int((root / (2 * mean_seconds)) ** 2)
    return max(1, min(fitting, MOST_TASKS, MOST_BYTES // (task_bytes + LENGTH_BYTES)))


def efficiency(costs: Costs, workers: int, service: float, tasks: float) -> tuple[float, str]:
    """Give useful time over the workers' time at one unsharded server, and what limits it."""
    cost = costs.at(tasks)
    held, limit = PLAIN.sustains(cost)
    own = workers / (service + cost.cpu_seconds["workers"])
    rate, limit = (own, "") if own <= held else (held, limit)
    return rate * service / workers, limit


def pairs_needed(cost: Cost, rate: float) -> int:
    """Give the pairs of streams that carry a rate, if servers have the cores for it."""
    return math.ceil(rate * cost.cpu_seconds["server"] * SERIAL / USABLE)


def chunk_needed(costs: Costs, rate: float) -> int | None:
    """Give the least tasks a message with which one pair of streams carries a rate."""
    sizes = range(1, costs.most_tasks_per_message + 1)
    return next((n for n in sizes if pairs_needed(costs.at(n), rate) == 1), None)


def always_fed(costs: Costs) -> int:
    """Give the workers that one pair of streams feeds at any service time, up to the last rate."""
    times = [1e-5 * 10 ** (step / 50) for step in range(201)]
    fed = []
    for service in times:
        rate = USABLE / (costs.at(chunk(service)).cpu_seconds["server"] * SERIAL)
        if rate < RATES[-1]:
            fed.append(rate * service)
    return math.floor(min(fed, default=WORKERS[-1]) / 10) * 10


def stream_wait_seconds(costs: Costs, tasks: float, used: float) -> float:
    """Give the mean wait at a stream: one server, constant time, Poisson arrivals (M/D/1)."""
    message_seconds = tasks * costs.at(tasks).cpu_seconds["server"] * SERIAL
    return used / (2 * (1 - used)) * message_seconds


def erlang_c(workers: int, load: float) -> float:
    """Give the share of tasks that wait, of M/M/c at a load in erlangs."""
    blocked = 1.0
    for count in range(1, workers + 1):
        blocked = load * blocked / (count + load * blocked)
    share = load / workers
    return blocked / (1 - share + share * blocked)
