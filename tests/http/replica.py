"""A farm function with a NATS server of its own, both real."""

import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
NATS_SERVER = ROOT / ".tools" / "nats" / "bin" / "nats-server"
TOKEN = "a-token-for-tests"  # noqa: S105
# Generous, for a machine that builds something at the same time.
STARTS_WITHIN_SECONDS = 60.0
STOPS_WITHIN_SECONDS = 40.0


class Sleeper:
    """The example `sleeper`, protected by a token."""

    def __init__(self, binary: Path, folder: Path) -> None:
        """Start NATS, then the function, and wait until it is ready."""
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        nats, http, metrics = (free_port() for _ in range(3))
        self.url = f"http://127.0.0.1:{http}"
        secrets = folder / "secrets"
        secrets.mkdir()
        (secrets / "farm-http-token").write_text(TOKEN)
        self._start("nats", [NATS_SERVER, "-js", "-a", "127.0.0.1", "-p", nats, "-sd", folder], {})
        environment = {
            "FARM_NAME": "sleeper",
            "FARM_NATS_URL": f"nats://127.0.0.1:{nats}",
            "FARM_SECRETS_DIR": str(secrets),
            "FARM_BIND_ADDRESS": "127.0.0.1",
            "FARM_HTTP_PORT": str(http),
            "FARM_METRICS_PORT": str(metrics),
            "FARM_SLOTS": "10",
            "FARM_MAX_ATTEMPTS": "2",
            "FARM_BACKOFF": "10ms",
            "HOSTNAME": "sleeper-0",
        }
        self._start("sleeper", [binary], environment)
        self._await_ready()

    def log(self) -> str:
        """Read what the function has logged."""
        return (self._folder / "sleeper.log").read_text()

    def stop(self) -> None:
        """Stop the function, then NATS. A function that crashed is an error."""
        try:
            for process in reversed(self._processes):
                process.terminate()
                status = process.wait(STOPS_WITHIN_SECONDS)
                if process is self._processes[-1] and status != 0:
                    raise AssertionError(f"the function ended with {status}\n{self.log()}")
        finally:
            for process in self._processes:
                process.kill()
                process.wait()

    def _start(self, name: str, command: list[object], environment: dict[str, str]) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            words = [str(word) for word in command]
            process = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        self._processes.append(process)

    def _await_ready(self) -> None:
        give_up = time.monotonic() + STARTS_WITHIN_SECONDS
        while time.monotonic() < give_up and self._processes[-1].poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/_/ready", timeout=5):  # noqa: S310
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        log = self.log()
        self.stop()
        raise AssertionError(f"the function is not ready\n{log}")


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
