"""A farm of this checkout: one emitter, one collector, workers of one slot, a NATS server.

The release build of `farm` plays every part, each in a process of its own as a function's replicas
are, with the function of `farm bench`: a task is `[number, rounds, padding]` in JSON, its result is
the number, after as many rounds of arithmetic. Everything is as it is by default, streams on disk
included. Jobs go in and results come out over HTTP; the client is Python, as with the others.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import CALL_SECONDS, Fate, Peer, PeerError, free_port, main
from measure import PAYLOAD
from work import SLOW_SECONDS

ROOT = Path(__file__).resolve().parent.parent.parent
FARM = Path(os.environ.get("PEERS_FARM", ROOT / "target/release/farm"))
NATS_SERVER = ROOT / ".tools/nats/bin/nats-server"
# A replica of the farm of `farm bench` in which every value submitted is a task.
PART = json.dumps({"part": "farm", "direct": None})
# From these the rounds that take as long as the slow task are reckoned.
TRIAL_ROUNDS = 50_000_000
LOOK_SECONDS = 0.005


@dataclass
class Replica:
    """A process of the farm."""

    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int


class WithFarm(Peer):
    """A farm that sends each task in a message of its own."""

    name = "rust-farm, one task a message"
    package = None
    documented = "redelivered once `FARM_ACK_WAIT`, 30 s, is over; one outcome for each task"
    granularity = "off"
    # A part of `farm bench` ends with its standard input.
    stdin = subprocess.PIPE

    def version(self) -> str:
        """Ask the command."""
        said = subprocess.run([FARM, "--version"], capture_output=True, text=True, check=True)
        return said.stdout.split()[-1]

    def start(self) -> None:
        """Start NATS, two farms of emitter and collector, and the workers of the first."""
        if not FARM.exists():
            raise PeerError(f"{FARM} is missing: cargo build --release -p farm-cli")
        self.start_nats()
        self.emitter = self.start_front("peers")
        # The second farm has no workers but those whose cold start is measured.
        self.cold_emitter = self.start_front("cold")
        self.replicas = [self.start_replica("peers", "worker") for _ in range(self.workers)]
        for replica in self.replicas:
            self.wait_ready(replica)

    def start_nats(self) -> None:
        """Start a server with its streams on disk."""
        server = NATS_SERVER if NATS_SERVER.exists() else shutil.which("nats-server")
        if server is None:
            raise PeerError("no nats-server: make nats")
        self.nats_port = free_port()
        options = ["--addr", "127.0.0.1", "--port", str(self.nats_port), "--jetstream"]
        process = self.spawn(str(server), *options, "--store_dir", str(self.folder / "nats"))
        self.wait_until(process, lambda: connects(self.nats_port), "the NATS server")

    def start_front(self, farm: str) -> int:
        """Start emitter and collector; give the port of the emitter."""
        emitter = self.start_replica(farm, "emitter")
        # The first replica of a farm makes its streams.
        self.wait_ready(emitter)
        self.wait_ready(self.start_replica(farm, "collector"))
        return emitter.port

    def start_replica(self, farm: str, role: str) -> Replica:
        """Start one process of a farm."""
        port, metrics_port = free_port(), free_port()
        process = self.spawn(
            str(FARM),
            "bench-part",
            PART,
            FARM_NAME=farm,
            FARM_ROLE=role,
            FARM_NATS_URL=f"nats://127.0.0.1:{self.nats_port}",
            FARM_BIND_ADDRESS="127.0.0.1",
            FARM_HTTP_PORT=str(port),
            FARM_METRICS_PORT=str(metrics_port),
            FARM_GRANULARITY=self.granularity,
            FARM_LOG="warn",
        )
        return Replica(process, port, metrics_port)

    def wait_ready(self, replica: Replica) -> None:
        """Wait until a replica says that it is."""
        url = f"http://127.0.0.1:{replica.port}/_/ready"
        self.wait_until(replica.process, lambda: fetch(url) is not None, "a replica of the farm")

    def wait_until(
        self, process: subprocess.Popen[bytes], is_there: Callable[[], bool], what: str
    ) -> None:
        """Look often: what waits for a process is measured."""
        limit = time.monotonic() + CALL_SECONDS
        while not is_there():
            if process.poll() is not None or time.monotonic() > limit:
                log = (self.folder / "processes.log").read_text()
                raise PeerError(f"{what} did not start: {log[-300:]}")
            time.sleep(LOOK_SECONDS)

    def submit(self, port: int, tasks: int = 1, rounds: int = 0) -> str:
        """Submit a job of so many tasks, one a line; give its name."""
        line = json.dumps([len(PAYLOAD), rounds, PAYLOAD]) + "\n"
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/",
            data=(line * tasks).encode(),
            headers={"content-type": "application/x-ndjson"},
        )
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:  # noqa: S310
            accepted = json.load(answer)
        if accepted["accepted"] != tasks:
            raise PeerError(f"the farm accepted {accepted['accepted']} tasks of {tasks}")
        return str(accepted["job"])

    def results(self, port: int, job: str, tasks: int) -> Iterator[dict[str, Any]]:
        """Read the results of a job as they come; each task has one."""
        seen = set()
        url = f"http://127.0.0.1:{port}/jobs/{job}/results"
        with urllib.request.urlopen(url, timeout=CALL_SECONDS) as lines:
            limit = time.monotonic() + CALL_SECONDS
            for line in lines:
                # An empty line says that there is nothing yet.
                if not line.strip():
                    if time.monotonic() > limit:
                        break
                    continue
                limit = time.monotonic() + CALL_SECONDS
                result = json.loads(line)
                seen.add(result["task"])
                yield result
                if len(seen) == tasks:
                    return
        raise PeerError(f"only {len(seen)} results of {tasks}")

    def run(self, tasks: int) -> int:
        """Submit all in one job, then read the results."""
        job = self.submit(self.emitter, tasks)
        return sum(result["output"] for result in self.results(self.emitter, job, tasks))

    def call(self) -> int:
        """Submit one and read its result."""
        return self.run(1)

    def worker_pids(self) -> list[int]:
        """Name the workers' processes."""
        return [replica.process.pid for replica in self.replicas]

    def cold_start(self) -> None:
        """Start a worker for a farm whose queue holds one task."""
        job = self.submit(self.cold_emitter)
        self.start_replica("cold", "worker")
        list(self.results(self.cold_emitter, job, 1))

    def slow(self, journal: str) -> Fate:  # noqa: ARG002
        """Submit a task whose rounds take a second; the farm tells what became of its job."""
        job = self.submit(self.emitter, rounds=TRIAL_ROUNDS)
        trial = next(self.results(self.emitter, job, 1))
        rounds = TRIAL_ROUNDS * SLOW_SECONDS / float(trial["service_seconds"])
        self.slow_job = self.submit(self.emitter, rounds=round(rounds))

        def fate() -> str | None:
            failed = self.account()["failed"]
            return "a dead letter" if failed else None

        return fate

    def account(self) -> dict[str, Any]:
        """Ask how far the slow job is."""
        url = f"http://127.0.0.1:{self.emitter}/jobs/{self.slow_job}"
        account: dict[str, Any] = json.loads(fetch(url) or "{}")
        return account

    def begun(self) -> list[int]:
        """Ask each worker whether it computes."""
        return [replica.process.pid for replica in self.replicas if is_busy(replica)]

    def ended(self) -> bool:
        """Tell whether the result of the slow task is counted."""
        return bool(self.account()["done"] == 1)

    def replace(self) -> None:
        """Start another worker."""
        self.replicas.append(self.start_replica("peers", "worker"))


class WithChunks(WithFarm):
    """A farm that chooses how many tasks share a message."""

    name = "rust-farm, automatic granularity"
    granularity = "auto"
    tries_kill = False


def fetch(url: str) -> str | None:
    """Get a text; nothing while nobody answers, or not with success."""
    try:
        with urllib.request.urlopen(url, timeout=CALL_SECONDS) as answer:  # noqa: S310
            return str(answer.read().decode())
    except OSError:
        return None


def connects(port: int) -> bool:
    """Tell whether somebody listens on a port of the loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=CALL_SECONDS).close()
    except OSError:
        return False
    return True


def is_busy(replica: Replica) -> bool:
    """Read among the metrics of a worker whether it computes a task."""
    text = fetch(f"http://127.0.0.1:{replica.metrics_port}/metrics") or ""
    return any(re.match(r"farm_slots_busy\{.*\} [1-9]", line) for line in text.splitlines())


if __name__ == "__main__":
    sys.exit(main(WithFarm, WithChunks))
