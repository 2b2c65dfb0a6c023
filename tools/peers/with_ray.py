"""Ray on this machine: tasks, actors, and many tasks a call."""

from __future__ import annotations

import itertools
import os
import sys
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Keeps Ray on the loopback: a node of a cluster listens on all addresses.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import ray
from harness import CALL_SECONDS, Fate, Peer, main
from measure import PAYLOAD
from work import noop, noop_many, slow, whoami

TASKS_PER_CALL = 64
STORE_BYTES = 256 << 20


class Computer:
    """What an actor does."""

    def noop(self, payload: str) -> int:
        """Do nothing."""
        return noop(payload)

    def slow(self, journal: str) -> str:
        """Take a second."""
        return slow(journal)

    def whoami(self) -> int:
        """Tell which process this is."""
        return whoami()


class WithRayTasks(Peer):
    """Ray, a task a call."""

    name = "Ray, tasks"
    package = "ray"
    documented = "computed again, up to 3 times"

    def start(self) -> None:
        """Start a node with as many processors as workers."""
        ray.init(
            num_cpus=self.workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=STORE_BYTES,
            _temp_dir=str(self.folder / "ray"),
        )
        self.noop = ray.remote(noop)
        self.noop_many = ray.remote(noop_many)
        self.slow_task = ray.remote(slow)
        self.whoami = ray.remote(whoami)
        self.actor = ray.remote(num_cpus=0)(Computer)
        self.extra: list[Any] = []

    def run(self, tasks: int) -> int:
        """Submit all, then wait for all."""
        return sum(ray.get([self.noop.remote(PAYLOAD) for _ in range(tasks)]))

    def call(self) -> int:
        """Submit one and wait."""
        return int(ray.get(self.noop.remote(PAYLOAD), timeout=CALL_SECONDS))

    def worker_pids(self) -> list[int]:
        """Ask the workers that there are."""
        return list(set(ray.get([self.whoami.remote() for _ in range(self.workers)])))

    def cold_start(self) -> None:
        """Start an actor, which gets a process of its own once the idle ones are taken."""
        self.extra.append(self.actor.remote())
        ray.get(self.extra[-1].noop.remote(PAYLOAD), timeout=CALL_SECONDS)

    def slow(self, journal: str) -> Fate:
        """Look whether there is a result, or an error in its place."""
        return fate_of(self.slow_task.remote(journal))

    def stop(self) -> None:
        """Stop the node."""
        ray.shutdown()


class WithRayActors(WithRayTasks):
    """Ray, actors in turn."""

    name = "Ray, actors"
    documented = "reported as an error; the actor is not started again"

    def start(self) -> None:
        """Start one actor for each worker."""
        super().start()
        self.actors = [self.actor.remote() for _ in range(self.workers)]
        self.turns = itertools.cycle(self.actors)

    def run(self, tasks: int) -> int:
        """Submit all, then wait for all."""
        return sum(ray.get([next(self.turns).noop.remote(PAYLOAD) for _ in range(tasks)]))

    def call(self) -> int:
        """Submit one and wait."""
        return int(ray.get(next(self.turns).noop.remote(PAYLOAD), timeout=CALL_SECONDS))

    def worker_pids(self) -> list[int]:
        """Ask each actor."""
        return list(ray.get([actor.whoami.remote() for actor in self.actors]))

    def slow(self, journal: str) -> Fate:
        """Have the first actor do it."""
        return fate_of(self.actors[0].slow.remote(journal))

    def load(self) -> None:
        """Spare the actor that is gone."""
        ray.get(self.actors[-1].noop.remote(PAYLOAD))


class WithRayChunks(WithRayTasks):
    """Ray, many tasks a call."""

    name = f"Ray, {TASKS_PER_CALL} tasks a call"
    tries_kill = False

    def run(self, tasks: int) -> int:
        """Submit all, then wait for all."""
        calls, rest = divmod(tasks, TASKS_PER_CALL)
        sizes = [TASKS_PER_CALL] * calls + ([rest] if rest else [])
        return sum(ray.get([self.noop_many.remote([PAYLOAD] * size) for size in sizes]))


def fate_of(reference: Any) -> Fate:  # noqa: ANN401
    """Look whether there is a result, or an error in its place."""

    def fate() -> str | None:
        ready, _ = ray.wait([reference], timeout=0)
        if not ready:
            return None
        try:
            return str(ray.get(reference))
        except ray.exceptions.RayError as error:
            return type(error).__name__

    return fate


if __name__ == "__main__":
    sys.exit(main(WithRayTasks, WithRayActors, WithRayChunks))
