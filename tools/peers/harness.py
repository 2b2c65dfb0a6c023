"""How a system is measured: the same steps for all, over what each can do."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import psutil
from measure import PAYLOAD, Measurement, run_length
from work import SLOW_SECONDS

CALL_SECONDS = 60.0
WARM_UPS = 3
PORTS = range(11_000, 32_000)
# Round trips begin at moments that keep no step with anybody's polling.
PAUSE_SECONDS = 0.1

Fate = Callable[[], str | None]


class PeerError(Exception):
    """What went wrong, in one line for a person."""


class Peer(ABC):
    """A system that runs tasks, used as its documentation shows."""

    name: str
    package: str | None
    documented = ""
    cold_starts = 5
    # What the processes of a system read from.
    stdin = subprocess.DEVNULL
    # The other ways to use a system share what was seen of the first.
    tries_kill = True

    def __init__(self, folder: Path, workers: int) -> None:
        """Keep files in this folder; compute in so many workers."""
        self.folder = folder
        self.workers = workers
        self.journal = folder / "journal"
        self.children: list[subprocess.Popen[bytes]] = []

    def version(self) -> str:
        """Tell the version of what is measured; nothing if it has none."""
        return metadata.version(self.package) if self.package else ""

    @abstractmethod
    def start(self) -> None:
        """Start the system and its workers."""

    @abstractmethod
    def run(self, tasks: int) -> int:
        """Submit so many no-op tasks, collect every result, and return their sum."""

    @abstractmethod
    def call(self) -> int:
        """Submit one no-op task and wait for its result."""

    @abstractmethod
    def worker_pids(self) -> list[int]:
        """Name the processes that compute."""

    @abstractmethod
    def cold_start(self) -> None:
        """Start one more worker that computes one task; return when its result is there."""

    @abstractmethod
    def slow(self, journal: str) -> Fate:
        """Submit a slow task; what is returned tells, without waiting, how it ended for us."""

    def begun(self) -> list[int]:
        """List the processes that began the slow task, in turn."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith("begun")]

    def ended(self) -> bool:
        """Tell whether a worker computed the slow task to its end."""
        return "ended" in self.journal.read_text()

    def victims(self, pid: int) -> list[int]:
        """Name what goes when the worker goes in whose process `pid` a task is computed."""
        for child in self.children:
            pids = [process.pid for process in family(child.pid)]
            if pid in pids:
                return pids
        return [pid]

    def replace(self) -> None:  # noqa: B027
        """Start what a platform starts for a worker that is gone, if the system itself does not."""

    def load(self) -> None:
        """Give the system other tasks while one is lost."""
        self.run(20)

    def stop(self) -> None:
        """End everything that was started, what others need last."""
        for child in reversed(self.children):
            end(child)

    def spawn(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process of the system; what it says goes to a file."""
        with (self.folder / "processes.log").open("ab") as log:
            child = subprocess.Popen(
                command,
                cwd=self.folder,
                env=os.environ | environment,
                stdin=self.stdin,
                stdout=log,
                stderr=log,
            )
        self.children.append(child)
        return child


def family(pid: int) -> list[psutil.Process]:
    """Find a process and all its descendants."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill a process and whatever it started: nothing of it is needed, and farewells take long."""
    for process in family(child.pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    child.wait()


def free_port() -> int:
    """Find a port of the loopback that nobody uses.

    It is below those that the system gives to outgoing connections: one of them could take it
    before the process that is told of it listens.
    """
    while True:
        port = random.SystemRandom().choice(PORTS)
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            return port


def check(seen: int, tasks: int) -> None:
    """Make sure that every payload came to a worker and its result back."""
    if seen != tasks * len(PAYLOAD):
        raise PeerError(f"{tasks} tasks gave {seen}, not {tasks * len(PAYLOAD)}")


def timed_run(peer: Peer, tasks: int) -> float:
    """Run so many tasks, and return the seconds they took."""
    began = time.perf_counter()
    seen = peer.run(tasks)
    seconds = time.perf_counter() - began
    check(seen, tasks)
    return seconds


def throughput(peer: Peer, runs: int, aim_seconds: float) -> tuple[int, list[float]]:
    """Measure tasks per second in several runs of one length."""
    tasks = run_length(200, timed_run(peer, 200), 1.0)
    for _ in range(WARM_UPS):
        seconds = timed_run(peer, tasks)
        tasks = run_length(tasks, seconds, aim_seconds)
        # What is much faster once it is warm would have runs that are too short.
        if seconds >= aim_seconds / 2:
            break
    return tasks, [tasks / timed_run(peer, tasks) for _ in range(runs)]


def round_trips(peer: Peer, calls: int) -> list[float]:
    """Measure one task at a time, each begun after a short pause of random length."""
    chance = random.Random(1)
    for _ in range(5):
        check(peer.call(), 1)
    seconds = []
    for _ in range(calls):
        time.sleep(chance.uniform(0, PAUSE_SECONDS))
        began = time.perf_counter()
        seen = peer.call()
        seconds.append(time.perf_counter() - began)
        check(seen, 1)
    return seconds


def idle_rss_bytes(peer: Peer) -> int:
    """Measure the resident memory of a worker that computes nothing now."""
    sizes = [int(psutil.Process(pid).memory_info().rss) for pid in peer.worker_pids()]
    return round(statistics.median(sizes))


def cold_starts(peer: Peer) -> list[float]:
    """Measure the start of a worker until it has computed its first task."""
    seconds = []
    for _ in range(peer.cold_starts):
        before = len(peer.children)
        began = time.perf_counter()
        peer.cold_start()
        seconds.append(time.perf_counter() - began)
        for child in peer.children[before:]:
            end(child)
    return seconds


def kill_mid_task(peer: Peer, patience_seconds: float) -> str:
    """Kill the worker that computes a task, and tell what becomes of the task."""
    fate = peer.slow(str(peer.journal))
    limit = time.monotonic() + CALL_SECONDS
    while not (pids := peer.begun()):
        if time.monotonic() > limit:
            raise PeerError("the slow task was never begun")
        time.sleep(0.01)
    victims = peer.victims(pids[0])
    killed = time.monotonic()
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    peer.replace()
    while (seconds := time.monotonic() - killed) < patience_seconds:
        if peer.ended():
            again = max(0.0, seconds - SLOW_SECONDS)
            return f"computed again after {again:.0f} s"
        if (ended := fate()) is not None:
            return f"reported after {seconds:.0f} s: {ended}"
        peer.load()
        time.sleep(0.2)
    return f"in {patience_seconds:.0f} s neither computed again nor reported"


def measure(peer: Peer, arguments: argparse.Namespace) -> Measurement:
    """Take all measurements of a system that runs."""
    row = Measurement(peer.name, peer.version(), documented=peer.documented)
    check(peer.call(), 1)
    row.tasks_per_run, row.tasks_per_second = throughput(peer, arguments.runs, arguments.seconds)
    row.round_trip_seconds = round_trips(peer, arguments.calls)
    row.worker_rss_bytes = idle_rss_bytes(peer)
    row.cold_start_seconds = cold_starts(peer)
    if not peer.tries_kill:
        row.killed = "not tried"
    elif arguments.patience > 0:
        row.killed = kill_mid_task(peer, arguments.patience)
    return row


def main(*variants: type[Peer]) -> int:
    """Measure the variants asked for, and write what was found as JSON."""
    parser = argparse.ArgumentParser(description="Measures one system; tools/peers.py calls it.")
    parser.add_argument("--variant", type=int, required=True, help="which one, from 0")
    parser.add_argument("--out", type=Path, required=True, help="file for the result, JSON")
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="length of a run, about")
    parser.add_argument("--calls", type=int, required=True, help="round trips")
    parser.add_argument(
        "--patience", type=float, required=True, help="seconds for a lost task; 0: none"
    )
    arguments = parser.parse_args()
    # Short: the paths of sockets are.
    folder = Path(tempfile.mkdtemp(prefix="peer-"))
    peer = variants[arguments.variant](folder, arguments.workers)
    try:
        peer.start()
        row = measure(peer, arguments)
    except PeerError as error:
        sys.exit(f"{peer.name}: {error}")
    finally:
        peer.stop()
        shutil.rmtree(folder, ignore_errors=True)
    arguments.out.write_text(json.dumps(row.as_json()))
    return 0
