#!/usr/bin/env python3
"""Measures the first figures of docs/benchmarks.md: size, memory, start and throughput.

Needs `make nats` and `cargo build --release -p farm-cli -p sleeper`; run it on a quiet machine.
"""

from __future__ import annotations

import http
import http.client
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SLEEPER = ROOT / "target/release/sleeper"
STARTS = 9
TASKS = 100_000
ROUNDS = 3


def free_port() -> int:
    """Give a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def nats(folder: str) -> Iterator[str]:
    """Run a NATS server and give its URL."""
    port = free_port()
    program = str(ROOT / ".tools/nats/bin/nats-server")
    server = [program, "-js", "-sd", folder, "-a", "127.0.0.1"]
    process = subprocess.Popen([*server, "-p", str(port)], stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.01)
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def replica(url: str, roles: str, slots: int = 1) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a replica of the sleeper function and give its address."""
    port = free_port()
    environment = {
        "FARM_NAME": "sleeper",
        "FARM_NATS_URL": url,
        "FARM_ROLE": roles,
        "FARM_SLOTS": str(slots),
        "FARM_BIND_ADDRESS": "127.0.0.1",
        "FARM_HTTP_PORT": str(port),
        "FARM_METRICS_PORT": str(free_port()),
        "FARM_LOG": "warn",
        "PATH": os.environ["PATH"],
    }
    process = subprocess.Popen([SLEEPER], env=environment)
    try:
        yield port, process
    finally:
        process.terminate()
        process.wait()


def ask(port: int, path: str, body: bytes | None = None) -> dict[str, object]:
    """Send a request until somebody answers it; give the first line of the answer."""
    headers = {"content-type": "application/x-ndjson"}
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("POST" if body else "GET", path, body, headers)
            response = connection.getresponse()
            answer: dict[str, object] = json.loads(response.readline())
            if response.status < http.HTTPStatus.INTERNAL_SERVER_ERROR:
                return answer
        except ConnectionError:
            pass
        finally:
            connection.close()
        time.sleep(0.002)


def start_seconds(url: str, emitter: int) -> float:
    """Measure from the start of a worker process to its first result."""
    job = ask(emitter, "/", b'{"seconds": 0}\n')["job"]
    started = time.time()
    with replica(url, "worker"):
        ask(emitter, f"/jobs/{job}/results")
        return time.time() - started


def resident_megabytes(process: subprocess.Popen[bytes]) -> float:
    """Read the resident memory of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


def main() -> None:
    """Print the figures."""
    print(f"sleeper, release, stripped: {SLEEPER.stat().st_size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as folder, nats(folder) as url:
        with replica(url, "emitter,collector") as (emitter, _):
            ask(emitter, "/")
            starts = [start_seconds(url, emitter) for _ in range(STARTS)]
            print(f"worker start to first result: median {statistics.median(starts) * 1e3:.0f} ms")
            with replica(url, "worker") as (worker, process):
                ask(worker, "/")
                time.sleep(2)
                print(f"idle worker, resident: {resident_megabytes(process):.1f} MB")
        body = b'{"seconds": 0}\n' * TASKS
        with replica(url, "emitter,worker,collector", slots=8) as (farm, _):
            ask(farm, "/")
            rates = []
            for _ in range(ROUNDS):
                started = time.time()
                if ask(farm, "/?wait=300s", body)["done"] != TASKS:
                    raise SystemExit("not every task has a result")
                rates.append(TASKS / (time.time() - started))
            print(f"no-op tasks, submit to end: median {statistics.median(rates):,.0f} tasks/s")


if __name__ == "__main__":
    main()
